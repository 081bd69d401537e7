"""What probes amount to, against plain means."""

from __future__ import annotations

import numpy as np
import pytest

from diffurecsys.evaluation.groups import Group
from diffurecsys.evaluation.inference import (
    ALGORITHM_3,
    ENSEMBLE,
    MEMBER,
    SAMPLE,
    STEPS,
    TRAINING_SEEDS,
    probed_ranks_table,
    recommendations_table,
)
from diffurecsys.evaluation.inference_summary import (
    compare_levels,
    measure_beyond_accuracy,
    metric_values,
    sampling_spread,
    summarise_inference,
)

USERS = np.arange(40)


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def placed(ahead):
    """Places without ties."""
    ahead = np.asarray(ahead, dtype=np.int64)
    return np.stack([ahead, np.zeros_like(ahead)])


@pytest.fixture
def probed(rng):
    """Two training seeds; 32 steps put every target one place ahead of where 1 step puts it."""
    tables = []
    for _ in range(2):
        ahead = rng.integers(1, 29, len(USERS))
        tables.append(
            probed_ranks_table(
                USERS,
                {
                    SAMPLE: {number: placed(ahead + number % 2) for number in range(4)},
                    ENSEMBLE: {1: placed(ahead), 2: placed(ahead), 4: placed(ahead)},
                    ALGORITHM_3: {1: placed(ahead + 2), 4: placed(ahead + 1)},
                    STEPS: {1: placed(ahead), 32: placed(ahead - 1)},
                },
            )
        )
    return tables


@pytest.fixture
def together(rng):
    """Two training seeds and their ensemble, three places ahead of the first of them."""
    first, second = rng.integers(0, 29, (2, len(USERS)))
    members = {0: placed(first), 1: placed(second)}
    return probed_ranks_table(USERS, {MEMBER: members, TRAINING_SEEDS: {2: placed(np.maximum(0, first - 3))}})


def ranks_of(table, kind, level):
    return 1 + table[(table["kind"] == kind) & (table["level"] == level)]["greater"].to_numpy()


def test_metrics_are_means_over_seeds_and_users(probed, together):
    group = Group("some", "popularity", "", USERS < 10)
    lonely = Group("one", "popularity", "", USERS == 3)
    table = summarise_inference(probed, together, (group, lonely), (5, 10)).set_index(
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
    single = table.loc[(TRAINING_SEEDS, 1, "all", "HR@10")]
    members = [(ranks_of(together, MEMBER, seed) <= 10).mean() for seed in range(2)]
    assert single["mean"] == pytest.approx(np.mean(members))  # not the first seed's
    assert single["n_seeds"] == 2


def test_ties_give_expectations():
    places = np.array([[[0, 8]], [[4, 4]]])  # 5 and 5 items share the places 1 to 5 and 9 to 13
    assert metric_values(places, (10,))["HR@10"].tolist() == [[1, 2 / 5]]


def test_one_training_seed_has_no_ensembles(probed):
    table = summarise_inference(probed[:1], None, (), (10,))
    assert set(table["kind"]) == {STEPS, ENSEMBLE, ALGORITHM_3}
    compared = compare_levels(probed[:1], None, (10,), n_resamples=100, confidence=0.95, seed=0)
    assert TRAINING_SEEDS not in set(compared["kind"])


def test_levels_are_compared_with_less_and_ensembles_with_their_members(probed, together):
    table = compare_levels(probed, together, (10,), n_resamples=200, confidence=0.95, seed=0)
    pairs = set(zip(table["kind"], table["level"], table["reference_kind"], table["reference_level"], strict=True))
    assert pairs == {
        (STEPS, 32, STEPS, 1),
        (ENSEMBLE, 2, ENSEMBLE, 1),
        (ENSEMBLE, 4, ENSEMBLE, 1),
        (ALGORITHM_3, 4, ALGORITHM_3, 1),
        (ALGORITHM_3, 1, ENSEMBLE, 1),
        (ALGORITHM_3, 4, ENSEMBLE, 4),
        (TRAINING_SEEDS, 2, MEMBER, 2),
        (TRAINING_SEEDS, 2, ENSEMBLE, 2),
    }
    steps = table[(table["kind"] == STEPS) & (table["metric"] == "NDCG@10")].iloc[0]
    expected = [
        np.mean(1 / np.log2(1 + ranks) * (ranks <= 10))
        for ranks in (ranks_of(one, STEPS, level) for level in (32, 1) for one in probed)
    ]
    assert steps["difference"] == pytest.approx(np.mean(expected[:2]) - np.mean(expected[2:]))
    assert steps["p_users"] < 0.05
    assert (table[table["kind"] == ENSEMBLE]["p_users"] == 1).all()
    assert table["p_t"].isna().all()  # two training seeds are too few for a test over them
    assert (table["family_size"] == len(table) / table["metric"].nunique()).all()


def test_an_ensemble_of_training_seeds_meets_the_mean_of_its_members(probed, together):
    table = compare_levels(probed, together, (10,), n_resamples=200, confidence=0.95, seed=0)
    hits = table[(table["kind"] == TRAINING_SEEDS) & (table["metric"] == "HR@10")].set_index("reference_kind")
    assert (hits["n_seeds"] == 1).all()
    found = (ranks_of(together, TRAINING_SEEDS, 2) <= 10).mean()
    members = np.mean([(ranks_of(together, MEMBER, seed) <= 10).mean() for seed in range(2)])
    sampled = np.mean([(ranks_of(one, ENSEMBLE, 2) <= 10).mean() for one in probed])
    assert hits.loc[MEMBER, "difference"] == pytest.approx(found - members)
    assert hits.loc[ENSEMBLE, "difference"] == pytest.approx(found - sampled)


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
