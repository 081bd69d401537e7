"""A small study's results."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from diffurecsys.evaluation.leaderboard import build_leaderboard

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
