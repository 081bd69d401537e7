"""The study beside the paper's tables."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from diffurecsys.reporting.paper import paper_results
from diffurecsys.reporting.paper_tables import (
    agreement,
    overall_comparison,
    overall_table,
    paper_comparison,
    paper_comparison_table,
    paper_tests_table,
    paper_tests_with_printed,
    training_times,
    training_times_table,
)
from diffurecsys.reporting.sections.paper import PART

BEAUTY = paper_results("amazon_beauty")


def test_each_number_is_set_beside_the_split_it_lies_closer_to(make_leaderboard):
    table = paper_comparison(make_leaderboard(), BEAUTY).set_index(["model", "metric"])
    assert len(table) == 2 * 6  # the paper has no MRR
    row = table.loc[("diffurec", "HR@10")]
    assert (row["test"], row["validation"], row["paper"]) == pytest.approx((0.042, 0.084, 0.0790))
    assert row["validation_difference"] == pytest.approx(0.084 - 0.0790)
    assert row["closer_to"] == "validation"
    assert table.loc[("diffurec", "NDCG@5"), "closer_to"] == "test"  # 0.044 and 0.088 against 0.0400
    assert pd.isna(row["paper_std"])
    assert paper_comparison(make_leaderboard(), None).empty
    other = paper_comparison(make_leaderboard(ranking="unseen"), BEAUTY).set_index(["model", "metric"])
    assert other.equals(table)  # the paper ranks all items


def test_the_counts_are_of_the_table(make_leaderboard):
    table = paper_comparison(make_leaderboard(), BEAUTY)
    for sentence, (model, part) in zip(agreement(table), table.groupby("model", sort=False), strict=True):
        test, validation = ((part["closer_to"] == split).sum() for split in ("test", "validation"))
        assert sentence.startswith(f"{model}: of 6 numbers")
        assert f"{test} lie closer to our test scores and {validation} to our validation" in sentence


def test_table_5_stands_beside_the_rankers_that_it_has(make_leaderboard):
    board = make_leaderboard(models=("gru4rec", "cross_attention", "diffurecsys"))
    table = overall_comparison(board, BEAUTY)
    assert set(table["model"]) == {"gru4rec", "diffurecsys"}
    row = table.set_index("model").loc["gru4rec"]
    assert (row["printed_as"], row["HR@10_paper"], row["NDCG@10_paper"]) == ("GRU4Rec", 0.0332, 0.0175)
    assert row["HR@10"] == pytest.approx(0.042)
    assert row["HR@10_relative"] == pytest.approx(0.042 / 0.0332 - 1)
    assert "+26.5" in next(line.cells for line in overall_table(table).lines if line.cells[0] == "gru4rec")


def test_table_5_is_left_out_where_table_3_has_all_of_it(make_results, make_leaderboard):
    results = make_results(paper=BEAUTY)
    names = {"paper_comparison"}
    assert {table.name for table in PART.write(results).tables} == names
    board = make_leaderboard(models=("gru4rec", "diffurec"))
    assert {table.name for table in PART.write(replace(results, leaderboard=board)).tables} == names | {"paper_overall"}


def test_training_times_are_a_ratio_to_the_paper_s(make_leaderboard, make_results):
    cells = make_results(n_seeds=3).cells.copy()
    cells.loc[(cells["model"] == "diffurec") & (cells["seed"] > 0), "device"] = "Gpu 100"
    table = training_times(make_leaderboard(), cells, BEAUTY).set_index("model")
    assert list(table["device"]) == ["Cpu 9000, Gpu 100", "Cpu 9000"]  # each ranker's own
    assert table.loc["diffurec", "seconds"] == 110
    assert table.loc["diffurec", "ratio"] == pytest.approx(8734.22 / 110)
    assert list(table.index) == ["diffurec", "cross_attention"]  # those that train
    alone = training_times(make_leaderboard(), cells, None)
    assert alone["ratio"].isna().all()
    assert training_times_table(alone).lines[0].cells[-1] == "–"


def test_table_4_stands_under_the_model_it_was_computed_from(study_tables):
    tests = paper_tests_with_printed(study_tables["paper_tests_table"], BEAUTY)
    printed = tests[tests["split"] == "test"].iloc[0]
    assert printed["model"] == "cross_attention"
    assert printed["paper_t"] == 3.9853  # which Table 4 prints beside DiffuRecSys
    assert tests[tests["split"] == "validation"]["paper_t"].isna().all()
    cells = paper_tests_table(tests).lines[0].cells
    assert cells[-3:] == ("3.985", "0.011", "1.384")
    unknown = paper_tests_with_printed(study_tables["paper_tests_table"], None)
    assert unknown["paper_p"].isna().all()


def test_the_table_has_a_line_a_number(make_leaderboard):
    table = paper_comparison_table(paper_comparison(make_leaderboard(), BEAUTY))
    assert len(table.lines) == 12
    assert all(len(line.cells) == len(table.columns) for line in table.lines)
