"""Every user's metrics, and the leaderboard, of a study's tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from diffurecsys.columns import MODEL, SPLIT, SPLITS
from diffurecsys.evaluation.leaderboard import Leaderboard, build_leaderboard
from diffurecsys.evaluation.ranks import ALL, RANKINGS, Ranking
from diffurecsys.evaluation.significance.scores import ModelScores
from diffurecsys.pipelines.arrays import read_scores
from diffurecsys.study import Study

if TYPE_CHECKING:
    from diffurecsys.parameters import EvaluationParameters, SignificanceParameters


def scores_of(
    study: Study,
    study_ranks: pd.DataFrame,
    split: str,
    cutoffs: Sequence[int],
    ranking: Ranking = ALL,
    names: Sequence[str] | None = None,
) -> list[ModelScores]:
    """Compute every user's metrics.

    Args:
        study: the grid.
        study_ranks: all ranks.
        split: `test` or `validation`.
        cutoffs: of the metrics.
        ranking: among all items, or among those that the user did not have.
        names: of which rankers; None is all but the sweeps' that have ranks on the split.
    """
    if names is None:
        known = set(study_ranks.loc[study_ranks[SPLIT] == split, MODEL].unique())
        names = [name for name in study.names if name in known]
    return [
        dataclasses.replace(read_scores(study_ranks, name, split, cutoffs, ranking), trains=study.spec(name).trains)
        for name in names
    ]


def study_leaderboard(
    study: Study,
    evaluation: EvaluationParameters,
    significance: SignificanceParameters,
    study_ranks: pd.DataFrame,
    study_cells: pd.DataFrame,
) -> Leaderboard:
    """Sum up all rankers but the sweeps' on both splits and in both rankings."""
    scores = {
        (split, ranking): scores_of(study, study_ranks, split, evaluation.cutoffs, ranking)
        for split in SPLITS
        for ranking in RANKINGS
    }
    return build_leaderboard(
        scores,
        study_cells,
        ranking=evaluation.ranking,
        untrained=[name for name in study.names if not study.spec(name).trains],
        confidence=significance.confidence,
    )
