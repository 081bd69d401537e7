"""Every number of every section and family: what no number can be is refused by name, before anything runs."""

from __future__ import annotations

import dataclasses
import datetime
import math
import re

import pytest

from diffurecsys.models.registry import families
from diffurecsys.parameters import ParameterError, validate_parameters
from diffurecsys.parameters.errors import typed
from diffurecsys.parameters.limits import most_of
from diffurecsys.parameters.sections import SECTIONS
from diffurecsys.start import check_devices
from diffurecsys.training import TrainingConfig

KINDS = {
    **{name: kind for name, kind in SECTIONS.items() if name != "study"},
    "training": TrainingConfig,
    **{name: family.config for name, family in families().items()},
}
NUMBERS = [
    (name, part.name, str(part.type))
    for name, kind in KINDS.items()
    for part in dataclasses.fields(kind)
    if re.search(r"\b(int|float)\b", str(part.type))
]
NEEDED = {"dataset": {"name": "mine", "archive": "mine.inter"}}
TWO = {
    "experiment": "mine",
    "dataset": NEEDED["dataset"],
    "models": {"popularity": {"family": "popularity"}, "hstu": {"family": "hstu"}},
    "study": {"rankers": ["popularity", "hstu"], "n_seeds": 1},
    "preprocessing": {"max_length": 50},
}


def _problems(section, **values):
    problems: list[str] = []
    typed(KINDS[section], {**NEEDED.get(section, {}), **values}, section, problems)
    return problems


def _refusal(**changes):
    with pytest.raises(ParameterError) as caught:
        validate_parameters({**TWO, **changes})
    return str(caught.value)


def test_there_are_numbers_to_look_at():
    assert len(NUMBERS) > 100


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, 10**30, 1e300, "abc"])
def test_no_number_is_what_no_number_can_be(value):
    for section, name, kind in NUMBERS:
        wrong = [value] if kind.startswith("tuple") else value
        problems = _problems(section, **{name: wrong})
        assert problems, f"{section}.{name} accepts {value}"
        assert all(problem.startswith(f"{section}.{name}") for problem in problems), problems


def test_every_seed_and_every_size_has_a_least_and_a_most():
    sizes = [(section, name) for section, name, kind in NUMBERS if kind.startswith("int")]
    for section, name in sizes:
        assert _problems(section, **{name: -1}), f"{section}.{name} accepts -1"
        assert _problems(section, **{name: most_of(name) + 1}), f"{section}.{name} has no most"


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("diffurec", {"diffusion_steps": 32, "evaluation_steps": 33}, r"evaluation_steps .*32"),
        ("diffurec", {"serving_steps": 0}, "serving_steps must"),
        ("maps", {"seed": -1}, "seed must be at least 0"),
        ("maps", {"seed": 2**32}, "seed must be at most 4,294,967,295"),
        ("preprocessing", {"user_k": -3}, "user_k must be at least 1, got -3"),
        ("training", {"device": "abc"}, "device must be auto, cpu or cuda"),
        ("download", {"mirror": "abc"}, "download.mirror must be an address"),
        ("probes", {"seed": "on"}, r"probes\.seed"),
    ],
)
def test_what_cannot_be_is_said(section, values, message):
    (problem,) = _problems(section, **values)
    assert re.search(message, problem)


def test_histories_longer_than_a_network_takes_are_refused_before_anything_runs():
    network = {"popularity": TWO["models"]["popularity"], "hstu": {"family": "hstu", "network": {"max_length": 20}}}
    found = _refusal(models=network, preprocessing={"max_length": 21})
    assert "models.hstu.network.max_length must be at least preprocessing.max_length (21), got 20" in found
    validate_parameters({**TWO, "models": network, "preprocessing": {"max_length": 20}})


@pytest.mark.parametrize("name", ["../../outside", "a/b", "a\\b", ".hidden", "", "nul", "dot.", " x", "a:b", "a\nb"])
def test_an_experiment_that_is_no_folder_is_refused(name):
    assert "cannot name a folder" in _refusal(experiment=name)


@pytest.mark.parametrize("name", ["my.model", "1st", "a/b", "study", "reporting", "a b", "{x}"])
def test_a_ranker_that_is_no_namespace_is_refused(name):
    assert f"models.{name}: " in _refusal(models={**TWO["models"], name: {"family": "popularity"}})


@pytest.mark.parametrize("name", [100, True, 1.5])
def test_a_name_that_yaml_reads_otherwise_is_to_be_quoted(name):
    assert f"quote it ('{name}')" in _refusal(models={**TWO["models"], name: {"family": "popularity"}})


def test_lists_can_be_said_on_the_command_line_and_a_single_name_is_one():
    read = validate_parameters(
        {**TWO, "study": {"rankers": "hstu popularity", "references": "popularity", "n_seeds": 1}}
    )
    assert (read.study.names, read.study.references) == (("hstu", "popularity"), ("popularity",))
    assert validate_parameters({**TWO, "evaluation": {"cutoffs": "5;10 20"}}).evaluation.cutoffs == (5, 10, 20)


def test_a_device_that_is_not_here_is_said_before_anything_runs():
    devices = {"evaluation": {"device": "cuda:77"}}
    with pytest.raises(ParameterError, match=r"evaluation\.device: the device is to be 'cuda:77', but"):
        check_devices(validate_parameters({**TWO, **devices}))
    network = {**TWO["models"], "hstu": {"family": "hstu", "training": {"device": "cuda:77"}}}
    with pytest.raises(ParameterError, match=r"models\.hstu\.training\.device: "):
        check_devices(validate_parameters({**TWO, "models": network}))
    check_devices(validate_parameters(TWO))


def test_a_sweep_with_a_slip_of_the_finger_is_refused():
    sweep = {"rankers": ["hstu"], "parameter": "network.blocks", "values": [1]}
    slips = ({"n_seeds": 10**9}, {"values": [math.nan]}, {"n_seeds": True}, {"values": []}, {"rankers": ["hstu"] * 2})
    values = ("abc", "1", 1.5, True, -1, 10**30, [1], {"a": 1}, None, "2024-01-01")
    for slip in (*slips, *({"values": [value]} for value in values)):
        assert "study.sweeps.blocks." in _refusal(study={**TWO["study"], "sweeps": {"blocks": {**sweep, **slip}}})


def test_a_searched_space_holds_what_its_settings_may_be():
    for value in ("abc", "16", 1.5, True, -1):
        space = {"spaces": {"hstu": {"network": {"width": [32, value]}}}}
        assert "tuning.spaces.hstu.network.width: " in _refusal(tuning=space)
    validate_parameters({**TWO, "tuning": {"spaces": {"hstu": {"network": {"width": [32, 64]}}}}})


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("preprocessing", {"user_k": "2024-13-01"}),
        ("evaluation", {"cutoffs": "5 2024-13-01"}),
        ("evaluation", {"cutoffs": [5, datetime.date(2024, 1, 1)]}),
        ("groups", {"length_quantiles": [0.5, 0.5]}),
        ("groups", {"length_quantiles": [0.6, 0.2]}),
        ("probes", {"reverse_steps": [1, 1]}),
        ("probes", {"rankers": ["hstu", "hstu"]}),
        ("maps", {"rankers": ["hstu", "hstu"]}),
        ("tuning", {"rankers": ["hstu", "hstu"]}),
        ("recommend", {"model": "abc"}),
        ("recommend", {"users": " "}),
        ("recommend", {"titles": "a\0b"}),
        ("final_fit", {"model": "final"}),
        ("final_fit", {"warm_start": ""}),
        ("split", {"protocol": "temporal", "validation_from": 0.9, "test_from": 0.8}),
        ("split", {"protocol": "temporal", "validation_from": 0.95}),
    ],
)
def test_values_that_mean_nothing_are_refused_by_name(section, values):
    assert f"{section}.{list(values)[-1 if section != 'split' else 1]}" in _refusal(**{section: values})


@pytest.mark.parametrize("value", ["abc", datetime.date(2024, 1, 1), True, 0, 1.5])
def test_threads_are_a_number_of_them(value):
    assert "threads: must be" in _refusal(threads=value)


@pytest.mark.parametrize(("name", "value"), [("lr_decay", 1.5), ("weight_decay", 1e9), ("epochs", 10**12)])
def test_a_training_that_cannot_be_meant_is_refused(name, value):
    assert f"training.{name} must be at most" in _problems("training", **{name: value})[0]
