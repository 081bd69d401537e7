"""Node that describes a dataset before anything is trained on it."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import ibis
import torch
from ibis import _

from diffurecsys.columns import ITEM, ITEM_ID, SPLITS, TIMESTAMPS
from diffurecsys.data.specs import DatasetSpec
from diffurecsys.data.split import StudyData
from diffurecsys.evaluation.dataset_facts import find_facts
from diffurecsys.pipelines.arrays import read_lists
from diffurecsys.reporting.dataset_page import draw_dataset, render_page, write_page

POPULAR = 10  # items shown by name
logger = logging.getLogger(__name__)


def describe_dataset(
    experiment: str,
    dataset: DatasetSpec,
    counts: dict[str, Any],
    read_record: dict[str, Any],
    sequences: ibis.Table,
    item_vocabulary: ibis.Table,
    item_details: ibis.Table,
    split: StudyData,
    reporting_folder: Path,
) -> tuple[str, str, dict[str, Any]]:
    """Write the dataset's page.

    Returns:
        HTML, Markdown, and all numbers.
    """
    times = read_lists(sequences, TIMESTAMPS)
    numbers = counts.get("split", {})
    facts = find_facts(split, times, unknown={name: numbers.get(f"{name}_unknown_target", 0) for name in SPLITS})
    page = write_page(
        facts,
        experiment=experiment,
        dataset=dataset.name,
        counts=counts,
        bad_rows=read_record.get("bad", []),
        popular=_popular(split, item_vocabulary, item_details),
        protocol=split.split.protocol,
        ticks=dataset.ticks,
    )
    figure = draw_dataset(
        split.store.lengths.numpy(),
        split.popularity.numpy(),
        {
            "training": times[split.split.train.positions().numpy()],
            "validation": times[split.split.validation.end.numpy()],
            "test": times[split.split.test.end.numpy()],
        },
        ticks=dataset.ticks,
    )
    html, markdown = render_page(page, figure)
    for sentence in page.summary:
        logger.info(sentence)
    for warning in page.warnings:
        logger.warning(warning)
    logger.info("The dataset's page: %s", reporting_folder / experiment / "dataset.html")
    return html, markdown, dataclasses.asdict(facts)


def _popular(split: StudyData, vocabulary: ibis.Table, details: ibis.Table) -> list[dict[str, Any]]:
    counts, items = torch.sort(split.popularity, descending=True, stable=True)
    most = dict(zip(items[:POPULAR].tolist(), counts[:POPULAR].tolist(), strict=True))
    known = (
        vocabulary.filter(_[ITEM].isin(list(most)))
        .left_join(details, ITEM_ID)
        .select(ITEM, ITEM_ID, "title", "category")
    )
    rows = {row[ITEM]: row for row in known.to_pyarrow().to_pylist()}
    return [{**rows[item], "interactions": count} for item, count in most.items()]
