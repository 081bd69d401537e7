"""Reporting: figures, the report of the study, a page over all experiments, and the run's last words."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node

from diffurecsys.pipelines import groups, inference, maps, significance, sweep
from diffurecsys.pipelines.boxes import box, safe
from diffurecsys.pipelines.conventions import ALWAYS
from diffurecsys.pipelines.reporting.nodes import close_study, report_study, summarise_experiments
from diffurecsys.reporting.sections import found_in, made_of
from diffurecsys.study import Study

STAGES = (significance, groups, inference, sweep, maps)
PARAMETERS = ("study", "evaluation", "significance", "experiment", "dataset", "run")
STUDY = ("counts", "study_ranks", "study_cells", "study_curves")
REPORTS = ("report_html", "report_md", "report_tex", "summary_record")


def create_pipeline(study: Study) -> Pipeline:
    """Report the study from whichever tables and maps it has."""
    tables = tables_of(study)
    made = made_of(found_in(study, tables.values()))
    return box(
        [
            node(
                report_study,
                inputs={
                    **{name: f"params:{name}" for name in PARAMETERS},
                    **{name: name for name in (*STUDY, *tables)},
                    "data": "split",
                },
                outputs={name: name for name in (*made, *REPORTS)},
                name="report_study",
                tags=ALWAYS,
            ),
            node(
                summarise_experiments,
                inputs={**{name: name for name in ("reporting_folder", "summary_record")}, "_report": "report_html"},
                outputs=["summary_html", "summary_md"],
                name="summarise_experiments",
                tags=ALWAYS,
            ),
            node(
                close_study,
                inputs={**{name: name for name in ("reporting_folder", "summary_record")}, "_summary": "summary_html"},
                outputs="report_txt",
                name="close_study",
                tags=ALWAYS,
            ),
        ],
        "reporting",
        renamed=tables,
    )


def tables_of(study: Study) -> dict[str, str]:
    """Return all tables and maps that the stages write for this study, by their `safe` names."""
    written = set().union(*(stage.create_pipeline(study).all_outputs() for stage in STAGES))
    return {safe(name): name for name in sorted(written) if name.endswith(("_table", "_map"))}
