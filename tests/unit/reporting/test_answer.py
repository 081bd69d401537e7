"""What came out of a study, in three sentences."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from diffurecsys.reporting.answer import answer, closing_words


def with_tests(results, rows):
    return dataclasses.replace(results, tables={**results.tables, "comparisons_table": pd.DataFrame(rows)})


def test_the_best_ranker_is_named_with_its_interval(make_results):
    first, tests, diffusion = answer(make_results())
    assert first.startswith("Best of 4 rankers on test NDCG@10 (all items ranked): cross_attention, 0.0560 [0.03")
    assert first.endswith("], 5 seeds.")
    assert tests == (
        "Tests of cross_attention that pair users (Holm's correction over 21 tests): better than diffurec, popularity "
        "and transitions."
    )
    assert diffusion.startswith("It diffuses; the best without is transitions (baseline), 0.0490 [")
    assert "cross_attention vs transitions: +300.0 % [250.0, 350.0], Holm p < 0.001, 5 seeds: better." in diffusion
    assert "The control of diffurec without the noised target: -1.0 %" in diffusion  # which alone has one
    alone = answer(make_results(without=("sweeps_table",)))[2]
    assert alone.endswith("No control without diffusion was trained beside it.")


def test_what_is_said_of_several_is_said_once(make_results, comparison, monkeypatch):
    names = ("diffurec", "popularity", "transitions")
    rows = [comparison("cross_attention", name, "NDCG@10", 0.2, -0.1, 0.5, 0.3) for name in names]
    apart = [{**row, "n_seeds": 3, "p_users_holm": 0.001} for row in rows]
    said = answer(with_tests(make_results(), [*apart[:2], rows[2]]))[1]
    assert said.endswith(
        "no difference shown to transitions; no difference shown to diffurec and popularity "
        "(3 seeds; the trained models at hand do differ)."
    )
    monkeypatch.setattr("diffurecsys.reporting.answer.MANY", 3)
    assert answer(with_tests(make_results(), apart))[1].endswith(
        "no difference shown to all 3 others (3 seeds; the trained models at hand do differ)."
    )


def test_a_best_baseline_leaves_diffusion_behind(make_results, comparison):
    results = make_results()
    names = {"popularity": "cross_attention", "cross_attention": "popularity"}
    board = results.leaderboard
    swapped = [table.assign(model=table["model"].replace(names)) for table in (board.scores, board.cells)]
    roles = {"popularity": "baseline", "transitions": "baseline", "diffurec": "model", "cross_attention": "model"}
    scores, cells = (table.assign(role=table["model"].map(roles)) for table in swapped)
    results = dataclasses.replace(
        results, leaderboard=dataclasses.replace(board, scores=scores, cells=cells, training=board.training.iloc[:0])
    )
    rows = [
        comparison("diffurec", "popularity", "NDCG@10", -0.2, -0.3, -0.1, 0.001),
        comparison("cross_attention", "popularity", "NDCG@10", -0.02, -0.3, 0.2, 0.7),
    ]
    first, tests, diffusion = answer(with_tests(results, rows))
    assert "popularity (baseline), 0.0560" in first
    assert tests.endswith(
        "better than diffurec; no difference shown to cross_attention; not tested against transitions."
    )
    assert diffusion.startswith("The best that diffuses is diffurec, 0.0460")
    assert "diffurec vs popularity: -20.0 % [-30.0, -10.0]" in diffusion
    control = "The control of diffurec without the noised target: -1.0 % [-30.0, 2.5], Holm p = 0.600, 2 seeds"
    assert control in diffusion
    assert "So nothing here shows that diffurec's diffusion contributes to accuracy" in diffusion


def test_a_control_that_leads_is_not_what_diffuses(make_results):
    results = make_results()
    board = results.leaderboard
    scores, cells = (
        table.assign(role=table["role"].mask(table["model"] == "cross_attention", "control"))
        for table in (board.scores, board.cells)
    )
    leaderboard = dataclasses.replace(board, scores=scores, cells=cells)
    diffusion = answer(dataclasses.replace(results, leaderboard=leaderboard))[2]
    assert diffusion.startswith("The best that diffuses is diffurec, 0.0460")
    assert "the control cross_attention vs diffurec" in diffusion


def test_without_diffusion_it_is_said(make_results):
    results = make_results()
    counting = results.study.specs[-1].network
    specs = tuple(dataclasses.replace(spec, network=counting) for spec in results.study.specs)
    study = dataclasses.replace(results.study, specs=specs, sweeps={})
    assert answer(dataclasses.replace(results, study=study))[2] == "No ranker of this study diffuses."


@pytest.mark.parametrize("role", ["control"])
def test_controls_of_the_study_are_told(make_results, comparison, role):
    results = make_results()
    board = results.leaderboard
    scores = board.scores.assign(role=board.scores["role"].where(board.scores["model"] != "popularity", role))
    rows = [comparison("cross_attention", "popularity", "NDCG@10", 0.2, 0.1, 0.3, 0.001)]
    results = dataclasses.replace(results, leaderboard=dataclasses.replace(board, scores=scores))
    assert "cross_attention vs the control popularity: +20.0 %" in answer(with_tests(results, rows))[2]
    rows = [comparison("popularity", "cross_attention", "NDCG@10", 0.2, 0.1, 0.3, 0.001)]
    assert "the control popularity vs cross_attention: +20.0 %" in answer(with_tests(results, rows))[2]


def test_the_last_words_say_where_the_report_lies():
    assert closing_words(["One.", "Two."], "data/report.html") == ["One.", "Two.", "The report: data/report.html"]
