"""What a search may change: read, checked, applied."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffurecsys.models.families.hybrid import HybridConfig
from diffurecsys.models.families.sasrec import SASRecConfig
from diffurecsys.study import RankerSpec, Study
from diffurecsys.training import TrainingConfig
from diffurecsys.tuning.space import (
    Choice,
    Range,
    TuningParameters,
    nested,
    read_space,
    space_problems,
    value_of,
    with_settings,
)

SPEC = RankerSpec("attention", "sasrec", "model", SASRecConfig(), TrainingConfig(epochs=30, patience=7))
HYBRID = RankerSpec("joined", "hybrid", "model", HybridConfig(), TrainingConfig())
RAW = {
    "network": {"width": [16, 32], "inner": {"dropout": [0.1]}},
    "training": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
}


def test_lists_are_choices_and_bounds_ranges_at_any_depth():
    assert read_space(RAW, "spaces.x") == {
        "network.width": Choice((16, 32)),
        "network.inner.dropout": Choice((0.1,)),
        "training.learning_rate": Range(1e-4, 1e-2, log=True),
    }


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "spaces.x: names no setting"),
        ({"width": [1]}, r"spaces\.x\.width: settings stand under network or training"),
        ({"network": {"width": []}}, r"spaces\.x\.network\.width: must list numbers"),
        ({"network": {"width": [[1]]}}, r"spaces\.x\.network\.width: must list numbers"),
        ({"network": {"width": 3}}, r"spaces\.x\.network\.width: must be a list of values or"),
        ({"training": {"learning_rate": {"low": 1}}}, r"learning_rate: a range has low, high"),
        ({"training": {"learning_rate": {"low": 1, "high": 2, "logg": True}}}, r"learning_rate: a range has low, high"),
        ({"training": {"learning_rate": {"low": 2, "high": 1}}}, "low must lie below high"),
        ({"training": {"learning_rate": {"low": 0, "high": math.inf}}}, "low must lie below high"),
        ({"training": {"learning_rate": {"low": 0, "high": 1, "log": True}}}, "low must be positive where log is true"),
    ],
)
def test_what_is_no_space_is_named(raw, message):
    with pytest.raises(ValueError, match=message):
        read_space(raw, "spaces.x")


def test_settings_reach_rankers_within_rankers():
    settings = {"network.inner.width": 32, "network.inner.heads": 2, "training.batch_size": 7}
    varied = with_settings(HYBRID, settings)
    assert {name: value_of(varied, name) for name in settings} == settings
    assert varied.network.inner.loss == HYBRID.network.inner.loss
    assert varied.name == "joined"


def test_settings_that_only_stand_together_are_set_together():
    one = RankerSpec("a", "sasrec", "model", SASRecConfig(width=50, heads=2), TrainingConfig())
    assert with_settings(one, {"network.heads": 3, "network.width": 51}).network.width == 51
    with pytest.raises(ValueError, match="heads"):
        with_settings(one, {"network.heads": 3})


@given(st.dictionaries(st.text("ab", min_size=1).map(lambda name: f"network.{name}"), st.integers(), min_size=1))
def test_nested_names_keep_every_value(settings):
    assert {f"network.{name}": value for name, value in nested(settings)["network"].items()} == settings


def test_a_ranker_has_its_own_space_before_its_familys():
    spaces = {"sasrec": {"network": {"width": [8]}}, "attention": {"network": {"width": [16]}}}
    assert TuningParameters(spaces=spaces).space_of(SPEC) == {"network.width": Choice((16,))}
    del spaces["attention"]
    assert TuningParameters(spaces=spaces).space_of(SPEC) == {"network.width": Choice((8,))}
    assert TuningParameters().space_of(SPEC) is None


def test_limits_only_shorten():
    limited = TuningParameters(epochs=100, patience=3).limited(SPEC).training
    assert (limited.epochs, limited.patience) == (30, 3)
    limited = TuningParameters(epochs=10).limited(SPEC).training
    assert (limited.epochs, limited.patience) == (10, 7)


@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        (
            {"network": {"widht": [8]}},
            r"tuning\.spaces\.sasrec\.network\.widht: .* no such parameter; did you mean width",
        ),
        (
            {"network": {"width": [0]}},
            r"tuning\.spaces\.sasrec\.network\.width: attention cannot have 0: width must be",
        ),
        ({"network": {"loss": ["bec"]}}, r"tuning\.spaces\.sasrec\.network\.loss: attention cannot have 'bec'"),
        ({"training": {"beta2": {"low": 0, "high": 2}}}, r"beta2: attention cannot have 2\.0"),
    ],
)
def test_values_that_a_ranker_cannot_have_are_named(spaces, message):
    study = Study((SPEC, HYBRID), 1)
    (problem,) = space_problems(TuningParameters(spaces={"sasrec": spaces}), study)
    assert re.search(message, problem), problem


def test_a_named_ranker_without_space_is_a_problem():
    study = Study((SPEC, HYBRID), 1)
    assert space_problems(TuningParameters(rankers=("joined",)), study) == [
        "tuning.rankers: joined has no entry in tuning.spaces, nor has its family hybrid"
    ]
    assert space_problems(TuningParameters(), study) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [({"n_trials": 0}, "n_trials must be at least 1"), ({"cpu_minutes": 0}, "cpu_minutes must be positive")],
)
def test_budgets_that_cannot_be_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        TuningParameters(**values)
