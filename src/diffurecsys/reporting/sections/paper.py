"""The study beside the paper's Table 3; on the paper's datasets, for the paper's models."""

from __future__ import annotations

from diffurecsys.reporting.paper import compare_with_paper
from diffurecsys.reporting.paper_tables import agreement, paper_comparison, paper_comparison_table
from diffurecsys.reporting.sections.base import OF_THE_PAPER, Made, Part, Results, Text


def write(results: Results) -> Text:
    """Write our numbers beside the paper's, and to which split its numbers lie closer."""
    if results.paper is None:
        return Text()
    comparison = paper_comparison(results.leaderboard, results.paper)
    sentences = (*compare_with_paper(results.leaderboard, results.paper), *agreement(comparison))
    return Text(sentences, (paper_comparison_table(comparison),))


PART = Part(
    "Against the paper",
    write,
    needs=(OF_THE_PAPER,),
    files=(Made("paper_comparison_table", lambda results: paper_comparison(results.leaderboard, results.paper)),),
)
