"""Evaluation: ranks and metrics of every cell, then the leaderboard."""

from __future__ import annotations

from collections.abc import Sequence

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.pipelines.conventions import ALWAYS, per_cell, per_model
from diffurecsys.pipelines.evaluation.nodes import (
    collect_ranks,
    collect_results,
    compute_baseline_metrics,
    compute_model_metrics,
    rank_with_baseline,
    rank_with_model,
    tabulate_leaderboard,
)
from diffurecsys.study import Cell, Study

EXAMPLES = ["sequences", "item_vocabulary", "train_examples", "validation_examples", "test_examples"]
RANKS = ["validation_ranks", "test_ranks"]


def create_pipeline(study: Study) -> Pipeline:
    """Rank with every cell of the study, then compare means over seeds."""
    models = pipeline(
        [
            node(
                rank_with_model,
                inputs=["params:cell", "params:evaluation", "weights", *EXAMPLES],
                outputs=RANKS,
                name="rank_with_model",
            ),
            node(
                compute_model_metrics,
                inputs=["params:cell", "params:evaluation", *RANKS, "history", "training_summary"],
                outputs="metrics",
                name="compute_model_metrics",
            ),
        ]
    )
    baselines = pipeline(
        [
            node(
                rank_with_baseline,
                inputs=["params:cell", "params:evaluation", *EXAMPLES],
                outputs=RANKS,
                name="rank_with_baseline",
            ),
            node(
                compute_baseline_metrics,
                inputs=["params:cell", "params:evaluation", *RANKS],
                outputs="metrics",
                name="compute_baseline_metrics",
            ),
        ]
    )
    names = (*study.models, *dict.fromkeys(cell.model for cell in study.varied), *study.baselines)
    return (
        per_cell(models, study.trained, own=["weights", "history", "training_summary"])
        + per_cell(baselines, study.untrained)
        + sum((_collect(study.cells_of(name)) for name in names), start=Pipeline([]))
        + _leaderboard(study)
    )


def _leaderboard(study: Study) -> Pipeline:
    """Put all models and baselines side by side."""
    results = [f"{name}_results" for name in (*study.models, *study.baselines)]
    return pipeline(
        [
            node(
                tabulate_leaderboard,
                inputs=["params:study", "params:dataset", *results],
                outputs=["leaderboard", "leaderboard_plot"],
                name="tabulate_leaderboard",
                tags=ALWAYS,
            ),
        ]
    )


def _collect(cells: Sequence[Cell]) -> Pipeline:
    """Collect ranks and metrics of a model's cells inside the model's namespace."""
    keys = [cell.seed for cell in cells]
    ranks = node(
        collect_ranks,
        inputs=[f"{split}_{key}" for key in keys for split in RANKS],
        outputs="ranks",
        name="collect_ranks",
        tags=ALWAYS,
    )
    results = node(
        collect_results,
        inputs=[f"metrics_{key}" for key in keys],
        outputs="results",
        name="collect_results",
        tags=ALWAYS,
    )
    return per_model(pipeline([ranks, results]), cells, own={"metrics": cells, **dict.fromkeys(RANKS, cells)})
