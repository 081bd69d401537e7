"""What the probes of a model's seeds amount to: tables with intervals over users and training seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffurecsys.evaluation import beyond_accuracy
from diffurecsys.evaluation.groups import SMALLEST, Group
from diffurecsys.evaluation.inference import (
    ENSEMBLE,
    KIND,
    LEVEL,
    SAMPLE,
    STEPS,
    TRAINING_SEEDS,
    ranks_at,
    recommended_items,
)
from diffurecsys.evaluation.leaderboard import METRIC, MODEL, SEED
from diffurecsys.evaluation.metrics import CUTOFF_METRICS, FloatArray
from diffurecsys.evaluation.significance.comparison import REFERENCE, compare_models
from diffurecsys.evaluation.significance.intervals import mean_interval
from diffurecsys.evaluation.significance.scores import ModelScores
from diffurecsys.evaluation.significance.variance import variance_components

ALL = "all"  # the group of all users
AVERAGED = "ensemble averaged over training seeds"


def summarise_inference(
    probed: Sequence[pd.DataFrame],
    training_ensembles: pd.DataFrame,
    groups: Sequence[Group],
    cutoffs: Sequence[int],
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Average metrics of ensembles and of fewer steps, over all users and within groups.

    Args:
        probed: `probed_ranks_table` of each training seed.
        training_ensembles: the one of the ensembles over training seeds.
        groups: of the probed users, in the tables' order.
        cutoffs: of the metrics.
        confidence: of the intervals.

    Returns:
        kind, level, group, metric, mean, low, high, n_users, n_seeds. An ensemble over training seeds is one system,
        so its interval knows users alone.
    """
    stacked = [(kind, _by_level(probed, kind)) for kind in (ENSEMBLE, STEPS)]
    stacked.append((TRAINING_SEEDS, _by_level([training_ensembles], TRAINING_SEEDS)))
    rows = []
    for kind, levels in stacked:
        for level, ranks in levels.items():
            for metric, values in metric_values(ranks, cutoffs).items():
                for name, members in _with_all(groups, ranks.shape[-1]):
                    interval = mean_interval(values[:, members], confidence)
                    rows.append(
                        {
                            KIND: kind,
                            LEVEL: level,
                            "group": name,
                            METRIC: metric,
                            **asdict(interval),
                        }
                    )
    return pd.DataFrame(rows)


def compare_levels(
    probed: Sequence[pd.DataFrame],
    training_ensembles: pd.DataFrame,
    cutoffs: Sequence[int],
    *,
    n_resamples: int,
    confidence: float,
    seed: int,
) -> pd.DataFrame:
    """Compare more reverse steps and larger ensembles with less, user by user.

    Args:
        probed: `probed_ranks_table` of each training seed.
        training_ensembles: the one of the ensembles over training seeds.
        cutoffs: of the metrics.
        n_resamples: draws of the tests.
        confidence: of the intervals.
        seed: of the draws.

    Returns:
        The columns of `compare_models` less the models' names, and kind, level, reference_kind, reference_level: every
        number of steps or ensemble size against the smallest, and ensembles over training seeds against those over as
        many sampling seeds, averaged over the trained models: with one ensemble to compare, only users count there.
        Holm's correction is over the model's whole table.
    """
    levels = {
        **{(kind, level): ranks for kind in (STEPS, ENSEMBLE) for level, ranks in _by_level(probed, kind).items()},
        **{(TRAINING_SEEDS, level): ranks for level, ranks in _by_level([training_ensembles], TRAINING_SEEDS).items()},
    }
    names = {key: f"{key[0]} {key[1]}" for key in levels}
    smallest = {kind: min(level for other, level in levels if other == kind) for kind, _ in levels}
    pairs = [((kind, level), (kind, smallest[kind])) for kind, level in levels if level > smallest[kind]]
    scores = [
        ModelScores(names[key], tuple(range(len(ranks))), metric_values(ranks, cutoffs))
        for key, ranks in levels.items()
    ]
    for kind, level in [key for key in levels if key[0] == TRAINING_SEEDS and (ENSEMBLE, key[1]) in levels]:
        by_seed = metric_values(levels[ENSEMBLE, level], cutoffs)
        averaged = {metric: values.mean(axis=0, keepdims=True) for metric, values in by_seed.items()}
        names[AVERAGED, level] = f"{AVERAGED} {level}"
        scores.append(ModelScores(names[AVERAGED, level], (0,), averaged))
        pairs.append(((kind, level), (AVERAGED, level)))
    table = compare_models(
        scores,
        pairs=[(names[one], names[other]) for one, other in pairs],
        n_resamples=n_resamples,
        confidence=confidence,
        seed=seed,
    )
    for position, (column, name) in enumerate(((MODEL, ""), (REFERENCE, "reference_"))):
        parts = table[column].str.rsplit(" ", n=1, expand=True)
        table.insert(2 * position, f"{name}{KIND}", parts[0].replace(AVERAGED, ENSEMBLE))
        table.insert(2 * position + 1, f"{name}{LEVEL}", parts[1].astype("int64"))
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


def measure_beyond_accuracy(
    recommended: Sequence[pd.DataFrame], training_popularity: NDArray[np.int64]
) -> pd.DataFrame:
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


def decompose_variance(probed: Sequence[pd.DataFrame], cutoffs: Sequence[int]) -> pd.DataFrame:
    """Split every metric's variance into users, training seeds and sampling seeds: METRIC and the components' rows."""
    by_number = _by_level(probed, SAMPLE)
    ranks = np.stack(list(by_number.values()), axis=1)  # (training seeds, samples, users)
    tables = []
    for metric, values in metric_values(ranks, cutoffs).items():
        table = variance_components(values).table()
        table.insert(0, METRIC, metric)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def metric_values(ranks: FloatArray, cutoffs: Sequence[int]) -> dict[str, FloatArray]:
    """Return HR and NDCG at every cutoff for ranks of any shape."""
    return {f"{name}@{cutoff}": metric(ranks, cutoff) for name, metric in CUTOFF_METRICS.items() for cutoff in cutoffs}


def _by_level(tables: Sequence[pd.DataFrame], kind: str) -> dict[int, FloatArray]:
    """Stack the seeds' ranks, float64 `[seeds, users]`, by level."""
    by_seed = [ranks_at(table, kind) for table in tables]
    return {level: np.stack([ranks[level] for ranks in by_seed]) for level in by_seed[0]}


def _with_all(groups: Sequence[Group], n_users: int) -> Iterable[tuple[str, NDArray[np.bool_]]]:
    yield ALL, np.ones(n_users, dtype=bool)
    for group in groups:
        if group.members.sum() >= SMALLEST:
            yield group.name, group.members
