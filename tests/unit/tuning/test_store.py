"""Plans and outcomes in an embedded Optuna store."""

from __future__ import annotations

import dataclasses

import optuna
import pytest
from optuna.trial import TrialState

from diffurecsys.errors import DataError
from diffurecsys.tuning.store import TuningStore
from diffurecsys.tuning.trial import Outcome, describe_trial, read_trial


def _outcome(trial, **values):
    known = {
        "ranker": trial.ranker,
        "number": trial.number,
        "identity": "x",
        "settings": dict(trial.settings),
        "state": "complete",
        "value": 0.3,
        "ended": "epochs",
        "epochs": 3,
        "best_epoch": 3,
        "curve": [0.1, None, 0.3],
        "parameters": 5,
        "cpu_seconds": 6.0,
        "seconds": 7.0,
        "error": "",
        "machine": {},
        "date": "",
        "revision": "",
    }
    return Outcome(**{**known, **values})


def _studies(path):
    return optuna.get_all_study_summaries(f"sqlite:///{path}")


def _study(path):
    (name,) = (summary.study_name for summary in _studies(path))
    return optuna.load_study(study_name=name, storage=f"sqlite:///{path}")


def test_the_first_trial_is_as_configured_and_the_others_lie_in_the_space(tmp_path, data, spec, tuning):
    first, *others = TuningStore(tmp_path / "a.db").plan(spec, tuning, data.fingerprint)
    assert first.settings == {"network.dropout": 0.5, "network.width": 8, "training.learning_rate": 1e-3}
    assert first.cell.spec == spec
    assert [trial.number for trial in others] == [1, 2, 3]
    for trial in others:
        assert trial.settings["network.dropout"] in (0.0, 0.2)  # the configured 0.5 is not among them
        rate = trial.settings["training.learning_rate"]
        assert 1e-3 <= rate <= 1e-1
        assert rate == float(f"{rate:.3g}")
        assert trial.cell.spec.network.dropout == trial.settings["network.dropout"]
        assert trial.cell.spec.training.learning_rate == rate
    assert len({tuple(trial.settings.values()) for trial in others}) == 3
    assert [read_trial(describe_trial(trial)) for trial in (first, *others)] == [first, *others]


def test_a_plan_is_the_same_again_longer_and_without_its_store(tmp_path, data, spec, tuning):
    store = TuningStore(tmp_path / "a.db")
    planned = store.plan(spec, tuning, data.fingerprint)
    assert store.plan(spec, tuning, data.fingerprint) == planned
    longer = store.plan(spec, dataclasses.replace(tuning, n_trials=6), data.fingerprint)
    assert longer[:4] == planned
    assert (
        TuningStore(tmp_path / "b.db").plan(spec, dataclasses.replace(tuning, n_trials=6), data.fingerprint) == longer
    )


def test_another_space_configuration_or_limit_is_another_search(tmp_path, data, spec, tuning):
    store = TuningStore(tmp_path / "a.db")
    wider = {"small": {**tuning.spaces["small"], "network": {"width": [8, 16, 32]}}}
    searches = [
        (spec, tuning),
        (spec, dataclasses.replace(tuning, spaces=wider)),
        (spec, dataclasses.replace(tuning, cpu_minutes=3.0)),
        (dataclasses.replace(spec, network=dataclasses.replace(spec.network, heads=2)), tuning),
        (dataclasses.replace(spec, name="other"), dataclasses.replace(tuning, spaces={"sasrec": wider["small"]})),
    ]
    for one, how in searches:
        store.plan(one, how, data.fingerprint)
    assert len(_studies(tmp_path / "a.db")) == len(searches)


def test_outcomes_reach_the_store_once(tmp_path, data, spec, tuning):
    store = TuningStore(tmp_path / "a.db")
    first, second, third, _ = store.plan(spec, tuning, data.fingerprint)
    store.tell(spec, tuning, data.fingerprint, _outcome(first))
    store.tell(spec, tuning, data.fingerprint, _outcome(second, state="pruned", value=0.1, curve=[0.1]))
    store.tell(spec, tuning, data.fingerprint, _outcome(third, state="failed", value=None, curve=[], error="NaN"))
    store.tell(spec, tuning, data.fingerprint, _outcome(first, value=0.9))  # it is known
    trials = _study(tmp_path / "a.db").trials
    assert [trial.state for trial in trials] == [
        *(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING),
    ]
    assert trials[0].value == 0.3
    assert trials[0].intermediate_values == {1: 0.1, 3: 0.3}
    assert trials[0].user_attrs["cpu_seconds"] == 6.0
    assert trials[2].user_attrs["error"] == "NaN"


def test_values_that_do_not_go_together_are_named(tmp_path, data, spec, tuning):
    spaces = {"small": {"network": {"width": [9], "heads": [2]}}}
    with pytest.raises(DataError, match=r"trial 2 of small cannot be: .*Take values that do not go together"):
        TuningStore(tmp_path / "a.db").plan(spec, dataclasses.replace(tuning, spaces=spaces), data.fingerprint)
    with pytest.raises(ValueError, match=r"tuning\.spaces has no entry for small, nor for its family sasrec"):
        TuningStore(tmp_path / "a.db").plan(spec, dataclasses.replace(tuning, spaces={}), data.fingerprint)
