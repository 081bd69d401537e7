"""What the probes of a ranker's seeds amount to: tables with intervals over users and training seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffurecsys.columns import MODEL, SEED
from diffurecsys.evaluation import beyond_accuracy
from diffurecsys.evaluation.groups import SMALLEST, Group
from diffurecsys.evaluation.inference import (
    ALGORITHM_3,
    ENSEMBLE,
    KIND,
    LEVEL,
    MEMBER,
    STEPS,
    TRAINING_SEEDS,
    places_at,
    recommended_items,
)
from diffurecsys.evaluation.leaderboard import METRIC
from diffurecsys.evaluation.metrics import CUTOFF_METRICS, FloatArray
from diffurecsys.evaluation.significance.comparison import MARGIN, REFERENCE, compare_models
from diffurecsys.evaluation.significance.intervals import mean_interval
from diffurecsys.evaluation.significance.scores import ModelScores

ALL_USERS = "all"  # the group of all users
AVERAGED = "ensemble averaged over training seeds"
BY_SEED = (STEPS, ENSEMBLE, ALGORITHM_3)  # kinds that every training seed has

IntArray = NDArray[np.int64]
Level = tuple[str, int]  # kind and level


def summarise_inference(
    probed: Sequence[pd.DataFrame],
    together: pd.DataFrame | None,
    groups: Sequence[Group],
    cutoffs: Sequence[int],
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Average metrics of ensembles and of fewer steps, over all users and within groups.

    Args:
        probed: `probed_ranks_table` of each training seed.
        together: the one of single training seeds and their ensembles; None with one seed.
        groups: of the probed users, in the tables' order.
        cutoffs: of the metrics.
        confidence: of the intervals.

    Returns:
        kind, level, group, metric, mean, low, high, n_users, n_seeds. One training seed stands for the mean of single
        ones; an ensemble of them is one system, so its interval knows users alone.
    """
    levels: dict[Level, IntArray] = _by_seed(probed)
    if together is not None:
        levels[TRAINING_SEEDS, 1] = _members(together)
        levels.update(_ensembles(together))
    rows = []
    for (kind, level), places in levels.items():
        for metric, values in metric_values(places, cutoffs).items():
            for name, members in _with_all(groups, values.shape[-1]):
                interval = mean_interval(values[:, members], confidence)
                rows.append({KIND: kind, LEVEL: level, "group": name, METRIC: metric, **asdict(interval)})
    return pd.DataFrame(rows)


def compare_levels(
    probed: Sequence[pd.DataFrame],
    together: pd.DataFrame | None,
    cutoffs: Sequence[int],
    *,
    n_resamples: int,
    confidence: float,
    margin: float = MARGIN,
    seed: int,
) -> pd.DataFrame:
    """Compare more reverse steps and larger ensembles with less, user by user.

    Args:
        probed: `probed_ranks_table` of each training seed.
        together: the one of single training seeds and their ensembles; None with one seed.
        cutoffs: of the metrics.
        n_resamples: draws of the tests.
        confidence: of the intervals.
        margin: relative difference below which levels are called equivalent.
        seed: of the draws.

    Returns:
        The columns of `compare_models` less the rankers' names, and kind, level, reference_kind, reference_level: every
        number of steps or samples against the smallest; Algorithm 3 against the mean of as many reverse processes; an
        ensemble of training seeds against the mean of its single members, and against the mean of as many reverse
        processes, both averaged over trained models: with one ensemble to compare, only users count there.
        Corrections are over the ranker's whole table.
    """
    levels = _by_seed(probed)
    smallest = {kind: min(level for other, level in levels if other == kind) for kind, _ in levels}
    pairs: list[tuple[Level, Level]] = [
        ((kind, level), (kind, smallest[kind])) for kind, level in levels if level > smallest[kind]
    ]
    pairs += [((kind, level), (ENSEMBLE, level)) for kind, level in levels if kind == ALGORITHM_3]
    scores = {key: _scores(key, metric_values(places, cutoffs)) for key, places in levels.items()}
    if together is not None:
        single = metric_values(_members(together), cutoffs)
        for key, places in _ensembles(together).items():
            size = key[1]
            scores[key] = _scores(key, metric_values(places, cutoffs))
            references = {(MEMBER, size): {metric: values[:size] for metric, values in single.items()}}
            if (ENSEMBLE, size) in levels:
                references[AVERAGED, size] = metric_values(levels[ENSEMBLE, size], cutoffs)
            for reference, values in references.items():
                scores[reference] = _scores(reference, {name: part.mean(axis=0)[None] for name, part in values.items()})
                pairs.append((key, reference))
    table = compare_models(
        list(scores.values()),
        pairs=[(_name(one), _name(other)) for one, other in pairs],
        n_resamples=n_resamples,
        confidence=confidence,
        margin=margin,
        seed=seed,
    )
    for position, (column, prefix) in enumerate(((MODEL, ""), (REFERENCE, "reference_"))):
        parts = table[column].str.rsplit(" ", n=1, expand=True)
        table.insert(2 * position, f"{prefix}{KIND}", parts[0].replace(AVERAGED, ENSEMBLE))
        table.insert(2 * position + 1, f"{prefix}{LEVEL}", parts[1].astype("int64"))
    return table.drop(columns=[MODEL, REFERENCE])


def sampling_spread(recommended: Sequence[pd.DataFrame], confidence: float = 0.95) -> pd.DataFrame:
    """Measure how far the samples of one user differ.

    Args:
        recommended: `recommendations_table` of each training seed, with at least two samples.
        confidence: of the intervals.

    Returns:
        measure (`rank_biased_overlap` with p = 0.9, `identical_top_<K>`, the share of users with the same K items in
        all samples, `intra_user_diversity@<K>`), mean, low, high, n_users, n_seeds.
    """
    by_seed = [recommended_items(table) for table in recommended]
    k = by_seed[0].shape[-1]
    measures = {
        "rank_biased_overlap": beyond_accuracy.pairwise_overlap,
        f"identical_top_{k}": lambda samples: beyond_accuracy.identical_sets(samples).astype(np.float64),
        f"intra_user_diversity@{k}": beyond_accuracy.intra_user_diversity,
    }
    rows = []
    for measure, compute in measures.items():
        interval = mean_interval(np.stack([compute(samples) for samples in by_seed]), confidence)
        rows.append({"measure": measure, **asdict(interval)})
    return pd.DataFrame(rows)


def measure_beyond_accuracy(recommended: Sequence[pd.DataFrame], training_popularity: IntArray) -> pd.DataFrame:
    """Measure coverage, concentration and popularity of each training seed's first sample.

    Args:
        recommended: `recommendations_table` of each training seed.
        training_popularity: int64 `[n_items]`, interactions in the training part.

    Returns:
        seed, measure (`coverage@<K>`, `gini@<K>`, `mean_popularity@<K>`), value, n_users.
    """
    n_items = len(training_popularity)
    rows = []
    for seed, table in enumerate(recommended):
        samples = recommended_items(table)
        k = samples.shape[-1]
        measures = {
            f"coverage@{k}": beyond_accuracy.catalogue_coverage(samples[0], n_items),
            f"gini@{k}": beyond_accuracy.gini(samples[0], n_items),
            f"mean_popularity@{k}": beyond_accuracy.mean_popularity(samples[0], training_popularity),
        }
        rows += [
            {SEED: seed, "measure": name, "value": value, "n_users": samples.shape[1]}
            for name, value in measures.items()
        ]
    return pd.DataFrame(rows)


def metric_values(places: IntArray, cutoffs: Sequence[int]) -> dict[str, FloatArray]:
    """Return HR and NDCG at every cutoff for places `[2, …]`, of the shape behind it."""
    greater, tied = places
    return {
        f"{name}@{cutoff}": metric(greater, tied, cutoff)
        for name, metric in CUTOFF_METRICS.items()
        for cutoff in cutoffs
    }


def _by_seed(tables: Sequence[pd.DataFrame]) -> dict[Level, IntArray]:
    """Stack the training seeds' places, `[2, seeds, users]`, by kind and level."""
    found = {kind: [places_at(table, kind) for table in tables] for kind in BY_SEED}
    return {
        (kind, level): np.stack([levels[level] for levels in by_seed], axis=1)
        for kind, by_seed in found.items()
        for level in by_seed[0]
    }


def _members(together: pd.DataFrame) -> IntArray:
    """Stack the single training seeds' places, `[2, seeds, users]`."""
    return np.stack(list(places_at(together, MEMBER).values()), axis=1)


def _ensembles(together: pd.DataFrame) -> dict[Level, IntArray]:
    """Places `[2, 1, users]` under ensembles of training seeds."""
    return {(TRAINING_SEEDS, size): places[:, None] for size, places in places_at(together, TRAINING_SEEDS).items()}


def _scores(key: Level, values: Mapping[str, FloatArray]) -> ModelScores:
    return ModelScores(_name(key), tuple(range(len(next(iter(values.values()))))), values)


def _name(key: Level) -> str:
    return f"{key[0]} {key[1]}"


def _with_all(groups: Sequence[Group], n_users: int) -> Iterable[tuple[str, NDArray[np.bool_]]]:
    yield ALL_USERS, np.ones(n_users, dtype=bool)
    for group in groups:
        if group.members.sum() >= SMALLEST:
            yield group.name, group.members
