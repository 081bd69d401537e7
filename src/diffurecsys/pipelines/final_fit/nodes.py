"""Node that trains the chosen ranker on everything."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import pandas as pd

from diffurecsys.columns import MODEL, SEED
from diffurecsys.data.split import EVERYTHING, StudyData, learning_from
from diffurecsys.data.stored import read_table
from diffurecsys.errors import DataError
from diffurecsys.machine import describe_machine
from diffurecsys.models.weights import RankerWeights, digest_state, load_weights
from diffurecsys.pipelines.arrays import history_table
from diffurecsys.pipelines.chosen import choose_cell, load_chosen, weights_file
from diffurecsys.progress import training_progress
from diffurecsys.serving.catalogue import Catalogue
from diffurecsys.serving.settings import FinalFitParameters
from diffurecsys.study import Cell, Study
from diffurecsys.training.refit import refit
from diffurecsys.training.warm_start import warm_start

if TYPE_CHECKING:
    from diffurecsys.parameters import EvaluationParameters

logger = logging.getLogger(__name__)

WEIGHTS, CATALOGUE = "weights.safetensors", "catalogue.parquet"


def fit_on_everything(
    study: Study,
    evaluation: EvaluationParameters,
    final_fit: FinalFitParameters,
    split: StudyData,
    study_ranks: pd.DataFrame,
    study_cells: pd.DataFrame,
    item_vocabulary: ibis.Table,
    models_folder: Path,
    working_folder: Path,
    raw_folder: Path,
) -> tuple[pd.DataFrame, dict[str, Any], Catalogue, RankerWeights]:
    """Train the chosen ranker on all events, for as many epochs as validation chose.

    Returns:
        The history, one row an epoch; the record; the items; the weights.

    Raises:
        DataError: the earlier model of a warm start does not fit, or the chosen one has no weights here.
        UserError: there is no such ranker.
    """
    cell = choose_cell(study, study_ranks, evaluation.ranking, final_fit.model, "final_fit.model")
    chosen = load_chosen(weights_file(models_folder, cell), split)
    items = Catalogue.of(learning_from(split, EVERYTHING), read_table(item_vocabulary))
    epochs = final_fit.epochs or _chosen_epochs(study_cells, cell)
    start, began_from = None, None
    if final_fit.warm_start:
        folder = raw_folder / final_fit.warm_start
        earlier, before = load_weights(folder / WEIGHTS), Catalogue.load(folder / CATALOGUE)
        start = warm_start(earlier, before.identifiers, items.identifiers)
        began_from = digest_state(earlier.state)
        logger.info("Starting from %s: %s of %s items are known there", folder, *_known(before, items))
    logger.info("Fitting %s on everything, %s epochs", cell.namespace, epochs or "no")
    with training_progress(f"final_fit of {cell.namespace}") as on_step:
        found = refit(
            cell,
            chosen,
            learning_from(split, EVERYTHING),
            epochs=epochs,
            start=start,
            checkpoint_path=working_folder / "final" / "checkpoint.pt",
            on_step=on_step,
        )
    made_from = {"cell": cell.identity(split.fingerprint), "learnt": EVERYTHING, "epochs": epochs, "start": began_from}
    identity = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    weights = replace(chosen, state=found.state, chosen={}, identity=identity)
    record = {
        "ranker": cell.spec.name,
        "seed": cell.seed,
        "identity": identity,
        "data": split.fingerprint,
        **cell.description(),
        "final_fit_on": EVERYTHING,
        "epochs": epochs,
        "warm_start": final_fit.warm_start,
        "seconds": found.seconds,
        "device": str(found.device),
        "machine": describe_machine(found.device),
    }
    return history_table(found.history), record, items, weights


def _chosen_epochs(study_cells: pd.DataFrame, cell: Cell) -> int | None:
    if not cell.spec.trains:
        return None
    row = study_cells[(study_cells[MODEL] == cell.spec.name) & (study_cells[SEED] == cell.seed)]
    if row.empty or row["best_epoch"].isna().all():
        raise DataError(f"the study's tables do not know {cell.namespace}: run train_eval first")
    return int(row["best_epoch"].iloc[0])


def _known(before: Catalogue, items: Catalogue) -> tuple[str, str]:
    common = set(before.identifiers).intersection(items.identifiers)
    return f"{len(common):,}", f"{len(items.identifiers):,}"
