"""Reports of what is finished: seeds up to the first that is not, and who has none at all."""

from __future__ import annotations

import dataclasses
import json

import pytest

from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.models.families.popularity import FAMILY as POPULARITY
from diffurecsys.study import RankerSpec, Study, Sweep
from diffurecsys.training import TrainingConfig
from diffurecsys.training.cell_files import RECORD, cell_folder
from diffurecsys.training.finished import only_finished

COUNTS = RankerSpec("counts", POPULARITY.name, "baseline", POPULARITY.config(), TrainingConfig())


def ranker(name: str, **network) -> RankerSpec:
    return RankerSpec(name, "diffurec", "model", DiffuRecConfig(width=8, heads=2, **network), TrainingConfig())


STUDY = Study(
    (COUNTS, ranker("a"), ranker("b", blocks=1)),
    n_seeds=3,
    references=("a", "counts", "b"),
    sweeps={"delta": Sweep(("a", "b"), "network.delta", (0.0, 1.0), n_seeds=2)},
    probed=("a", "b"),
    mapped=None,
)


def finish(root, *namespaces: str) -> None:
    for cell in STUDY.cells:
        if cell.namespace in namespaces:
            folder = cell_folder(root, cell)
            folder.mkdir(parents=True)
            record = {"seed": cell.seed, "data": "of somewhere", **cell.description()}
            (folder / RECORD).write_text(json.dumps(record))


def test_seeds_up_to_the_first_that_is_not_finished_are_kept(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    finish(here, "a.seed_0", "a.seed_2")
    finish(there, "a.seed_1", "b.seed_0", "b.seed_2")
    found = only_finished(STUDY, [here, there])
    assert [cell.namespace for cell in found.main] == [
        *("counts.seed_0", "a.seed_0", "a.seed_1", "a.seed_2"),
        "b.seed_0",
    ]
    assert not found.varied
    assert found.left_out == (
        "b (1 of 3 seeds are finished)",
        "the sweep delta of a, the sweep delta of b (0 of 2 seeds are finished of all its values)",
    )


def test_a_sweep_keeps_the_rankers_of_which_all_values_are_finished(tmp_path):
    main = [f"{name}.seed_{seed}" for name in "ab" for seed in range(3)]
    swept = [cell for cell in STUDY.varied if cell.varies.base == "a" or cell.varies.value == 0]
    finish(tmp_path, *main, *(cell.namespace for cell in swept))
    found = only_finished(STUDY, [tmp_path])
    assert {cell.varies.base for cell in found.varied} == {"a"}
    assert len(found.varied) == 4
    assert found.left_out == ("the sweep delta of b (0 of 2 seeds are finished of all its values)",)


def test_of_every_swept_ranker_the_seeds_are_kept_that_it_has(tmp_path):
    main = [f"{name}.seed_{seed}" for name in "ab" for seed in range(3)]
    swept = [cell for cell in STUDY.varied if cell.varies.base == "a" or cell.seed == 0]
    finish(tmp_path, *main, *(cell.namespace for cell in swept))
    found = only_finished(STUDY, [tmp_path])
    assert [cell.namespace for cell in found.varied] == [cell.namespace for cell in swept]
    assert found.left_out == ("the sweep delta of b (1 of 2 seeds are finished of all its values)",)


def test_rankers_without_a_seed_go_from_all_that_names_them(tmp_path):
    finish(tmp_path, "b.seed_0", "b.seed_1", "b.seed_2", *(cell.namespace for cell in STUDY.varied))
    found = only_finished(STUDY, [tmp_path])
    assert found.names == ("counts", "b")
    assert (found.references, found.probed, found.mapped) == (("counts", "b"), ("b",), None)
    assert {cell.varies.base for cell in found.varied} == {"b"}
    assert len(found.varied) == 4
    assert found.left_out == ("a (0 of 3 seeds are finished)",)


def test_what_was_made_with_other_settings_is_not_finished(tmp_path):
    finish(tmp_path, "a.seed_0", "b.seed_0")
    longer = dataclasses.replace(ranker("b", blocks=1), training=TrainingConfig(epochs=50))
    found = only_finished(dataclasses.replace(STUDY, specs=(*STUDY.specs[:2], longer)), [tmp_path])
    assert found.names == ("counts", "a")


def test_a_finished_study_stays_whole(tmp_path):
    finish(tmp_path, *(cell.namespace for cell in STUDY.cells))
    found = only_finished(STUDY, [tmp_path])
    assert found.cells == STUDY.cells
    assert found.left_out == ()


def test_nothing_to_compare_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"leave_out leaves 1 of 3 rankers: no seed of the others .* choose fit"):
        only_finished(STUDY, [tmp_path])


def test_rankers_that_lack_as_much_are_named_together(tmp_path):
    finish(tmp_path, "a.seed_0", "b.seed_0", *(cell.namespace for cell in STUDY.varied))
    assert only_finished(STUDY, [tmp_path]).left_out == ("a, b (1 of 3 seeds are finished)",)
