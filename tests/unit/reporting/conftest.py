"""A small study's results."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from diffurecsys.evaluation.leaderboard import build_leaderboard
from diffurecsys.evaluation.significance.scores import ModelScores
from diffurecsys.models.base import Capabilities, RankerConfig
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.reporting.sections.base import Results
from diffurecsys.study import RankerSpec, Study, Sweep
from diffurecsys.training.config import TrainingConfig

METRICS = ("HR@5", "HR@10", "HR@20", "NDCG@5", "NDCG@10", "NDCG@20", "MRR")
MODELS = ("diffurec", "cross_attention")
BASELINES = ("popularity", "transitions")
USERS = np.array([-0.01, 0.0, 0.01])  # what users add to a seed's mean


@dataclasses.dataclass(frozen=True)
class CountConfig(RankerConfig):
    @property
    def capabilities(self):
        return Capabilities(trains=False)


def make_study(models=MODELS, n_seeds=5, *, swept=True, **other):
    """Diffusion models and two counting baselines."""
    network = {"width": 32, "blocks": 2}
    training = TrainingConfig(epochs=8)
    specs = [RankerSpec(name, "diffurec", "model", DiffuRecConfig(**network), training) for name in models]
    specs += [RankerSpec(name, "counting", "baseline", CountConfig(), training) for name in BASELINES]
    sweeps = {"delta": Sweep(models[:1], "network.delta", (0, 1), 2)} if swept and models else {}
    return Study(tuple(specs), n_seeds, sweeps=sweeps, **other)


def make_cells(study):
    """One row a cell; seed s took 100 + 10 s seconds and 6 + s epochs."""
    known = {"family": "diffurec", "scheme": "prefix", "parameters": 12345, "loss": 2.5, "precision": "float32"}
    rows = []
    for cell in study.cells:
        row = {"model": cell.spec.name, "seed": cell.seed, "role": cell.spec.role, "device": "cpu", "cpu": "Cpu 9000"}
        row |= {"sweep": cell.varies.sweep if cell.varies else None, **known}
        row |= {"epochs": 6 + cell.seed, "best_epoch": 5, "seconds": 100.0 + 10 * cell.seed}
        if not cell.spec.trains:
            row |= dict.fromkeys(("epochs", "best_epoch", "seconds", "loss", "scheme")) | {"parameters": 0}
        rows.append(row)
    return pd.DataFrame(rows)


def make_curves(study):
    """Two epochs a training."""
    rows = [
        {"model": cell.spec.name, "seed": cell.seed, "epoch": epoch, "loss": 5.0 - epoch, "labels_per_second": 1000.0}
        | {"validation_NDCG@10": 0.01 * epoch}
        for cell in study.cells
        if cell.spec.trains
        for epoch in (1, 2)
    ]
    return pd.DataFrame(rows, columns=None if rows else ["model", "seed", "epoch"])


def scores_of(name, levels, factor, *, trains):
    """Metrics `level`, `level` + 0.001, … of each seed."""
    steps = {metric: 0.001 * step for step, metric in enumerate(METRICS)}
    levels = np.array(levels)[:, None]
    values = {metric: factor * (levels + step) + USERS for metric, step in steps.items()}
    return ModelScores(name, tuple(range(len(levels))), values, trains)


@pytest.fixture
def make_leaderboard():
    """Leaderboard of two models with so many seeds, and two baselines of which the second beats the first model.

    Validation is twice as good; among unseen items everything is half as good again.
    """

    def make(n_seeds=3, models=MODELS, ranking="all"):
        study = make_study(models, n_seeds, swept=False)
        levels = {
            model: [0.04 + 0.01 * place + 0.001 * seed for seed in range(n_seeds)] for place, model in enumerate(models)
        }
        levels |= {"popularity": [0.01], "transitions": [0.045]}
        scores = {
            (split, kind): [
                scores_of(name, found, half * factor, trains=name in models) for name, found in levels.items()
            ]
            for split, half in (("test", 1), ("validation", 2))
            for kind, factor in (("all", 1), ("unseen", 1.5))
        }
        return build_leaderboard(scores, make_cells(study), ranking=ranking, untrained=BASELINES)

    return make


@pytest.fixture
def make_results(make_leaderboard, study_tables):
    """Results of the whole study; `without` names tables that it does not have."""

    def make(n_seeds=5, paper=None, without=(), ranking="all", **other):
        study = make_study(n_seeds=n_seeds, swept="sweeps_table" not in without)
        tables = {name: table for name, table in study_tables.items() if name not in without}
        board = make_leaderboard(n_seeds, ranking=ranking)
        return Results(study, board, make_cells(study), make_curves(study), paper, tables=tables, **other)

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
    """Fewer than three seeds have no p over seeds: `p` is then of users alone."""
    few = 0 < n_seeds < 3
    tests = {"p_t": p / 3, "p_holm": p, "p_users": p / 4, "p_users_holm": p / 2}
    tests |= {"p_equivalence": 0.5, "p_equivalence_holm": 1.0}
    if few:
        tests |= dict.fromkeys(("p_t", "p_holm", "p_equivalence", "p_equivalence_holm"), np.nan)
        tests |= {"p_users": p / 3, "p_users_holm": p}
    return {
        "model": model,
        "reference": reference,
        "metric": metric,
        "n_users": 1000,
        "n_seeds": n_seeds,
        "counts": "users" if few or not n_seeds else "users and seeds",
        "mean_model": 0.04 * (1 + relative),
        "mean_reference": 0.04,
        "difference": 0.04 * relative,
        "low": 0.04 * low,
        "high": 0.04 * high,
        "boot_low": 0.04 * low,
        "boot_high": 0.04 * high,
        "relative_difference": relative,
        "relative_low": low,
        "relative_high": high,
        "excluded": max(abs(low), abs(high)),
        "effect_size": 0.05,
        "t": 3.2,
        "df": 7.5,
        **tests,
        "p_randomisation_users": p / 2,
        "seeds_share": 0.2,
        "seeds_share_low": 0.0,
        "seeds_share_high": 0.6,
        "margin": 0.05,
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
        for kind, levels in (
            ("steps", (1, 32)),
            ("ensemble", (1, 8)),
            ("algorithm_3", (1, 8)),
            ("training_seeds", (1, 5)),
        )
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
            ("algorithm_3", 8, "algorithm_3", 1),
            ("algorithm_3", 1, "ensemble", 1),
            ("algorithm_3", 8, "ensemble", 8),
            ("training_seeds", 5, "single_seed", 5),
            ("training_seeds", 5, "ensemble", 5),
        )
    ]
    groups = [("popularity", "head"), ("popularity", "long tail"), ("history length", "length 1 of 1")]
    return {
        "comparisons_table": pd.DataFrame(
            [_comparison("cross_attention", "diffurec", metric, 0.0415, 0.0201, 0.0629, 0.0012) for metric in metrics]
            + [_comparison(model, base, "NDCG@10", 3.0, 2.5, 3.5, 1e-9) for model in MODELS for base in BASELINES]
        ),
        "seed_comparisons_table": pd.DataFrame(
            [
                {"model": "cross_attention", "reference": "diffurec", "metric": metric, "n_seeds_model": 5}
                | {"n_seeds_reference": 5, "difference": 0.001, "t": 2.0, "df": 7.9, "p": 0.08, "p_holm": 0.16}
                | {"family_size": 2}
                for metric in metrics
            ]
        ),
        "paper_tests_table": pd.DataFrame(
            [
                {"model": "cross_attention", "reference": "diffurec", "split": split, "t": 4.0, "p": 0.01, "df": 5}
                | {"average_difference_percent": 1.2}
                for split in ("test", "validation")
            ]
        ),
        "group_scores_table": pd.DataFrame(
            [
                {"family": family, "group": group, "description": f"history of {group}", "model": model}
                | {"metric": metric, "mean": 0.04, "low": 0.03, "high": 0.05, "n_users": 500, "n_seeds": 5}
                for family, group in groups
                for model in (*MODELS, *BASELINES)
                for metric in metrics
            ]
        ),
        "group_comparisons_table": pd.DataFrame(
            [
                {"family": family, "group": group}
                | _comparison("cross_attention", "diffurec", metric, 0.01, -0.1, 0.12, 1.0)
                for family, group in groups
                for metric in metrics
            ]
        ),
        "inference_table": pd.DataFrame(inference),
        "probe_comparisons_table": pd.DataFrame(probes),
        "spread_table": pd.DataFrame(
            [
                {"model": model, "measure": measure, "mean": 0.9, "low": 0.8, "high": 1.0, "n_users": 200, "n_seeds": 5}
                for model in MODELS
                for measure in ("rank_biased_overlap", "identical_top_20", "intra_user_diversity@20")
            ]
        ),
        "step_times_table": pd.DataFrame(
            [
                {"model": model, "seed": seed, "steps": steps, "users": 200, "seconds": 0.1 * steps}
                for model in MODELS
                for seed in range(2)
                for steps in (1, 32)
            ]
        ),
        "beyond_accuracy_table": pd.DataFrame(
            [
                {"model": model, "seed": seed, "measure": measure, "value": value, "n_users": 200}
                for model in MODELS
                for seed in range(2)
                for measure, value in (("coverage@20", 0.5 + 0.1 * seed), ("gini@20", 0.7), ("mean_popularity@20", 95))
            ]
        ),
        "sweeps_table": pd.DataFrame(
            [
                _comparison(model, "", "NDCG@10", relative or 0.0, -0.3, 0.025, p or 1.0, 2)
                | {"sweep": "delta", "parameter": "network.delta", "value": value, "configured": configured}
                | {"base": "diffurec", "mean": 0.04, "low": 0.03, "high": 0.05, "paired_seeds": 2}
                | {"overlap": 0.99, "gain_steps": 0.0, "training_seconds": 7.5}
                | ({"relative_difference": None, "relative_low": None, "relative_high": None} if configured else {})
                for model, value, configured, relative, p in (
                    ("diffurec", "0.001", True, None, None),
                    ("diffurec_delta_0", "0", False, -0.01, 0.6),
                    ("diffurec_delta_1", "1", False, -0.25, 1.0),
                )
            ]
        ),
    }
