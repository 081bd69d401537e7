"""What came out of a study, in three sentences: a report's first words, and a run's last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from diffurecsys.columns import TEST
from diffurecsys.evaluation.leaderboard import CONTROL, TRAINED, cut
from diffurecsys.reporting.leaderboard_tables import ranking_text
from diffurecsys.reporting.sections.base import Results
from diffurecsys.reporting.text_table import interval, join, seeds
from diffurecsys.reporting.verdicts import (
    ALIKE,
    BETTER,
    OPEN,
    WORSE,
    Row,
    apart_at_hand,
    comparable,
    conclude,
    contribution,
    describe,
    family_sizes,
    is_control,
    of_these_alone,
    rows_of,
)

COMPARISONS = "comparisons_table"
SWEEPS = "sweeps_table"
NOT_TESTED = "not tested"
SAID = {
    BETTER: "better than",
    ALIKE: "equivalent to",
    OPEN: "no difference shown to",
    WORSE: "worse than",
    NOT_TESTED: "not tested against",
}
MANY = 4  # others of which none needs to be named where the same is said of all
FLIPPED = {BETTER: WORSE, WORSE: BETTER, ALIKE: ALIKE, OPEN: OPEN}


def answer(results: Results) -> tuple[str, ...]:
    """Say which ranker is best, what the tests say of it, and where diffusion and its controls stand."""
    board = results.leaderboard
    best = board.best(board.names)
    assert best is not None  # a study has two rankers at least
    return (
        f"Best of {len(board.names)} rankers on {TEST} {board.declared} ({ranking_text(board.ranking)}): "
        f"{_standing(results, best)}.",
        _tests(results, best),
        _diffusion(results, best),
    )


def closing_words(sentences: Sequence[str], report: str) -> list[str]:
    """Return the lines with which a run ends.

    Args:
        sentences: of `answer`.
        report: where the report lies.
    """
    return [*sentences, f"The report: {report}"]


def _standing(results: Results, name: str) -> str:
    """Write `sasrec (baseline), 0.0430 [0.0410, 0.0450], 5 seeds`."""
    board = results.leaderboard
    score, role = board.score(name, TEST, board.declared), board.role(name)
    known = score.low == score.low  # not NaN
    return (
        f"{name}{'' if role == TRAINED else f' ({role})'}, {cut(score.mean)}"
        f"{f' {interval(score.low, score.high, scale=1, digits=4)}' if known else ''}, "
        f"{seeds(score.n_seeds) if score.n_seeds else 'no training'}"
    )


def _tests(results: Results, best: str) -> str:
    """Say against whom the best ranker was tested, and with what outcome."""
    rows = [row for row in _compared(results) if best in (row["model"], row["reference"])]
    found: dict[tuple[str, str], list[str]] = {}  # by conclusion and what limits it
    for row in rows:
        ours = row["model"] == best
        other, conclusion = (row["reference"], conclude(row)) if ours else (row["model"], FLIPPED[conclude(row)])
        found.setdefault((conclusion, _limit(row)), []).append(other)
    others = [name for name in results.leaderboard.names if name != best]
    tested = {name for names in found.values() for name in names}
    if untested := [name for name in others if name not in tested]:
        found[NOT_TESTED, ""] = untested
    parts = [
        f"{words} {_all_or(names, others)}{limit}"
        for conclusion, words in SAID.items()
        for (found_conclusion, limit), names in found.items()
        if found_conclusion == conclusion
    ]
    family = f" (Holm's correction over {family_sizes(pd.DataFrame(rows))} tests)" if rows else ""
    return f"Tests of {best} that pair users{family}: {'; '.join(parts)}."


def _limit(row: Row) -> str:
    """Say where the trained models at hand differ, though training again may turn it, and where nothing else counts."""
    if of_these_alone(row) and row["n_seeds"]:
        return " (these trained models alone)"
    if conclude(row) == OPEN and apart_at_hand(row):
        return f" ({seeds(row['n_seeds'])}; the trained models at hand do differ)"
    return ""


def _all_or(names: Sequence[str], others: Sequence[str]) -> str:
    return f"all {len(others)} others" if MANY <= len(others) == len(names) else join(names)


def _diffusion(results: Results, best: str) -> str:
    board, study = results.leaderboard, results.study
    controls = set(board.with_role(CONTROL))  # walk the steps, but were trained without noised target
    diffusing = [name for name in board.names if study.spec(name).network.capabilities.steps and name not in controls]
    ours = board.best(diffusing)
    if ours is None:
        return "No ranker of this study diffuses."
    if ours == best:
        rival = board.best([name for name in board.names if name not in diffusing])
        first = "It diffuses" if rival is None else f"It diffuses; the best without is {_standing(results, rival)}"
    else:
        rival, first = best, f"The best that diffuses is {_standing(results, ours)}"
    against = [] if rival is None else _pair(results, ours, rival)
    return f"{'; '.join([first, *against])}. {_controls(results, ours)}"


def _controls(results: Results, ours: str) -> str:
    """Say how models do beside controls: in the study, or without their noised target in a sweep; `ours` if it can."""
    board = results.leaderboard
    found = [
        f"{_begun(text)}." for name in board.with_role(CONTROL) for text in _pair(results, ours, name, control=True)
    ]
    sweeps = results.tables.get(SWEEPS)
    rows = [] if sweeps is None else rows_of(sweeps[sweeps["metric"] == board.declared])
    controls = {row["base"]: row for row in rows if is_control(row) and row["relative_difference"] is not None}
    base = ours if ours in controls else board.best([name for name in board.names if name in controls])
    if base is not None:
        row = controls[base]
        text = f"The control of {base} without the noised target: {describe({**row, 'n_seeds': row['paired_seeds']})}."
        found.append(f"{text} {contribution(base, conclude(row))}")
    return " ".join(found) or "No control without diffusion was trained beside it."


def _begun(text: str) -> str:
    """Begin a sentence, in which a ranker keeps its name."""
    return f"The{text[3:]}" if text.startswith("the control ") else text


def _pair(results: Results, ours: str, other: str, *, control: bool = False) -> list[str]:
    """Describe the test of a pair, named in the order in which it was made."""
    names = {ours: ours, other: f"the control {other}" if control else other}
    return [
        f"{names[row['model']]} vs {names[row['reference']]}: {describe(row)}"
        for row in _compared(results)
        if {row["model"], row["reference"]} == {ours, other}
    ]


def _compared(results: Results) -> list[dict[str, Any]]:
    table = results.tables.get(COMPARISONS)
    return [] if table is None else comparable(table, results.leaderboard.declared)
