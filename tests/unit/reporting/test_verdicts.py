"""Sentences, and that none claims more than its test."""

from __future__ import annotations

import pandas as pd
import pytest

from diffurecsys.reporting.verdicts import (
    conclude,
    describe,
    ensemble_verdicts,
    model_verdicts,
    steps_verdicts,
    sweep_verdicts,
)


def test_a_verdict_names_pair_metric_size_interval_p_and_seeds(comparison):
    row = comparison("cross_attention", "diffurec", "NDCG@10", 0.0419, 0.0201, 0.0629, 0.0012)
    assert model_verdicts(pd.DataFrame([row]), "NDCG@10") == [
        "cross_attention vs diffurec on NDCG@10: +4.1 % [2.0, 6.3], Holm p = 0.002, 5 seeds: better."
    ]


@pytest.mark.parametrize(
    ("relative", "low", "high", "p", "conclusion"),
    [
        (0.04, 0.02, 0.06, 0.01, "better"),
        (-0.04, -0.06, -0.02, 0.01, "worse"),
        (0.04, 0.02, 0.06, 0.05, "no difference shown"),  # the interval alone is not enough
        (0.04, -0.01, 0.06, 0.01, "no difference shown"),  # nor is p
        (0.04, 0.0, 0.06, 0.01, "no difference shown"),
        (0.0, 0.0, 0.0, 1.0, "no difference shown"),
    ],
)
def test_test_and_interval_must_agree(comparison, relative, low, high, p, conclusion):
    row = comparison("a", "b", "m", relative, low, high, p)
    assert conclude(row) == conclusion
    assert describe(row).endswith(f": {conclusion}")


@pytest.mark.parametrize(
    ("n_seeds", "limit"),
    [(1, "of these trained models alone"), (2, "fewer than 5 seeds"), (4, "fewer than 5 seeds"), (5, "better")],
)
def test_few_seeds_limit_what_is_said(comparison, n_seeds, limit):
    text = describe(comparison("a", "b", "m", 0.04, 0.02, 0.06, 0.0001, n_seeds))
    assert f"{n_seeds} seed" in text
    assert limit in text
    assert "Holm p < 0.001" in text


def test_a_reference_of_zero_gets_no_verdict(comparison):
    row = comparison("a", "b", "m", 1, 1, 1, 0.5)
    table = pd.DataFrame([{**row, "relative_difference": None}])
    assert model_verdicts(table, "m") == []


def sweep_of(low, high, difference, p):
    rows = [
        {"model": "net", "base": "net", "delta": 0.001, "metric": "m", "mean": 0.04, "n_seeds": 5},
        {"model": "net_delta_0", "base": "net", "delta": 0.0, "metric": "m", "mean": 0.04 + difference, "n_seeds": 5}
        | {"difference": difference, "diff_low": low, "diff_high": high, "p_holm": p}
        | {"relative_difference": difference / 0.04},
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("low", "high", "difference", "p", "said"),
    [
        (-0.008, -0.002, -0.004, 0.01, "So net's noised target does contribute here."),
        (0.002, 0.008, 0.004, 0.01, "better off without its noised target"),
        (-0.002, 0.001, -0.0004, 0.6, "nothing here shows that net's diffusion contributes to accuracy"),
    ],
)
def test_the_control_is_summed_up_in_plain_words(low, high, difference, p, said):
    first, summed_up = sweep_verdicts(sweep_of(low, high, difference, p), "m")
    assert first.startswith("net without the noised target (δ = 0) instead of δ = 0.001, on m: ")
    assert said in summed_up


def test_intervals_of_the_sweep_are_relative_to_the_configured_model():
    first, _ = sweep_verdicts(sweep_of(-0.008, -0.002, -0.004, 0.01), "m")
    assert "-10.0 % [-20.0, -5.0]" in first


def test_larger_deltas_are_told_without_a_sum(study_tables):
    sentences = sweep_verdicts(study_tables.delta_sweep, "NDCG@10")
    assert len(sentences) == 3
    assert sentences[2].startswith("diffurec with δ = 1 instead of δ = 0.001, on NDCG@10: -25.0 %")


def test_the_largest_number_is_compared(study_tables):
    table = study_tables.probe_comparisons
    steps = steps_verdicts(table, "NDCG@10")
    assert [sentence.split(",")[0] for sentence in steps] == ["diffurec", "cross_attention"]
    assert all("32 reverse steps instead of 1" in sentence for sentence in steps)
    ensembles = ensemble_verdicts(table, "NDCG@10")
    assert len(ensembles) == 6
    assert "mean of 8 samples instead of 1 (Algorithm 3)" in ensembles[0]
    assert "mean of 5 training seeds instead of 1" in ensembles[2]
    assert "mean of 5 training seeds instead of 5 samples of one trained model" in ensembles[4]
