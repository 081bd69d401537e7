"""Nodes of one cell of the grid: a ranker under a seed is fitted, then ranks."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from diffurecsys.columns import SPLIT
from diffurecsys.data.split import StudyData
from diffurecsys.models.weights import RankerWeights
from diffurecsys.parameters import EvaluationParameters
from diffurecsys.pipelines.arrays import history_table, ranks_table
from diffurecsys.pipelines.conventions import checkpoint_file
from diffurecsys.progress import training_progress
from diffurecsys.study import Cell
from diffurecsys.training.fit import fit_cell, rank_cell

logger = logging.getLogger(__name__)


def fit_ranker(cell: Cell, split: StudyData, cells_folder: Path) -> tuple[pd.DataFrame, dict[str, Any], RankerWeights]:
    """Fit the cell's ranker, continuing from its checkpoint where there is one.

    Returns:
        The history, one row an epoch; the record; the best weights.
    """
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
    cell: Cell, evaluation: EvaluationParameters, split: StudyData, weights: RankerWeights
) -> pd.DataFrame:
    """Rank the validation and the test targets with the cell's ranker."""
    ranks = rank_cell(
        weights, split, seed=cell.seed, batch_size=evaluation.batch_size, device=evaluation.device
    )
    parts = [ranks_table(found).assign(**{SPLIT: part}) for part, found in ranks.items()]
    return pd.concat(parts, ignore_index=True).astype({SPLIT: "category"})
