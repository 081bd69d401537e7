"""Cells without Kedro: on any machine with PyTorch and NumPy, from two files, into a folder that the study imports.

    python -m diffurecsys.remote split.npz cells.json out/ [--processes 16] [--device cuda] [--weights] [--minutes 9]
    torchrun --nproc-per-node=2 -m diffurecsys.remote split.npz cells.json out/ [--device cuda] [--weights]

The first fits several cells at once, each in a process of its own; the second one cell after the other, each in all
processes together.

`kedro run --pipeline=export` writes both files. Every finished cell is a folder of small files (`training.cell_files`);
one that is there already is left alone, so the command may be killed and repeated. Placed where `imported_cells` of the
catalog points to, they are taken by the study in place of training.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from diffurecsys.collective import LostProcessError, Team, as_lost, current_team, joined, started_by_torchrun
from diffurecsys.data.split import StudyData, load_split
from diffurecsys.errors import DataError, UserError
from diffurecsys.machine import git_revision
from diffurecsys.models.weights import config_from
from diffurecsys.processes import Job, run_jobs
from diffurecsys.study import Cell, RankerSpec, Variation
from diffurecsys.training.cell_files import cell_folder, differences, read_record, save_cell_files
from diffurecsys.training.config import TrainingConfig
from diffurecsys.training.fit import fit_cell, rank_cell

logger = logging.getLogger(__name__)

CHECKPOINTS = ("checkpoint.pt", "again_checkpoint.pt")


def describe_cell(cell: Cell) -> dict[str, Any]:
    """Return a cell as plain values; `read_cell` is the way back."""
    spec = cell.spec
    return {
        "name": spec.name,
        "family": spec.family,
        "role": spec.role,
        "network": dataclasses.asdict(spec.network),
        "training": dataclasses.asdict(spec.training),
        "seed": cell.seed,
        "varies": dataclasses.asdict(cell.varies) if cell.varies else None,
        "final_fit_on": spec.final_fit_on,
    }


def read_cell(values: dict[str, Any]) -> Cell:
    """Make a cell of what `describe_cell` gave.

    Raises:
        DataError: this version's family has other parameters.
    """
    spec = RankerSpec(
        values["name"],
        values["family"],
        values["role"],
        config_from(values["family"], values["network"]),
        TrainingConfig(**values["training"]),
        values.get("final_fit_on", "training"),
    )
    return Cell(spec, values["seed"], Variation(**values["varies"]) if values["varies"] else None)


def run_cell(values: dict[str, Any], split: Path, out: Path, *, device: str, weights: bool) -> None:
    """Fit and rank one cell and write its files; of a team the first process writes."""
    cell = read_cell(values)
    spec = dataclasses.replace(cell.spec, training=dataclasses.replace(cell.spec.training, device=device))
    cell = dataclasses.replace(cell, spec=spec)
    folder, data = cell_folder(out, cell), load_split(split)
    began = time.perf_counter()
    fitted = fit_cell(cell, data, checkpoint_path=folder / CHECKPOINTS[0])
    fitted_after = time.perf_counter()
    ranks = rank_cell(fitted.weights, data, seed=cell.seed, device=device)
    fitted.record["seconds_with_validation"] = fitted_after - began
    if (team := current_team()) is not None and not team.leads:
        return
    fitted.record["seconds_ranking"] = time.perf_counter() - fitted_after
    fitted.record["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    fitted.record["revision"] = os.environ.get("DIFFURECSYS_REVISION") or git_revision(Path(__file__).parent)
    save_cell_files(folder, fitted, ranks, weights=weights)
    for name in CHECKPOINTS:
        (folder / name).unlink(missing_ok=True)


def unfinished(cells: Sequence[Cell], data: StudyData, out: Path) -> list[int]:
    """Return which cells have no finished files; those that were made with other settings have none.

    Raises:
        DataError: a record is damaged.
    """
    missing = []
    for number, cell in enumerate(cells):
        folder = cell_folder(out, cell)
        record = read_record(folder)
        if record is not None and (others := differences(record, cell, data)):
            logger.info("%s is made again: it was made with %s", folder, "; ".join(others[:5]))
            record = None
        if record is None:
            missing.append(number)
    return missing


def run_cells(
    split: Path, cells: Path, out: Path, *, processes: int, device: str, weights: bool, minutes: float | None
) -> int:
    """Run all cells that are not finished yet, several at once, each in a process of one thread.

    Returns:
        How many failed; no cell begins once the minutes are over, and those running then are stopped, to be continued.
    """
    listed = json.loads(cells.read_text(encoding="utf-8"))
    known = [read_cell(values) for values in listed]
    options = ["--device", device, *(["--weights"] if weights else [])]
    jobs = []
    for number in unfinished(known, load_split(split), out):
        folder = cell_folder(out, known[number])
        command = ("-m", "diffurecsys.remote", str(split), str(cells), str(out), *options, "--cell", str(number))
        jobs.append(Job(str(folder), command, folder / "log.txt"))
    return run_jobs(jobs, processes=processes, minutes=minutes)


def run_cells_together(split: Path, cells: Path, out: Path, *, device: str, weights: bool) -> None:
    """Run all cells that are not finished yet, one after the other, each in all processes that `torchrun` started.

    Every process reads the split where it runs; the list of cells and `out` are the first one's alone.

    Raises:
        DataError: the processes have different splits.
        LostProcessError: a process has ended; what remains, and how to go on.
    """
    with joined(device) as (team, place):
        data = load_split(split)
        if len(set(team.all_have(data.fingerprint))) > 1:
            raise DataError(f"{split} is another one on other machines of this training: copy the same to all of them")
        for values in _unfinished_of_first(team, cells, data, out):
            cell = read_cell(values)
            if team.leads:
                logger.info("%s in %d processes", cell.namespace, team.size)
            try:
                run_cell(values, split, out, device=place, weights=weights)
            except RuntimeError as error:
                if (lost := as_lost(error)) is None:
                    raise
                raise LostProcessError(f"{lost}. {_how_to_go_on(cell_folder(out, cell))}") from error


def _unfinished_of_first(team: Team, cells: Path, data: StudyData, out: Path) -> list[dict[str, Any]]:
    listed = []
    if team.leads:
        listed = json.loads(cells.read_text(encoding="utf-8"))
        listed = [listed[number] for number in unfinished([read_cell(values) for values in listed], data, out)]
    return team.from_first(listed)


def _how_to_go_on(folder: Path) -> str:
    begun = [name for name in CHECKPOINTS if (folder / name).exists()]
    kept = f"{folder / begun[-1]} keeps what was learnt" if begun else f"{folder} has no checkpoint yet"
    return f"{kept}: repeat the command, with as many processes or with another number"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path)
    parser.add_argument("cells", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--processes", type=int, default=1, help="cells at once")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--weights", action="store_true", help="keep the weights, too")
    parser.add_argument("--minutes", type=float, help="stop after so long")
    parser.add_argument("--cell", type=int, help="run this one alone, in this process")
    arguments = parser.parse_args()
    first = os.environ.get("RANK", "0") == "0"
    level = logging.INFO if first or not started_by_torchrun() else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if started_by_torchrun():
        if arguments.processes > 1 or arguments.minutes is not None or arguments.cell is not None:
            parser.error("--processes, --minutes and --cell are for cells in processes of their own, without torchrun")
        run_cells_together(
            arguments.split, arguments.cells, arguments.out, device=arguments.device, weights=arguments.weights
        )
        return
    if arguments.cell is not None:
        torch.set_num_threads(1)
        listed = json.loads(arguments.cells.read_text(encoding="utf-8"))
        run_cell(
            listed[arguments.cell],
            arguments.split,
            arguments.out,
            device=arguments.device,
            weights=arguments.weights,
        )
        return
    sys.exit(
        1
        if run_cells(
            arguments.split,
            arguments.cells,
            arguments.out,
            processes=arguments.processes,
            device=arguments.device,
            weights=arguments.weights,
            minutes=arguments.minutes,
        )
        else 0
    )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"{type(error).__name__}: {error}")
