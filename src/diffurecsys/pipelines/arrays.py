"""Between catalog tables and the arrays that training, evaluation and reporting work on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from diffurecsys.columns import ITEMS, MODEL, SEED, SPLIT, USER
from diffurecsys.data.sequences import to_store
from diffurecsys.data.store import SequenceStore
from diffurecsys.data.stored import read_table
from diffurecsys.evaluation.ranks import ALL, Ranking, Ranks
from diffurecsys.evaluation.significance.scores import ModelScores, user_scores
from diffurecsys.training import EpochRecord


def read_store(sequences: ibis.Table, item_vocabulary: ibis.Table) -> SequenceStore:
    """Load all sequences; the vocabulary tells the size of the catalogue."""
    return to_store(read_table(sequences, [USER, ITEMS]), int(item_vocabulary.count().execute()))


def read_lists(sequences: ibis.Table, column: str) -> NDArray[Any]:
    """Load a column of lists of all sequences, `[events]`, in the order of the store."""
    return np.array(pc.list_flatten(read_table(sequences, [column])[column]).to_numpy())


def history_table(history: Sequence[EpochRecord]) -> pd.DataFrame:
    """Return one row an epoch; validation metrics are missing where an epoch was not validated."""
    rows = []
    for record in history:
        row = dataclasses.asdict(record)
        validation = row.pop("validation") or {}
        rows.append({**row, **{f"validation_{name}": value for name, value in validation.items()}})
    columns = [field.name for field in dataclasses.fields(EpochRecord) if field.name != "validation"]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns, dtype="float64")


def ranks_table(ranks: Ranks) -> pd.DataFrame:
    """Return one row a user."""
    return pd.DataFrame(dataclasses.asdict(ranks))


def ranks_from_table(table: pd.DataFrame) -> Ranks:
    """Take ranks from a table with one row a user."""
    return Ranks(**{field.name: table[field.name].to_numpy(np.int64) for field in dataclasses.fields(Ranks)})


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows as JSON knows them: missing values are None."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def ranks_by_seed(study_ranks: pd.DataFrame, model: str, split: str) -> dict[int, Ranks]:
    """Take the ranks of every seed of a ranker on a split from the study's table."""
    chosen = study_ranks[(study_ranks[MODEL] == model) & (study_ranks[SPLIT] == split)]
    return {int(str(seed)): ranks_from_table(part) for seed, part in chosen.groupby(SEED, sort=True)}


def read_scores(
    study_ranks: pd.DataFrame, model: str, split: str, cutoffs: Sequence[int], ranking: Ranking = ALL
) -> ModelScores:
    """Compute every user's metrics of a ranker from the study's table."""
    return user_scores(model, ranks_by_seed(study_ranks, model, split), cutoffs, ranking)
