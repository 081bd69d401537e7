"""The configuration: every experiment's parameters and catalog, and errors that say what is wrong with them."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from kedro.io import MemoryDataset

from diffurecsys.datasets import AtomicSave, PathDataset
from diffurecsys.errors import UserError
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.parameters import (
    DownloadParameters,
    EvaluationParameters,
    ParameterError,
    PreprocessingParameters,
    validate_parameters,
)
from diffurecsys.training import TrainingConfig

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
    assert [
        *(
            "beauty",
            "beauty-compare",
            "beauty-diffusion",
            "beauty-small",
            "beauty-table5",
            "ml-100k",
            "ml-100k-table5",
            "ml-1m",
            "ml-1m-compare",
        ),
        *("ml-1m-table5", "sample", "sample-spark", "toys", "toys-compare", "toys-table5"),
    ] == EXPERIMENTS


@pytest.mark.parametrize("env", EXPERIMENTS)
def test_an_experiments_parameters_are_valid_and_its_results_its_own(env, shared_project):
    parameters = validate_parameters(_raw_parameters(shared_project, env))
    assert len(parameters.study.names) >= 3
    counts = shared_project.catalog(env).get("counts")
    assert f"/{env}/" in str(counts._filepath)


@pytest.mark.parametrize("env", ["beauty", "toys", "ml-1m"])
def test_the_papers_models_run_with_the_defaults_of_the_code(env, shared_project):
    parameters = validate_parameters(_raw_parameters(shared_project, env))
    assert parameters.download == DownloadParameters()
    assert parameters.preprocessing == PreprocessingParameters()
    assert parameters.evaluation == EvaluationParameters()
    assert parameters.study.n_seeds == 5
    expected = {
        "diffurec": DiffuRecConfig(),
        "cross_attention": DiffuRecConfig(conditioning="cross"),
        "diffurecsys": DiffuRecConfig(conditioning="cross", offset_noise=True),
    }
    for name, network in expected.items():
        spec = parameters.study.spec(name)
        assert spec.network == network
        assert spec.training == TrainingConfig()


def test_without_an_experiment_the_sample_runs(shared_project):
    assert _raw_parameters(shared_project, None) == _raw_parameters(shared_project, "sample")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"models": {"sasrec": {"network": {"widht": 3}}}},
            r"models\.sasrec\.network\.widht: no such parameter; did you mean models\.sasrec\.network\.width\?",
        ),
        (
            {"models": {"sasrec": {"training": {"epoch": 3}}}},
            r"models\.sasrec\.training\.epoch: no such parameter; did you mean models\.sasrec\.training\.epochs\?",
        ),
        ({"models": {"sasrec": {"netwrk": {}}}}, r"models\.sasrec\.netwrk: .* did you mean models\.sasrec\.network\?"),
        (
            {"models": {"sasrec": {"family": "sasrek"}}},
            r"models\.sasrec\.family: no family 'sasrek'; did you mean sasrec",
        ),
        ({"models": {"sasrec": {"role": "modell"}}}, r"models\.sasrec\.role: .*'model', 'baseline' or 'control'"),
        ({"trainig": {"epochs": 3}}, r"trainig: no such parameter"),
        ({"preprocesing": {"user_k": 3}}, r"preprocesing: no such parameter; did you mean preprocessing\?"),
        (
            {"models": {"diffurec": {"network": {"width": "wide"}}}},
            r"models\.diffurec\.network\.width: .*\(got 'wide'\)",
        ),
        (
            {"models": {"diffurec": {"network": {"width": 30, "heads": 4}}}},
            r"models\.diffurec\.network\.width must be even and a multiple of heads",
        ),
        (
            {"models": {"diffurec": {"training": {"scheme": "window"}}}},
            r"models\.diffurec\.training\.scheme: diffurec cannot learn under 'window'; choose from prefix",
        ),
        (
            {"models": {"sasrec": {"training": {"learning_rate": float("nan")}}}},
            r"models\.sasrec\.training\.learning_rate must be a finite number, got nan",
        ),
        (
            {"study": {"rankers": ["difurec", "sasrec"]}},
            r"study\.rankers: no ranker 'difurec'; did you mean diffurec\?",
        ),
        ({"study": {"rankers": ["diffurec"]}}, r"study\.rankers names 1 ranker\(s\): a study compares at least two"),
        ({"study": {"n_seeds": 0}}, r"study\.n_seeds must be at least 1, got 0"),
        ({"study": {"references": ["bsarec"]}}, r"study\.references names 'bsarec', which is none of study\.rankers"),
        (
            {"study": {"sweeps": {"delta": {"rankers": ["difurec"]}}}},
            r"study\.sweeps\.delta\.rankers: no ranker 'difurec'; did you mean diffurec\?",
        ),
        (
            {"study": {"sweeps": {"delta": {"values": [-1]}}}},
            r"sweeps\.delta\.values: diffurec\.network\.delta must be",
        ),
        ({"study": {"sweeps": {"delta": {"values": [0, 0.001]}}}}, r"must not hold 0\.001: diffurec has it anyway"),
        ({"study": {"sweeps": {"delta": {"parameter": "network.detla"}}}}, r"no parameter 'network\.detla'"),
        (
            {"study": {"sweeps": {"delta": {"value": [1]}}}},
            r"study\.sweeps\.delta\.value: no such parameter; did you mean",
        ),
        ({"probes": {"ensemble_sizes": [2]}}, r"probes\.ensemble_sizes must hold 1 and something larger"),
        ({"groups": {"head_share": 1.5}}, r"groups\.head_share must lie in"),
        ({"significance": {"confidence": 95}}, r"significance\.confidence must lie in"),
        ({"significance": {"seed": -1}}, r"significance\.seed must be at least 0, got -1"),
        ({"evaluation": {"cutoffs": [0]}}, r"evaluation\.cutoffs must be positive"),
        ({"evaluation": {"device": "abc"}}, r"evaluation\.device must be auto, cpu or cuda, got 'abc'"),
        ({"preprocessing": {"max_length": 0}}, r"preprocessing\.max_length must be at least 1, got 0"),
        ({"preprocessing": {"on_mismatch": "ignore"}}, r"preprocessing\.on_mismatch: .*'error' or 'warn'"),
        ({"split": "temporel"}, r"split\.protocol: .*'leave_one_out' or 'temporal'"),
        ({"split": {"test_from": 0.9}}, r"split\.test_from has a meaning under protocol: temporal alone"),
        ({"split": {"protocol": "temporal", "test_from": 1.5}}, r"split\.test_from must be a share between 0 and 1"),
        (
            {"split": {"protocol": "temporal", "test_from": "soon"}},
            r"split\.test_from must be a share like 0\.8 or a date",
        ),
        (
            {"split": "temporal", "preprocessing": {"duplicates": "last"}},
            r"preprocessing\.duplicates: last keeps an event or not by what happened later",
        ),
        ({"maps": {"rankers": ["sasrek"]}}, r"maps\.rankers: no ranker 'sasrek'; did you mean sasrec\?"),
        ({"threads": 0}, r"threads: must be at least 1, got 0"),
        ({"dataset": {"name": "ml-100k"}}, r"dataset.name is 'ml-100k', but .*globals.yml chose 'sample'.*--env"),
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


@pytest.mark.parametrize(
    ("said", "datasets", "message"),
    [
        ("experiment: mine\ndataset: 100\n", "100: {name: '100', archive: mine.inter}", r"dataset 100: .*quote it"),
        ("experiment: mine\ndataset: on\n", "on: {name: mine, archive: mine.inter}", r"dataset True: .*quote it"),
        ("experiment: mine\ndataset: my.data\n", "my.data: {name: mine, archive: mine.inter}", r"dataset 'my.data'"),
        ("experiment: 2024\ndataset: sample\n", None, r"experiment: must be text \(got 2024\)"),
        ("experiment: ../../outside\ndataset: sample\n", None, r"experiment: '../../outside' cannot name a folder"),
        ("dataset: sample\n", None, r"globals\.yml names no experiment"),
        ("experiment: mine\n", None, r"globals\.yml names no dataset"),
    ],
)
def test_a_name_that_yaml_reads_otherwise_or_that_is_no_folder_is_named(said, datasets, message, project):
    files = {"globals": said} | ({"datasets": f"datasets:\n  {datasets}\n"} if datasets else {})
    project.add_experiment("mine", **files)
    with pytest.raises(Exception, match=message) as caught, project.session("mine") as session:
        session.load_context()
    assert isinstance(caught.value, UserError), type(caught.value)
    assert {path.name for path in project.root.iterdir()} == {"conf", "src", "pyproject.toml", ".telemetry"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("workng: /fast", r"workng names nothing; did you mean working\?"),
        ("modelss: s3://bucket/models", r"modelss names nothing; did you mean models\?"),
        ("working:", r"working must be a folder, got None"),
        ("reporting: ''", r"reporting must be a folder, got ''"),
        ("models: file:///data", r"models is 'file:///data': write the path alone"),
    ],
)
def test_folders_of_globals_are_checked(line, message, project):
    project.add_experiment("mine", globals=f"experiment: mine\ndataset: sample\n{line}\n")
    with pytest.raises(ParameterError, match=message), project.session("mine") as session:
        session.load_context()


def test_a_quoted_number_can_name_a_dataset(project):
    project.add_experiment(
        "mine",
        globals="experiment: mine\ndataset: '100'\n",
        datasets="datasets:\n  '100': {name: '100', archive: a.inter}\n",
    )
    with project.session("mine") as session:
        assert session.load_context().checked.dataset.archive == "a.inter"


def test_a_list_from_the_command_line_takes_the_place_of_the_configured_one(shared_project):
    with shared_project.session(params={"study": {"rankers": "sasrec diffurec"}}) as session:
        assert session.load_context().checked.study.names == ("sasrec", "diffurec")


def _pipeline_datasets():
    from kedro.framework.project import pipelines

    names = set().union(*(pipeline.datasets() for pipeline in dict(pipelines).values()))
    return {name for name in names if not name.startswith("params:")}


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
    assert written - patterns - used == {"records_folder"}  # the hooks'
    assert {catalog.config_resolver.match_dataset_pattern(name) for name in used} - {None} == patterns


def test_no_two_tables_share_a_place(shared_project):
    catalog = shared_project.catalog()
    datasets = [catalog.get(name) for name in _pipeline_datasets()]
    places = [str(found._filepath) for found in datasets if not isinstance(found, PathDataset)]  # folders are no tables
    assert len(places) == len(set(places))


def test_every_table_has_a_layer(shared_project):
    catalog = shared_project.catalog()
    assert all(catalog.get(name).metadata["kedro-viz"]["layer"] for name in _pipeline_datasets())


def test_a_cells_parameter_is_no_table(shared_project):
    """Kedro-Viz would give it the layer of one, and then draw no layers at all."""
    resolver = shared_project.catalog().config_resolver
    assert resolver.match_dataset_pattern("params:diffurec.seed_0.cell") is None


def test_layers_follow_each_other_in_every_pipeline(shared_project):
    """Where they go in a circle Kedro-Viz warns, and draws none."""
    from kedro.framework.project import pipelines

    catalog = shared_project.catalog()
    for name, pipeline in dict(pipelines).items():
        after: dict[str, set[str]] = {}
        for node in pipeline.nodes:
            layers = [
                {catalog.get(table).metadata["kedro-viz"]["layer"] for table in tables if "params:" not in table}
                for tables in (node.inputs, node.outputs)
            ]
            for layer in layers[1]:
                after.setdefault(layer, set()).update(layers[0] - {layer})
        try:
            TopologicalSorter(after).prepare()
        except CycleError as error:
            pytest.fail(f"{name}: {' -> '.join(reversed(error.args[1]))}")
