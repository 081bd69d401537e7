"""Users' sequences from interactions, with contiguous ids, as Ibis expressions; and the store made of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from ibis import _

from diffurecsys.columns import ITEM, ITEM_ID, ITEMS, PART, PARTS, ROW, TIMESTAMP, TIMESTAMPS, USER, USER_ID
from diffurecsys.data.specs import Counts
from diffurecsys.data.store import SequenceStore
from diffurecsys.data.stored import DUCKDB, backend_of
from diffurecsys.errors import DataError

logger = logging.getLogger(__name__)

MIN_LENGTH = 3  # history, validation target, test target
MIN_ITEMS = 2


class CountsMismatchError(DataError):
    """A dataset does not have the users, items and interactions that it is known to have."""


@dataclass(frozen=True)
class Sequences:
    """All users' interactions in order, under contiguous ids.

    Attributes:
        table: `user` int32, `items` list<int32>, `timestamps` list<int64>, and `parts` list<int8> where interactions
            have a `part`; one row a user, ordered by user.
        user_vocabulary: `user` int32 (0 … users-1), `user_id` string, ordered by user.
        item_vocabulary: `item` int32 (0 … items-1), `item_id` string, ordered by item.
    """

    table: ibis.Table
    user_vocabulary: ibis.Table
    item_vocabulary: ibis.Table


def count_interactions(table: ibis.Table) -> Counts:
    """Count the distinct users and items of an interactions table, and its rows."""
    counted = table.agg(users=_[USER_ID].nunique(), items=_[ITEM_ID].nunique(), interactions=_.count())
    (row,) = counted.to_pyarrow().to_pylist()
    return Counts(**row)


def check_counts(
    accepted: tuple[Counts, ...], actual: Counts, *, what: str, on_mismatch: Literal["error", "warn"]
) -> None:
    """Compare a dataset's counts with those it is known to have.

    Args:
        accepted: counts of its known versions; none: nothing is checked.
        actual: as counted.
        what: was counted, for the message ("Amazon_Beauty.zip after filtering").
        on_mismatch: `warn` logs a warning instead of raising.

    Raises:
        CountsMismatchError: saying what was expected and what was found.
    """
    if not accepted or actual in accepted:
        return
    message = f"{what}: found {actual}; expected {' or '.join(map(str, accepted))}"
    if on_mismatch == "error":
        raise CountsMismatchError(
            f"{message}. If the difference is meant, correct the dataset's entry in datasets.yml, or turn this error "
            "into a warning: preprocessing.on_mismatch: warn"
        )
    logger.warning("%s (preprocessing.on_mismatch is warn: going on)", message)


def build_sequences(interactions: ibis.Table, *, min_length: int = MIN_LENGTH) -> Sequences:
    """Order each user's interactions by timestamp, among equal ones by row, and number users and items.

    Users and items get their numbers in the order of their identifiers (bytes of their UTF-8 text), so that neither
    the order of a file's lines nor how the backend spreads its work decides a number.

    Args:
        interactions: table as in `diffurecsys.columns`; `row` is unique.
        min_length: interactions that each user needs; leave-one-out divides them into three parts.

    Raises:
        ValueError: a user has fewer than `min_length` interactions, or there is a single item.
    """
    users, items = _vocabulary(interactions, USER_ID, USER), _vocabulary(interactions, ITEM_ID, ITEM)
    _check_lengths(users, min_length)
    if (n_items := int(items.count().execute())) < MIN_ITEMS:
        raise DataError(
            f"the interactions hold {n_items} item, and nothing can be recommended from a single one. "
            "Check the item_id column, or lower preprocessing.item_k."
        )
    encoded = interactions.join(users, USER_ID).join(items, ITEM_ID)
    parts = [PART] if PART in interactions.columns else []
    return Sequences(
        table=(_cut_lists if backend_of(interactions) == DUCKDB else _collect_lists)(encoded, parts),
        user_vocabulary=users.select(USER, USER_ID).order_by(USER),
        item_vocabulary=items.select(ITEM, ITEM_ID).order_by(ITEM),
    )


def _collect_lists(encoded: ibis.Table, parts: list[str]) -> ibis.Table:
    """Collect each user's events in the backend, as several machines can; nothing passes through this process."""
    event = ibis.struct({name: encoded[name] for name in (TIMESTAMP, ROW, ITEM, *parts)})  # sorted in this order
    lists = encoded.group_by(USER).agg(events=event.collect()).mutate(events=_.events.sort())
    columns = {
        plural: lists.events.map(lambda found, name=name: found[name])
        for plural, name in ((ITEMS, ITEM), (TIMESTAMPS, TIMESTAMP), *((PARTS, part) for part in parts))
    }
    return lists.select(USER, **columns).order_by(USER)


def _cut_lists(encoded: ibis.Table, parts: list[str]) -> ibis.Table:
    """Cut ordered columns into lists: several times faster, and smaller, than collecting lists in DuckDB."""
    ordered = encoded.order_by(USER, TIMESTAMP, ROW).select(USER, ITEM, TIMESTAMP, *parts)
    return ibis.memtable(_one_row_a_user(ordered.to_pyarrow()))


def _one_row_a_user(ordered: pa.Table) -> pa.Table:
    lengths = np.bincount(ordered[USER].to_numpy())
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    columns = {USER: pa.array(np.arange(len(lengths)), pa.int32())}
    for name, single in ((ITEMS, ITEM), (TIMESTAMPS, TIMESTAMP), (PARTS, PART)):
        if single in ordered.column_names:
            columns[name] = pa.ListArray.from_arrays(offsets, pa.concat_arrays(ordered[single].chunks))
    return pa.table(columns)


def _vocabulary(interactions: ibis.Table, text: str, number: str) -> ibis.Table:
    """Number the distinct texts in their own order; `n` counts each one's interactions."""
    found = interactions.group_by(text).agg(n=_.count())
    numbered = found.mutate(**{number: ibis.row_number().over(order_by=text).cast("int32")})
    return numbered.select(number, text, "n").cache()


def _check_lengths(users: ibis.Table, min_length: int) -> None:
    short = users.filter(_.n < min_length)
    n_short = int(short.count().execute())
    if n_short:
        (first,) = short.order_by(USER).limit(1).to_pyarrow().to_pylist()
        raise DataError(
            f"{n_short} users have fewer than {min_length} interactions (first: {first[USER_ID]!r} with {first['n']}); "
            "each needs a history, a validation and a test item. "
            f"Set preprocessing.user_k to at least {min_length}."
        )


def to_store(table: pa.Table, n_items: int) -> SequenceStore:
    """Lay the users' items end to end; no Python object is made for an interaction.

    Args:
        table: sequences with a column `user` (0, 1, 2, …, in this order) and `items`.
        n_items: size of the catalogue.

    Raises:
        ValueError: the rows are not all users in order, or a list or item is missing.
    """
    users, lists = table[USER].to_numpy(), table[ITEMS]
    wrong = np.flatnonzero(users != np.arange(len(users)))
    if len(wrong):
        raise ValueError(
            f"row {wrong[0]} of the sequences is user {users[wrong[0]]}: they must hold every user from 0 on, "
            "ordered by user"
        )
    items = pc.list_flatten(lists)
    if lists.null_count or items.null_count:
        raise ValueError(f"the sequences have {lists.null_count} missing lists and {items.null_count} missing items")
    offsets = np.zeros(len(users) + 1, np.int64)
    np.cumsum(pc.list_value_length(lists).to_numpy(), out=offsets[1:])
    return SequenceStore(torch.from_numpy(items.to_numpy().copy()), torch.from_numpy(offsets), n_items)
