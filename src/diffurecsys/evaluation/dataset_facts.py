"""What a dataset and its split are like, untrained: lengths, popularity, ties, repeats, order, drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from diffurecsys.columns import TEST, VALIDATION
from diffurecsys.data.split import StudyData
from diffurecsys.data.store import Examples, SequenceStore
from diffurecsys.evaluation.metrics import metrics_per_user
from diffurecsys.evaluation.ranks import rank_targets
from diffurecsys.models.base import scorer
from diffurecsys.models.families.transitions import TransitionsConfig
from diffurecsys.models.registry import build_ranker

METRIC = "NDCG@10"
QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
TOP_SHARES = (0.01, 0.1, 0.2)
SHUFFLES = 5
RELABELLINGS = 200
MOST_USERS = 5000  # that rankings are compared on

FIRST_ORDER = TransitionsConfig(window=1, age_decay=0.0, search=False)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over users with its 95 % interval.

    Attributes:
        mean: of all users.
        low: lower end.
        high: upper end.
        n: users.
    """

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Floats) -> Estimate:
        """Estimate the mean of independent values, one a user; a single one has no interval."""
        mean, n = float(values.mean()), len(values)
        half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / n**0.5) if n > 1 else float("nan")
        return cls(mean, mean - half, mean + half, n)


@dataclass(frozen=True)
class TargetFacts:
    """Whom a split asks about.

    Attributes:
        n: targets.
        had_before: share of them that their user had before.
        same_time: share whose event before has the same time, so that the file's order decides which is the target.
        untrained: share that training never saw, those of users included who are therefore not asked.
        new_users: share whose user training never saw.
        popularity: NDCG@10 of ranking by training interactions.
        transitions: NDCG@10 of what followed the last item most often in training.
    """

    n: int
    had_before: float
    same_time: float
    untrained: float
    new_users: float
    popularity: Estimate
    transitions: Estimate


@dataclass(frozen=True)
class OrderFacts:
    """Whether order matters: the first-order transition model on real histories, and on shuffled ones.

    Attributes:
        real: validation NDCG@10, counted and asked in the order that happened.
        shuffled: the same with every user's events before the target in random order, mean of `SHUFFLES`.
        gain: the difference, users paired.
    """

    real: Estimate
    shuffled: Estimate
    gain: Estimate


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a dataset and its split.

    Attributes:
        users: in the sequences.
        items: in the catalogue.
        events: in the sequences.
        trained: events that are trained on.
        lengths: events a user, at `QUANTILES`.
        top_shares: share of training events with the most popular items, for each of `TOP_SHARES` of the catalogue.
        gini: of the items' training events; 0: all alike, 1: all events with one.
        ties: share of events, but the users' first, that have the time of the one before.
        repeats: share of events with an item that the user had before.
        immediate: share of events, but the users' first, with the item of the one before.
        later: share of training events that happened after half of the test targets had.
        first: earliest timestamp.
        last: latest timestamp.
        targets: by split.
        order: whether order matters.
        distance: total variation distance between the items of validation and of test targets, 0 to 1.
        chance: what it would be, were the same targets dealt to both at random: mean.
        chance_high: 95th percentile of that.
    """

    users: int
    items: int
    events: int
    trained: int
    lengths: tuple[int, ...]
    top_shares: tuple[float, ...]
    gini: float
    ties: float
    repeats: float
    immediate: float
    later: float
    first: int
    last: int
    targets: dict[str, TargetFacts]
    order: OrderFacts
    distance: float
    chance: float
    chance_high: float


def find_facts(
    data: StudyData, times: NDArray[np.int64], *, unknown: Mapping[str, int] | None = None, seed: int = 0
) -> DatasetFacts:
    """Look at a dataset.

    Args:
        data: sequences and split.
        times: `[events]`, timestamps in the order of the store.
        unknown: by split, how many users are not asked since training never saw their target; None: nobody.
        seed: of shuffles, and of the users that rankings are compared on where there are many.
    """
    store, split = data.store, data.split
    user = torch.repeat_interleave(store.lengths).numpy()
    item = store.items.numpy().astype(np.int64)
    before, again = had_before(user, item, store.n_items), np.zeros(len(item), dtype=bool)
    follows = np.zeros(len(item), dtype=bool)
    follows[1:] = user[1:] == user[:-1]
    tied = follows & np.concatenate([[False], times[1:] == times[:-1]])
    again[1:] = item[1:] == item[:-1]
    n_following = max(1, int(follows.sum()))
    trained = split.train.positions().numpy()
    popularity = np.sort(data.popularity.numpy())[::-1]
    generator = torch.Generator().manual_seed(seed)
    rankings = {name: _rank(data, _some(examples, generator)) for name, examples in _examples(data).items()}
    distance, chance, chance_high = _drift(item, split.validation.end.numpy(), split.test.end.numpy(), seed)
    return DatasetFacts(
        users=store.n_users,
        items=store.n_items,
        events=len(item),
        trained=len(trained),
        lengths=tuple(int(q) for q in np.quantile(store.lengths.numpy(), QUANTILES, method="inverted_cdf")),
        top_shares=tuple(
            float(popularity[: max(1, round(s * len(popularity)))].sum() / popularity.sum()) for s in TOP_SHARES
        ),
        gini=gini(popularity),
        ties=float(tied.sum() / n_following),
        repeats=float(before.mean()),
        immediate=float((follows & again).sum() / n_following),
        later=float((times[trained] > np.median(times[split.test.end.numpy()])).mean()),
        first=int(times.min()),
        last=int(times.max()),
        targets={
            name: TargetFacts(
                n=len(examples),
                had_before=float(before[examples.end.numpy()].mean()),
                same_time=float(tied[examples.end.numpy()].mean()),
                untrained=_untrained(data, examples, (unknown or {}).get(name, 0)),
                new_users=float((split.train.lengths[examples.users(store)] == 0).float().mean()),
                popularity=Estimate.of(rankings[name][0]),
                transitions=Estimate.of(rankings[name][1]),
            )
            for name, examples in _examples(data).items()
        },
        order=does_order_matter(data, seed=seed),
        distance=distance,
        chance=chance,
        chance_high=chance_high,
    )


def had_before(user: NDArray[np.int64], item: NDArray[np.int64], n_items: int) -> NDArray[np.bool_]:
    """Say of every event, users one after another in order of time, whether its user had its item earlier."""
    before = np.ones(len(item), dtype=bool)
    before[np.unique(user * n_items + item, return_index=True)[1]] = False
    return before


def gini(counts: NDArray[np.int64]) -> float:
    """Return the Gini coefficient of counts: mean difference of two of them over twice their mean."""
    ascending = np.sort(counts).astype(np.float64)
    n, total = len(ascending), ascending.sum()
    return float((2 * np.arange(1, n + 1) - n - 1) @ ascending / (n * total))


def does_order_matter(data: StudyData, *, shuffles: int = SHUFFLES, seed: int = 0) -> OrderFacts:
    """Compare the first-order transition model with itself where every user's events are in random order.

    Both its counts and the histories that it is asked with are shuffled, so that what remains is which items are
    had by the same users.

    Args:
        data: sequences and split; validation targets are asked for.
        shuffles: random orders.
        seed: of them.
    """
    generator = torch.Generator().manual_seed(seed)
    asked = _some(data.split.validation, generator)
    real = _rank_transitions(data, asked)
    shuffled = np.mean([_rank_transitions(_shuffle(data, generator), asked) for _ in range(shuffles)], axis=0)
    return OrderFacts(Estimate.of(real), Estimate.of(shuffled), Estimate.of(real - shuffled))


def _shuffle(data: StudyData, generator: torch.Generator) -> StudyData:
    """Put each user's events before its validation target (its training events where it has none) in random order."""
    store, split = data.store, data.split
    end = split.train.end.clone()
    users = split.validation.users(store)
    end[users] = torch.maximum(end[users], split.validation.end)
    length = end - store.offsets[:-1]
    user = torch.repeat_interleave(length)
    place = torch.arange(len(user)) + (store.offsets[:-1] - (length.cumsum(0) - length))[user]
    key = user.double() + torch.rand(len(user), generator=generator, dtype=torch.float64)
    items = store.items.clone()
    items[place] = store.items[place[torch.argsort(key)]]
    return replace(data, store=SequenceStore(items, store.offsets, store.n_items))


def _untrained(data: StudyData, examples: Examples, unknown: int) -> float:
    never = int((data.popularity[data.store.items[examples.end].long()] == 0).sum())
    return (never + unknown) / (len(examples) + unknown)


def _examples(data: StudyData) -> dict[str, Examples]:
    return {VALIDATION: data.split.validation, TEST: data.split.test}


def _some(examples: Examples, generator: torch.Generator) -> Examples:
    if len(examples) <= MOST_USERS:
        return examples
    return examples[torch.randperm(len(examples), generator=generator)[:MOST_USERS].sort().values]


def _rank(data: StudyData, examples: Examples) -> tuple[Floats, Floats]:
    popularity = data.popularity.float()

    def by_popularity(batch: Any, _: torch.Generator) -> Tensor:  # noqa: ANN401 - a packed batch
        return popularity.repeat(len(batch), 1)

    ranks = rank_targets(by_popularity, data, examples, generator=torch.Generator())
    return metrics_per_user(ranks)[METRIC], _rank_transitions(data, examples)


def _rank_transitions(data: StudyData, examples: Examples) -> Floats:
    ranker = build_ranker("transitions", FIRST_ORDER, data.store.n_items, torch.Generator().manual_seed(0))
    ranker.observe(data)
    ranks = rank_targets(scorer(ranker, "validation"), data, examples, generator=torch.Generator())
    return metrics_per_user(ranks)[METRIC]


def _drift(
    item: NDArray[np.int64], validation: NDArray[np.int64], test: NDArray[np.int64], seed: int
) -> tuple[float, float, float]:
    """Distance of two sets of targets, and mean and 95th percentile of it when they are dealt at random."""
    rng, n = np.random.default_rng(seed), len(validation)
    targets = np.unique(np.concatenate([item[validation], item[test]]), return_inverse=True)[1]
    dealt = [_variation(rng.permutation(targets), n) for _ in range(RELABELLINGS)]
    return _variation(targets, n), float(np.mean(dealt)), float(np.quantile(dealt, 0.95))


def _variation(targets: NDArray[np.int64], n: int) -> float:
    size = int(targets.max()) + 1
    first, second = (np.bincount(part, minlength=size) / len(part) for part in (targets[:n], targets[n:]))
    return float(np.abs(first - second).sum() / 2)
