"""Nodes that rank with one cell's model, compute its metrics, and put all models side by side."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import ibis
import pandas as pd
import plotly.graph_objects as go
import torch
from torch import Tensor

from diffurecsys.parameters import DatasetParameters, EvaluationParameters, StudyParameters
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.store import SequenceStore, Split
from diffurecsys.evaluation.baselines import BASELINES
from diffurecsys.evaluation.leaderboard import SEED, SPLIT, TEST, VALIDATION, find_warnings
from diffurecsys.evaluation.metrics import metrics_from_ranks
from diffurecsys.evaluation.ranks import rank_targets, training_popularity
from diffurecsys.models.weights import ModelWeights
from diffurecsys.pipelines.arrays import (
    Results,
    ranks_from_table,
    ranks_table,
    read_split,
    read_store,
    study_leaderboard,
)
from diffurecsys.reporting.figures import plotly_leaderboard
from diffurecsys.reporting.paper import paper_results
from diffurecsys.reporting.leaderboard_tables import wide_table
from diffurecsys.study import Cell
from diffurecsys.training import derive_generator
from diffurecsys.training.device import keep_freed_memory, resolve_device

logger = logging.getLogger(__name__)

Score = Callable[[PackedBatch, torch.Generator], Tensor]


def rank_with_model(
    cell: Cell,
    evaluation: EvaluationParameters,
    weights: ModelWeights,
    sequences: ibis.Table,
    item_vocabulary: ibis.Table,
    train_examples: pd.DataFrame,
    validation_examples: pd.DataFrame,
    test_examples: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rank the validation and the test targets with the cell's trained model."""
    assert cell.seed is not None
    store = read_store(sequences, item_vocabulary)
    split = read_split(train_examples, validation_examples, test_examples)
    model = weights.build(resolve_device(evaluation.device))
    keep_freed_memory()

    def score(batch: PackedBatch, generator: torch.Generator) -> Tensor:
        return model.score(batch, generator, evaluation.reverse_steps)

    return _rank(score, store, split, evaluation, cell.seed)


def rank_with_baseline(
    cell: Cell,
    evaluation: EvaluationParameters,
    sequences: ibis.Table,
    item_vocabulary: ibis.Table,
    train_examples: pd.DataFrame,
    validation_examples: pd.DataFrame,
    test_examples: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rank the validation and the test targets with a baseline that counts the training part."""
    store = read_store(sequences, item_vocabulary)
    split = read_split(train_examples, validation_examples, test_examples)
    baseline = BASELINES[cell.model](store, split.train)
    return _rank(baseline.score, store, split, dataclasses.replace(evaluation, device="cpu"), seed=0)


def compute_model_metrics(
    cell: Cell,
    evaluation: EvaluationParameters,
    validation_ranks: pd.DataFrame,
    test_ranks: pd.DataFrame,
    history: pd.DataFrame,
    training_summary: dict[str, Any],
) -> dict[str, Any]:
    """Average a trained cell's ranks to metrics, beside its training's cost and curves."""
    curves = history.astype(object).where(history.notna(), None)  # JSON has no NaN
    return {
        **compute_baseline_metrics(cell, evaluation, validation_ranks, test_ranks),
        "training_seconds": float(history["seconds"].sum()),
        "device": training_summary["device"],
        "history": curves.to_dict("list"),
    }


def compute_baseline_metrics(
    cell: Cell, evaluation: EvaluationParameters, validation_ranks: pd.DataFrame, test_ranks: pd.DataFrame
) -> dict[str, Any]:
    """Average a baseline's ranks to metrics."""
    return {
        **dataclasses.asdict(cell),
        "exclude_seen": evaluation.exclude_seen,
        "training_seconds": None,
        "validation": metrics_from_ranks(ranks_from_table(validation_ranks), evaluation.cutoffs),
        "test": metrics_from_ranks(ranks_from_table(test_ranks), evaluation.cutoffs),
    }


def collect_results(*metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Put the metrics of one model's cells side by side."""
    return list(metrics)


def collect_ranks(*tables: pd.DataFrame) -> pd.DataFrame:
    """Put the ranks of one model's cells, validation and test of each seed in turn, into one table."""
    return pd.concat(
        [
            pd.DataFrame({SPLIT: split, SEED: seed, **table})
            for seed, pair in enumerate(zip(tables[::2], tables[1::2], strict=True))
            for split, table in zip((VALIDATION, TEST), pair, strict=True)
        ],
        ignore_index=True,
    )


def tabulate_leaderboard(
    study: StudyParameters, dataset: DatasetParameters, *results: Results
) -> tuple[pd.DataFrame, go.Figure]:
    """Put mean and standard deviation over seeds of all models and baselines into a table and an interactive plot."""
    leaderboard, paper = study_leaderboard(study, results), paper_results(dataset.name)
    for sentence in find_warnings(leaderboard):
        logger.warning(sentence)
    return wide_table(leaderboard, paper), plotly_leaderboard(leaderboard, paper)


def _rank(
    score: Score, store: SequenceStore, split: Split, evaluation: EvaluationParameters, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    device = resolve_device(evaluation.device)
    popularity = training_popularity(store, split.train)
    validation, test = (
        ranks_table(
            rank_targets(
                score,
                store,
                examples,
                generator=derive_generator(seed, purpose, device),
                popularity=popularity,
                exclude_seen=evaluation.exclude_seen,
                batch_size=evaluation.batch_size,
                device=device,
            )
        )
        for purpose, examples in (("rank validation", split.validation), ("rank test", split.test))
    )
    return validation, test
