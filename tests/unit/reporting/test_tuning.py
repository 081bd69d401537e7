"""What searches found, in words, tables, files for conf, and a figure."""

from __future__ import annotations

import json

import pytest
import yaml

from diffurecsys.models.families.sasrec import SASRecConfig
from diffurecsys.reporting.tuning import (
    best_of,
    draw_tuning,
    duration,
    outcome_sentence,
    settings_text,
    trials_table,
    tuning_table,
)
from diffurecsys.study import RankerSpec
from diffurecsys.training import TrainingConfig
from diffurecsys.tuning.space import TuningParameters
from diffurecsys.tuning.trial import Outcome

SPEC = RankerSpec("attention", "sasrec", "model", SASRecConfig(), TrainingConfig(epochs=30, patience=7))
RUN = {"date": "2026-11-27T07:00:00+00:00", "revision": "abc"}


def _outcome(number, value, state="complete", **other):
    values = {
        "ranker": "attention",
        "number": number,
        "identity": str(number),
        "settings": {"network.width": 8 * (number + 1), "training.learning_rate": 0.001},
        "state": state,
        "value": value,
        "ended": "epochs",
        "epochs": 5,
        "best_epoch": 4,
        "curve": [value],
        "parameters": 10,
        "cpu_seconds": 90.0,
        "seconds": 100.0,
        "error": "",
        "machine": {"device": "cpu", "cpu": "Cpu 9000"},
        "date": "",
        "revision": "",
    }
    return Outcome(**{**values, **other})


SEARCH = [
    _outcome(0, 0.04),
    _outcome(1, 0.05),
    _outcome(2, 0.09, "pruned"),
    _outcome(3, None, "failed", error="the loss became nan", curve=[]),
]


def test_only_complete_trials_can_be_best():
    assert best_of(SEARCH).number == 1
    assert best_of(SEARCH[2:]) is None
    assert best_of([_outcome(0, 0.1), _outcome(1, 0.1)]).number == 0  # the first of equals


def test_settings_are_ready_for_conf_and_say_how_they_were_found():
    text = settings_text(SPEC, TuningParameters(epochs=10, cpu_minutes=5), SEARCH, dataset="beauty", run=RUN)
    assert yaml.safe_load(text) == {
        "models": {"attention": {"network": {"width": 16}, "training": {"learning_rate": 0.001}}}
    }
    comment = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("#"))
    assert "attention on beauty: best of 4 trials (2 complete, 1 pruned, 1 failed) by validation NDCG@10" in comment
    assert (
        "0.0500 in trial 2, 0.0400 as configured. A trial had at most 10 epochs, patience 7, 5 CPU minutes" in comment
    )
    assert "6 min of CPU in all. 2026-11-27, revision abc" in comment


def test_without_a_complete_trial_nothing_is_set():
    text = settings_text(SPEC, TuningParameters(), SEARCH[2:], dataset="beauty", run=RUN)
    assert yaml.safe_load(text) == {}
    assert "no trial came to its end" in text


def test_a_line_says_what_a_trial_found_and_what_is_best():
    assert outcome_sentence(SEARCH[1], SEARCH[:2], 4) == (
        "attention, trial 2 of 4: 0.0500 after 5 epochs; complete; best 0.0500 (trial 2), 0.0400 as configured; "
        "3 min of CPU in 2 trials"
    )
    assert "trial 4 of 4: no score after 5 epochs; failed: the loss became nan;" in outcome_sentence(
        SEARCH[3], SEARCH, 4
    )


def test_tables_hold_every_trial_and_the_cost():
    (row,) = tuning_table({"attention": SEARCH}).to_dict("records")
    assert {name: row[name] for name in ("trials", "complete", "pruned", "failed")} == {
        **{"trials": 4, "complete": 2, "pruned": 1, "failed": 1}
    }
    assert (row["as_configured"], row["best"], row["best_trial"], row["cpu_minutes"]) == (0.04, 0.05, 2, 6.0)
    assert json.loads(row["settings"]) == SEARCH[1].settings
    trials = trials_table({"attention": SEARCH, "other": SEARCH[:1]})
    assert list(trials["model"]) == ["attention"] * 4 + ["other"]
    assert list(trials["trial"]) == [1, 2, 3, 4, 1]


def test_the_figure_shows_scores_against_trials():
    figure = draw_tuning(dict.fromkeys("abcde", SEARCH))
    shown = [panel for panel in figure.axes if panel.get_visible()]
    assert len(shown) == 5
    best, complete, pruned, _ = shown[0].lines
    assert list(best.get_ydata()) == [0.04, 0.05, 0.05, 0.05]
    assert (list(complete.get_xdata()), list(complete.get_ydata())) == ([1, 2], [0.04, 0.05])
    assert (list(pruned.get_xdata()), list(pruned.get_ydata())) == ([3], [0.09])
    assert shown[0].get_title() == "a: 0.0500, 6 min"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min"), (3570, "1 h 00 min"), (7800, "2 h 10 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
