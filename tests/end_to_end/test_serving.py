"""`mlflow models serve` with real HTTP, in a process that has no copy of the project but the model's own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pandas as pd
import pyarrow.parquet as pq
import pytest
import requests

pytestmark = pytest.mark.slow

CLIENTS, REQUESTS = 8, 10
WITHOUT_PROJECT = """
import pathlib, sys
sys.path[:] = [place for place in sys.path if not (pathlib.Path(place or ".") / "diffurecsys").is_dir()]
sys.meta_path[:] = [finder for finder in sys.meta_path if "__editable__" not in str(getattr(finder, "__module__", ""))]
"""


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def address(tiny_study, tmp_path_factory):
    """Of a server of the experiment's champion."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "sitecustomize.py").write_text(WITHOUT_PROJECT)
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tiny_study.root}/mlflow.db",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    gone = subprocess.run(
        [sys.executable, "-c", "import diffurecsys"], env=environment, cwd=folder, capture_output=True
    )
    assert gone.returncode, "the test's server would find the project elsewhere"
    port = _free_port()
    command = ["models", "serve", "-m", "models:/tiny-diffurec@champion", "--env-manager", "local", "-p", str(port)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        for _ in range(600):
            try:
                if requests.get(f"http://127.0.0.1:{port}/ping", timeout=1).ok:
                    break
            except requests.ConnectionError:
                time.sleep(0.2)
            assert server.poll() is None, (folder / "log").read_text()
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _ask(address, histories, **params):
    body = {"dataframe_records": [{"history": history} for history in histories], "params": params}
    return requests.post(address, json=body, timeout=60)


def test_eight_clients_at_once_get_what_the_model_says(address, tiny_study):
    items = pq.read_table(tiny_study.root / "data/03_primary/tiny/item_vocabulary.parquet")["item_id"].to_pylist()
    mlflow.set_tracking_uri(f"sqlite:///{tiny_study.root}/mlflow.db")
    here = mlflow.pyfunc.load_model("models:/tiny-diffurec@champion")
    wanted = [[items[(7 * number + step) % len(items)] for step in range(1 + number % 9)] for number in range(CLIENTS)]
    expected = [here.predict(pd.DataFrame({"history": [history]}))["items"][0] for history in wanted]

    def ask(number):
        return [_ask(address, [wanted[number]]) for _ in range(REQUESTS)]

    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(ask, range(CLIENTS)))
    for number, own in enumerate(answers):
        for answer in own:
            assert answer.status_code == 200, answer.text
            (row,) = answer.json()["predictions"]
            assert row["items"] == expected[number]


def test_rows_go_wrong_alone_and_errors_show_no_paths(address, tiny_study):
    good, bad, popular = _ask(address, [["unheard", 3], None, ["unheard"]], k=3).json()["predictions"]
    assert (good["source"], popular["source"], bad["source"]) == ("popularity", "popularity", "none")
    assert len(popular["items"]) == 3
    assert bad["error"] == "a history is a list of item identifiers, got null"
    for answer, message in (
        (_ask(address, [["a"]], kk=3), "no such parameter: kk; this model has exclude_history, k, reverse_steps"),
        (_ask(address, [["a"]], reverse_steps=0), "reverse_steps must lie in 1 … 32, got 0"),
        (requests.post(address, data="{", headers={"Content-Type": "application/json"}, timeout=60), "JSON"),
    ):
        assert answer.status_code == 400
        assert message in answer.json()["message"]
        assert str(tiny_study.root) not in answer.text
        assert "site-packages" not in answer.text
        assert "Traceback" not in answer.text
