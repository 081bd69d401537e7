"""Reporting: figures, the report of the study, and a page over all experiments."""

from __future__ import annotations

from dataclasses import fields

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.pipelines.conventions import ALWAYS
from diffurecsys.pipelines.reporting.nodes import FIGURES, MAPS, plot_target_map, report_study, summarise_experiments
from diffurecsys.reporting.sections import StudyTables
from diffurecsys.study import Study

OUTPUTS = (
    "forest_plot",
    "training_times",
    "paper_comparison",
    "report_html",
    "report_markdown",
    "report_tables",
    "summary_record",
)


def create_pipeline(study: Study) -> Pipeline:
    """Report the study."""
    results = [f"{name}_results" for name in (*study.models, *study.baselines)]
    maps = [f"{model}_{kind}" for model in study.models for kind in MAPS]
    tables = [field.name for field in fields(StudyTables)]
    figures = [name for name in FIGURES if study.varied or name != "sweep_figure"]
    return pipeline(
        [
            node(
                report_study,
                inputs=[
                    "params:study",
                    "params:significance",
                    "params:experiment",
                    "params:dataset",
                    "counts",
                    *tables,
                    *results,
                    *maps,
                ],
                outputs={name: name for name in (*figures, *OUTPUTS)},
                name="report_study",
                tags=ALWAYS,
            ),
            node(
                summarise_experiments,
                inputs=["reporting_folder", "summary_record", "report_html"],
                outputs=["summary_html", "summary_markdown"],
                name="summarise_experiments",
                tags=ALWAYS,
            ),
        ]
    ) + sum((_plots(model) for model in study.models), start=Pipeline([]))


def _plots(model: str) -> Pipeline:
    """Draw a model's interactive map inside its namespace."""
    base = pipeline(
        [node(plot_target_map, inputs="target_map", outputs="target_map_plot", name="plot_target_map", tags=ALWAYS)]
    )
    return pipeline(
        base,
        namespace=model,
        inputs={"target_map": f"{model}_target_map"},
        outputs={"target_map_plot": f"{model}_target_map_plot"},
    )
