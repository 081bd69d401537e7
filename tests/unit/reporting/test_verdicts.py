"""Sentences, and that none claims more than its test."""

from __future__ import annotations

import pandas as pd
import pytest

from diffurecsys.reporting.verdicts import (
    conclude,
    describe,
    ensemble_verdicts,
    steps_verdicts,
    sweep_verdicts,
)


def test_a_verdict_names_size_interval_p_and_seeds(comparison):
    row = comparison("cross_attention", "diffurec", "NDCG@10", 0.0419, 0.0201, 0.0629, 0.0012)
    assert describe(row) == "+4.1 % [2.0, 6.3], Holm p = 0.002, 5 seeds: better"


@pytest.mark.parametrize(
    ("relative", "low", "high", "p", "conclusion"),
    [
        (0.04, 0.02, 0.06, 0.01, "better"),
        (-0.04, -0.06, -0.02, 0.01, "worse"),
        (0.04, 0.02, 0.06, 0.05, "no difference shown"),  # the corrected p decides, not the interval
        (0.0, 0.0, 0.0, 1.0, "no difference shown"),
    ],
)
def test_the_corrected_p_decides(comparison, relative, low, high, p, conclusion):
    row = comparison("a", "b", "m", relative, low, high, p)
    assert conclude(row) == conclusion
    assert f": {conclusion}" in describe(row)


def test_no_difference_shown_says_what_is_excluded(comparison):
    text = describe(comparison("a", "b", "m", -0.011, -0.0391, 0.019, 1.0))
    assert text.endswith("no difference shown, more than 4.0 % excluded")  # rounded up


def test_equivalence_is_within_its_margin_and_needs_users_and_seeds(comparison):
    row = comparison("a", "b", "m", 0.001, -0.01, 0.01, 1.0, p_equivalence_holm=0.01)
    assert describe(row).endswith(": equivalent within 5 %")
    few = comparison("a", "b", "m", 0.001, -0.01, 0.01, 1.0, n_seeds=2)
    assert conclude(few) == "no difference shown"


def test_tests_that_disagree_are_named(comparison):
    row = comparison("a", "b", "m", 0.04, 0.02, 0.06, 0.01, boot_low=-0.001)
    assert describe(row).endswith("better (the bootstrap interval holds 0: few users decide)")
    row = comparison("a", "b", "m", 0.04, -0.02, 0.1, 0.3, p_users_holm=0.004)
    assert describe(row).endswith("(these trained models do differ, users alone Holm p = 0.004)")


@pytest.mark.parametrize(
    ("n_seeds", "limit"),
    [(1, "of these trained models alone"), (2, "of these trained models alone"), (4, "fewer than 5 seeds")],
)
def test_few_seeds_limit_what_is_said(comparison, n_seeds, limit):
    text = describe(comparison("a", "b", "m", 0.04, 0.02, 0.06, 0.0001, n_seeds))
    assert f"{n_seeds} seed" in text
    assert limit in text
    assert "Holm p < 0.001" in text


def test_without_training_there_are_no_seeds_to_be_few(comparison):
    assert describe(comparison("a", "b", "m", 0.04, 0.02, 0.06, 0.0001, 0)).endswith("no training: better")


def sweep_of(low, high, relative, p, parameter="network.delta", values=("0.001", "0")):
    usual, other = values
    known = {"sweep": "one", "parameter": parameter, "base": "net", "metric": "m", "n_seeds": 9, "paired_seeds": 5}
    rows = [
        {**known, "model": "net", "value": usual, "configured": True, "relative_difference": None},
        {**known, "model": "net_other", "value": other, "configured": False, "difference": relative * 0.04}
        | {"relative_difference": relative, "relative_low": low, "relative_high": high, "p_holm": p, "margin": 0.05}
        | {"boot_low": low, "boot_high": high, "p_users_holm": p, "p_equivalence_holm": 1.0, "excluded": -low},
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("low", "high", "relative", "p", "said"),
    [
        (-0.2, -0.05, -0.1, 0.01, "So net's noised target does contribute here."),
        (0.05, 0.2, 0.1, 0.01, "better off without its noised target"),
        (-0.05, 0.025, -0.01, 0.6, "nothing here shows that net's diffusion contributes to accuracy"),
    ],
)
def test_the_control_is_summed_up_in_plain_words(low, high, relative, p, said):
    first, summed_up = sweep_verdicts(sweep_of(low, high, relative, p), "m")
    assert first.startswith("net without the noised target (δ = 0) instead of δ = 0.001, on m: ")
    assert said in summed_up


def test_sweeps_of_other_parameters_are_told_by_their_values():
    (sentence,) = sweep_verdicts(sweep_of(-0.2, -0.05, -0.1, 0.01, "training.epochs", (40, 0)), "m")
    assert sentence.startswith(
        "net with training.epochs = 0 instead of training.epochs = 40, on m: -10.0 % [-20.0, -5.0], Holm p = 0.010"
    )
    assert sentence.endswith("worse.")
    assert "5 seeds" in sentence  # those that are paired


def test_larger_deltas_are_told_without_a_sum(study_tables):
    sentences = sweep_verdicts(study_tables["sweeps_table"], "NDCG@10")
    assert len(sentences) == 3
    assert sentences[2].startswith("diffurec with δ = 1 instead of δ = 0.001, on NDCG@10: -25.0 %")


def test_the_largest_number_is_compared(study_tables):
    table = study_tables["probe_comparisons_table"]
    steps = steps_verdicts(table, "NDCG@10")
    assert [sentence.split(",")[0] for sentence in steps] == ["diffurec", "cross_attention"]
    assert all("32 reverse steps instead of 1" in sentence for sentence in steps)
    ensembles = [sentence for sentence in ensemble_verdicts(table, "NDCG@10") if sentence.startswith("diffurec")]
    told = [sentence.removeprefix("diffurec, ").split(", on")[0] for sentence in ensembles]
    assert told == [
        "mean of 8 reverse processes instead of 1",
        "Algorithm 3 with 8 sampling seeds instead of 1",
        "Algorithm 3 with 8 sampling seeds instead of the mean of 8 reverse processes",
        "ensemble of 5 training seeds instead of the mean of its single members",
        "ensemble of 5 training seeds instead of 5 samples of one trained model (equally many reverse processes)",
    ]
