"""Groups of users, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from statsmodels.stats.multitest import multipletests

from diffurecsys.data.store import SequenceStore
from diffurecsys.evaluation.groups import (
    catalogue_popularity,
    compare_in_groups,
    group_scores,
    head_items,
    make_groups,
)
from diffurecsys.evaluation.significance.scores import ModelScores


def groups_of(targets, popularity, lengths, training=None, **how):
    training = popularity if training is None else training
    made = make_groups(np.array(targets), np.array(lengths), np.array(popularity), np.array(training), **how)
    return {group.name: group for group in made}


def test_the_head_is_a_fifth_of_the_catalogue_rounded_up_and_ties_go_to_lower_numbers():
    assert head_items(np.array([1, 5, 5, 5, 0, 0]), 0.2).tolist() == [False, True, True, False, False, False]
    assert head_items(np.array([1, 5, 5, 5, 0]), 0.2).tolist() == [False, True, False, False, False]


def test_users_are_divided_by_their_target_s_popularity():
    found = groups_of([0, 1, 2, 2], [9, 1, 0, 5, 5], [3, 3, 3, 3])
    assert found["head"].members.tolist() == [True, False, False, False]
    assert found["long tail"].members.tolist() == [False, True, True, True]
    assert found["head"].description == "target among the 1 most popular items (9+ interactions)"
    assert found["seen"].members.tolist() == [True, True, False, False]
    assert found["unseen"].members.tolist() == [False, False, True, True]


def test_the_paper_s_popularity_moves_the_head_but_not_what_training_saw():
    found = groups_of([0, 1], popularity=[1, 8, 0, 0, 0], lengths=[3, 3], training=[1, 0, 0, 0, 0])
    assert found["head"].members.tolist() == [False, True]
    assert found["unseen"].members.tolist() == [False, True]


def test_popularity_of_everything_counts_every_interaction():
    store = SequenceStore(torch.tensor([0, 1, 1, 2], dtype=torch.int32), torch.tensor([0, 2, 4]), 4)
    assert catalogue_popularity(store).tolist() == [1, 2, 1, 0]


def test_lengths_are_cut_at_the_quintiles():
    found = groups_of([0] * 10, [1], list(range(4, 14)))
    lengths = [name for name in found if name.startswith("length")]
    assert lengths == [f"length {number} of 5" for number in range(1, 6)]
    assert [found[name].members.sum() for name in lengths] == [2] * 5
    assert found["length 1 of 5"].description == "history of 4 to 5 items"


def test_equal_borders_make_fewer_groups_and_everybody_is_in_one():
    found = groups_of([0] * 10, [1], [4] * 7 + [5, 6, 9])
    lengths = [group for name, group in found.items() if name.startswith("length")]
    assert [group.description for group in lengths] == [
        "history of 4 items",
        "history of 5 items",
        "history of 6 to 9 items",
    ]
    assert sum(group.members for group in lengths).tolist() == [1] * 10


def test_groups_without_users_are_left_out():
    assert set(groups_of([0], [9, 1, 1, 1, 1], [3])) == {"head", "length 1 of 1", "seen"}


@pytest.fixture
def models():
    rng = np.random.default_rng(5)
    return [
        ModelScores(name, (0, 1), {"m": rng.random((2, 12)) + shift, "n": rng.random((2, 12))})
        for name, shift in (("a", 0.0), ("b", 0.4))
    ]


def test_scores_are_means_over_members(models):
    found = groups_of([0] * 4 + [1] * 8, [9, 1, 1, 1, 1], [3] * 12)
    table = group_scores(models, tuple(found.values()), ["m"]).set_index(["group", "model"])
    assert table.loc[("head", "a"), "mean"] == pytest.approx(models[0].values["m"][:, :4].mean())
    assert table.loc[("long tail", "b"), "n_users"] == 8
    row = table.loc[("head", "b")]
    assert row["low"] < row["mean"] < row["high"]


def test_one_user_has_a_mean_and_no_interval_and_is_not_compared(models):
    found = groups_of([0] + [1] * 11, [9, 1, 1, 1, 1], [3] * 12)
    table = group_scores(models, tuple(found.values()), ["m"]).set_index(["group", "model"])
    assert table.loc[("head", "a"), "mean"] == pytest.approx(models[0].values["m"][:, 0].mean())
    assert table.loc[("head", "a"), ["low", "high"]].isna().all()
    compared = compare_in_groups(models, tuple(found.values()), ["m"], n_resamples=100)
    assert "head" not in set(compared["group"])


def test_holm_covers_all_groups_together(models):
    found = groups_of([0] * 4 + [1] * 8, [9, 1, 1, 1, 1], [3] * 6 + [7] * 6)
    table = compare_in_groups(models, tuple(found.values()), ["m", "n"], n_resamples=100)
    assert len(table) == 2 * len(found)
    assert (table["family_size"] == len(found)).all()
    for _, family in table.groupby("metric"):
        expected = multipletests(family["p_users"], method="holm")[1]
        assert list(family["p_users_holm"]) == pytest.approx(list(expected))
    row = table[(table["group"] == "head") & (table["metric"] == "m")].iloc[0]
    difference = models[1].values["m"][:, :4].mean() - models[0].values["m"][:, :4].mean()
    assert row["difference"] == pytest.approx(difference)
