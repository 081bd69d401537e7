"""One trial: its score, its ends, its cost, its file."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from diffurecsys.errors import DataError
from diffurecsys.study import Cell
from diffurecsys.training.fit import fit_cell
from diffurecsys.tuning import trial as module
from diffurecsys.tuning.space import PruningParameters, with_settings
from diffurecsys.tuning.trial import Outcome, Trial, falls_behind, finished_outcomes, read_outcome, run_trial

RULE = PruningParameters(after=2, others=2)


def _outcome(curve, state="complete"):
    filled = {field.name: None for field in dataclasses.fields(Outcome)}
    return Outcome(**{**filled, "curve": curve, "state": state})


def _trial(spec, number=1, **settings):
    return Trial(number, settings, Cell(with_settings(spec, settings), 0))


def _run(trial, data, folder, **how):
    return run_trial(trial, data, folder=folder, others=lambda: how.pop("others", []), **how)


def test_a_trial_falls_behind_where_its_best_is_below_the_median_of_the_others_by_then():
    others = [_outcome([0.1, 0.2, 0.3]), _outcome([0.3, 0.1]), _outcome([0.5, 0.5], "pruned")]
    # by the second epoch they had 0.2, 0.3 and 0.5
    assert falls_behind([0.29, 0.1], others, RULE)
    assert not falls_behind([0.3, 0.1], others, RULE)
    assert not falls_behind([0.0], others, RULE)  # too early
    # by the third: 0.3 and, of the one that had ended by itself, 0.3; the pruned one never came there
    assert falls_behind([0.0, 0.0, 0.29], others, RULE)
    assert not falls_behind([0.0, 0.0, 0.3], others, RULE)


def test_epochs_without_validation_count_for_nothing():
    others = [_outcome([None, 0.2]), _outcome([None, 0.4])]
    assert not falls_behind([None, 0.1], others, RULE)  # one validation
    assert falls_behind([None, 0.1, None, 0.29], others, RULE)
    assert not falls_behind([0.1, 0.1], [_outcome([0.9, 0.9]), _outcome([], "failed")], RULE)  # one other


def test_the_score_is_the_best_validation_of_the_cell_and_the_file_holds_the_outcome(spec, data, tmp_path):
    trial = _trial(spec, **{"network.dropout": 0.2})
    outcome = _run(trial, data, tmp_path)
    cell = fit_cell(trial.cell, data)
    assert outcome.curve == [record.validation["NDCG@10"] for record in cell.history]
    assert outcome.value == max(outcome.curve)
    assert (outcome.state, outcome.ended, outcome.epochs) == ("complete", "epochs", 4)
    assert outcome.cpu_seconds > 0
    assert read_outcome(trial, tmp_path, data.fingerprint) == outcome
    assert finished_outcomes([trial, _trial(spec, 2)], tmp_path, data.fingerprint) == [outcome]
    assert [path.name for path in (tmp_path / "small").iterdir()] == ["trial_02.json"]


def test_test_targets_are_never_ranked(spec, data, tmp_path):
    """With the test items of all users exchanged nothing changes but the data's fingerprint."""
    items = data.store.items.clone()
    ends = data.store.offsets[1:] - 1
    items[ends] = (items[ends] + 7) % 20
    other = dataclasses.replace(data, store=dataclasses.replace(data.store, items=items))
    found = [_run(_trial(spec), one, tmp_path / one.fingerprint) for one in (data, other)]
    assert found[0].curve == found[1].curve
    assert found[0].identity != found[1].identity


def test_a_trial_that_falls_behind_ends_and_the_first_never(spec, data, tmp_path):
    better = [_outcome([1.0, 1.0, 1.0, 1.0])] * 2
    for number, epochs, state in ((1, 2, "pruned"), (0, 4, "complete")):
        trial = dataclasses.replace(_trial(spec, number), pruning=RULE)
        outcome = run_trial(trial, data, folder=tmp_path, others=lambda: better)
        assert (outcome.epochs, outcome.state) == (epochs, state)
        assert outcome.value == max(outcome.curve)


def test_minutes_and_patience_end_a_trial(spec, data, tmp_path):
    trial = dataclasses.replace(_trial(spec), cpu_minutes=1e-9)
    outcome = _run(trial, data, tmp_path)
    assert (outcome.epochs, outcome.state, outcome.ended) == (1, "complete", "cpu_minutes")
    impatient = _trial(spec, 2, **{"training.patience": 1, "training.epochs": 60, "training.learning_rate": 0.05})
    outcome = _run(impatient, data, tmp_path)
    assert outcome.ended == "patience"
    assert outcome.epochs == outcome.best_epoch + 1 < 60


def test_a_loss_that_is_no_number_is_a_failed_trial(spec, data, tmp_path):
    wild = _trial(spec, **{"training.learning_rate": 1e30})
    outcome = _run(wild, data, tmp_path)
    assert (outcome.state, outcome.value, outcome.ended) == ("failed", None, "error")
    assert "loss became" in outcome.error
    assert read_outcome(wild, tmp_path, data.fingerprint) == outcome  # not tried again


def test_a_killed_trial_goes_on_with_its_epochs_and_its_cost(spec, data, tmp_path):
    trial = _trial(spec)

    def killed():
        raise KeyboardInterrupt

    rule = PruningParameters(after=3, others=1)
    with pytest.raises(KeyboardInterrupt):
        run_trial(dataclasses.replace(trial, pruning=rule), data, folder=tmp_path, others=killed)
    cost = tmp_path / "small/trial_02.cost.json"
    spent = {**json.loads(cost.read_text()), "cpu": 1000.0}
    cost.write_text(json.dumps(spent))
    unbroken = _run(trial, data, tmp_path / "other")
    assert (tmp_path / "small/trial_02.checkpoint").exists()
    outcome = _run(dataclasses.replace(trial, pruning=rule), data, tmp_path)
    assert outcome.curve == unbroken.curve
    assert outcome.cpu_seconds > 1000
    assert unbroken.cpu_seconds < 1000
    assert not cost.exists()


def test_an_outcome_of_other_settings_is_none_and_a_damaged_one_is_named(spec, data, tmp_path):
    trial = _trial(spec)
    _run(trial, data, tmp_path)
    for other in (
        _trial(spec, **{"network.width": 16}),
        dataclasses.replace(trial, cpu_minutes=5.0),
        dataclasses.replace(trial, pruning=RULE),
    ):
        assert read_outcome(other, tmp_path, data.fingerprint) is None
    assert read_outcome(trial, tmp_path, "other data") is None
    path = trial.file(tmp_path)
    path.write_text(path.read_text()[:50])
    with pytest.raises(DataError, match=r"trial_02\.json cannot be used .*: remove it"):
        read_outcome(trial, tmp_path, data.fingerprint)


def test_rankers_that_count_or_calibrate_are_judged_as_they_end(data, tmp_path, monkeypatch):
    from diffurecsys.models.families.ease import EaseConfig
    from diffurecsys.study import RankerSpec
    from diffurecsys.training import TrainingConfig

    asked = []
    rank = module.rank_targets
    monkeypatch.setattr(module, "rank_targets", lambda *args, **how: asked.append(args[2]) or rank(*args, **how))
    spec = RankerSpec("linear", "ease", "baseline", EaseConfig(), TrainingConfig(device="cpu"))
    outcome = _run(_trial(spec, **{"network.regularisation": 10.0}), data, tmp_path)
    assert (outcome.epochs, outcome.curve, outcome.state) == (0, [], "complete")
    assert outcome.value > 0
    (examples,) = asked
    assert torch.equal(examples.end, data.split.validation.end)
