"""A study's report as one self-contained HTML page, as Markdown and as LaTeX tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from diffurecsys.evaluation.leaderboard import DECLARED_METRIC, SPLITS, Leaderboard, find_warnings
from diffurecsys.reporting.paper import PaperResults
from diffurecsys.reporting.sections import Section, StudyTables, headline, study_sections
from diffurecsys.reporting.svg import embed_svg
from diffurecsys.reporting.text_table import Table
from diffurecsys.reporting.leaderboard_tables import leaderboard_table

Counts = Mapping[str, Mapping[str, int]]

LATEX = {
    "\\": r"\textbackslash{}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
    "–": "--",
    "∞": r"$\infty$",
    "δ": r"$\delta$",
    "≥": r"$\geq$",
    "√": r"$\surd$",
}


@dataclass(frozen=True)
class Report:
    """All the text of a report.

    Attributes:
        title: names the experiment and the dataset.
        verdicts: the main comparisons in words.
        warnings: what limits the results.
        setup: what was run, as (label, value).
        leaderboards: one a split.
        sections: everything else, in order.
        reading: how to read the tables.
        source: where the paper's numbers are from; None on other datasets.
        caveat: what to know before comparing with them.
    """

    title: str
    verdicts: tuple[str, ...]
    warnings: tuple[str, ...]
    setup: tuple[tuple[str, str], ...]
    leaderboards: tuple[Table, ...]
    sections: tuple[Section, ...]
    reading: tuple[str, ...]
    source: str | None
    caveat: str | None

    @property
    def tables(self) -> tuple[Table, ...]:
        """All tables, in order."""
        return self.leaderboards + tuple(table for section in self.sections for table in section.tables)


def write_report(
    leaderboard: Leaderboard,
    *,
    experiment: str,
    dataset: str,
    counts: Counts,
    paper: PaperResults | None = None,
    revision: str | None = None,
    study: StudyTables | None = None,
    warnings: Sequence[str] = (),
) -> Report:
    """Put a report's text together.

    Args:
        leaderboard: the study's results.
        experiment: name of the experiment.
        dataset: name of its dataset.
        counts: `raw` (as downloaded) and `core` (after filtering), each with `users`, `items`, `interactions`.
        paper: the paper's results on the dataset.
        revision: of the code, if known.
        study: tables of significance and analysis; None leaves their sections out.
        warnings: further ones.
    """
    return Report(
        title=f"{experiment}: diffusion recommenders on {dataset}",
        verdicts=tuple(headline(study)) if study else (),
        warnings=(*find_warnings(leaderboard), *warnings),
        setup=tuple(_setup(leaderboard, dataset, counts, revision)),
        leaderboards=tuple(leaderboard_table(leaderboard, split, paper) for split in SPLITS),
        sections=tuple(study_sections(leaderboard, paper, study)),
        reading=tuple(_reading(leaderboard, paper)),
        source=paper.source if paper else None,
        caveat=paper.caveat if paper else None,
    )


def render_markdown(report: Report) -> str:
    """Return the report as Markdown, ending with a newline."""
    return environment().get_template("report.md.j2").render(report=report)


def render_latex(report: Report) -> str:
    """Return all tables for a LaTeX document that loads booktabs and graphicx; ends with a newline."""
    return environment().get_template("tables.tex.j2").render(report=report)


def render_html(report: Report, figures: Mapping[str, Figure] | None = None) -> str:
    """Return the report as one HTML page that requests nothing else; ends with a newline.

    Args:
        report: its text.
        figures: drawn into the page as SVG, by the name under which a section asks for them; those that no section
            asks for follow the leaderboards.
    """
    drawings = {
        name: embed_svg(figure, name, prefix=f"figure-{number}")
        for number, (name, figure) in enumerate((figures or {}).items(), start=1)
    }
    asked = {name for section in report.sections for name in section.figures}
    first = {name: drawing for name, drawing in drawings.items() if name not in asked}
    return environment().get_template("report.html.j2").render(report=report, figures=drawings, first=first)


def _setup(leaderboard: Leaderboard, dataset: str, counts: Counts, revision: str | None) -> list[tuple[str, str]]:
    seeds = {leaderboard.score(model, SPLITS[0], leaderboard.metrics[0]).n_seeds for model in leaderboard.models}
    seen = "left out of" if leaderboard.exclude_seen else "kept in"
    rows = [
        ("Dataset", dataset),
        ("After filtering", _count(counts["core"])),
        ("Before filtering", _count(counts["raw"])),
        ("Split", "leave-one-out: each user's last item is the test target, the one before the validation target"),
        ("Ranking", f"the whole catalogue of {counts['core']['items']:,} items; seen items {seen} the ranking"),
        ("Models", ", ".join(leaderboard.models)),
        ("Baselines", ", ".join(leaderboard.baselines) or "none"),
        ("Seeds a model", " to ".join(str(count) for count in sorted({min(seeds), max(seeds)}))),
        ("Trained on", ", ".join(leaderboard.devices) or "unknown"),
    ]
    return [*rows, ("Code", revision)] if revision else rows


def _count(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[name]:,} {name}" for name in ("users", "items", "interactions"))


def _reading(leaderboard: Leaderboard, paper: PaperResults | None) -> list[str]:
    lines = [
        "HR@K is the share of users whose target is among the first K; NDCG@K weighs it by 1 / log2(rank + 1); MRR is "
        "the mean of 1 / rank. Higher is better. Tied items count as half ahead of the target.",
        "Models: mean ± sample standard deviation over seeds; it tells how much the seed matters, not whether a "
        "difference is significant. Baselines draw nothing, so they have one value.",
        "Numbers are cut off after four decimals, never rounded up. Bold is the highest mean of a column, paper aside.",
        f"Each model's weights are those of the epoch with the best validation {DECLARED_METRIC}, so its validation "
        "scores flatter it; compare models on test.",
        "Seconds are of training alone, without validation.",
    ]
    if leaderboard.exclude_seen:
        lines.append("A target that the user had before cannot be recommended and gets the last rank.")
    if paper:
        lines.append("Rows marked paper repeat the paper's numbers, the same under both splits.")
    return lines


def escape_latex(text: str) -> str:
    """Return text in which LaTeX's special characters stand for themselves."""
    return "".join(LATEX.get(character, character) for character in text)


@cache
def environment() -> Environment:
    """Return the templates' environment."""
    environment = Environment(
        loader=PackageLoader("diffurecsys.reporting"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["latex"] = escape_latex
    return environment
