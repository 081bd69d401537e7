"""Node that looks at groups of users apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import torch

from diffurecsys.columns import TEST
from diffurecsys.data.split import StudyData
from diffurecsys.evaluation.groups import Group, catalogue_popularity, compare_in_groups, group_scores, make_groups
from diffurecsys.pipelines.scores import scores_of
from diffurecsys.study import Study

if TYPE_CHECKING:
    from diffurecsys.parameters import EvaluationParameters, GroupParameters, SignificanceParameters


def score_groups(
    study: Study,
    evaluation: EvaluationParameters,
    significance: SignificanceParameters,
    groups: GroupParameters,
    data: StudyData,
    study_ranks: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score all rankers in each group of test users, and test the study's pairs there."""
    scores = scores_of(study, study_ranks, TEST, evaluation.cutoffs, evaluation.ranking)
    members = divide_users(data, groups)
    metrics = [metric for metric in scores[0].values if "@" in metric]
    compared = compare_in_groups(
        scores,
        members,
        metrics,
        pairs=study.pairs,
        n_resamples=significance.n_resamples,
        confidence=significance.confidence,
        margin=significance.margin,
        seed=significance.seed,
    )
    return group_scores(scores, members, metrics, significance.confidence), compared


def divide_users(data: StudyData, groups: GroupParameters, chosen: torch.Tensor | None = None) -> tuple[Group, ...]:
    """Divide the test users as configured.

    Args:
        data: sequences and split.
        groups: what divides them.
        chosen: int64, which of the test examples; None is all.
    """
    store, examples = data.store, data.split.test if chosen is None else data.split.test[chosen]
    training = data.popularity.numpy()
    return make_groups(
        store.items[examples.end].long().numpy(),
        (examples.end - store.offsets[examples.users(store)]).numpy(),
        training if groups.popularity == "training" else catalogue_popularity(store),
        training,
        trained=(data.split.train.lengths[examples.users(store)] > 0).numpy(),
        head_share=groups.head_share,
        quantiles=groups.length_quantiles,
    )
