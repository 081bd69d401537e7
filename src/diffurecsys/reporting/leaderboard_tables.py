"""The leaderboard as tables: wide for files, ready-made text for pages."""

from __future__ import annotations

from math import isnan

import pandas as pd

from diffurecsys.columns import MODEL, SPLIT, SPLITS
from diffurecsys.evaluation.leaderboard import N_SEEDS, RANKING, ROLE, TRAINED, Leaderboard, Score, cut
from diffurecsys.evaluation.ranks import ALL, Ranking
from diffurecsys.reporting.paper import PaperResults
from diffurecsys.reporting.text_table import NOTHING, Line, Table


def ranking_text(ranking: Ranking) -> str:
    """Say what is ranked."""
    return "all items ranked" if ranking == ALL else "items that the user had before left out of the ranking"


def format_score(score: Score) -> str:
    """Return `0.0534 ± 0.0012`, cut off; the mean alone where there is no standard deviation, a dash where neither."""
    if isnan(score.mean):
        return NOTHING
    mean = cut(score.mean)
    return mean if isnan(score.std) else f"{mean} ± {cut(score.std)}"


def format_seconds(score: Score) -> str:
    """Return `135.2 ± 0.8`, or the mean alone where there is no standard deviation."""
    if isnan(score.mean):
        return NOTHING
    return f"{score.mean:,.1f}" if isnan(score.std) else f"{score.mean:,.1f} ± {score.std:,.1f}"


def format_seeds(n_seeds: int) -> str:
    """Return how many seeds there are; a dash where nothing trains."""
    return str(n_seeds) if n_seeds else NOTHING


def wide_table(leaderboard: Leaderboard, paper: PaperResults | None = None) -> pd.DataFrame:
    """Return one row a split, ranking and ranker, all digits.

    Columns: model, role, split, ranking; of every metric `<metric>_mean`, `_std`, `_low`, `_high` (interval over users
    and seeds) and, on the paper's datasets, `_paper`; of `training_seconds` mean, std and paper; n_seeds.
    """
    return pd.DataFrame(
        [
            {
                MODEL: name,
                ROLE: leaderboard.role(name),
                SPLIT: split,
                RANKING: ranking,
                **_metric_columns(leaderboard, name, split, ranking, paper),
                **_seconds_columns(leaderboard, name, paper),
                N_SEEDS: leaderboard.score(name, split, leaderboard.metrics[0]).n_seeds,
            }
            for split in SPLITS
            for ranking in leaderboard.rankings
            for name in leaderboard.names
        ]
    )


def leaderboard_table(
    leaderboard: Leaderboard, split: str, ranking: Ranking, paper: PaperResults | None = None
) -> Table:
    """Return the leaderboard of a split and ranking as text, best first, each followed by the paper's numbers for it.

    The paper ranks all items, so it stands beside no other ranking.
    """
    metrics, declared = leaderboard.metrics, leaderboard.declared
    known = {name: leaderboard.score(name, split, declared, ranking).mean for name in leaderboard.names}
    ordered = sorted(known, key=lambda name: float("inf") if isnan(known[name]) else -known[name])
    scores = {name: [leaderboard.score(name, split, metric, ranking) for metric in metrics] for name in ordered}
    columns = zip(*([score.mean for score in row] for row in scores.values()), strict=True)
    best = [max((mean for mean in column if not isnan(mean)), default=0.0) for column in columns]
    lines = []
    for name, row in scores.items():
        role = leaderboard.role(name)
        cells = [
            name if role == TRAINED else f"{name} ({role})",
            *(format_score(score) for score in row),
            format_seconds(leaderboard.training_seconds(name)),
            format_seeds(row[0].n_seeds),
        ]
        highest = (place for place, score in enumerate(row) if score.mean >= best[place])
        lines.append(Line(tuple(cells), role, frozenset(place + 1 for place in highest)))
        if paper is not None and ranking == ALL and name in paper.scores:
            lines.append(_paper_line(paper, name, metrics))
    return Table(
        f"leaderboard_{split}_{ranking}",
        f"{split.capitalize()}, {ranking_text(ranking)}",
        ("ranker", *metrics, "seconds", "seeds"),
        tuple(lines),
        f"Mean ± standard deviation over seeds; sorted by {declared}.",
        scope=f"{split.capitalize()} targets; {ranking_text(ranking)}; seeds in the last column.",
    )


def _paper_line(paper: PaperResults, name: str, metrics: tuple[str, ...]) -> Line:
    printed = [paper.score(name, metric) for metric in metrics]
    seconds = paper.training_seconds.get(name)
    cells = (
        f"paper's {name}",
        *(NOTHING if score is None else format_score(score) for score in printed),
        NOTHING if seconds is None else f"{seconds:,.1f}",
        format_seeds(next(iter(paper.scores[name].values())).n_seeds),
    )
    return Line(cells, "paper")


def _metric_columns(
    leaderboard: Leaderboard, name: str, split: str, ranking: Ranking, paper: PaperResults | None
) -> dict[str, float | None]:
    columns: dict[str, float | None] = {}
    for metric in leaderboard.metrics:
        score = leaderboard.score(name, split, metric, ranking)
        columns |= {f"{metric}_{part}": getattr(score, part) for part in ("mean", "std", "low", "high")}
        if paper is not None and any(metric in printed for printed in paper.scores.values()):
            known = paper.score(name, metric) if ranking == ALL else None
            columns[f"{metric}_paper"] = None if known is None else known.mean
    return columns


def _seconds_columns(leaderboard: Leaderboard, name: str, paper: PaperResults | None) -> dict[str, float | None]:
    seconds = leaderboard.training_seconds(name)
    columns: dict[str, float | None] = {"training_seconds_mean": seconds.mean, "training_seconds_std": seconds.std}
    if paper is not None:
        columns["training_seconds_paper"] = paper.training_seconds.get(name)
    return columns
