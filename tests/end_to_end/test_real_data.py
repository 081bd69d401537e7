"""Real archives, from a real (loopback) host through real sessions."""

from __future__ import annotations

import http.server
import json
import threading
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from diffurecsys.data.split import load_split

pytestmark = pytest.mark.slow

PATHS = {
    "/MovieLens/ml-100k.zip",
    "/MovieLens/ml-1m.zip",
    "/Amazon_ratings/Amazon_Beauty.zip",
    "/Amazon_ratings/Amazon_Toys_and_Games.zip",
}


class _Host(http.server.SimpleHTTPRequestHandler):
    """Serves the archives under the paths that they have at the real host."""

    def translate_path(self, path: str) -> str:
        return super().translate_path("/" + Path(path).name) if path in PATHS else "/absent"

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def mirror(shared_data):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Host, directory=shared_data)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("experiment", "users", "items", "interactions"),
    [("ml-100k", 943, 1349, 99287), ("ml-1m", 6040, 3416, 999611), ("toys", 19412, 11924, 167597)],
)
def test_preprocessing_gives_the_known_counts(experiment, users, items, interactions, mirror, project):
    params = {"download": {"mirror": mirror}}
    project.run("ingestion", "preprocessing", env=experiment, params=params)

    counts = json.loads((project.root / f"data/02_intermediate/{experiment}/counts.json").read_text())
    assert counts["core"] == {"users": users, "items": items, "interactions": interactions}
    split = load_split(project.root / f"data/05_model_input/{experiment}/split.npz").split
    # of a user with n interactions n - 2 are learnt from, and all but the first of these are predicted
    assert int(split.train.lengths.sum()) == interactions - 2 * users
    assert split.train.n_targets == interactions - 3 * users
    assert len(split.validation) == len(split.test) == users


def test_one_epoch_of_beauty_learns(mirror, project, monkeypatch):
    monkeypatch.setenv("DIFFURECSYS_MIRROR", mirror)
    project.run(
        env="beauty",
        params={
            "threads": 1,  # others may be at work on this machine
            "study": {"rankers": ["popularity", "diffurec"], "n_seeds": 1, "sweeps": {"delta": {"n_seeds": 0}}},
            "models": {
                "diffurec": {
                    "network": {"width": 32, "blocks": 1, "evaluation_steps": 2},
                    "training": {"epochs": 1, "batch_size": 256, "learning_rate": 0.003},
                }
            },
            "preprocessing": {"max_length": 20},
            "significance": {"n_resamples": 1000},
            "probes": {"users": 200, "ensemble_sizes": [1, 2], "reverse_steps": [1, 2]},
            "maps": {"users": 500, "sampled_users": 3, "samples": 10},
        },
    )

    history = pd.read_parquet(project.root / "data/06_models/beauty/diffurec/seed_0/history.parquet")
    assert history["loss"].iloc[0] < 9.0  # a guess over 12,101 items costs log 12,101 = 9.4
    board = project.read("08_reporting/beauty/tables/leaderboard.csv/*/leaderboard.csv")
    test = board[(board["split"] == "test") & (board["ranking"] == "all")].set_index("model")
    assert test.loc["diffurec", "HR@10_mean"] > test.loc["popularity", "HR@10_mean"] > 0
    assert test.loc["diffurec", "NDCG@10_paper"] == 0.0475
    (report,) = project.root.glob("data/08_reporting/beauty/report.md/*/report.md")
    assert "22,363 users, 12,101 items" in report.read_text()
