"""Nodes that sum up a study: leaderboard, figures, report."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure

from diffurecsys.config import DatasetParameters, StudyParameters
from diffurecsys.evaluation.leaderboard import Leaderboard, build_leaderboard, find_warnings
from diffurecsys.reporting.figures import draw_curves, draw_leaderboard, plotly_leaderboard
from diffurecsys.reporting.paper import paper_results
from diffurecsys.reporting.report import render_html, render_markdown, write_report
from diffurecsys.reporting.tables import wide_table

logger = logging.getLogger(__name__)

Results = list[dict[str, Any]]


def tabulate_leaderboard(
    study: StudyParameters, dataset: DatasetParameters, *results: Results
) -> tuple[pd.DataFrame, go.Figure]:
    """Put mean and standard deviation over seeds of all models and baselines into a table and an interactive plot."""
    leaderboard, paper = _leaderboard(study, results), paper_results(dataset.name)
    for sentence in find_warnings(leaderboard):
        logger.warning(sentence)
    return wide_table(leaderboard, paper), plotly_leaderboard(leaderboard, paper)


def report_study(
    study: StudyParameters,
    experiment: str,
    dataset: DatasetParameters,
    counts: dict[str, Any],
    *results: Results,
) -> tuple[Figure, Figure, str, str]:
    """Write the study's report.

    Returns:
        Leaderboard figure, training curves, HTML page, Markdown.
    """
    leaderboard, paper = _leaderboard(study, results), paper_results(dataset.name)
    report = write_report(leaderboard, experiment=experiment, dataset=dataset.name, counts=counts, paper=paper)
    histories = {
        (cell["model"], cell["seed"]): pd.DataFrame(cell["history"])
        for model in results
        for cell in model
        if "history" in cell
    }
    standings, curves = draw_leaderboard(leaderboard, paper), draw_curves(histories)
    html = render_html(report, {"Leaderboard": standings, "Training": curves})
    return standings, curves, html, render_markdown(report)


def _leaderboard(study: StudyParameters, results: tuple[Results, ...]) -> Leaderboard:
    cells = [cell for model in results for cell in model]
    return build_leaderboard(cells, models=study.models, baselines=study.baselines)
