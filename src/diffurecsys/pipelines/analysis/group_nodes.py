"""Nodes that look at groups of users and items apart."""

from __future__ import annotations

import ibis
import pandas as pd

from diffurecsys import columns
from diffurecsys.parameters import EvaluationParameters, GroupParameters, SignificanceParameters, StudyParameters
from diffurecsys.evaluation.groups import (
    Group,
    catalogue_popularity,
    compare_in_groups,
    group_scores,
    make_groups,
)
from diffurecsys.evaluation.leaderboard import TEST
from diffurecsys.evaluation.ranks import Ranks, training_popularity
from diffurecsys.pipelines.conventions import study_pairs
from diffurecsys.pipelines.arrays import ranks_by_seed, read_examples, read_scores, read_store


def count_items_and_users(
    sequences: ibis.Table, item_vocabulary: ibis.Table, train_examples: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Count each item's interactions, in the training part and in all, and each user's items before the test target."""
    store = read_store(sequences, item_vocabulary)
    training = training_popularity(store, read_examples(train_examples)).numpy()
    items = pd.DataFrame(
        {
            columns.ITEM: range(store.n_items),
            columns.TRAINING_POPULARITY: training,
            columns.POPULARITY: catalogue_popularity(store),
        }
    )
    lengths = store.lengths.numpy() - 1
    return items, pd.DataFrame({columns.USER: range(store.n_users), columns.HISTORY_LENGTH: lengths})


def score_groups(
    study: StudyParameters,
    evaluation: EvaluationParameters,
    significance: SignificanceParameters,
    groups: GroupParameters,
    item_popularity: pd.DataFrame,
    history_lengths: pd.DataFrame,
    *ranks: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score and compare all models and baselines in each group of test users."""
    names = (*study.models, *study.baselines)
    scores = [read_scores(name, table, TEST, evaluation.cutoffs) for name, table in zip(names, ranks, strict=True)]
    members = divide_users(ranks_by_seed(ranks[0], TEST)[0], item_popularity, history_lengths, groups)
    metrics = [metric for metric in scores[0].values if "@" in metric]
    compared = compare_in_groups(
        scores,
        members,
        metrics,
        pairs=study_pairs(study),
        n_resamples=significance.n_resamples,
        confidence=significance.confidence,
        seed=significance.seed,
    )
    return group_scores(scores, members, metrics, significance.confidence), compared


def divide_users(
    ranks: Ranks, item_popularity: pd.DataFrame, history_lengths: pd.DataFrame, groups: GroupParameters
) -> tuple[Group, ...]:
    """Divide the users of `ranks` as configured."""
    training = item_popularity[columns.TRAINING_POPULARITY].to_numpy()
    counted = training if groups.popularity == "training" else item_popularity[columns.POPULARITY].to_numpy()
    lengths = history_lengths.set_index(columns.USER)[columns.HISTORY_LENGTH].reindex(ranks.user).to_numpy()
    return make_groups(
        ranks, counted, training, lengths, head_share=groups.head_share, quantiles=groups.length_quantiles
    )
