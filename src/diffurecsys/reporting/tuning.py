"""What searches for settings found: a line and a table each, conf-ready settings, a figure of scores against trials."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import pandas as pd
import yaml
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from diffurecsys.evaluation.leaderboard import DECLARED_METRIC, cut
from diffurecsys.reporting.style import GREY, INK, add_caption, add_legend, colour, style_panel
from diffurecsys.study import RankerSpec
from diffurecsys.tuning.space import TuningParameters, nested
from diffurecsys.tuning.trial import Outcome

COLUMNS = 4  # of panels
VALUE = f"validation {DECLARED_METRIC}"
Searches = Mapping[str, Sequence[Outcome]]


def duration(seconds: float) -> str:
    """Return `2 h 10 min`, `10 min` or `40 s`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def best_of(outcomes: Sequence[Outcome]) -> Outcome | None:
    """Return the complete trial with the highest score, the first of equals; None where none is complete."""
    complete = [outcome for outcome in outcomes if outcome.state == "complete"]
    return max(complete, key=lambda outcome: outcome.value or 0.0, default=None)


def outcome_sentence(latest: Outcome | None, outcomes: Sequence[Outcome], planned: int, *, name: str = "") -> str:
    """Say in one line what a trial found, and what is best so far; without `latest`, what the search found."""
    best, first = best_of(outcomes), next((one for one in outcomes if one.number == 0), None)
    spent = duration(sum(outcome.cpu_seconds for outcome in outcomes))
    parts = []
    if latest is not None:
        score = cut(latest.value) if latest.value is not None else "no score"
        parts.append(f"{latest.ranker}, trial {latest.number + 1} of {planned}: {score} after {latest.epochs} epochs")
        parts.append(latest.state if latest.state != "failed" else f"failed: {latest.error}")
    if best is not None:
        so_far = f"best {cut(best.value or 0.0)} (trial {best.number + 1})"
        if first is not None and first.value is not None and best.number:
            so_far += f", {cut(first.value)} as configured"
        parts.append(so_far)
    parts.append(f"{spent} of CPU in {len(outcomes)} trials")
    return "; ".join(parts) if latest is not None else f"{name}: {'; '.join(parts)}"


def settings_text(
    spec: RankerSpec, tuning: TuningParameters, outcomes: Sequence[Outcome], *, dataset: str, run: Mapping[str, str]
) -> str:
    """Write a ranker's best settings as a file for conf/<experiment>/parameters/models, and how they were found."""
    best = best_of(outcomes)
    if best is None or best.value is None:
        return f"# {spec.name} on {dataset}: no trial came to its end, so its settings stay as they are.\n{{}}\n"
    first = outcomes[0]
    base = tuning.limited(spec).training
    states = [outcome.state for outcome in outcomes]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    limit = f", {tuning.cpu_minutes:g} CPU minutes" if tuning.cpu_minutes else ""
    lines = [
        f"# {spec.name} on {dataset}: best of {len(outcomes)} trials ({counts}) by {VALUE}, all items ranked:",
        f"# {cut(best.value)} in trial {best.number + 1}"
        + (f", {cut(first.value)} as configured" if first.value is not None else "")
        + f". A trial had at most {base.epochs} epochs, patience {base.patience}{limit};",
        f"# {duration(sum(outcome.cpu_seconds for outcome in outcomes))} of CPU in all. {run['date'][:10]}, "
        f"revision {run['revision']}",
    ]
    content = {"models": {spec.name: nested(best.settings)}}
    return "\n".join(lines) + "\n" + yaml.safe_dump(content, sort_keys=False)


def tuning_table(searches: Searches) -> pd.DataFrame:
    """Return one row a ranker: how its trials ended, scores as configured and best, CPU minutes, best settings."""
    rows = []
    for name, outcomes in searches.items():
        best, states = best_of(outcomes), [outcome.state for outcome in outcomes]
        rows.append(
            {
                "model": name,
                "trials": len(outcomes),
                **{state: states.count(state) for state in ("complete", "pruned", "failed")},
                "as_configured": outcomes[0].value,
                "best": best.value if best else None,
                "best_trial": best.number + 1 if best else None,
                "best_epoch": best.best_epoch if best else None,
                "cpu_minutes": sum(outcome.cpu_seconds for outcome in outcomes) / 60,
                "best_cpu_minutes": best.cpu_seconds / 60 if best else None,
                "settings": json.dumps(best.settings) if best else None,
                "hardware": ", ".join(dict.fromkeys(_hardware(outcome) for outcome in outcomes)),
            }
        )
    return pd.DataFrame(rows)


def trials_table(searches: Searches) -> pd.DataFrame:
    """Return one row a trial: what was tried, how it ended, what it reached and cost."""
    return pd.DataFrame(
        [
            {
                "model": name,
                "trial": outcome.number + 1,
                "state": outcome.state,
                "ended": outcome.ended,
                "value": outcome.value,
                "epochs": outcome.epochs,
                "best_epoch": outcome.best_epoch,
                "parameters": outcome.parameters,
                "cpu_minutes": outcome.cpu_seconds / 60,
                "minutes": outcome.seconds / 60,
                "settings": json.dumps(outcome.settings),
                "error": outcome.error,
                "hardware": _hardware(outcome),
                "date": outcome.date,
            }
            for name, outcomes in searches.items()
            for outcome in outcomes
        ]
    )


def draw_tuning(searches: Searches) -> Figure:
    """Draw each ranker's validation score against its trials, and the best so far."""
    rows = -(-len(searches) // COLUMNS)
    figure = Figure(figsize=(2.9 * min(COLUMNS, len(searches)) + 0.6, 2.3 * rows + 1.0), layout="constrained")
    panels = figure.subplots(rows, min(COLUMNS, len(searches)), sharex=True, sharey=True, squeeze=False).flatten()
    for panel, (name, outcomes) in zip(panels, searches.items(), strict=False):
        _panel(panel, name, outcomes)
    for panel in panels[len(searches) :]:
        panel.set_visible(False)
    for place, panel in enumerate(panels[: len(searches)]):
        if place % COLUMNS == 0:
            panel.set_ylabel(VALUE)
        if place + COLUMNS >= len(searches):
            panel.set_xlabel("trial")
            panel.tick_params(labelbottom=True)
    add_legend(figure, _keys())
    add_caption(
        figure,
        f"{VALUE}, all items ranked, of every trial. Trial 1 has the settings as configured. In each title: best "
        "score, cost of all trials in CPU time. A trial that failed has no point.",
    )
    return figure


def _panel(panel: Any, name: str, outcomes: Sequence[Outcome]) -> None:  # noqa: ANN401 - Matplotlib's axes
    complete = [outcome for outcome in outcomes if outcome.state == "complete"]
    pruned = [outcome for outcome in outcomes if outcome.state == "pruned"]
    numbers = [outcome.number + 1 for outcome in outcomes]
    highest = accumulate((one.value or 0.0 if one.state == "complete" else 0.0 for one in outcomes), max)
    panel.step(numbers, list(highest), where="post", color=colour(0), linewidth=1.2)
    panel.plot(
        [one.number + 1 for one in complete], [one.value for one in complete], "o", color=colour(0), markersize=4
    )
    panel.plot([one.number + 1 for one in pruned], [one.value for one in pruned], "x", color=GREY, markersize=4)
    first = outcomes[0].value
    if first is not None:
        panel.axhline(first, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
    best = best_of(outcomes)
    score = cut(best.value or 0.0) if best else "–"
    panel.set_title(f"{name}: {score}, {duration(sum(one.cpu_seconds for one in outcomes))}", fontsize=9)
    panel.xaxis.get_major_locator().set_params(integer=True)
    style_panel(panel, grid="y")


def _keys() -> list[Line2D]:
    return [
        Line2D([], [], color=colour(0), marker="o", linestyle="", label="complete"),
        Line2D([], [], color=GREY, marker="x", linestyle="", label="ended early"),
        Line2D([], [], color=colour(0), linewidth=1.2, label="best so far"),
        Line2D([], [], color=INK, linewidth=0.8, linestyle=(0, (1, 2)), label="as configured"),
    ]


def _hardware(outcome: Outcome) -> str:
    device, cpu = outcome.machine.get("device", "unknown"), outcome.machine.get("cpu", "")
    return str(cpu if device == "cpu" and cpu else device)
