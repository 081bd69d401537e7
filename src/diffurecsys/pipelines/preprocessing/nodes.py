"""Nodes from interactions to sequences and examples."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import ibis

from diffurecsys.data.kcore import filter_k_core
from diffurecsys.data.sequences import build_sequences, check_counts, count_interactions
from diffurecsys.data.specs import Counts, DatasetSpec
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.parameters import PreprocessingParameters
from diffurecsys.pipelines.arrays import read_store

STAGES = {"raw": "before filtering", "core": "after filtering"}
logger = logging.getLogger(__name__)


def filter_interactions(interactions: ibis.Table, preprocessing: PreprocessingParameters) -> ibis.Table:
    """Keep the k-core."""
    return filter_k_core(
        interactions,
        user_k=preprocessing.user_k,
        item_k=preprocessing.item_k,
        duplicates=preprocessing.duplicates,
    )


def count_dataset(interactions: ibis.Table, core_interactions: ibis.Table) -> dict[str, Any]:
    """Count users, items and interactions before and after filtering."""
    raw, core = count_interactions(interactions), count_interactions(core_interactions)
    logger.info("Before filtering: %s; after: %s", raw, core)
    return {"raw": dataclasses.asdict(raw), "core": dataclasses.asdict(core)}


def build_user_sequences(
    dataset: DatasetSpec,
    preprocessing: PreprocessingParameters,
    counts: dict[str, Any],
    core_interactions: ibis.Table,
) -> tuple[ibis.Table, ibis.Table, ibis.Table]:
    """Check the counts against the registry's, then order each user's items.

    Returns:
        Sequences, user vocabulary, item vocabulary.
    """
    standard = preprocessing.user_k == preprocessing.item_k == dataset.core_k and preprocessing.duplicates == "keep"
    for stage, accepted in (("raw", dataset.raw_counts), ("core", dataset.core_counts if standard else ())):
        check_counts(
            accepted,
            Counts(**counts[stage]),
            what=f"{dataset.name}, {STAGES[stage]}",
            on_mismatch=preprocessing.on_mismatch,
        )
    sequences = build_sequences(core_interactions)
    return sequences.table, sequences.user_vocabulary, sequences.item_vocabulary


def split_sequences(
    sequences: ibis.Table, item_vocabulary: ibis.Table, preprocessing: PreprocessingParameters
) -> StudyData:
    """Lay all sequences end to end and decide what is trained on and asked for."""
    store = read_store(sequences, item_vocabulary)
    return StudyData(store, leave_one_out(store, max_length=preprocessing.max_length))
