"""Nodes that turn a study's tables into figures, a report and a summary of all experiments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure

from diffurecsys.parameters import DatasetParameters, SignificanceParameters, StudyParameters
from diffurecsys.evaluation.significance.seeds import few_seeds_warning
from diffurecsys.pipelines.arrays import Results, study_leaderboard
from diffurecsys.reporting import sections
from diffurecsys.reporting.difference_figures import draw_forest, draw_groups, plotly_forest
from diffurecsys.reporting.figures import draw_curves, draw_leaderboard
from diffurecsys.reporting.inference_figures import draw_ensembles, draw_steps, draw_sweep
from diffurecsys.reporting.map_figures import draw_item_maps, draw_sample_maps, draw_target_maps, plotly_target_map
from diffurecsys.reporting.paper import paper_results
from diffurecsys.reporting.paper_tables import paper_comparison, training_times
from diffurecsys.reporting.report import render_html, render_latex, render_markdown, write_report
from diffurecsys.reporting.sections import StudyTables
from diffurecsys.reporting.summary import make_record, render_summary

FIGURES = {
    "leaderboard_figure": "Leaderboard",
    "training_curves": sections.CURVES,
    "forest_figure": sections.FOREST,
    "group_figure": sections.GROUPS,
    "steps_figure": sections.STEPS_FIGURE,
    "ensembles_figure": sections.ENSEMBLES,
    "target_maps_figure": sections.TARGETS,
    "sample_maps_figure": sections.SAMPLES,
    "item_maps_figure": sections.ITEMS,
    "sweep_figure": sections.SWEEP,
}
MAPS = ("target_map", "sample_map", "item_map")


def report_study(
    study: StudyParameters,
    significance: SignificanceParameters,
    experiment: str,
    dataset: DatasetParameters,
    counts: dict[str, Any],
    *tables: Any,  # noqa: ANN401 - the study's tables, then results, then maps
) -> dict[str, Any]:
    """Draw all figures and write the report.

    Args:
        study: the grid.
        significance: level of the intervals.
        experiment: name of the experiment.
        dataset: its dataset.
        counts: of users, items and interactions.
        tables: the fields of `StudyTables` in order; results of every model and baseline; `MAPS` of every model.

    Returns:
        By dataset: figures, report in three forms, tables that need the paper, and the experiment's record.
    """
    n_tables, n_results = len(StudyTables.__dataclass_fields__), len(study.models) + len(study.baselines)
    found = StudyTables(*tables[:n_tables])
    results: list[Results] = list(tables[n_tables : n_tables + n_results])
    maps = tables[n_tables + n_results :]
    leaderboard, paper = study_leaderboard(study, results), paper_results(dataset.name)
    report = write_report(
        leaderboard,
        experiment=experiment,
        dataset=dataset.name,
        counts=counts,
        paper=paper,
        study=found,
        warnings=few_seeds_warning(dict.fromkeys(study.models, study.n_seeds)),
    )
    figures = {
        "leaderboard_figure": draw_leaderboard(leaderboard, paper),
        "training_curves": draw_curves(_histories(results)),
        **_draw(study, significance, found, maps),
    }
    record = make_record(leaderboard, report, experiment=experiment, dataset=dataset.name, paper=paper)
    return {
        **figures,
        "forest_plot": plotly_forest(found.comparisons, confidence=significance.confidence),
        "training_times": training_times(leaderboard, paper),
        "report_html": render_html(report, {FIGURES[name]: figure for name, figure in figures.items()}),
        "report_markdown": render_markdown(report),
        "report_tables": render_latex(report),
        "summary_record": record,
        "paper_comparison": paper_comparison(leaderboard, paper) if paper else pd.DataFrame(columns=["model"]),
    }


def plot_target_map(target_map: pd.DataFrame) -> go.Figure:
    """Draw one model's map of reconstructed targets to be zoomed into."""
    return plotly_target_map(target_map)


def summarise_experiments(reporting_folder: Path, summary_record: dict[str, Any], _report: str) -> tuple[str, str]:
    """Write the page over all experiments: this one, and the newest record of every other.

    Returns:
        HTML and Markdown.
    """
    records = {summary_record["experiment"]: _linked(summary_record, reporting_folder)}
    for folder in sorted(reporting_folder.glob("*/summary_record.json")):
        versions = sorted(folder.glob("*/summary_record.json"))
        if versions and folder.parent.name not in records:
            record = json.loads(versions[-1].read_text(encoding="utf-8"))
            records[folder.parent.name] = _linked(record, reporting_folder)
    ordered = [records[name] for name in sorted(records)]
    return render_summary(ordered, "summary.html.j2"), render_summary(ordered, "summary.md.j2")


def _draw(
    study: StudyParameters, significance: SignificanceParameters, tables: StudyTables, maps: tuple[pd.DataFrame, ...]
) -> dict[str, Figure]:
    by_kind = {kind: dict(zip(study.models, maps[place :: len(MAPS)], strict=True)) for place, kind in enumerate(MAPS)}
    confidence, rankers = significance.confidence, (*study.models, *study.baselines)
    figures = {
        "forest_figure": draw_forest(tables.comparisons, baselines=study.baselines, confidence=confidence),
        "group_figure": draw_groups(tables.group_scores, models=rankers, confidence=confidence),
        "steps_figure": draw_steps(tables.inference, tables.step_times, models=study.models),
        "ensembles_figure": draw_ensembles(tables.inference, models=study.models),
        "target_maps_figure": draw_target_maps(by_kind["target_map"]),
        "sample_maps_figure": draw_sample_maps(by_kind["sample_map"]),
        "item_maps_figure": draw_item_maps(by_kind["item_map"]),
    }
    return {**figures, "sweep_figure": draw_sweep(tables.delta_sweep)} if len(tables.delta_sweep) else figures


def _histories(results: list[Results]) -> dict[tuple[str, int], pd.DataFrame]:
    return {
        (cell["model"], cell["seed"]): pd.DataFrame(cell["history"])
        for model in results
        for cell in model
        if "history" in cell
    }


def _linked(record: dict[str, Any], reporting_folder: Path) -> dict[str, Any]:
    """Add where the newest report of the record's experiment lies, seen from the summary."""
    pages = sorted((reporting_folder / record["experiment"]).glob("report.html/*/report.html"))
    return {**record, "link": pages[-1].relative_to(reporting_folder).as_posix() if pages else ""}
