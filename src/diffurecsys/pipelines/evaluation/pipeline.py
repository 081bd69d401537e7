"""Evaluation: ranks and metrics of every cell, then the study's tables and report."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.pipelines.conventions import ALWAYS, per_cell
from diffurecsys.pipelines.evaluation.nodes import (
    collect_results,
    compute_baseline_metrics,
    compute_model_metrics,
    rank_with_baseline,
    rank_with_model,
)
from diffurecsys.pipelines.evaluation.report_nodes import report_study, tabulate_leaderboard
from diffurecsys.study import Study

EXAMPLES = ["sequences", "item_vocabulary", "train_examples", "validation_examples", "test_examples"]
RANKS = ["validation_ranks", "test_ranks"]


def create_pipeline(study: Study) -> Pipeline:
    """Rank with every cell of the study, then sum up."""
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
    return (
        per_cell(models, study.trained, own=["weights", "history", "training_summary"])
        + per_cell(baselines, study.untrained)
        + sum((_collect(model, study) for model in (*study.models, *study.baselines)), start=Pipeline([]))
        + _report(study)
    )


def _report(study: Study) -> Pipeline:
    """Sum up all models and baselines."""
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
            node(
                report_study,
                inputs=["params:study", "params:experiment", "params:dataset", "counts", *results],
                outputs=["leaderboard_figure", "training_curves", "report_html", "report_markdown"],
                name="report_study",
                tags=ALWAYS,
            ),
        ]
    )


def _collect(model: str, study: Study) -> Pipeline:
    """Collect the metrics of a model's cells inside the model's namespace."""
    cells = [cell for cell in study.cells if cell.model == model]
    names = {f"metrics_{cell.seed}": f"{cell.namespace}.metrics" for cell in cells}
    base = pipeline([node(collect_results, inputs=list(names), outputs="results", name="collect_results", tags=ALWAYS)])
    return pipeline(base, namespace=model, inputs=names, outputs={"results": f"{model}_results"})
