"""The part of a study that is finished: what a report can be made of before all cells are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path

from diffurecsys.study import Cell, Study
from diffurecsys.training.cell_files import cell_folder, differences, read_record


def only_finished(study: Study, folders: Sequence[Path]) -> Study:
    """Leave out what is still to be trained: seeds from the first unfinished one on, rankers without any.

    A sweep keeps the rankers of which all values have a finished seed, with as many as all of these have. Rankers that
    do not train stay. Which data a cell was made from is looked at when it is read, not here.

    Args:
        study: the whole grid.
        folders: with finished cells, laid out as `cell_folder` says.

    Raises:
        ValueError: fewer than two rankers are left.
    """
    seeds, lacking = dict(study.seeds_of), dict[str, list[str]]()
    for spec in study.specs:
        if spec.trains:
            cells = study.cells_of(spec.name)
            seeds[spec.name] = _finished(cells, folders)
            if seeds[spec.name] < len(cells):
                lacking.setdefault(f"{seeds[spec.name]} of {len(cells)} seeds are finished", []).append(spec.name)
    kept = tuple(spec for spec in study.specs if not spec.trains or seeds[spec.name])
    if len(kept) < 2:
        raise ValueError(
            f"study.unfinished: leave_out leaves {len(kept)} of {len(study.specs)} rankers: no seed of the others is "
            f"finished in {', '.join(str(folder) for folder in folders)}; choose fit"
        )
    names = {spec.name for spec in kept}
    sweeps = {}
    for name, sweep in study.sweeps.items():
        of_values = {
            base: min((_finished(cells, folders) for cells in _by_variant(study, name, base)), default=0)
            for base in sweep.rankers
            if base in names
        }
        for base, found in of_values.items():
            if found < sweep.n_seeds:
                said = f"{found} of {sweep.n_seeds} seeds are finished of all its values"
                lacking.setdefault(said, []).append(f"the sweep {name} of {base}")
        swept = {base: found for base, found in of_values.items() if found}
        sweeps[name] = dataclasses.replace(sweep, rankers=tuple(swept), seeds_of=swept)

    def known(listed: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if listed is None else tuple(name for name in listed if name in names)

    return dataclasses.replace(
        study,
        specs=kept,
        seeds_of={name: number for name, number in seeds.items() if name in names and number},
        references=known(study.references) or (),
        sweeps=sweeps,
        probed=known(study.probed),
        mapped=known(study.mapped),
        left_out=tuple(f"{', '.join(who)} ({what})" for what, who in lacking.items()),
    )


def _by_variant(study: Study, sweep: str, base: str) -> Iterable[list[Cell]]:
    """Return the cells that a sweep adds to a ranker, those of each value together."""
    variants: dict[str, list[Cell]] = {}
    for cell in study.varied:
        if cell.varies is not None and (cell.varies.sweep, cell.varies.base) == (sweep, base):
            variants.setdefault(cell.spec.name, []).append(cell)
    return variants.values()


def _finished(cells: Sequence[Cell], folders: Sequence[Path]) -> int:
    """Count the first cells, up to one that lies finished in none of the folders."""
    return sum(1 for _ in takewhile(lambda cell: _is_finished(cell, folders), cells))


def _is_finished(cell: Cell, folders: Sequence[Path]) -> bool:
    records = (read_record(cell_folder(folder, cell)) for folder in folders)
    return any(record is not None and not differences(record, cell, None) for record in records)
