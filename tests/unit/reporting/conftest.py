"""A small study's results."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from diffurecsys.evaluation.leaderboard import build_leaderboard
from diffurecsys.reporting.sections import StudyTables

METRICS = ("HR@5", "HR@10", "HR@20", "NDCG@5", "NDCG@10", "NDCG@20", "MRR")
MODELS = ("diffurec", "cross_attention")
BASELINES = ("popularity", "last_item_transition")


def result(model, seed, level, *, device="cpu"):
    """Metrics `level`, `level` + 0.001, …; validation is twice as good."""
    test = {name: level + 0.001 * step for step, name in enumerate(METRICS)}
    return {
        "model": model,
        "seed": seed,
        "exclude_seen": False,
        "training_seconds": None if seed is None else 100.0 + 10 * seed,
        "device": device,
        "test": test,
        "validation": {name: 2 * value for name, value in test.items()},
    }


@pytest.fixture
def make_leaderboard():
    """Leaderboard of two models with so many seeds, and two baselines of which the second beats the first model."""

    def make(n_seeds=3, models=MODELS):
        trained = [
            result(model, seed, 0.04 + 0.01 * place + 0.001 * seed)
            for place, model in enumerate(models)
            for seed in range(n_seeds)
        ]
        untrained = [result("popularity", None, 0.01), result("last_item_transition", None, 0.045)]
        return build_leaderboard([*trained, *untrained], models=models, baselines=BASELINES)

    return make


@pytest.fixture
def histories():
    """Five epochs a seed, validated every other one."""
    return {
        (model, seed): pd.DataFrame(
            {
                "epoch": range(1, 6),
                "loss": [5.0, 4.0, 3.0, 2.5, 2.25],
                "validation_NDCG@10": [np.nan, 0.01, np.nan, 0.02 + 0.001 * seed, np.nan],
            }
        )
        for model in MODELS
        for seed in range(2)
    }


def _comparison(model, reference, metric, relative, low, high, p, n_seeds=5, **other):
    return {
        "model": model,
        "reference": reference,
        "metric": metric,
        "n_users": 1000,
        "n_seeds": n_seeds,
        "mean_model": 0.04 * (1 + relative),
        "mean_reference": 0.04,
        "difference": 0.04 * relative,
        "low": 0.04 * low,
        "high": 0.04 * high,
        "relative_difference": relative,
        "relative_low": low,
        "relative_high": high,
        "effect_size": 0.05,
        "t": 3.2,
        "df": 7.5,
        "p_t": p / 3,
        "p_randomisation": p,
        "p_randomisation_users": p / 2,
        "p_holm": p,
        "family_size": 21,
        **other,
    }


@pytest.fixture
def comparison():
    """One row of `compare_models`."""
    return _comparison


@pytest.fixture
def study_tables():
    """All tables of a study of two models and two baselines, with one δ = 0 control."""
    metrics = ("HR@10", "NDCG@10")
    inference = [
        {"kind": kind, "level": level, "group": group, "metric": metric, "model": model}
        | {"mean": 0.04, "low": 0.03, "high": 0.05, "n_users": 200, "n_seeds": 5}
        for model in MODELS
        for kind, levels in (("steps", (1, 32)), ("ensemble", (1, 8)), ("training_seeds", (1, 5)))
        for level in levels
        for group in ("all", "head")
        for metric in metrics
    ]
    probes = [
        _comparison(model, "", metric, 0.001, -0.01, 0.02, 0.7)
        | {"kind": kind, "level": level, "reference_kind": other, "reference_level": reference}
        for model in MODELS
        for metric in metrics
        for kind, level, other, reference in (
            ("steps", 8, "steps", 1),
            ("steps", 32, "steps", 1),
            ("ensemble", 8, "ensemble", 1),
            ("training_seeds", 5, "training_seeds", 1),
            ("training_seeds", 5, "ensemble", 5),
        )
    ]
    groups = [("popularity", "head"), ("popularity", "long tail"), ("history length", "length 1 of 1")]
    return StudyTables(
        comparisons=pd.DataFrame(
            [_comparison("cross_attention", "diffurec", metric, 0.0415, 0.0201, 0.0629, 0.0012) for metric in metrics]
            + [_comparison(model, base, "NDCG@10", 3.0, 2.5, 3.5, 1e-9) for model in MODELS for base in BASELINES]
        ),
        seed_comparisons=pd.DataFrame(
            [
                {"model": "cross_attention", "reference": "diffurec", "metric": metric, "n_seeds_model": 5}
                | {"n_seeds_reference": 5, "difference": 0.001, "t": 2.0, "df": 7.9, "p": 0.08, "p_holm": 0.16}
                | {"family_size": 2}
                for metric in metrics
            ]
        ),
        paper_tests=pd.DataFrame(
            [
                {"model": "cross_attention", "reference": "diffurec", "split": split, "t": 4.0, "p": 0.01, "df": 5}
                | {"average_difference_percent": 1.2}
                for split in ("test", "validation")
            ]
        ),
        group_scores=pd.DataFrame(
            [
                {"family": family, "group": group, "description": f"history of {group}", "model": model}
                | {"metric": metric, "mean": 0.04, "low": 0.03, "high": 0.05, "n_users": 500, "n_seeds": 5}
                for family, group in groups
                for model in (*MODELS, *BASELINES)
                for metric in metrics
            ]
        ),
        group_comparisons=pd.DataFrame(
            [
                {"family": family, "group": group}
                | _comparison("cross_attention", "diffurec", metric, 0.01, -0.1, 0.12, 1.0)
                for family, group in groups
                for metric in metrics
            ]
        ),
        inference=pd.DataFrame(inference),
        probe_comparisons=pd.DataFrame(probes),
        spread=pd.DataFrame(
            [
                {"model": model, "measure": measure, "mean": 0.9, "low": 0.8, "high": 1.0, "n_users": 200, "n_seeds": 5}
                for model in MODELS
                for measure in ("rank_biased_overlap", "identical_top_20", "intra_user_diversity@20")
            ]
        ),
        step_times=pd.DataFrame(
            [
                {"model": model, "seed": seed, "steps": steps, "users": 200, "seconds": 0.1 * steps}
                for model in MODELS
                for seed in range(2)
                for steps in (1, 32)
            ]
        ),
        beyond_accuracy=pd.DataFrame(
            [
                {"model": model, "seed": seed, "measure": measure, "value": value, "n_users": 200}
                for model in MODELS
                for seed in range(2)
                for measure, value in (("coverage@20", 0.5 + 0.1 * seed), ("gini@20", 0.7), ("mean_popularity@20", 95))
            ]
        ),
        variance=pd.DataFrame(
            [
                {
                    "model": model,
                    "metric": metric,
                    "source": source,
                    "variance": 0.01,
                    "std_of_mean": 0.002,
                    "share": 0.5,
                }
                for model in MODELS
                for metric in metrics
                for source in ("users", "training seeds")
            ]
        ),
        delta_sweep=pd.DataFrame(
            [
                {"model": model, "base": "diffurec", "delta": delta, "metric": "NDCG@10", "mean": 0.04, "low": 0.03}
                | {"high": 0.05, "n_users": 1000, "n_seeds": 2, "difference": difference, "diff_low": -0.002}
                | {"diff_high": 0.001, "relative_difference": difference and difference / 0.04, "p_holm": p}
                | {"family_size": 6, "overlap": 0.99, "gain_steps": 0.0, "gain_low": -0.01, "gain_high": 0.01}
                for model, delta, difference, p in (
                    ("diffurec", 0.001, None, None),
                    ("diffurec_delta_0", 0.0, -0.0004, 0.6),
                    ("diffurec_delta_1", 1.0, -0.01, 1.0),
                )
            ]
        ),
    )
