"""The configuration: every experiment's parameters and catalog, and errors that say what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro.io import MemoryDataset

from diffurecsys.parameters import (
    DownloadParameters,
    EvaluationParameters,
    ModelParameters,
    ParameterError,
    PreprocessingParameters,
    TrainingParameters,
    validate_parameters,
)
from diffurecsys.datasets import AtomicSave, PathDataset

CONF = Path(__file__).resolve().parents[2] / "conf"
EXPERIMENTS = sorted(
    folder.name for folder in CONF.iterdir() if (folder / "globals.yml").exists() and folder.name != "base"
)


def _raw_parameters(project, env):
    with project.session(env) as session:
        return session.load_context().config_loader["parameters"]


@pytest.fixture(scope="module")
def shared_project(make_project):
    return make_project()


def test_the_experiments_are_those_of_the_study():
    assert EXPERIMENTS == ["beauty", "beauty-small", "ml-100k", "ml-1m", "sample", "toys"]


@pytest.mark.parametrize("env", EXPERIMENTS)
def test_an_experiments_parameters_are_valid_and_its_results_its_own(env, shared_project):
    parameters = validate_parameters(_raw_parameters(shared_project, env))
    assert len(parameters.study.models) == 3
    counts = shared_project.catalog(env).get("counts")
    assert f"/{env}/" in str(counts._filepath)


@pytest.mark.parametrize("env", ["beauty", "toys", "ml-1m"])
def test_the_papers_experiments_run_with_the_defaults_of_the_code(env, shared_project):
    parameters = validate_parameters(_raw_parameters(shared_project, env))
    assert parameters.download == DownloadParameters()
    assert parameters.preprocessing == PreprocessingParameters()
    assert parameters.model == ModelParameters()
    assert parameters.training == TrainingParameters()
    assert parameters.evaluation == EvaluationParameters()
    assert parameters.study.n_seeds == 5


def test_without_an_experiment_the_sample_runs(shared_project):
    assert _raw_parameters(shared_project, None) == _raw_parameters(shared_project, "sample")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"training": {"epoch": 3}}, r"training\.epoch: no such parameter; did you mean training\.epochs\?"),
        ({"trainig": {"epochs": 3}}, r"trainig: no such parameter; did you mean training\?"),
        ({"model": {"width": "wide"}}, r"model\.width: .*integer.* \(got 'wide'\)"),
        ({"model": {"width": 30, "heads": 4}}, r"model\.width must be even and a multiple of model\.heads"),
        ({"study": {"models": ["difurec"]}}, r"study\.models names 'difurec', which is none of diffurec, "),
        ({"study": {"models": ["diffurec"], "baselines": []}}, r"study\.models and study\.baselines name one ranker"),
        ({"study": {"n_seeds": 0}}, r"study\.n_seeds must be at least 1, got 0"),
        ({"study": {"sweep": {"models": ["difurec"]}}}, r"study\.sweep\.models names 'difurec', which is none of"),
        ({"study": {"sweep": {"deltas": [-1]}}}, r"study\.sweep\.deltas must not be negative"),
        ({"study": {"sweep": {"deltas": [0, 0.001]}}}, r"study\.sweep\.deltas must not hold model\.delta \(0\.001\)"),
        ({"study": {"sweep": {"delta": [1]}}}, r"study\.sweep\.delta: no such parameter"),
        ({"probes": {"ensemble_sizes": [2]}}, r"probes\.ensemble_sizes must hold 1 and something larger"),
        ({"probes": {"reverse_steps": [64]}}, r"probes\.reverse_steps must not exceed model\.diffusion_steps \(32\)"),
        ({"groups": {"head_share": 1.5}}, r"groups\.head_share: .*less than 1"),
        ({"significance": {"confidence": 95}}, r"significance\.confidence: .*less than 1"),
        ({"evaluation": {"cutoffs": [0]}}, r"evaluation\.cutoffs must be positive"),
        ({"preprocessing": {"on_mismatch": "ignore"}}, r"preprocessing\.on_mismatch: .*'error' or 'warn'"),
    ],
)
def test_a_wrong_parameter_is_named(params, message, shared_project):
    with pytest.raises(ParameterError, match=message), shared_project.session(params=params) as session:
        session.load_context()


@pytest.mark.parametrize(
    ("name", "message"),
    [("amazon_beuty", r"'amazon_beuty', .*did you mean amazon_beauty\?"), ("x", "choose from .*ml-1m")],
)
def test_a_wrong_dataset_is_named_before_a_tracking_store_is_made(name, message, project):
    (project.root / "conf/mine").mkdir()
    (project.root / "conf/mine/globals.yml").write_text(f"experiment: mine\ndataset: {name}\n")
    with pytest.raises(ParameterError, match=message), project.session("mine") as session:
        session.load_context()
    assert not (project.root / "mlflow.db").exists()


def _pipeline_datasets():
    from kedro.framework.project import pipelines

    return {name for name in pipelines["__default__"].datasets() if not name.startswith("params:")}


def test_every_table_lies_on_disk_and_is_saved_atomically(shared_project):
    catalog = shared_project.catalog()
    for name in _pipeline_datasets():
        assert name in catalog, f"{name} would live in memory only"
        dataset = catalog.get(name)
        assert not isinstance(dataset, MemoryDataset)
        assert isinstance(dataset, AtomicSave | PathDataset), f"{name} may be left half-written"


def test_every_catalog_entry_is_used(shared_project):
    catalog = shared_project.catalog()
    used = _pipeline_datasets()
    written = set(shared_project.session().load_context().config_loader["catalog"])
    patterns = {name for name in written if "{" in name}
    assert written - patterns <= used
    assert {catalog.config_resolver.match_dataset_pattern(name) for name in used} - {None} == patterns


def test_no_two_tables_share_a_place(shared_project):
    catalog = shared_project.catalog()
    places = [str(catalog.get(name)._filepath) for name in _pipeline_datasets()]
    assert len(places) == len(set(places))


def test_every_table_has_a_layer(shared_project):
    catalog = shared_project.catalog()
    assert all(catalog.get(name).metadata["kedro-viz"]["layer"] for name in _pipeline_datasets())
