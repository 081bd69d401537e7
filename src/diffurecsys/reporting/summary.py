"""One page over all experiments that have a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from diffurecsys.columns import TEST
from diffurecsys.evaluation.leaderboard import DECLARED_METRIC, Leaderboard
from diffurecsys.evaluation.ranks import ALL
from diffurecsys.reporting.leaderboard_tables import format_score, format_seconds, format_seeds
from diffurecsys.reporting.paper import PaperResults
from diffurecsys.reporting.report import Report, environment
from diffurecsys.reporting.text_table import NOTHING, Line, Table

Record = Mapping[str, Any]

METRICS = ("HR@10", DECLARED_METRIC)


def make_record(
    leaderboard: Leaderboard, report: Report, *, experiment: str, dataset: str, paper: PaperResults | None
) -> dict[str, Any]:
    """Return what the summary needs of one experiment, as JSON knows it.

    Args:
        leaderboard: its results.
        report: its report.
        experiment: its name.
        dataset: name of its dataset.
        paper: the paper's results on the dataset.
    """
    metrics = [metric for metric in METRICS if metric in leaderboard.metrics] or list(leaderboard.metrics[:1])
    lines = []
    comparable = paper if leaderboard.ranking == ALL else None
    for name in leaderboard.names:
        scores = {metric: format_score(leaderboard.score(name, TEST, metric)) for metric in metrics}
        printed = {metric: comparable.score(name, metric) if comparable else None for metric in metrics}
        lines.append(
            {
                "model": name,
                "scores": scores,
                "paper": {key: format_score(value) if value else NOTHING for key, value in printed.items()},
                "seconds": format_seconds(leaderboard.training_seconds(name)),
                "seeds": leaderboard.score(name, TEST, metrics[0]).n_seeds,
            }
        )
    return {
        "experiment": experiment,
        "dataset": dataset,
        "metrics": metrics,
        "setup": dict(report.setup),
        "answer": list(report.answer),
        "warnings": list(report.warnings),
        "lines": lines,
    }


def summary_table(records: Iterable[Record]) -> Table:
    """Put the models of all experiments into one table."""
    lines, known = [], tuple(records)
    printed = any(text != NOTHING for record in known for line in record["lines"] for text in line["paper"].values())
    kinds = {"scores": "test {}", "paper": "paper's"} if printed else {"scores": "test {}"}
    for record in known:
        for line in record["lines"]:
            texts = [line[kind].get(metric, NOTHING) for metric in METRICS for kind in kinds]
            cells = (record["experiment"], record["dataset"], line["model"], *texts, line["seconds"])
            lines.append(Line((*cells, format_seeds(line["seeds"]))))
    headings = [heading.format(metric) for metric in METRICS for heading in kinds.values()]
    return Table(
        "summary",
        "All experiments",
        ("experiment", "dataset", "ranker", *headings, "training seconds", "seeds"),
        tuple(lines),
        "Mean ± standard deviation over seeds, in each experiment's primary ranking. Experiments differ in network, "
        "epochs and hardware: see their reports.",
    )


def render_summary(records: Sequence[Record], template: str) -> str:
    """Return the summary by a template, `summary.html.j2` or `summary.md.j2`.

    Raises:
        ValueError: there is no experiment.
    """
    if not records:
        raise ValueError("there is no experiment to sum up: run the pipeline `reporting` of one")
    return environment().get_template(template).render(records=records, table=summary_table(records))
