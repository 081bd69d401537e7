"""A study's report as one self-contained HTML page and as Markdown: what was run, what came out, how to read it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from diffurecsys.evaluation.leaderboard import DECLARED_METRIC, SPLITS, Leaderboard, find_warnings
from diffurecsys.reporting.figures import INK, RULE
from diffurecsys.reporting.paper import PaperResults, compare_with_paper
from diffurecsys.reporting.tables import SplitTable, split_table

Counts = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Report:
    """All the text of a report.

    Attributes:
        title: names the experiment and the dataset.
        setup: what was run, as (label, value).
        tables: the leaderboard, one a split.
        warnings: what limits the results.
        comparison: the study's numbers against the paper's.
        reading: how to read the tables.
        source: where the paper's numbers are from; None on other datasets.
        caveat: what to know before comparing with them.
    """

    title: str
    setup: tuple[tuple[str, str], ...]
    tables: tuple[SplitTable, ...]
    warnings: tuple[str, ...]
    comparison: tuple[str, ...]
    reading: tuple[str, ...]
    source: str | None
    caveat: str | None


def write_report(
    leaderboard: Leaderboard,
    *,
    experiment: str,
    dataset: str,
    counts: Counts,
    paper: PaperResults | None = None,
    revision: str | None = None,
) -> Report:
    """Put a report's text together.

    Args:
        leaderboard: the study's results.
        experiment: name of the experiment.
        dataset: name of its dataset.
        counts: `raw` (as downloaded) and `core` (after filtering), each with `users`, `items`, `interactions`.
        paper: the paper's results on the dataset.
        revision: of the code, if known.
    """
    return Report(
        title=f"{experiment}: leaderboard on {dataset}",
        setup=tuple(_setup(leaderboard, dataset, counts, revision)),
        tables=tuple(split_table(leaderboard, split, paper) for split in SPLITS),
        warnings=tuple(find_warnings(leaderboard)),
        comparison=tuple(compare_with_paper(leaderboard, paper)) if paper else (),
        reading=tuple(_reading(leaderboard, paper)),
        source=paper.source if paper else None,
        caveat=paper.caveat if paper else None,
    )


def render_markdown(report: Report) -> str:
    """Return the report as Markdown, ending with a newline."""
    return _environment().get_template("report.md.j2").render(report=report)


def render_html(report: Report, figures: Mapping[str, Figure] | None = None) -> str:
    """Return the report as one HTML page that requests nothing else; ends with a newline.

    Args:
        report: its text.
        figures: drawn into the page as SVG, by heading.
    """
    drawings = {
        heading: embed_svg(figure, heading, prefix=f"figure-{number}")
        for number, (heading, figure) in enumerate((figures or {}).items(), start=1)
    }
    return _environment().get_template("report.html.j2").render(report=report, figures=drawings)


def embed_svg(figure: Figure, label: str, *, prefix: str) -> Markup:
    """Return a figure as an SVG element for an HTML page, the same bytes for the same figure.

    Ink and rules take the page's CSS variables `--ink` and `--rule`, so that the figure follows its colour scheme.

    Args:
        figure: what to embed.
        label: read out by screen readers.
        prefix: of all ids, unique in the page.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = svg.replace('href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    svg = svg.replace(INK, "var(--ink)").replace(RULE, "var(--rule)")
    svg = re.sub(r'<svg\b([^>]*?) width="[^"]*"', r"<svg\1", svg, count=1)
    svg = re.sub(r'<svg\b([^>]*?) height="[^"]*"', r"<svg\1", svg, count=1)
    return Markup('<svg role="img" aria-label="{}"').format(label) + Markup(svg.removeprefix("<svg"))


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


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("diffurecsys.reporting"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
