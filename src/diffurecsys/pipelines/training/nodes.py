"""Nodes that train one cell's model."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import ibis
import pandas as pd

from diffurecsys.parameters import ModelParameters, TrainingParameters
from diffurecsys.models import build_model
from diffurecsys.models.weights import ModelWeights
from diffurecsys.pipelines.conventions import checkpoint_file
from diffurecsys.pipelines.arrays import history_table, read_split, read_store
from diffurecsys.progress import training_progress
from diffurecsys.study import Cell
from diffurecsys.training import derive_generator, train

logger = logging.getLogger(__name__)


def train_model(
    cell: Cell,
    model: ModelParameters,
    training: TrainingParameters,
    sequences: ibis.Table,
    item_vocabulary: ibis.Table,
    train_examples: pd.DataFrame,
    validation_examples: pd.DataFrame,
    test_examples: pd.DataFrame,
    checkpoint_folder: Path,
) -> tuple[pd.DataFrame, dict[str, Any], ModelWeights]:
    """Train the cell's model, continuing from its checkpoint where there is one.

    Returns:
        The history, one row an epoch; a summary; the best weights.
    """
    assert cell.seed is not None
    store = read_store(sequences, item_vocabulary)
    split = read_split(train_examples, validation_examples, test_examples)
    config = model if cell.delta is None else dataclasses.replace(model, delta=cell.delta)
    network = build_model(cell.architecture, store.n_items, config, derive_generator(cell.seed, "weights"))
    checkpoint = checkpoint_file(checkpoint_folder, cell)
    logger.info("Training %s on %s examples", cell.namespace, f"{len(split.train):,}")
    with training_progress(cell.namespace) as on_step:
        result = train(network, store, split, training, seed=cell.seed, checkpoint_path=checkpoint, on_step=on_step)
    summary = {
        **dataclasses.asdict(cell),
        "seconds": result.seconds,
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "finished_early": result.finished_early,
        "resumed_from": result.resumed_from,
        "device": result.device,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
    return history_table(result.history), summary, ModelWeights(cell.architecture, store.n_items, config, result.state)
