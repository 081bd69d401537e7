"""The leaderboard as tables: wide for files, ready-made text for pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan

import pandas as pd

from diffurecsys.evaluation.leaderboard import (
    BASELINE,
    KIND,
    MODEL,
    N_SEEDS,
    SPLIT,
    SPLITS,
    TRAINED,
    Leaderboard,
    Score,
    cut,
)
from diffurecsys.reporting.paper import PaperResults
from diffurecsys.reporting.text_table import NOTHING, Line, Table


@dataclass(frozen=True)
class Entry:
    """One number of a table as text; `best` marks the highest mean of its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        model: name of the model or baseline.
        kind: `model`, `baseline`, or `paper` for what the paper printed for the model above.
        entries: one a metric.
        seconds: of training.
        seeds: number of seeds.
    """

    model: str
    kind: str
    entries: tuple[Entry, ...]
    seconds: str
    seeds: str


@dataclass(frozen=True)
class SplitTable:
    """The leaderboard of one split."""

    split: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]


def format_score(score: Score) -> str:
    """Return `0.0534 ± 0.0012`, cut off; the mean alone where there is no standard deviation."""
    mean = cut(score.mean)
    return mean if isnan(score.std) else f"{mean} ± {cut(score.std)}"


def format_seconds(score: Score) -> str:
    """Return `135.2 ± 0.8`, or the mean alone where there is no standard deviation."""
    if isnan(score.mean):
        return NOTHING
    return f"{score.mean:,.1f}" if isnan(score.std) else f"{score.mean:,.1f} ± {score.std:,.1f}"


def wide_table(leaderboard: Leaderboard, paper: PaperResults | None = None) -> pd.DataFrame:
    """Return one row a split and model, all digits.

    Columns: model, kind, split; of every metric `<metric>_mean`, `<metric>_std` and, on the paper's datasets,
    `<metric>_paper`; of `training_seconds` the same; n_seeds; exclude_seen.
    """
    kinds = {**dict.fromkeys(leaderboard.models, TRAINED), **dict.fromkeys(leaderboard.baselines, BASELINE)}
    return pd.DataFrame(
        [
            {
                MODEL: model,
                KIND: kind,
                SPLIT: split,
                **_metric_columns(leaderboard, model, split, paper),
                **_seconds_columns(leaderboard, model, paper),
                N_SEEDS: leaderboard.score(model, split, leaderboard.metrics[0]).n_seeds,
                "exclude_seen": leaderboard.exclude_seen,
            }
            for split in SPLITS
            for model, kind in kinds.items()
        ]
    )


def split_table(leaderboard: Leaderboard, split: str, paper: PaperResults | None = None) -> SplitTable:
    """Return the leaderboard of a split as text, each model followed by the paper's numbers for it."""
    names = (*leaderboard.models, *leaderboard.baselines)
    best = {
        metric: max(leaderboard.score(name, split, metric).mean for name in names) for metric in leaderboard.metrics
    }
    rows = []
    for name in names:
        rows.append(_own_row(leaderboard, name, split, best))
        if paper is not None and name in paper.scores:
            rows.append(_paper_row(paper, name, leaderboard.metrics))
    return SplitTable(split, leaderboard.metrics, tuple(rows))


def leaderboard_table(leaderboard: Leaderboard, split: str, paper: PaperResults | None = None) -> Table:
    """Return `split_table` for pages."""
    found = split_table(leaderboard, split, paper)
    lines = tuple(
        Line(
            (_line_name(row), *(entry.text for entry in row.entries), row.seconds, row.seeds),
            row.kind,
            frozenset(place for place, entry in enumerate(row.entries, start=1) if entry.best),
        )
        for row in found.rows
    )
    columns = ("model", *found.metrics, "seconds", "seeds")
    return Table(f"leaderboard_{split}", split.capitalize(), columns, lines, "Mean ± standard deviation over seeds.")


def _line_name(row: Row) -> str:
    names = {"paper": f"paper's {row.model}", BASELINE: f"{row.model} (baseline)"}
    return names.get(row.kind, row.model)


def _own_row(leaderboard: Leaderboard, name: str, split: str, best: Mapping[str, float]) -> Row:
    scores = {metric: leaderboard.score(name, split, metric) for metric in leaderboard.metrics}
    return Row(
        model=name,
        kind=TRAINED if name in leaderboard.models else BASELINE,
        entries=tuple(Entry(format_score(score), score.mean >= best[metric]) for metric, score in scores.items()),
        seconds=format_seconds(leaderboard.training_seconds(name)),
        seeds=_seeds(next(iter(scores.values()))),
    )


def _paper_row(paper: PaperResults, name: str, metrics: tuple[str, ...]) -> Row:
    printed = [paper.score(name, metric) for metric in metrics]
    seconds = paper.training_seconds.get(name)
    return Row(
        model=name,
        kind="paper",
        entries=tuple(Entry(NOTHING if score is None else format_score(score)) for score in printed),
        seconds=NOTHING if seconds is None else f"{seconds:,.1f}",
        seeds=_seeds(next(iter(paper.scores[name].values()))),
    )


def _seeds(score: Score) -> str:
    return str(score.n_seeds) if score.n_seeds else NOTHING


def _metric_columns(
    leaderboard: Leaderboard, model: str, split: str, paper: PaperResults | None
) -> dict[str, float | None]:
    columns: dict[str, float | None] = {}
    for metric in leaderboard.metrics:
        score = leaderboard.score(model, split, metric)
        columns |= {f"{metric}_mean": score.mean, f"{metric}_std": score.std}
        if paper is not None and any(metric in printed for printed in paper.scores.values()):
            printed = paper.score(model, metric)
            columns[f"{metric}_paper"] = None if printed is None else printed.mean
    return columns


def _seconds_columns(leaderboard: Leaderboard, model: str, paper: PaperResults | None) -> dict[str, float | None]:
    seconds = leaderboard.training_seconds(model)
    columns: dict[str, float | None] = {"training_seconds_mean": seconds.mean, "training_seconds_std": seconds.std}
    if paper is not None:
        columns["training_seconds_paper"] = paper.training_seconds.get(model)
    return columns
