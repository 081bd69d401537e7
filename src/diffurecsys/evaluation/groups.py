"""Groups of users: by popularity of their target, by length of their history, by whether training knew the target."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffurecsys.data.store import SequenceStore
from diffurecsys.evaluation.significance.comparison import MARGIN, compare_models, correct
from diffurecsys.evaluation.significance.intervals import mean_interval
from diffurecsys.evaluation.significance.scores import ModelScores

POPULARITY = "popularity"  # values of the column `family`
HISTORY_LENGTH = "history length"
TRAINING = "training"
USER = "user"

SMALLEST = 2  # users a group needs for an interval or a test

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """Some of the users.

    Attributes:
        name: short, fixed: `head`.
        family: what divides the users: `popularity`, `history length`, `training` or `user`.
        description: what makes a user a member.
        members: bool `[users]`.
    """

    name: str
    family: str
    description: str
    members: NDArray[np.bool_]


def catalogue_popularity(store: SequenceStore) -> IntArray:
    """Count all interactions with every item, int64 `[n_items]`: the paper's popularity, which knows the targets."""
    return np.bincount(store.items.numpy(), minlength=store.n_items).astype(np.int64)


def head_items(popularity: IntArray, share: float) -> NDArray[np.bool_]:
    """Mark the ceil(`share` of the catalogue) most popular items, bool `[n_items]`; ties go to lower item numbers."""
    head = np.zeros(len(popularity), dtype=bool)
    head[np.argsort(-popularity, kind="stable")[: ceil(share * len(popularity))]] = True
    return head


def make_groups(
    targets: IntArray,
    lengths: IntArray,
    popularity: IntArray,
    training_popularity: IntArray,
    *,
    trained: NDArray[np.bool_] | None = None,
    head_share: float = 0.2,
    quantiles: Sequence[float] = (0.2, 0.4, 0.6, 0.8),
) -> tuple[Group, ...]:
    """Divide users; groups without any are left out.

    Args:
        targets: int64 `[users]`, the item to be found for each.
        lengths: int64 `[users]`, items of their whole histories, however many a ranker saw of them.
        popularity: int64 `[n_items]`, decides what is head and what is long tail.
        training_popularity: int64 `[n_items]`, interactions in the training part.
        trained: bool `[users]`, who has events in the training part; None: all.
        head_share: share of the catalogue that is the head.
        quantiles: of the users' history lengths, upper borders of all groups of length but the last. Many users share
            a length, so the groups differ in size.
    """
    head = head_items(popularity, head_share)
    in_head = head[targets]
    seen = training_popularity[targets] > 0
    least = int(popularity[head].min())
    groups = [
        Group(
            "head", POPULARITY, f"target among the {head.sum():,} most popular items ({least}+ interactions)", in_head
        ),
        Group("long tail", POPULARITY, f"target among the other {(~head).sum():,} items", ~in_head),
        *_length_groups(lengths, quantiles),
        Group("seen", TRAINING, "target occurs in the training part", seen),
        Group("unseen", TRAINING, "target never occurs in the training part", ~seen),
    ]
    if trained is not None and not trained.all():
        groups += [
            Group("known user", USER, "user with events in the training part", trained),
            Group("new user", USER, "user whom training never saw", ~trained),
        ]
    return tuple(group for group in groups if group.members.any())


def group_scores(
    scores: Sequence[ModelScores], groups: Sequence[Group], metrics: Sequence[str], confidence: float = 0.95
) -> pd.DataFrame:
    """Return the mean of every metric of every model in every group, with its interval.

    Columns: family, group, description, model, metric, mean, low, high (missing below two users), n_users, n_seeds.
    """
    rows = []
    for group in groups:
        for model in scores:
            for metric in metrics:
                values = model.values[metric][:, group.members]
                row = {
                    "family": group.family,
                    "group": group.name,
                    "description": group.description,
                    "model": model.model,
                    "metric": metric,
                }
                if values.shape[1] < SMALLEST:
                    known = {"mean": float(values.mean()), "low": None, "high": None}
                else:
                    interval = mean_interval(values, confidence)
                    known = {"mean": interval.mean, "low": interval.low, "high": interval.high}
                rows.append({**row, **known, "n_users": values.shape[1], "n_seeds": values.shape[0]})
    return pd.DataFrame(rows)


def compare_in_groups(
    scores: Sequence[ModelScores],
    groups: Sequence[Group],
    metrics: Sequence[str],
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    margin: float = MARGIN,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare models within every group of at least two users.

    Columns: family, group, and those of `compare_models`; corrections are over all groups together.
    """
    tables = []
    for group in groups:
        if group.members.sum() < SMALLEST:
            continue
        few = [_restrict(model, group, metrics) for model in scores]
        table = compare_models(
            few, pairs=pairs, n_resamples=n_resamples, confidence=confidence, margin=margin, seed=seed
        )
        table.insert(0, "family", group.family)
        table.insert(1, "group", group.name)
        tables.append(table)
    return correct(pd.concat(tables, ignore_index=True))


def _restrict(model: ModelScores, group: Group, metrics: Sequence[str]) -> ModelScores:
    few = model.subset(group.members)
    return dataclasses.replace(few, values={name: few.values[name] for name in metrics})


def _length_groups(lengths: IntArray, quantiles: Sequence[float]) -> list[Group]:
    found = [*np.quantile(lengths, sorted(quantiles), method="inverted_cdf").astype(int), int(lengths.max())]
    borders = sorted(set(found))  # groups between equal borders would be empty
    groups, shortest = [], int(lengths.min())
    for number, longest in enumerate(borders, start=1):
        members = (lengths >= shortest) & (lengths <= longest)
        items = str(longest) if shortest == longest else f"{shortest} to {longest}"
        name = f"length {number} of {len(borders)}"
        groups.append(Group(name, HISTORY_LENGTH, f"history of {items} items", members))
        shortest = int(longest) + 1
    return groups
