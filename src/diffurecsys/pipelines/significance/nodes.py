"""Nodes that test differences between models, on the test users."""

from __future__ import annotations

import dataclasses
import logging
from itertools import combinations

import pandas as pd

from diffurecsys.parameters import EvaluationParameters, SignificanceParameters, StudyParameters
from diffurecsys.evaluation.leaderboard import SPLITS, TEST
from diffurecsys.evaluation.significance.comparison import compare_models
from diffurecsys.evaluation.significance.paper_test import paper_t_test
from diffurecsys.evaluation.significance.seeds import compare_seeds, few_seeds_warning
from diffurecsys.pipelines.conventions import study_pairs
from diffurecsys.pipelines.arrays import Results, read_scores, study_leaderboard

logger = logging.getLogger(__name__)


def compare_users_and_seeds(
    study: StudyParameters,
    evaluation: EvaluationParameters,
    significance: SignificanceParameters,
    *ranks: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test every pair of models, and every model against every baseline.

    Returns:
        Tests that pair users, and tests of seed means.
    """
    names = (*study.models, *study.baselines)
    scores = [read_scores(name, table, TEST, evaluation.cutoffs) for name, table in zip(names, ranks, strict=True)]
    pairs = study_pairs(study)
    for sentence in few_seeds_warning(dict.fromkeys(study.models, study.n_seeds)):
        logger.warning(sentence)
    by_user = compare_models(
        scores,
        pairs=pairs,
        n_resamples=significance.n_resamples,
        confidence=significance.confidence,
        seed=significance.seed,
    )
    return by_user, compare_seeds(scores, pairs=pairs)


def run_papers_test(study: StudyParameters, *results: Results) -> pd.DataFrame:
    """Run the paper's t-test over metric means for every pair of models, on both splits."""
    leaderboard = study_leaderboard(study, results)
    metrics = [metric for metric in leaderboard.metrics if "@" in metric]
    rows = []
    for split in SPLITS:
        means = {
            model: {metric: leaderboard.score(model, split, metric).mean for metric in metrics}
            for model in leaderboard.models
        }
        for reference, model in combinations(leaderboard.models, 2):
            test = paper_t_test(means[model], means[reference])
            rows.append({"model": model, "reference": reference, "split": split, **dataclasses.asdict(test)})
    return pd.DataFrame(rows, columns=["model", "reference", "split", "t", "p", "df", "average_difference_percent"])
