"""Nodes of one cell of the grid: a ranker under a seed is fitted, then ranks. Finished cells of elsewhere are taken."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd

from diffurecsys.columns import ITEM, ITEM_ID, SPLIT, USER, USER_ID
from diffurecsys.data.split import StudyData
from diffurecsys.data.stored import read_table
from diffurecsys.errors import DataError
from diffurecsys.evaluation.imported_ranks import read_imported_ranks
from diffurecsys.evaluation.ranks import Ranks
from diffurecsys.models.imported import IMPORTED, ImportedConfig
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
    cell: Cell, split: StudyData, working_folder: Path, imported_cells: Path
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
        fitted = fit_cell(cell, split, checkpoint_path=checkpoint_file(working_folder, cell), on_step=on_step)
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
    return _one_table(ranks)


def note_imported_ranker(cell: Cell, split: StudyData) -> tuple[pd.DataFrame, dict[str, Any], RankerWeights]:
    """Say of a ranker of another tool what is known: nothing but its name and file."""
    identity, network = cell.identity(split.fingerprint), cell.spec.network
    record = {
        "ranker": cell.spec.name,
        "seed": cell.seed,
        "identity": identity,
        "data": split.fingerprint,
        **cell.description(),
        "device": "elsewhere",
        "machine": {"device": None, "cpu": "elsewhere"},
        "imported": True,
    }
    nothing = RankerWeights(
        IMPORTED, split.store.n_items, network, {}, identity, split.fingerprint, split.split.max_length
    )
    return history_table([]), record, nothing


def read_ranks_of_cell(
    cell: Cell,
    evaluation: EvaluationParameters,
    split: StudyData,
    user_vocabulary: ibis.Table,
    item_vocabulary: ibis.Table,
    imported_cells: Path,
) -> pd.DataFrame:
    """Read another tool's ranks and check them against the split.

    Raises:
        DataError: they are not of this split's users and items.
    """
    network = cell.spec.network
    assert isinstance(network, ImportedConfig)
    users = read_table(user_vocabulary).sort_by(USER)[USER_ID].to_pylist()
    items = read_table(item_vocabulary).sort_by(ITEM)[ITEM_ID].to_pylist()
    return _one_table(read_imported_ranks(imported_cells / network.file, split, users, items, max(evaluation.cutoffs)))


def _one_table(ranks: Mapping[str, Ranks]) -> pd.DataFrame:
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
