"""The grid of a study."""

from __future__ import annotations

import pytest

from diffurecsys.study import Cell, Study, Sweep, variant_name


def test_cells_go_model_by_model_and_baselines_have_one_each():
    study = Study(models=("a", "b"), n_seeds=2, baselines=("popularity",))
    assert study.cells == (Cell("a", 0), Cell("a", 1), Cell("b", 0), Cell("b", 1), Cell("popularity"))
    assert [cell.namespace for cell in study.cells] == ["a.seed_0", "a.seed_1", "b.seed_0", "b.seed_1", "popularity"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"models": (), "n_seeds": 1}, "study.models must name at least one"),
        ({"models": ("a",), "n_seeds": 0}, "study.n_seeds must be at least 1, got 0"),
        ({"models": ("a",), "n_seeds": 1, "baselines": ("a",)}, "must not repeat a name"),
        ({"models": ("a",), "n_seeds": 1, "sweep": Sweep(("a",), (0.1, 0.1))}, "sweep.deltas must not repeat"),
        ({"models": ("a",), "n_seeds": 1, "sweep": Sweep(("a",), (-0.1,))}, "must not be negative"),
        ({"models": ("a",), "n_seeds": 1, "sweep": Sweep(n_seeds=-1)}, "study.sweep.n_seeds must not be negative"),
    ],
)
def test_impossible_grids_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Study(**arguments)


def test_a_sweep_varies_the_study_s_models_under_its_own_seeds():
    study = Study(models=("a", "b"), n_seeds=1, sweep=Sweep(("b", "c"), (0.0, 0.01), n_seeds=2))
    assert [cell.namespace for cell in study.trained] == [
        "a.seed_0",
        "b.seed_0",
        "sweep.b_delta_0.seed_0",
        "sweep.b_delta_0.seed_1",
        "sweep.b_delta_0_01.seed_0",
        "sweep.b_delta_0_01.seed_1",
    ]
    assert [(cell.model, cell.architecture, cell.delta) for cell in study.variants] == [
        ("b_delta_0", "b", 0.0),
        ("b_delta_0_01", "b", 0.01),
    ]
    assert study.cells_of("b_delta_0") == study.trained[2:4]


def test_without_seeds_there_is_no_sweep():
    study = Study(models=("a",), n_seeds=1, sweep=Sweep(("a",), (0.0,), n_seeds=0))
    assert study.trained == (Cell("a", 0),)
    assert study.variants == ()


def test_a_variant_s_name_can_be_a_namespace_and_a_file():
    assert [variant_name("a", delta) for delta in (0.0, 1.0, 0.001, 0.1)] == [
        "a_delta_0",
        "a_delta_1",
        "a_delta_0_001",
        "a_delta_0_1",
    ]
