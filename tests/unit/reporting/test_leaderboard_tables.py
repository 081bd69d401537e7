"""Wide table and text tables."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from diffurecsys.evaluation.leaderboard import Score
from diffurecsys.reporting.paper import paper_results
from diffurecsys.reporting.leaderboard_tables import format_score, format_seconds, split_table, wide_table

NAN = float("nan")


def test_scores_and_seconds_as_text():
    assert format_score(Score(0.053456, 0.00129, 5)) == "0.0534 ± 0.0012"
    assert format_score(Score(0.053456, NAN, 1)) == "0.0534"
    assert format_seconds(Score(4000.04, 20.0, 5)) == "4,000.0 ± 20.0"
    assert format_seconds(Score(135.2, NAN, 1)) == "135.2"
    assert format_seconds(Score(NAN, NAN, 0)) == "–"


def test_wide_table_keeps_all_digits_through_csv(make_leaderboard):
    table = wide_table(make_leaderboard(), paper_results("amazon_beauty"))
    table = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    assert len(table) == 4 * 2
    assert table["model"].tolist() == ["diffurec", "cross_attention", "popularity", "last_item_transition"] * 2
    row = table[(table["model"] == "diffurec") & (table["split"] == "test")].iloc[0]
    assert row["HR@10_mean"] == pytest.approx((0.041 + 0.042 + 0.043) / 3)
    assert row["HR@10_std"] == pytest.approx(0.001)
    assert row["HR@10_paper"] == 0.079
    assert row["training_seconds_mean"] == pytest.approx(110)
    assert row["training_seconds_std"] == pytest.approx(10)
    assert row["training_seconds_paper"] == 8734.22
    assert (row["n_seeds"], row["exclude_seen"]) == (3, False)
    assert "MRR_paper" not in table
    baseline = table[table["kind"] == "baseline"]
    assert baseline[["HR@10_std", "HR@10_paper", "training_seconds_mean"]].isna().all(axis=None)


def test_wide_table_elsewhere_has_no_paper_columns(make_leaderboard):
    assert [name for name in wide_table(make_leaderboard()) if name.endswith("_paper")] == []


def test_rows_follow_the_study_with_the_paper_below_each_model(make_leaderboard):
    table = split_table(make_leaderboard(), "test", paper_results("amazon_beauty"))
    assert [(row.model, row.kind) for row in table.rows] == [
        ("diffurec", "model"),
        ("diffurec", "paper"),
        ("cross_attention", "model"),
        ("cross_attention", "paper"),
        ("popularity", "baseline"),
        ("last_item_transition", "baseline"),
    ]
    ours, printed, _, variant, popularity, _ = table.rows
    hit_rate = table.metrics.index("HR@10")
    assert ours.entries[hit_rate].text == "0.0420 ± 0.0010"
    assert printed.entries[hit_rate].text == "0.0790"
    assert variant.entries[hit_rate].text == "0.0974 ± 0.0021"
    assert printed.entries[table.metrics.index("MRR")].text == "–"
    assert (ours.seeds, printed.seeds, variant.seeds, popularity.seeds) == ("3", "–", "5", "–")
    assert (ours.seconds, printed.seconds, popularity.seconds) == ("110.0 ± 10.0", "8,734.2", "–")


def test_only_the_highest_own_mean_is_best(make_leaderboard):
    table = split_table(make_leaderboard(), "test", paper_results("amazon_beauty"))
    best = [(row.model, row.kind) for row in table.rows for entry in row.entries if entry.best]
    assert best == [("cross_attention", "model")] * 7  # the paper's rows are higher still
