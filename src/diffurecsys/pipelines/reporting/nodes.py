"""Nodes that turn a study's tables into figures, a report, a summary of all experiments, and last words."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from diffurecsys.data.split import StudyData
from diffurecsys.evaluation.significance.seeds import few_seeds_warning
from diffurecsys.objects import place_of
from diffurecsys.pipelines.scores import study_leaderboard
from diffurecsys.reporting.answer import closing_words
from diffurecsys.reporting.paper import paper_results
from diffurecsys.reporting.report import render_html, render_latex, render_markdown, write_report
from diffurecsys.reporting.sections import PARTS, found_in
from diffurecsys.reporting.sections.base import Results
from diffurecsys.reporting.summary import make_record, render_summary
from diffurecsys.study import Study

if TYPE_CHECKING:
    from diffurecsys.data.specs import DatasetSpec
    from diffurecsys.parameters import EvaluationParameters, SignificanceParameters

logger = logging.getLogger(__name__)


def report_study(
    study: Study,
    evaluation: EvaluationParameters,
    significance: SignificanceParameters,
    experiment: str,
    dataset: DatasetSpec,
    run: Mapping[str, str],
    counts: dict[str, Any],
    data: StudyData,
    study_ranks: pd.DataFrame,
    study_cells: pd.DataFrame,
    study_curves: pd.DataFrame,
    **tables: pd.DataFrame,
) -> dict[str, Any]:
    """Let every section draw and write what it can, and put the report together.

    Args:
        study: the grid.
        evaluation: cut-offs and primary ranking.
        significance: level of the intervals.
        experiment: its name.
        dataset: its dataset.
        run: command, date and revision.
        counts: of users, items and interactions.
        data: sequences and split.
        study_ranks: all ranks.
        study_cells: what is known of each cell.
        study_curves: all trainings' epochs.
        tables: what the stages wrote: `comparisons_table`, `diffurec__target_map`, …

    Returns:
        By dataset: what the sections made, the report in three forms, and the experiment's record.
    """
    leaderboard = study_leaderboard(study, evaluation, significance, study_ranks, study_cells)
    paper = paper_results(dataset.name)
    maps: dict[str, dict[str, pd.DataFrame]] = {}
    for name, table in tables.items():
        ranker, _, kind = name.rpartition("__")
        if ranker:
            maps.setdefault(kind, {})[ranker] = table
    results = Results(
        study=study,
        leaderboard=leaderboard,
        cells=study_cells,
        curves=study_curves,
        paper=paper,
        confidence=significance.confidence,
        n_items=counts["core"]["items"],
        tables=tables,
        maps=maps,
    )
    found = found_in(study, [name.replace("__", ".") for name in tables])
    report = write_report(
        results,
        found=found,
        experiment=experiment,
        dataset=dataset.name,
        counts=counts,
        protocol=data.split.protocol,
        run=run,
        warnings=few_seeds_warning(
            {name: len(study.cells_of(name)) for name in study.names if study.spec(name).trains}
        ),
    )
    for sentence in report.warnings:
        logger.warning(sentence)
    made = {one.name: one.make(results) for part in PARTS for one in part.made(found)}
    figures = {name: figure for name, figure in made.items() if name.endswith("_figure")}
    return {
        **made,
        "report_html": render_html(report, figures),
        "report_md": render_markdown(report),
        "report_tex": render_latex(report),
        "summary_record": make_record(leaderboard, report, experiment=experiment, dataset=dataset.name, paper=paper),
    }


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
            if "answer" in record:  # earlier versions wrote other records
                records[folder.parent.name] = _linked(record, reporting_folder)
    ordered = [records[name] for name in sorted(records)]
    return render_summary(ordered, "summary.html.j2"), render_summary(ordered, "summary.md.j2")


def close_study(reporting_folder: Path, summary_record: dict[str, Any], _summary: str) -> str:
    """Say at the end of a run what came out and where the report lies."""
    page = reporting_folder / str(_linked(summary_record, reporting_folder)["link"])
    lines = closing_words(summary_record["answer"], place_of(page))
    for line in lines:
        logger.info(line)
    return "\n".join(lines) + "\n"


def _linked(record: dict[str, Any], reporting_folder: Path) -> dict[str, Any]:
    """Add where the newest report of the record's experiment lies, seen from the summary."""
    pages = sorted((reporting_folder / record["experiment"]).glob("report.html/*/report.html"))
    return {**record, "link": pages[-1].relative_to(reporting_folder).as_posix() if pages else ""}
