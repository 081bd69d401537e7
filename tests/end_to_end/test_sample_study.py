"""`kedro run` as a newcomer runs it: the whole study on the generated sample, three models, five seeds and controls."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient
from playwright.sync_api import sync_playwright

MODELS = ["diffurec", "cross_attention", "diffurecsys"]
BASELINES = ["popularity", "last_item_transition"]
NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks/01_explore_results.ipynb"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def run(make_project):
    project = make_project()
    return project, project.output("run", "--pipeline=train_eval")


@pytest.fixture(scope="module")
def study(run):
    return run[0]


@pytest.fixture(scope="module")
def printed(run):
    return run[1]


def _newest(study, name):
    path = study.root / "data/08_reporting/sample" / name
    return max(path.glob(f"*/{path.name}"))


def test_every_cell_has_weights_ranks_and_metrics(study):
    for model in MODELS:
        for seed in range(5):
            cell = f"{model}/seed_{seed}"
            assert (study.root / f"data/06_models/sample/{cell}/weights.safetensors").exists()
            (ranks,) = study.root.glob(f"data/07_model_output/sample/{cell}/test_ranks.parquet/*/*.parquet")
            (metrics,) = study.root.glob(f"data/08_reporting/sample/cells/{cell}/metrics.json/*/metrics.json")
            table = pd.read_parquet(ranks)
            hits = (table["rank"] <= 10).mean()
            assert json.loads(metrics.read_text())["test"]["HR@10"] == pytest.approx(hits)
            assert list(table["user"]) == list(range(len(table)))


def test_models_that_use_order_beat_popularity_clearly(study):
    board = pd.read_csv(_newest(study, "leaderboard.csv"))
    assert set(board["model"]) == {*MODELS, *BASELINES}
    for split in ("test", "validation"):
        scores = board[board["split"] == split].set_index("model")["NDCG@10_mean"]
        assert (scores[MODELS] > 2 * scores["popularity"]).all()
        assert (scores[MODELS] > scores["last_item_transition"]).all()
    assert (board[board["kind"] == "model"]["n_seeds"] == 5).all()
    assert (board[board["kind"] == "model"]["NDCG@10_std"] > 0).all()


def test_the_report_stands_alone(study):
    page = _newest(study, "report.html").read_text()
    assert all(name in page for name in (*MODELS, *BASELINES))
    assert not re.search(r"""(src|href)=["'](?!#|data:)|@import|url\((?!#)""", page)
    assert "leave-one-out" in _newest(study, "report.md").read_text()


def test_the_report_draws_what_it_says_without_a_request_or_an_error(study):
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    pages = [_newest(study, "report.html"), study.root / "data/08_reporting/summary.html"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for path in pages:
            for scheme, width in (("light", 1280), ("dark", 1280), ("light", 400)):
                page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
                trouble, requested = [], []
                page.on("console", lambda message, trouble=trouble: trouble.append(message.text))
                page.on("pageerror", lambda error, trouble=trouble: trouble.append(str(error)))
                page.on("request", lambda request, requested=requested: requested.append(request.url))
                page.goto(path.as_uri())
                assert [url for url in requested if not url.startswith("data:")] == [path.as_uri()]
                assert trouble == []
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                if path == pages[0]:
                    drawn = page.locator("figure svg").evaluate_all("all => all.map(one => one.getBBox().width)")
                    assert len(drawn) == 10
                    assert min(drawn) > 100
                    links = page.locator("nav a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
                    assert all(page.locator(link).count() == 1 for link in links)
                    empty = "all => all.filter(one => one.children.length < 2).length"
                    assert page.locator("main section").evaluate_all(empty) == 0
                    colours = page.evaluate("[getComputedStyle(document.body).backgroundColor]")
                    assert colours == (["rgb(255, 255, 255)"] if scheme == "light" else ["rgb(20, 23, 27)"])
                page.close()
        browser.close()


def test_verdicts_follow_from_the_tables(study):
    page = _newest(study, "report.md").read_text()
    tests = pd.read_csv(_newest(study, "tables/comparisons.csv"))
    ndcg = tests[tests["metric"] == "NDCG@10"].set_index(["model", "reference"])
    assert len(ndcg) == 3 + 3 * 2
    assert (tests["family_size"] == 9 * 7).all()
    for (model, reference), row in ndcg.iterrows():
        (verdict,) = re.findall(rf"- {model} vs {reference} on NDCG@10: (.*)\.\n", page)
        found = row["p_holm"] < 0.05 and not row["low"] <= 0 <= row["high"]
        assert verdict.endswith("no difference shown") == (not found)
        assert "5 seeds" in verdict
    assert (ndcg.xs("popularity", level="reference")["p_holm"] < 0.001).all()


def test_the_control_without_diffusion_is_judged(study):
    sweep = pd.read_csv(_newest(study, "tables/delta_sweep.csv"))
    assert sorted(sweep["delta"].unique()) == [0, 0.001, 0.01, 0.1, 1]
    controls = sweep[(sweep["delta"] == 0) & (sweep["metric"] == "NDCG@10")]
    assert list(controls["base"]) == ["diffurec", "cross_attention"]
    assert list(controls["overlap"]) == pytest.approx([1, 1])  # without noise every sample is the same
    assert "without the noised target (δ = 0)" in _newest(study, "report.md").read_text()


def test_tables_agree_with_the_ranks(study):
    ranks = pd.read_parquet(_newest(study, "models/diffurec_ranks.parquet"))
    scores = pd.read_csv(_newest(study, "tables/group_scores.csv"))
    mine = scores[(scores["model"] == "diffurec") & (scores["metric"] == "HR@10")].set_index("group")
    test = ranks[ranks["split"] == "test"]
    assert mine.loc["seen", "mean"] == pytest.approx((test.loc[test["target_popularity"] > 0, "rank"] <= 10).mean())
    assert mine.loc[["head", "long tail"], "n_users"].sum() == test["user"].nunique()


def test_every_figure_and_table_is_written(study):
    reporting = study.root / "data/08_reporting/sample"
    for name in ("leaderboard", "training_curves", "forest", "group", "steps", "ensembles", "sweep"):
        assert list(reporting.glob(f"figures/{name}.png/*/{name}.png"))
        assert list(reporting.glob(f"figures/{name}.png/*/{name}.svg"))
    for kind in ("target", "sample", "item"):
        assert list(reporting.glob(f"figures/{kind}_maps.png/*/{kind}_maps.svg"))
    latex = _newest(study, "tables/tables.tex").read_text()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\bottomrule") >= 10


def test_the_notebook_runs_on_the_study(study):
    notebook = nbformat.read(NOTEBOOK, 4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code"), "outputs must be stripped"
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(study.root)}}).execute()
    printed = "".join(str(cell.get("outputs")) for cell in notebook.cells)
    assert "image/png" in printed
    assert "vs diffurec on NDCG@10" in printed


def test_the_log_says_what_happened_and_nothing_is_left_over(study, printed):
    assert re.search(r"Before filtering: 1,000 users, .* after: \d+ users", printed)
    assert "Training diffurecsys.seed_4 on" in printed
    assert "epoch 8/8" in printed
    assert "Pipeline execution completed successfully" in printed
    assert "Traceback" not in printed
    assert "leaked" not in printed
    assert not list(study.root.glob("data/**/*.tmp"))
    assert not list(study.root.glob("data/**/checkpoint.pt"))
