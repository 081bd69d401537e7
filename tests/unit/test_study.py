"""The grid of a study."""

from __future__ import annotations

import pytest

from diffurecsys.study import Cell, Study


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
    ],
)
def test_impossible_grids_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Study(**arguments)
