"""What accuracy costs: who is beaten in both, and the table and figure of it."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
from matplotlib.figure import Figure

from diffurecsys.reporting.sections.cost import PART, costs, draw_cost, keep_inside, unbeaten, write


def _table(*rows):
    return pd.DataFrame(rows, columns=["model", "seconds", "score"]).assign(cpu_seconds=None)


def test_unbeaten_is_what_no_ranker_beats_for_as_little():
    table = _table(
        ("a", 10.0, 0.2), ("b", 5.0, 0.1), ("c", 7.0, 0.1), ("d", 20.0, 0.2), ("e", 5.0, 0.05), ("f", 99.0, 0.3)
    )
    assert list(unbeaten(table)["model"]) == [
        "b",
        "a",
        "f",
    ]  # c, d and e are no better than what is cheaper or as cheap
    assert list(unbeaten(_table(("a", None, 0.9), ("b", 1.0, 0.0)))["model"]) == ["b"]


def test_the_processors_seconds_count_where_all_have_them():
    table = _table(("a", 10.0, 0.1), ("b", 5.0, 0.2)).assign(cpu_seconds=[1.0, 2.0])
    assert list(unbeaten(table)["model"]) == ["a", "b"]
    table.loc[1, "cpu_seconds"] = None
    assert list(unbeaten(table)["model"]) == ["b"]


@pytest.fixture
def results(make_results):
    found = make_results(n_seeds=2)
    cells = found.cells.assign(
        seconds=found.cells["seconds"].fillna(0.5), users_per_second=1000.0 + found.cells["seed"], peak_memory=3 * 2**20
    )
    return dataclasses.replace(found, cells=cells)


def test_every_ranker_has_a_row_with_means_over_its_seeds(results):
    table = costs(results).set_index("model")
    # the leaderboard's models have 0.04 and 0.05, + 0.0005 of two seeds, + 0.004 of NDCG@10; transitions 0.045 + 0.004
    assert list(table.index) == ["cross_attention", "transitions", "diffurec", "popularity"]
    assert table.loc["diffurec", "score"] == pytest.approx(0.0445)
    assert table.loc["diffurec", "seconds"] == (100 + 110) / 2
    assert table.loc["diffurec", "users_per_second"] == 1000.5
    assert table.loc["transitions", "seconds"] == 0.5
    assert set(table["peak_mebibytes"]) == {3.0}


def test_the_section_names_the_unbeaten_and_the_figure_every_ranker(results):
    text = write(results)
    assert text.sentences == (
        "On Cpu 9000 no ranker is both cheaper to train and higher in mean test NDCG@10 than these: transitions "
        "(0.0490 in 0.5 s), then cross_attention (0.0545 in 105.0 s).",
    )
    (panel,) = draw_cost(results).axes
    assert {label.get_text() for label in panel.texts} == {"cross_attention", "transitions", "diffurec", "popularity"}
    assert panel.get_xscale() == "log"


def test_the_figure_and_the_sentences_take_the_processors_seconds_where_every_cell_has_them(results):
    cells = results.cells.assign(cpu_seconds=results.cells["seconds"] / 2)
    known = dataclasses.replace(results, cells=cells)
    assert write(known).sentences[0].endswith("transitions (0.0490 in 0.2 s), then cross_attention (0.0545 in 52.5 s).")
    (panel,) = draw_cost(known).axes
    assert panel.get_xlabel().startswith("the processor's seconds of training")
    cells.loc[(cells["model"] == "diffurec") & (cells["seed"] == 0), "cpu_seconds"] = None
    assert costs(known).set_index("model")["cpu_seconds"].isna().to_dict()["diffurec"]
    (panel,) = draw_cost(known).axes
    assert panel.get_xlabel().startswith("seconds of training")


@pytest.mark.parametrize("x", [0.001, 0.5, 1000.0])
def test_a_name_that_was_moved_out_of_its_panel_comes_back(x):
    panel = Figure().subplots()
    panel.set_xscale("log")
    panel.set_xlim(0.001, 1000)
    name = panel.text(x, 0.5, "a name at the edge", ha="center")
    keep_inside(name, panel)
    inside, frame = name.get_window_extent(), panel.get_window_extent()
    assert frame.x0 - 1e-6 <= inside.x0 < inside.x1 <= frame.x1 + 1e-6
    assert name.get_position()[1] == pytest.approx(0.5)
    assert name.get_position()[0] == x or x != 0.5


def test_other_hardware_has_a_panel_of_its_own(results):
    cells = results.cells.copy()
    cells.loc[cells["model"] == "diffurec", "device"] = "Gpu 1"
    figure = draw_cost(dataclasses.replace(results, cells=cells))
    assert [panel.get_xlabel().splitlines()[1] for panel in figure.axes] == ["(Cpu 9000)", "(Gpu 1)"]


def test_studies_of_before_have_dashes(make_results):
    (table,) = write(make_results(n_seeds=2)).tables
    assert all((line.cells[3], *line.cells[5:7]) == ("–", "–", "–") for line in table.lines)
    assert PART.needs == ()
