"""Nodes from interactions to sequences and examples."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import ibis
import torch

from diffurecsys.columns import PARTS
from diffurecsys.data.kcore import filter_and_count
from diffurecsys.data.sequences import MIN_LENGTH, build_sequences, check_counts, count_interactions
from diffurecsys.data.specs import Counts, DatasetSpec
from diffurecsys.data.split import LEAVE_ONE_OUT, StudyData, leave_one_out, temporal
from diffurecsys.data.temporal import divide_by_time, find_time_points
from diffurecsys.parameters import PreprocessingParameters, SplitParameters
from diffurecsys.pipelines.arrays import read_lists, read_store

STAGES = {"raw": "before filtering", "core": "after filtering"}
logger = logging.getLogger(__name__)


def filter_interactions(
    interactions: ibis.Table, preprocessing: PreprocessingParameters, split: SplitParameters, dataset: DatasetSpec
) -> tuple[ibis.Table, dict[str, int], dict[str, int]]:
    """Keep the k-core; under a temporal split that of the training part, and what can be asked about later.

    Returns:
        Interactions; users, items and interactions before filtering; numbers of a temporal split: see
        `divide_by_time`.
    """
    thresholds = {"user_k": preprocessing.user_k, "item_k": preprocessing.item_k}
    if split.protocol == LEAVE_ONE_OUT:
        core, raw = filter_and_count(interactions, duplicates=preprocessing.duplicates, **thresholds)
        return core, dataclasses.asdict(raw), {}
    assert split.validation_from is not None  # filled in by SplitParameters
    assert split.test_from is not None
    assert preprocessing.duplicates != "last"  # refused with the parameters
    points = find_time_points(interactions, split.validation_from, split.test_from, ticks=dataset.ticks)
    found, counts = divide_by_time(
        interactions, points, duplicates=preprocessing.duplicates, target=split.target, **thresholds
    )
    return found, dataclasses.asdict(count_interactions(interactions)), {**counts, "ticks": dataset.ticks}


def count_dataset(
    raw_counts: dict[str, int],
    core_interactions: ibis.Table,
    read_record: dict[str, Any],
    split_counts: dict[str, int],
) -> dict[str, Any]:
    """Count users, items and interactions after filtering, too; add what was read and how it was split."""
    core = count_interactions(core_interactions)
    logger.info("Before filtering: %s; after: %s", Counts(**raw_counts), core)
    counts = {"raw": raw_counts, "core": dataclasses.asdict(core)}
    if read_record:
        left_out, bad = sum(read_record["left_out"].values()), sum(group["rows"] for group in read_record["bad"])
        counts["read"] = {"rows": read_record["rows"], "left_out": left_out, "dropped": bad}
    return counts | ({"split": split_counts} if split_counts else {})


def build_user_sequences(
    dataset: DatasetSpec,
    preprocessing: PreprocessingParameters,
    split: SplitParameters,
    counts: dict[str, Any],
    core_interactions: ibis.Table,
) -> tuple[ibis.Table, ibis.Table, ibis.Table]:
    """Check the counts against the registry's, then order each user's items.

    Returns:
        Sequences, user vocabulary, item vocabulary.
    """
    alone = split.protocol == LEAVE_ONE_OUT
    same_k = preprocessing.user_k == preprocessing.item_k == dataset.core_k
    standard = alone and same_k and preprocessing.duplicates == "keep"
    for stage, accepted in (("raw", dataset.raw_counts), ("core", dataset.core_counts if standard else ())):
        check_counts(
            accepted,
            Counts(**counts[stage]),
            what=f"{dataset.name}, {STAGES[stage]}",
            on_mismatch=preprocessing.on_mismatch,
        )
    sequences = build_sequences(core_interactions, min_length=MIN_LENGTH if alone else 1)
    return sequences.table, sequences.user_vocabulary, sequences.item_vocabulary


def split_sequences(
    sequences: ibis.Table,
    item_vocabulary: ibis.Table,
    preprocessing: PreprocessingParameters,
    split: SplitParameters,
) -> StudyData:
    """Lay all sequences end to end and decide what is trained on and asked for."""
    store = read_store(sequences, item_vocabulary)
    if split.protocol == LEAVE_ONE_OUT:
        return StudyData(store, leave_one_out(store, max_length=preprocessing.max_length))
    parts = torch.from_numpy(read_lists(sequences, PARTS))
    return StudyData(store, temporal(store, parts, max_length=preprocessing.max_length))
