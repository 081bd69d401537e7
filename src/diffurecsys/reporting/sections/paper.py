"""The study beside the paper's Tables 3 and 5; on the paper's datasets, for the paper's models."""

from __future__ import annotations

from diffurecsys.reporting.paper import PAPER_MODELS, compare_with_paper
from diffurecsys.reporting.paper_tables import (
    agreement,
    overall_comparison,
    overall_table,
    paper_comparison,
    paper_comparison_table,
)
from diffurecsys.reporting.sections.base import OF_THE_PAPER, Made, Part, Results, Text


def write(results: Results) -> Text:
    """Write our numbers beside the paper's, and to which split its numbers lie closer."""
    if results.paper is None:
        return Text()
    comparison = paper_comparison(results.leaderboard, results.paper)
    sentences = (*compare_with_paper(results.leaderboard, results.paper), *agreement(comparison))
    tables, overall = [paper_comparison_table(comparison)], overall_comparison(results.leaderboard, results.paper)
    if not set(overall.get("model", ())) <= set(PAPER_MODELS):  # Table 3 has those
        tables.append(overall_table(overall))
    return Text(sentences, tuple(tables))


PART = Part(
    "Against the paper",
    write,
    needs=(OF_THE_PAPER,),
    files=(Made("paper_comparison_table", lambda results: paper_comparison(results.leaderboard, results.paper)),),
)
