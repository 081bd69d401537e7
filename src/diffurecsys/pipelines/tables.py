"""Between catalog tables and the arrays that training, evaluation and reporting work on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import ibis
import numpy as np
import pandas as pd
import torch

from diffurecsys import columns
from diffurecsys.data.sequences import to_store
from diffurecsys.data.store import Examples, SequenceStore, Split
from diffurecsys.evaluation.leaderboard import SEED, SPLIT, Leaderboard, build_leaderboard
from diffurecsys.evaluation.ranks import Ranks
from diffurecsys.evaluation.significance.scores import ModelScores, user_scores
from diffurecsys.study import Study
from diffurecsys.training import EpochRecord

Results = list[dict[str, Any]]  # of one model's cells


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


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows as JSON knows them: missing values are None."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def study_leaderboard(study: Study, results: Iterable[Results]) -> Leaderboard:
    """Sum up the results of all models and baselines; the sweep's are left out."""
    known = {*study.models, *study.baselines}
    cells = [cell for model in results for cell in model if cell["model"] in known]
    return build_leaderboard(cells, models=study.models, baselines=study.baselines)


def ranks_by_seed(table: pd.DataFrame, split: str) -> dict[int, Ranks]:
    """Take each seed's ranks on a split from the table of one model."""
    chosen = table[table[SPLIT] == split]
    seeds = sorted(chosen[SEED].unique())
    return {int(seed): ranks_from_table(chosen[chosen[SEED] == seed]) for seed in seeds}


def read_scores(model: str, table: pd.DataFrame, split: str, cutoffs: Sequence[int]) -> ModelScores:
    """Compute every user's metrics from the table of one model's ranks."""
    return user_scores(model, ranks_by_seed(table, split), cutoffs)
