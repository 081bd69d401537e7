"""What probes amount to, against plain means."""

from __future__ import annotations

import numpy as np
import pytest

from diffurecsys.evaluation.groups import Group
from diffurecsys.evaluation.inference import (
    ENSEMBLE,
    SAMPLE,
    STEPS,
    TRAINING_SEEDS,
    probed_ranks_table,
    recommendations_table,
)
from diffurecsys.evaluation.inference_summary import (
    compare_levels,
    decompose_variance,
    measure_beyond_accuracy,
    metric_values,
    sampling_spread,
    summarise_inference,
)

USERS = np.arange(40)


@pytest.fixture
def rng():
    return np.random.default_rng(2)


@pytest.fixture
def probed(rng):
    """Two training seeds; 32 steps put every target one place ahead of where 1 step puts it."""
    tables = []
    for _ in range(2):
        ranks = rng.integers(2, 30, len(USERS)).astype(float)
        tables.append(
            probed_ranks_table(
                USERS,
                {
                    SAMPLE: {number: ranks + number % 2 for number in range(4)},
                    ENSEMBLE: {1: ranks, 4: ranks},
                    STEPS: {1: ranks, 32: ranks - 1},
                },
            )
        )
    return tables


@pytest.fixture
def ensembles(rng):
    ranks = rng.integers(1, 30, len(USERS)).astype(float)
    return probed_ranks_table(USERS, {TRAINING_SEEDS: {1: ranks, 2: np.maximum(1, ranks - 3)}})


def ranks_of(table, kind, level):
    return table[(table["kind"] == kind) & (table["level"] == level)]["rank"].to_numpy()


def test_metrics_are_means_over_seeds_and_users(probed, ensembles):
    group = Group("some", "popularity", "", USERS < 10)
    lonely = Group("one", "popularity", "", USERS == 3)
    table = summarise_inference(probed, ensembles, (group, lonely), (5, 10)).set_index(
        ["kind", "level", "group", "metric"]
    )
    hits = [(ranks_of(one, STEPS, 32) <= 10).mean() for one in probed]
    row = table.loc[(STEPS, 32, "all", "HR@10")]
    assert row["mean"] == pytest.approx(np.mean(hits))
    assert (row["n_users"], row["n_seeds"]) == (40, 2)
    assert row["low"] < row["mean"] < row["high"]
    some = [(ranks_of(one, STEPS, 32)[:10] <= 10).mean() for one in probed]
    assert table.loc[(STEPS, 32, "some", "HR@10"), "mean"] == pytest.approx(np.mean(some))
    assert table.loc[(TRAINING_SEEDS, 2, "all", "HR@5"), "n_seeds"] == 1
    assert "one" not in table.index.get_level_values("group")


def test_levels_are_compared_with_the_smallest_and_ensembles_with_each_other(probed, ensembles):
    table = compare_levels(probed, ensembles, (10,), n_resamples=200, confidence=0.95, seed=0)
    pairs = set(zip(table["kind"], table["level"], table["reference_kind"], table["reference_level"], strict=True))
    assert pairs == {
        (STEPS, 32, STEPS, 1),
        (ENSEMBLE, 4, ENSEMBLE, 1),
        (TRAINING_SEEDS, 2, TRAINING_SEEDS, 1),
        (TRAINING_SEEDS, 1, ENSEMBLE, 1),
    }
    steps = table[(table["kind"] == STEPS) & (table["metric"] == "NDCG@10")].iloc[0]
    expected = [
        np.mean(metric_values(ranks_of(one, STEPS, level), (10,))["NDCG@10"]) for level in (32, 1) for one in probed
    ]
    assert steps["difference"] == pytest.approx(np.mean(expected[:2]) - np.mean(expected[2:]))
    assert steps["p_t"] < 0.05
    trained = table[(table["kind"] == TRAINING_SEEDS) & (table["reference_kind"] == ENSEMBLE)]
    assert (trained["n_seeds"] == 1).all()
    hits = (ranks_of(ensembles, TRAINING_SEEDS, 1) <= 10).mean()
    sampled = np.mean([(ranks_of(one, ENSEMBLE, 1) <= 10).mean() for one in probed])
    assert trained[trained["metric"] == "HR@10"]["difference"].item() == pytest.approx(hits - sampled)
    same = table[table["kind"] == ENSEMBLE]
    assert (same["p_t"] == 1).all()


def test_sampling_variance_is_found_where_samples_differ(probed):
    table = decompose_variance(probed, (10,))
    assert set(table["metric"]) == {"HR@10", "NDCG@10"}
    ndcg = table[table["metric"] == "NDCG@10"].set_index("source")
    assert ndcg.loc["sampling seeds", "variance"] > 0
    assert ndcg["share"].sum() == pytest.approx(1)


def test_spread_and_lists(rng):
    same = np.tile(np.array([[0, 1, 2], [3, 4, 5]], dtype=np.int32), (3, 1, 1))
    other = same.copy()
    other[2, 1] = [6, 7, 8]
    tables = [recommendations_table(np.array([0, 1]), items) for items in (same, other)]
    spread = sampling_spread(tables).set_index("measure")
    assert spread.loc["identical_top_3", "mean"] == pytest.approx((2 + 1) / 4)
    assert spread.loc["intra_user_diversity@3", "mean"] == pytest.approx((0 + 0 + 0 + 2 / 3) / 4)
    assert spread.loc["rank_biased_overlap", "mean"] == pytest.approx((1 + 1 + 1 + 1 / 3) / 4)
    lists = measure_beyond_accuracy(tables, np.arange(10)).set_index(["seed", "measure"])["value"]
    assert lists[0, "coverage@3"] == 6 / 10
    assert lists[1, "mean_popularity@3"] == np.mean([0, 1, 2, 3, 4, 5])
