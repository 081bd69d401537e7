"""The grid of a study, and what makes a cell the cell it is."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from diffurecsys.models import registry
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.study import Cell, RankerSpec, Study, Sweep, Variation, variant_name
from diffurecsys.training import TrainingConfig


def spec(name: str = "a", role: str = "model", **training) -> RankerSpec:
    return RankerSpec(name, "diffurec", role, DiffuRecConfig(width=8, heads=2), TrainingConfig(**training))


A, B, C = spec("a"), spec("b"), spec("c", "baseline")


@dataclasses.dataclass(frozen=True)
class Counting(DiffuRecConfig):
    @property
    def capabilities(self):
        return dataclasses.replace(super().capabilities, trains=False)


COUNTS = dataclasses.replace(C, name="counts", network=Counting())


def test_cells_go_ranker_by_ranker_and_what_does_not_train_has_one():
    study = Study((A, COUNTS, B), n_seeds=2, seeds_of={"b": 3})
    assert [cell.namespace for cell in study.cells] == [
        "a.seed_0",
        "a.seed_1",
        "counts.seed_0",
        "b.seed_0",
        "b.seed_1",
        "b.seed_2",
    ]
    assert study.names == ("a", "counts", "b")
    assert study.cells_of("a") == (Cell(A, 0), Cell(A, 1))
    assert study.varied == ()


def sweep(*values, n_seeds: int = 1, rankers=("a",), parameter: str = "network.delta") -> dict:
    return {"sweeps": {"delta": Sweep(rankers, parameter, values, n_seeds)}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"specs": (A,)}, r"study.rankers names 1 ranker\(s\): a study compares at least two"),
        ({"n_seeds": 0}, "study.n_seeds must be at least 1, got 0"),
        ({"specs": (A, B, A)}, r"must not repeat a name, got \['a', 'b', 'a'\]"),
        ({"references": ("d",)}, r"study.references names 'd', which is none of study.rankers \(a, b, c\)"),
        (sweep(0.1, 0.1), "study.sweeps.delta.values must not repeat a value"),
        (sweep(0.1, n_seeds=-1), "study.sweeps.delta.n_seeds must not be negative, got -1"),
        (sweep(-0.1), "study.sweeps.delta: delta must be at least 0, got -0.1"),
        (sweep(0.001), "study.sweeps.delta.values must not hold 0.001: a has it anyway"),
        (sweep(1, parameter="network.width_"), r"study.sweeps.delta: a has no parameter 'network.width_'"),
        (sweep(1, parameter="delta"), "a has no parameter 'delta'"),
        (sweep(1, parameter="name.x"), "a has no parameter 'name.x'"),
    ],
)
def test_impossible_grids_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Study(**{"specs": (A, B, C), "n_seeds": 1, **arguments})


def test_a_sweep_varies_the_study_s_rankers_under_its_own_seeds():
    study = Study((A, B), n_seeds=1, sweeps={"delta": Sweep(("b", "not there"), "network.delta", (0, 0.01), 2)})
    assert [cell.namespace for cell in study.cells] == [
        "a.seed_0",
        "b.seed_0",
        "sweep.b_delta_0.seed_0",
        "sweep.b_delta_0.seed_1",
        "sweep.b_delta_0_01.seed_0",
        "sweep.b_delta_0_01.seed_1",
    ]
    cell = study.varied[-1]
    assert cell.varies == Variation("delta", "b", "network.delta", 0.01)
    assert (cell.spec.network.delta, cell.spec.role, cell.spec.training) == (0.01, "control", B.training)
    assert study.cells_of("b_delta_0") == study.varied[:2]
    assert study.names == ("a", "b")
    assert study.with_role("control") == ()


def test_training_can_be_swept_too():
    study = Study((A, B), n_seeds=1, sweeps={"size": Sweep(("a",), "training.batch_size", (64,))})
    assert study.spec("a_batch_size_64").training.batch_size == 64


def test_without_seeds_there_is_no_sweep():
    assert Study((A, B), n_seeds=1, **sweep(0.0, n_seeds=0)).varied == ()


def test_an_unknown_ranker_is_a_key_error():
    with pytest.raises(KeyError, match="d"):
        Study((A, B), n_seeds=1).spec("d")


def test_without_references_all_that_train_meet_each_other_and_the_others():
    assert Study((A, COUNTS, C, B), n_seeds=1).pairs == (
        *(("c", "a"), ("b", "a"), ("b", "c")),
        *((name, COUNTS.name) for name in ("a", "c", "b")),
    )


def test_every_ranker_meets_each_reference_once():
    study = Study((A, B, C), n_seeds=1, references=("b", "a"))
    assert study.pairs == (("a", "b"), ("c", "b"), ("c", "a"))


def test_a_variant_s_name_can_be_a_namespace_and_a_file():
    values = (0, 0.0, 1.0, 0.001, -0.5, 1e-7, True, "cosine", 1234567)
    assert [variant_name("a", "x", value) for value in values] == [
        "a_x_0",
        "a_x_0",
        "a_x_1",
        "a_x_0_001",
        "a_x_minus_0_5",
        "a_x_1eminus_07",
        "a_x_True",
        "a_x_cosine",
        "a_x_1234567",
    ]


def of(**changes) -> str:
    return Cell(dataclasses.replace(A, **changes), 0).identity("data")


def network(**changes) -> DiffuRecConfig:
    return dataclasses.replace(A.network, **changes)


def training(**changes) -> TrainingConfig:
    return dataclasses.replace(A.training, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": network(width=10)},
        {"network": network(delta=0.0011)},
        {"network": network(evaluation_steps=1)},
        {"training": training(epochs=3)},
        {"training": training(scheme="window")},
        {"training": training(average=0.9)},
        {"training": training(precision="bfloat16")},
    ],
)
def test_what_decides_numbers_is_part_of_a_cell_s_identity(changes):
    assert of(**changes) != of()


def test_seed_and_data_are_part_of_it():
    identities = {Cell(A, seed).identity(data) for seed in (0, 1) for data in ("data", "others")}
    assert len(identities) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another"},
        {"role": "baseline"},
        {"training": training(device="cpu")},
        {"training": training(checkpoint_every=7)},
    ],
)
def test_what_decides_no_number_is_not(changes):
    assert of(**changes) == of()


def test_how_it_came_into_the_study_is_not():
    varied = A.varied("a_delta_0_01", "network.delta", 0.01)
    direct = dataclasses.replace(A, network=network(delta=0.01))
    sweep = Cell(varied, 0, Variation("delta", "a", "network.delta", 0.01))
    assert sweep.identity("data") == Cell(direct, 0).identity("data")


def test_training_settings_of_what_does_not_train_are_not():
    other = dataclasses.replace(COUNTS, training=training(epochs=2))
    assert Cell(other).identity("data") == Cell(COUNTS).identity("data")


def test_a_family_s_version_is(monkeypatch):
    before = of()
    newer = dataclasses.replace(registry.find_family("diffurec"), version=2)
    monkeypatch.setattr(registry, "families", lambda: {"diffurec": newer})
    assert of() != before


def test_identity_does_not_depend_on_the_process():
    """Cells fitted elsewhere, or yesterday, must be known again."""
    text = (
        '{"data": "d", "family": "diffurec", "network": {"width": 64}, "seed": 3, "training": {"epochs": 2}, '
        f'"version": {registry.find_family("diffurec").version}}}'
    )
    spec = RankerSpec("a", "diffurec", "model", DiffuRecConfig(width=64), TrainingConfig(epochs=2, device="cpu"))
    assert Cell(spec, 3).identity("d") == hashlib.sha256(text.encode()).hexdigest()
