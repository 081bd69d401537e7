"""Every ranker that there is, shrunk: each family under each of its ymls, or its defaults where it has none."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.models.base import Ranker, RankerConfig
from diffurecsys.models.registry import build_ranker, families
from diffurecsys.models.weights import RankerWeights, config_from
from diffurecsys.study import Cell, RankerSpec
from diffurecsys.training import TrainingConfig, derive_generator
from diffurecsys.training.fit import fit_cell

CONF = Path(__file__).parents[2] / "conf" / "base"
MAX_LENGTH = 10
N_ITEMS = 24
AT_MOST = {  # by name of a hyper-parameter, in any family that has it
    "width": 16,
    "hidden": 16,
    "inner": 32,
    "blocks": 2,
    "layers": 2,
    "head_blocks": 1,
    "heads": 2,
    "negatives": 8,
    "cutoff": 4,
    "warmup": 0,
    "diffusion_steps": 8,
    "validation_steps": 8,
    "evaluation_steps": 8,
    "serving_steps": 8,
}


@dataclass(frozen=True)
class Case:
    """A ranker as configured, but small."""

    name: str
    family: str
    network: RankerConfig
    training: TrainingConfig

    @property
    def capabilities(self):
        return self.network.capabilities

    def spec(self, **training: Any) -> RankerSpec:
        how = dataclasses.replace(self.training, **training)
        return RankerSpec(self.name, self.family, "model", self.network, how)

    def build(self, n_items: int = N_ITEMS, data: StudyData | None = None, **network: Any) -> Ranker:
        """Build with drawn weights; with `data`, let it observe."""
        config = dataclasses.replace(self.network, **network)
        ranker = build_ranker(self.family, config, n_items, derive_generator(0, "weights"))
        if data is not None:
            ranker.observe(data)
        return ranker

    def fit(self, data: StudyData, seed: int = 0, **training: Any) -> RankerWeights:
        return fit_cell(Cell(self.spec(**training), seed), data).weights


def shrink(config: RankerConfig) -> RankerConfig:
    """Make a configuration small, by the names of its numbers."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    small = {
        name: min(values[name], most)
        for name, most in AT_MOST.items()
        if isinstance(values.get(name), int) and values[name] is not None
    }
    if "max_length" in values:
        small["max_length"] = MAX_LENGTH
    held = {name: shrink(value) for name, value in values.items() if isinstance(value, RankerConfig)}
    return dataclasses.replace(config, **small, **held)


def small_training(training: TrainingConfig) -> TrainingConfig:
    return dataclasses.replace(
        training, epochs=2, batch_size=32, patience=None, device="cpu", precision="float32", warmup_steps=0
    )


def resolve(value: Any, shared: dict[str, Any]) -> Any:
    """Put globals in the place of `${globals:name}`, as Kedro does."""
    if isinstance(value, dict):
        return {name: resolve(part, shared) for name, part in value.items()}
    found = re.fullmatch(r"\$\{globals:\s*(\w+)\s*\}", value) if isinstance(value, str) else None
    return shared[found[1]] if found else value


def cases() -> list[Case]:
    shared, found = yaml.safe_load((CONF / "globals.yml").read_text()), []
    for path in sorted((CONF / "parameters" / "models").glob("*.yml")):
        for name, raw in resolve(yaml.safe_load(path.read_text())["models"], shared).items():
            network = config_from(raw["family"], raw.get("network") or {})
            training = TrainingConfig(**(raw.get("training") or {}))
            found.append(Case(name, raw["family"], shrink(network), small_training(training)))
    for name, family in families().items():
        if name not in {case.family for case in found}:
            config = shrink(family.config())
            schemes = config.capabilities.schemes or ("prefix",)
            found.append(Case(name, name, config, small_training(TrainingConfig(scheme=schemes[0]))))
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        found = cases()
        metafunc.parametrize("case", found, ids=[case.name for case in found], scope="session")


def make_data(*, held_out: int = 0) -> StudyData:
    """Users with training parts of one event up to more than `MAX_LENGTH`; with `held_out`, other targets.

    Items follow each other by number, so that there is something to learn.
    """
    lists = []
    for user in range(20):
        length = 3 + user % 14
        items = [(5 * user + step) % N_ITEMS for step in range(length)]
        items[-2:] = [(item + held_out) % N_ITEMS for item in items[-2:]]
        lists.append(items)
    store = SequenceStore.from_lists(lists, N_ITEMS)
    return StudyData(store, leave_one_out(store, max_length=MAX_LENGTH))


@pytest.fixture(scope="session")
def data() -> StudyData:
    return make_data()


@pytest.fixture(scope="session")
def other_targets() -> StudyData:
    """The same training parts before other validation and test items."""
    return make_data(held_out=7)


@pytest.fixture(scope="session")
def weights(case: Case, data: StudyData) -> RankerWeights:
    """Of the case's ranker after two epochs, or after counting."""
    return case.fit(data)


@pytest.fixture
def ranker(weights: RankerWeights) -> Ranker:
    """The fitted ranker."""
    return weights.build()
