"""Nodes of one cell of the grid: a ranker under a seed is fitted, then ranks. Finished cells of elsewhere are taken."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from diffurecsys.columns import SPLIT
from diffurecsys.data.split import StudyData
from diffurecsys.errors import DataError
from diffurecsys.evaluation.ranks import Ranks
from diffurecsys.models.weights import RankerWeights
from diffurecsys.parameters import EvaluationParameters
from diffurecsys.pipelines.arrays import history_table, ranks_table
from diffurecsys.pipelines.conventions import checkpoint_file
from diffurecsys.progress import training_progress
from diffurecsys.study import Cell
from diffurecsys.training.cell_files import CellFiles, find_cell, load_cell_files
from diffurecsys.training.fit import fit_cell, rank_cell

logger = logging.getLogger(__name__)

RANKED_AGAIN = 200  # users of an imported cell whose weights came along
ALIKE = 0.95  # share of them whose rank may differ by a hundredth of the catalogue at most: devices round differently


def fit_ranker(
    cell: Cell, split: StudyData, cells_folder: Path, imported_cells: Path
) -> tuple[pd.DataFrame, dict[str, Any], RankerWeights]:
    """Fit the cell's ranker, continuing from its checkpoint where there is one; or take it finished from elsewhere.

    Returns:
        The history, one row an epoch; the record; the best weights (none, where a finished cell came without).
    """
    if (finished := _finished(cell, split, imported_cells)) is not None:
        weights = RankerWeights(
            cell.spec.family,
            split.store.n_items,
            cell.spec.network,
            finished.state or {},
            cell.identity(split.fingerprint),
            split.fingerprint,
            split.split.max_length,
        )
        return history_table(finished.history), {**finished.record, "imported": True}, weights
    if cell.spec.trains:
        logger.info(
            "Training %s under %s: %s labels an epoch, %d epochs at most",
            cell.namespace,
            cell.spec.training.scheme,
            f"{split.split.train.n_targets:,}",
            cell.spec.training.epochs,
        )
    with training_progress(cell.namespace) as on_step:
        fitted = fit_cell(cell, split, checkpoint_path=checkpoint_file(cells_folder, cell), on_step=on_step)
    return history_table(fitted.history), fitted.record, fitted.weights


def rank_targets_of_cell(
    cell: Cell,
    evaluation: EvaluationParameters,
    split: StudyData,
    record: dict[str, Any],
    weights: RankerWeights,
    imported_cells: Path,
) -> pd.DataFrame:
    """Rank the validation and the test targets with the cell's ranker.

    Raises:
        DataError: a finished cell's ranks are not those that its weights give, or it has gone meanwhile.
    """
    if record.get("imported"):
        place = find_cell(imported_cells, cell, split)
        if place is None:
            raise DataError(f"the finished cell {cell.namespace} is gone from {imported_cells}: run its fitting again")
        ranks = load_cell_files(place, split).ranks
        if weights.state:
            _rank_again(cell, evaluation, split, weights, ranks["test"])
    else:
        ranks = rank_cell(weights, split, seed=cell.seed, batch_size=evaluation.batch_size, device=evaluation.device)
    parts = [ranks_table(found).assign(**{SPLIT: part}) for part, found in ranks.items()]
    return pd.concat(parts, ignore_index=True).astype({SPLIT: "category"})


def _finished(cell: Cell, split: StudyData, imported_cells: Path) -> CellFiles | None:
    """Read the cell from elsewhere, if it is there."""
    place = find_cell(imported_cells, cell, split)
    if place is None:
        return None
    logger.info("%s is finished in %s", cell.namespace, place)
    return load_cell_files(place, split)


def _rank_again(
    cell: Cell, evaluation: EvaluationParameters, split: StudyData, weights: RankerWeights, known: Ranks
) -> None:
    found = rank_cell(
        weights,
        split,
        seed=cell.seed,
        batch_size=evaluation.batch_size,
        device=evaluation.device,
        users=RANKED_AGAIN,
    )["test"]
    apart = np.abs(found.expected() - known.expected()[: len(found.user)]) > split.store.n_items / 100
    if apart.mean() > 1 - ALIKE:
        raise DataError(
            f"the ranks of the finished cell {cell.namespace} are not those that its weights give: of {len(apart)} "
            f"users {int(apart.sum())} differ. Remove its folder under imported_cells, or one of the two files."
        )
