"""Wide table and text tables."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from diffurecsys.evaluation.leaderboard import Score
from diffurecsys.reporting.leaderboard_tables import (
    format_score,
    format_seconds,
    format_seeds,
    leaderboard_table,
    wide_table,
)
from diffurecsys.reporting.paper import paper_results

NAN = float("nan")


def test_scores_and_seconds_as_text():
    assert format_score(Score(0.053456, 0.00129, 5)) == "0.0534 ± 0.0012"
    assert format_score(Score(0.053456, NAN, 1)) == "0.0534"
    assert format_seconds(Score(4000.04, 20.0, 5)) == "4,000.0 ± 20.0"
    assert format_seconds(Score(135.2, NAN, 1)) == "135.2"
    assert format_seconds(Score(NAN, NAN, 0)) == "–"
    assert (format_seeds(5), format_seeds(0)) == ("5", "–")


def test_wide_table_keeps_all_digits_through_csv(make_leaderboard):
    table = wide_table(make_leaderboard(), paper_results("amazon_beauty"))
    table = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    assert len(table) == 4 * 2 * 2
    assert table["model"].tolist() == ["diffurec", "cross_attention", "popularity", "transitions"] * 4
    assert table["ranking"].tolist() == [*["all"] * 4, *["unseen"] * 4] * 2
    row = table[(table["model"] == "diffurec") & (table["split"] == "test")].iloc[0]
    assert row["HR@10_mean"] == pytest.approx((0.041 + 0.042 + 0.043) / 3)
    assert row["HR@10_std"] == pytest.approx(0.001)
    assert row["HR@10_low"] < row["HR@10_mean"] < row["HR@10_high"]
    assert row["HR@10_paper"] == 0.079
    assert row["training_seconds_mean"] == pytest.approx(110)
    assert row["training_seconds_std"] == pytest.approx(10)
    assert row["training_seconds_paper"] == 8734.22
    assert row["n_seeds"] == 3
    assert "MRR_paper" not in table
    baseline = table[table["role"] == "baseline"]
    assert baseline[["HR@10_std", "HR@10_paper", "training_seconds_mean"]].isna().all(axis=None)
    assert table[table["ranking"] == "unseen"]["HR@10_paper"].isna().all()


def test_wide_table_elsewhere_has_no_paper_columns(make_leaderboard):
    assert [name for name in wide_table(make_leaderboard()) if name.endswith("_paper")] == []


def test_the_best_comes_first_with_the_paper_below_each_model(make_leaderboard):
    table = leaderboard_table(make_leaderboard(), "test", "all", paper_results("amazon_beauty"))
    assert [(line.cells[0], line.kind) for line in table.lines] == [
        ("cross_attention", "model"),
        ("paper's cross_attention", "paper"),
        ("transitions (baseline)", "baseline"),
        ("diffurec", "model"),
        ("paper's diffurec", "paper"),
        ("popularity (baseline)", "baseline"),
    ]
    _, variant, _, ours, printed, popularity = (line.cells for line in table.lines)
    hit_rate = table.columns.index("HR@10")
    assert ours[hit_rate] == "0.0420 ± 0.0010"
    assert printed[hit_rate] == "0.0790"
    assert variant[hit_rate] == "0.0974 ± 0.0021"
    assert printed[table.columns.index("MRR")] == "–"
    assert (ours[-1], printed[-1], variant[-1], popularity[-1]) == ("3", "–", "5", "–")
    assert (ours[-2], printed[-2], popularity[-2]) == ("110.0 ± 10.0", "8,734.2", "–")


def test_among_unseen_items_the_paper_is_left_out(make_leaderboard):
    table = leaderboard_table(make_leaderboard(), "test", "unseen", paper_results("amazon_beauty"))
    assert [line.kind for line in table.lines] == ["model", "baseline", "model", "baseline"]
    assert table.title == "Test, items that the user had before left out of the ranking"
    assert table.lines[2].cells[table.columns.index("HR@10")] == "0.0630 ± 0.0015"
    assert table.scope.startswith("Test targets; items that the user had before left out")


def test_only_the_highest_own_mean_is_best(make_leaderboard):
    table = leaderboard_table(make_leaderboard(), "test", "all", paper_results("amazon_beauty"))
    best = {line.cells[0]: sorted(line.best) for line in table.lines if line.best}
    assert best == {"cross_attention": list(range(1, 8))}  # the paper's rows are higher still
