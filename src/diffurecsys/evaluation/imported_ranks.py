"""Ranks of other tools: a table of ranks, or of recommended lists, checked against the split it must be of.

| columns | meaning |
|---|---|
| user_id, rank (, rank_unseen) | one row a user: where the target stood, 1 is first; among unseen items, if known |
| user_id, item_id, score | lists: higher scores stand first, equal ones beside each other |
| user_id, item_id, rank | lists in their order |

A column `split` (`test` or `validation`) may be there; without it all is of the test targets. A target that is not in
its user's list counts as never found. Without `rank_unseen` the rank among all items stands for it, which can only be
too low a score; of a list the unseen items are counted.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from diffurecsys.columns import ITEM_ID, RANK, SCORE, SPLIT, SPLITS, TEST, USER_ID, VALIDATION
from diffurecsys.data.arrow_tables import as_text, read_arrow_table, refuse_missing
from diffurecsys.data.split import StudyData
from diffurecsys.data.store import Examples
from diffurecsys.errors import DataError
from diffurecsys.evaluation.ranks import Ranks

logger = logging.getLogger(__name__)

RANK_UNSEEN = "rank_unseen"
IntArray = NDArray[np.int64]


def read_imported_ranks(
    path: Path, data: StudyData, users: Sequence[str], items: Sequence[str], cutoff: int
) -> dict[str, Ranks]:
    """Read another tool's ranks.

    Args:
        path: of the file.
        data: whose targets they must be of.
        users: identifiers by number.
        items: identifiers by number.
        cutoff: the largest K of the study; lists must be able to hold so many.

    Returns:
        `test`, and `validation` if the file has it.

    Raises:
        DataError: users are missing, too many or twice, items unknown, ranks impossible; which, and how many.
    """
    table = _read(path)
    if SPLIT not in table:
        table[SPLIT] = TEST
    if wrong := sorted(set(table[SPLIT].dropna()) - set(SPLITS)) or table[SPLIT].isna().any():
        raise DataError(f"{path}: split must be test or validation in every row, got {wrong}")
    if not (table[SPLIT] == TEST).any():
        raise DataError(f"{path} has no row of the split test")
    number = {identifier: place for place, identifier in enumerate(users)}
    found = {}
    for split, examples in ((TEST, data.split.test), (VALIDATION, data.split.validation)):
        part = table[table[SPLIT] == split]
        if part.empty:
            logger.warning("%s has no %s ranks: tables of that split leave it out", path.name, split)
            continue
        own = examples.users(data.store).numpy()
        part = part.assign(number=part[USER_ID].map(number).astype("float64"))
        _check_users(path, split, part, own, users)
        if ITEM_ID in part:
            greater, tied = _of_lists(path, part, data, examples, own, items, cutoff)
        else:
            greater, tied = _of_ranks(path, part, data, examples, own)
        target = data.store.items[examples.end].long()
        found[split] = Ranks(
            user=own,
            target=target.numpy(),
            greater=greater[0],
            tied=tied[0],
            greater_unseen=greater[1],
            tied_unseen=tied[1],
            history_length=examples.lengths.numpy(),
            target_popularity=data.popularity[target].numpy(),
        )
    return found


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"import_ranks: there is no file {path}")
    table = read_arrow_table(path, (USER_ID, ITEM_ID, SPLIT))
    names = table.column_names
    if USER_ID not in names or not {RANK, SCORE}.intersection(names):
        raise DataError(f"{path} must have user_id and rank, or user_id, item_id and score or rank; it has {names}")
    if ITEM_ID not in names and RANK not in names:
        raise DataError(f"{path} has scores, but no item_id that they are of")
    used = {name: table[name] for name in (USER_ID, ITEM_ID, SPLIT, RANK, RANK_UNSEEN, SCORE) if name in names}
    for name, column in used.items():
        if name in (USER_ID, ITEM_ID, SPLIT):
            used[name] = as_text(column, name, path)
            refuse_missing(used[name], name, path)
        elif pa.types.is_dictionary(column.type):
            used[name] = column.cast(column.type.value_type)
        elif not _may_be_number(column.type):
            raise DataError(f"{path}: {name} is {column.type}; it must hold numbers")
    frame: pd.DataFrame = pa.table(used).to_pandas()
    return frame


def _may_be_number(kind: pa.DataType) -> bool:
    """Whether values of a type are numbers, or texts of which each is looked at."""
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_null(kind)
    )


def _check_users(path: Path, split: str, part: pd.DataFrame, own: IntArray, users: Sequence[str]) -> None:
    """Refuse a table that does not rank each user of the split."""
    strange = part.loc[~part["number"].isin(own), USER_ID].unique()
    if len(strange):
        raise DataError(f"{path}: {len(strange)} users are none of the {split} users (first: {strange[0]!r})")
    missing = np.setdiff1d(own, part["number"].to_numpy(np.int64))
    if len(missing):
        raise DataError(
            f"{path}: {len(missing)} of {len(own)} {split} users are missing (first: {users[missing[0]]!r})"
        )
    keys = [USER_ID, ITEM_ID] if ITEM_ID in part else [USER_ID]
    twice = part[part.duplicated(keys)]
    if len(twice):
        what = " with one item" if ITEM_ID in part else ""
        raise DataError(f"{path}: {len(twice)} users stand twice{what} (first: {twice[USER_ID].iloc[0]!r})")


def _of_ranks(
    path: Path, part: pd.DataFrame, data: StudyData, examples: Examples, own: IntArray
) -> tuple[tuple[IntArray, IntArray], tuple[IntArray, IntArray]]:
    ordered = part.set_index(part["number"].astype(np.int64)).loc[own]
    greater = _places(path, ordered, RANK, data.store.n_items)
    if RANK_UNSEEN in ordered:
        unseen = _places(path, ordered, RANK_UNSEEN, data.store.n_items)
    else:
        logger.warning(
            "%s has no rank_unseen: ranks among all items stand for it, which can only understate", path.name
        )
        unseen = greater.copy()
    seen = [target in history for target, history in _asked(data, examples)]
    unseen[np.array(seen)] = data.store.n_items - 1  # such a target cannot be found among unseen items
    zeros = np.zeros(len(own), np.int64)
    return (greater, unseen), (zeros, zeros.copy())


def _places(path: Path, table: pd.DataFrame, name: str, n_items: int) -> IntArray:
    ranks = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
    wrong = ~((ranks >= 1) & (ranks <= n_items) & (ranks == np.floor(ranks)))
    if wrong.any():
        row = table.iloc[int(wrong.argmax())]
        raise DataError(
            f"{path}: {name} must be a whole number from 1 to {n_items}, got {row[name]} for user {row[USER_ID]!r} "
            f"({int(wrong.sum())} such rows)"
        )
    return ranks.astype(np.int64) - 1


def _of_lists(
    path: Path,
    part: pd.DataFrame,
    data: StudyData,
    examples: Examples,
    own: IntArray,
    items: Sequence[str],
    cutoff: int,
) -> tuple[tuple[IntArray, IntArray], tuple[IntArray, IntArray]]:
    """Count who stands ahead of and beside each target in its user's list."""
    number = {identifier: place for place, identifier in enumerate(items)}
    item = part[ITEM_ID].map(number)
    if item.isna().any():
        unknown = part.loc[item.isna(), ITEM_ID]
        raise DataError(f"{path}: {unknown.nunique()} items are not in the catalogue (first: {unknown.iloc[0]!r})")
    column = SCORE if SCORE in part else RANK
    values = pd.to_numeric(part[column], errors="coerce").to_numpy(np.float64)
    if np.isnan(values).any():
        row = part.iloc[int(np.isnan(values).argmax())]
        raise DataError(f"{path}: {column} is no number for user {row[USER_ID]!r} and item {row[ITEM_ID]!r}")
    longest = int(part.groupby("number").size().max())
    if longest < min(cutoff, data.store.n_items):
        raise DataError(
            f"{path}: lists hold at most {longest} items, but metrics go up to {cutoff}: export longer lists, or lower "
            "evaluation.cutoffs"
        )
    better = values if column == SCORE else -values
    order = np.argsort(part["number"].to_numpy(), kind="stable")
    owner, listed, better = part["number"].to_numpy(np.int64)[order], item.to_numpy(np.int64)[order], better[order]
    first, end = np.searchsorted(owner, own), np.searchsorted(owner, own, side="right")
    never = data.store.n_items - 1
    places = np.zeros((4, len(own)), np.int64)
    for user, (target, history) in enumerate(_asked(data, examples)):
        own_items, own_values = listed[first[user] : end[user]], better[first[user] : end[user]]
        of_target = own_values[own_items == target]
        if not len(of_target):
            places[:, user] = never, never, 0, 0
            continue
        unseen = ~np.isin(own_items, list(history))
        ahead, beside = own_values > of_target[0], (own_values == of_target[0]) & (own_items != target)
        hidden = target in history
        places[:, user] = (
            ahead.sum(),
            never if hidden else (ahead & unseen).sum(),
            beside.sum(),
            0 if hidden else (beside & unseen).sum(),
        )
    return (places[0], places[1]), (places[2], places[3])


def _asked(data: StudyData, examples: Examples) -> list[tuple[int, set[int]]]:
    """Return each example's target, and all that its user had before."""
    store = data.store
    begin = store.offsets[examples.users(store)].tolist()
    ends = examples.end.tolist()
    events = store.items.tolist()
    return [(events[end], set(events[first:end])) for first, end in zip(begin, ends, strict=True)]
