"""A study's report as one self-contained HTML page, as Markdown and as LaTeX tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from diffurecsys.columns import TEST
from diffurecsys.data.split import TRAINING, WITH_VALIDATION
from diffurecsys.evaluation.leaderboard import BASELINE, CONTROL, DECLARED_METRIC, Leaderboard, find_warnings
from diffurecsys.reporting.answer import answer
from diffurecsys.reporting.leaderboard_tables import ranking_text
from diffurecsys.reporting.paper import PaperResults
from diffurecsys.reporting.protocol import protocol_rows, reading_row
from diffurecsys.reporting.sections import PARTS
from diffurecsys.reporting.sections.base import Part, Results
from diffurecsys.reporting.svg import embed_figure
from diffurecsys.reporting.text_table import Table

Counts = Mapping[str, Mapping[str, int]]

FIRST_FIGURE = "leaderboard_figure"  # beside the answer
DEVIATIONS = "docs/deviations.md of the repository lists every deviation from the paper, and why."

LEARNT = {
    TRAINING: "the training part alone",
    WITH_VALIDATION: "training and validation targets, by every ranker, for as many epochs as validation chose",
}

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
    "▲": r"$\uparrow$",
    "▼": r"$\downarrow$",
    "·": r"$\cdot$",
    "°": r"$^\circ$",
}


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes:
        title: its heading.
        sentences: what its numbers say.
        tables: its tables.
        figures: names of the figures that it shows where they are given.
    """

    title: str
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]
    figures: tuple[str, ...]

    @property
    def anchor(self) -> str:
        """Its name in links."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


@dataclass(frozen=True)
class Report:
    """All the text of a report.

    Attributes:
        title: names the experiment and the dataset.
        answer: what came out, in few sentences.
        warnings: what limits the results.
        setup: what was run, as (label, value).
        sections: everything else, in order.
        left_out: sections without numbers, and why they have none.
        reading: how to read the tables.
        source: where the paper's numbers are from; None on other datasets.
        caveat: what to know before comparing with them.
    """

    title: str
    answer: tuple[str, ...]
    warnings: tuple[str, ...]
    setup: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    left_out: tuple[str, ...]
    reading: tuple[str, ...]
    source: str | None
    caveat: str | None

    @property
    def tables(self) -> tuple[Table, ...]:
        """All tables, in order."""
        return tuple(table for section in self.sections for table in section.tables)


def write_report(
    results: Results,
    *,
    found: frozenset[str],
    experiment: str,
    dataset: str,
    counts: Counts,
    protocol: str,
    run: Mapping[str, str],
    warnings: Sequence[str] = (),
) -> Report:
    """Put a report's text together.

    Args:
        results: all numbers.
        found: tables, maps and properties of the study that sections can ask for, see `found_in`.
        experiment: its name.
        dataset: name of its dataset.
        counts: `raw` (as downloaded) and `core` (after filtering), each with `users`, `items`, `interactions`;
            and more, see `reporting.protocol`.
        protocol: how events were split.
        run: `command`, `date` and `revision` of the run.
        warnings: further ones.
    """
    there = [part for part in PARTS if found.issuperset(part.needs)]
    sections = [_section(part, results, found) for part in there]
    paper = results.paper
    return Report(
        title=f"{experiment}: sequential recommenders on {dataset}",
        answer=answer(results),
        warnings=(*find_warnings(results.leaderboard), *warnings),
        setup=tuple(_setup(results, dataset, counts, protocol, run)),
        sections=tuple(part for part in sections if part.sentences or part.tables or part.figures),
        left_out=tuple(f"{part.title}: {part.absent}." for part in PARTS if part not in there and part.absent),
        reading=tuple(_reading(paper)),
        source=paper.source if paper else None,
        caveat=paper.caveat if paper else None,
    )


def _section(part: Part, results: Results, found: frozenset[str]) -> Section:
    text, made = part.write(results), part.made(found)
    tables = tuple(replace(table, scope=table.scope or _scope(results.leaderboard)) for table in text.tables)
    return Section(part.title, text.sentences, tables, tuple(one.name for one in made if one in part.figures))


def _scope(board: Leaderboard) -> str:
    """Say of what tables are that do not say it themselves."""
    seeds = _seed_counts(board)
    trained = f"{seeds} training seed{'' if seeds == '1' else 's'} a ranker that trains" if seeds else "nothing trained"
    return f"{TEST.capitalize()} targets; {ranking_text(board.ranking)}; {trained}."


def _seed_counts(board: Leaderboard) -> str:
    counts = sorted({board.score(name, TEST, board.metrics[0]).n_seeds for name in board.trained})
    return " to ".join(str(count) for count in dict.fromkeys((*counts[:1], *counts[-1:])))


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
        figures: drawn into the page as SVG, by the name under which a section asks for them.
    """
    drawings = {
        name: embed_figure(figure, name.removesuffix("_figure").replace("_", " "), prefix=f"figure-{number}")
        for number, (name, figure) in enumerate((figures or {}).items(), start=1)
    }
    return environment().get_template("report.html.j2").render(report=report, figures=drawings, first=FIRST_FIGURE)


def _setup(
    results: Results, dataset: str, counts: Counts, protocol: str, run: Mapping[str, str]
) -> list[tuple[str, str]]:
    board = results.leaderboard
    primary, other = board.rankings
    rows = [
        ("Dataset", dataset),
        ("After filtering", _count(counts["core"])),
        ("Before filtering", _count(counts["raw"])),
        *reading_row(counts),
        *protocol_rows(protocol, counts),
        ("Learnt from before test", LEARNT[results.study.final_fit_on]),
        (
            "Ranking",
            f"of the whole catalogue of {counts['core']['items']:,} items: {ranking_text(primary)} (tests, groups and "
            f"figures); beside it {ranking_text(other)}",
        ),
        ("Models", ", ".join(board.models)),
        ("Controls", ", ".join(board.with_role(CONTROL))),
        ("Baselines", ", ".join(board.with_role(BASELINE))),
        ("Seeds of each that trains", _seed_counts(board)),
        ("Not finished, left out", "; ".join(results.study.left_out)),
        ("Trained on", ", ".join(board.devices)),
        ("Command", run["command"]),
        ("Date", run["date"]),
        ("Code", run["revision"]),
    ]
    return [(label, value) for label, value in rows if value]


def _count(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[name]:,} {name}" for name in ("users", "items", "interactions"))


def _reading(paper: PaperResults | None) -> list[str]:
    lines = [
        "HR@K is the share of users whose target is among the first K; NDCG@K weighs it by 1 / log2(rank + 1); MRR is "
        "the mean of 1 / rank. Higher is better. Where items have exactly the target's score, a metric is its "
        "expectation when ties are broken at random.",
        "Rankers that train: mean ± sample standard deviation over seeds; it tells how much the seed matters, not "
        "whether a difference is significant. Others draw nothing, so they have one value and no seeds.",
        "Models are what the study is about, controls lack what makes a model, baselines are what a model has to beat.",
        "Numbers are cut off after four decimals, never rounded up. Bold is the highest mean of a column.",
        f"Each ranker's weights are those of the epoch with the best validation {DECLARED_METRIC}, so its validation "
        "scores flatter it; compare rankers on test.",
        "Seconds are of training or counting, without validation; labels/s are the targets that training compares in a "
        "second.",
        "A target that the user had before is not among unseen items: it gets the last rank there.",
    ]
    if paper:
        lines.append("Rows marked paper repeat the paper's numbers, which rank all items, the same under both splits.")
        lines.append(DEVIATIONS)
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
