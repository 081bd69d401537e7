"""Between catalog tables and the arrays that training and evaluation work on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import ibis
import numpy as np
import pandas as pd
import torch

from diffurecsys import columns
from diffurecsys.data.sequences import to_store
from diffurecsys.data.store import Examples, SequenceStore, Split
from diffurecsys.evaluation.ranks import Ranks
from diffurecsys.training import EpochRecord


def read_store(sequences: ibis.Table, item_vocabulary: ibis.Table) -> SequenceStore:
    """Load all sequences; the vocabulary tells the size of the catalogue."""
    return to_store(sequences.to_pyarrow(), int(item_vocabulary.count().execute()))


def read_examples(table: pd.DataFrame) -> Examples:
    """Take examples from a table with one row each."""
    start, end = (torch.from_numpy(table[name].to_numpy(np.int64, copy=True)) for name in (columns.START, columns.END))
    return Examples(start, end)


def read_split(train: pd.DataFrame, validation: pd.DataFrame, test: pd.DataFrame) -> Split:
    """Take the three parts from their tables."""
    return Split(read_examples(train), read_examples(validation), read_examples(test))


def examples_table(examples: Examples) -> pd.DataFrame:
    """Return one row an example."""
    return pd.DataFrame({columns.START: examples.start.numpy(), columns.END: examples.end.numpy()})


def history_table(history: Sequence[EpochRecord]) -> pd.DataFrame:
    """Return one row an epoch; validation metrics are missing where an epoch was not validated."""
    rows = []
    for record in history:
        row = dataclasses.asdict(record)
        validation = row.pop("validation") or {}
        rows.append({**row, **{f"validation_{name}": value for name, value in validation.items()}})
    return pd.DataFrame(rows)


def ranks_table(ranks: Ranks) -> pd.DataFrame:
    """Return one row a user."""
    return pd.DataFrame(dataclasses.asdict(ranks))


def ranks_from_table(table: pd.DataFrame) -> Ranks:
    """Take ranks from a table with one row a user."""
    return Ranks(**{field.name: table[field.name].to_numpy() for field in dataclasses.fields(Ranks)})
