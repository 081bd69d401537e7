"""`kedro run` as a newcomer runs it: the whole study on the generated sample, all rankers, seeds and controls."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from playwright.sync_api import sync_playwright

from diffurecsys.training.device import resolve_precision

MODELS = ["diffurec", "cross_attention", "diffurecsys"]
TRAINED = ["sasrec", *MODELS]
BASELINES = ["popularity", "last_item_transition", "transitions", "sasrec"]
NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks/01_explore_results.ipynb"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REPORTS = "08_reporting/sample"
LETTERS = "all => all.filter(one => one.textContent.trim()).map(one => one.getBoundingClientRect().height)"

pytestmark = pytest.mark.slow


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
    path = study.root / "data" / REPORTS / name
    return max(path.glob(f"*/{path.name}"))


def _table(study, name):
    return study.read(f"{REPORTS}/tables/{name}.csv/*/{name}.csv")


def test_every_cell_has_weights_and_its_ranks_stand_in_the_studys_table(study):
    together = study.read(f"{REPORTS}/study/ranks.parquet/*/ranks.parquet")
    cells = study.read(f"{REPORTS}/study/cells.parquet/*/cells.parquet")
    seeds = {name: 5 if name in TRAINED else 1 for name in (*BASELINES, *MODELS)}
    assert {name: (cells["model"] == name).sum() for name in seeds} == seeds
    assert (cells["sweep"] == "delta").sum() == len(cells) - sum(seeds.values()) == 2 * 2
    for row in cells.to_dict("records"):
        group = f"sweep.{row['model']}" if row["sweep"] == "delta" else row["model"]
        cell = f"{group}/seed_{row['seed']}"
        assert (study.root / f"data/06_models/sample/{cell}/weights.safetensors").exists()
        ranks = study.read(f"07_model_output/sample/{cell}/ranks.parquet/*/ranks.parquet")
        mine = together[(together["model"] == row["model"]) & (together["seed"] == row["seed"])]
        columns = ["user", "target", "greater", "tied", "greater_unseen", "tied_unseen"]
        assert (mine[columns].to_numpy() == ranks[columns].to_numpy()).all()
        test = ranks[ranks["split"] == "test"]
        assert list(test["user"]) == list(range(len(test))) == list(range(750))


def test_the_leaderboard_follows_from_the_ranks(study):
    board, ranks = _table(study, "leaderboard"), study.read(f"{REPORTS}/study/ranks.parquet/*/ranks.parquet")
    for ranking, suffix in (("all", ""), ("unseen", "_unseen")):
        for row in board[(board["split"] == "test") & (board["ranking"] == ranking)].to_dict("records"):
            mine = ranks[(ranks["model"] == row["model"]) & (ranks["split"] == "test")]
            chance = (10 - mine[f"greater{suffix}"]) / (mine[f"tied{suffix}"] + 1)  # ties are broken at random
            by_seed = chance.clip(0, 1).groupby(mine["seed"]).mean()
            assert row["HR@10_mean"] == pytest.approx(by_seed.mean())
            if row["n_seeds"]:
                assert row["HR@10_std"] == pytest.approx(by_seed.std())


def test_rankers_that_use_order_beat_popularity_clearly(study):
    board = _table(study, "leaderboard")
    assert set(board["model"]) == {*MODELS, *BASELINES}
    for split in ("test", "validation"):
        scores = board[(board["split"] == split) & (board["ranking"] == "all")].set_index("model")["NDCG@10_mean"]
        assert (scores[[*TRAINED, "transitions"]] > 2 * scores["popularity"]).all()
        assert (scores[[*TRAINED, "transitions"]] > scores["last_item_transition"]).all()
    trained = board[board["model"].isin(TRAINED)]
    assert (trained["n_seeds"] == 5).all()
    assert (trained["NDCG@10_std"] > 0).all()
    assert board[~board["model"].isin(TRAINED)]["NDCG@10_std"].isna().all()


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
                    shown = page.locator("figure svg:visible")
                    drawn = shown.evaluate_all("all => all.map(one => one.getBBox().width)")
                    assert len(drawn) == 11
                    assert min(drawn) > 100
                    letters = page.locator("figure svg:visible text").evaluate_all(LETTERS)
                    assert min(letters) >= 9, f"letters of {min(letters)} pixels at {width}"
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
    tests = _table(study, "comparisons")
    ndcg = tests[tests["metric"] == "NDCG@10"].set_index(["model", "reference"])
    assert len(ndcg) == 6 + 4 * 3  # what trains against each other, and against what counts
    assert (tests["family_size"] == 18).all()
    for (model, reference), row in ndcg.iterrows():
        (cells,) = re.findall(
            rf"^\| {model} \| {reference} \| NDCG@10 \| 5 \| ([+-].* \[.*)$", page, flags=re.MULTILINE
        )
        shown = "better" if row["difference"] > 0 else "worse"
        verdict = shown if row["p_holm"] < 0.05 else "equivalent" if row["p_equivalence_holm"] < 0.05 else "no diff"
        assert f"| {verdict}" in cells
    assert (ndcg.xs("popularity", level="reference")["p_holm"] < 0.001).all()
    assert (ndcg.xs("transitions", level="reference")["difference"] < 0).all()  # what the sample was made by
    for model in MODELS:
        assert re.search(rf"strongest baseline, transitions, reaches .*; not ahead of it: .*\b{model} 0", page)


def test_the_control_without_diffusion_is_judged(study):
    sweep = _table(study, "sweeps")
    assert set(sweep["sweep"]) == {"delta"}
    assert sorted(sweep["value"].astype(float).unique()) == [0, 0.001, 1]
    ndcg = sweep[sweep["metric"] == "NDCG@10"]
    assert list(ndcg[ndcg["value"].astype(float) == 0]["base"]) == ["diffurec"]
    assert list(ndcg[ndcg["configured"]]["model"]) == ["diffurec"]
    assert (sweep[~sweep["configured"]]["family_size"] == 2).all()
    page = _newest(study, "report.md").read_text()
    assert "diffurec without the noised target (δ = 0) instead of δ = 0.001, on NDCG@10" in page


def test_samples_differ_the_more_the_more_noise_there_is(study):
    sweep = _table(study, "sweeps")
    overlap = sweep[(sweep["metric"] == "NDCG@10") & (sweep["base"] == "diffurec")]
    by_value = overlap.assign(value=overlap["value"].astype(float)).set_index("value")["overlap"].sort_index()
    assert by_value.loc[1.0] < by_value.loc[0.001] < 1


def test_inference_is_examined_only_of_rankers_that_have_what_it_needs(study):
    table = _table(study, "inference")
    assert set(table["model"]) >= set(MODELS)
    assert not set(table["model"]) & set(BASELINES)
    output = study.root / "data/07_model_output/sample"
    assert {path.parent.name for path in output.glob("*/target_map.parquet")} == set(MODELS)
    assert not list(output.glob("sasrec/seed_*/sampled_ranks.parquet"))
    assert len(list(output.glob("diffurec/seed_*/algorithm_3_ranks.parquet"))) == 5


def test_groups_agree_with_the_ranks(study):
    ranks = study.read("07_model_output/sample/diffurec/seed_0/ranks.parquet/*/ranks.parquet")
    scores = _table(study, "group_scores")
    sizes = scores[(scores["model"] == "diffurec") & (scores["metric"] == "HR@10")].set_index("group")["n_users"]
    test = ranks[ranks["split"] == "test"]
    assert sizes["seen"] == (test["target_popularity"] > 0).sum()
    assert sizes[["head", "long tail"]].sum() == len(test)


def test_every_figure_and_table_is_written(study):
    reporting = study.root / "data" / REPORTS
    made = ("leaderboard", "curves", "forest", "groups", "steps", "ensembles", "sweeps")
    for name in (*made, "target_maps", "sample_maps", "item_maps"):
        assert list(reporting.glob(f"figures/{name}.png/*/{name}.png"))
        assert list(reporting.glob(f"figures/{name}.png/*/{name}.svg"))
    latex = _newest(study, "report.tex").read_text()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\bottomrule") >= 10


def test_the_report_says_how_it_came_about(study):
    page = _newest(study, "report.md").read_text()
    assert "- Command: kedro run --pipeline=train_eval\n" in page
    assert re.search(r"\n- Date: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", page)
    assert re.search(r"\n- Code: (unknown|[0-9a-f]{40}(-dirty)?)\n", page)
    configurations = _table(study, "configurations")
    own = configurations[~configurations["swept"]]
    assert list(own["model"]) == [*MODELS, *BASELINES]
    precision = resolve_precision(torch.device("cpu"), "auto")
    assert set(own[own["scheme"].notna()]["precision"]) == {precision}


def test_the_notebook_runs_on_the_study(study):
    notebook = nbformat.read(NOTEBOOK, 4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code"), "outputs must be stripped"
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(study.root)}}).execute()
    printed = "".join(str(cell.get("outputs")) for cell in notebook.cells)
    assert "image/png" in printed
    assert "diffurecsys vs diffurec: " in printed


def test_the_log_says_what_happened_and_nothing_is_left_over(study, printed):
    assert re.search(r"Before filtering: 1,000 users, .* after: \d+ users", printed)
    assert "Training diffurecsys.seed_4 under prefix" in printed
    assert "Training sasrec.seed_4 under window" in printed
    assert "epoch 8/8" in printed
    assert "Best of 7 rankers on test NDCG@10" in printed
    assert "report.html/" in " ".join(printed.split()[-200:])
    assert "Pipeline execution completed successfully" in printed
    assert "Traceback" not in printed
    assert "leaked" not in printed
    assert not list(study.root.glob("data/**/*.tmp"))
    assert not list(study.root.glob("data/**/checkpoint.pt"))
