"""Nodes that test differences between rankers, on the test users."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pandas as pd

from diffurecsys.columns import MODEL, SPLIT, SPLITS, TEST
from diffurecsys.evaluation.significance.comparison import REFERENCE, compare_models
from diffurecsys.evaluation.significance.paper_test import paper_t_test
from diffurecsys.evaluation.significance.seeds import compare_seeds
from diffurecsys.pipelines.scores import scores_of
from diffurecsys.reporting.paper import PAPER_MODELS
from diffurecsys.study import Study

if TYPE_CHECKING:
    from diffurecsys.parameters import EvaluationParameters, SignificanceParameters


def compare_users_and_seeds(
    study: Study,
    evaluation: EvaluationParameters,
    significance: SignificanceParameters,
    study_ranks: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test the study's pairs on the primary ranking.

    Returns:
        Tests that pair users, and tests of seed means.
    """
    scores = scores_of(study, study_ranks, TEST, evaluation.cutoffs, evaluation.ranking)
    by_user = compare_models(
        scores,
        pairs=study.pairs,
        n_resamples=significance.n_resamples,
        confidence=significance.confidence,
        margin=significance.margin,
        seed=significance.seed,
    )
    return by_user, compare_seeds(scores, pairs=study.pairs)


def papers_pairs(study: Study) -> list[tuple[str, str]]:
    """Return the tested pairs of which both are models of the paper."""
    return [pair for pair in study.pairs if set(pair) <= set(PAPER_MODELS)]


def run_papers_test(study: Study, evaluation: EvaluationParameters, study_ranks: pd.DataFrame) -> pd.DataFrame:
    """Run the paper's t-test over metric means for every pair of its models, on both splits, all items ranked."""
    rows = []
    for split in SPLITS:
        scores = scores_of(study, study_ranks, split, evaluation.cutoffs)
        means = {
            score.model: {metric: float(part.mean()) for metric, part in score.values.items() if "@" in metric}
            for score in scores
        }
        for model, reference in papers_pairs(study):
            test = paper_t_test(means[model], means[reference])
            rows.append({MODEL: model, REFERENCE: reference, SPLIT: split, **dataclasses.asdict(test)})
    return pd.DataFrame(rows)
