"""k-core filtering as Ibis expressions."""

from __future__ import annotations

import logging
from typing import Literal

import ibis
from ibis import _

from diffurecsys.columns import ITEM, ITEM_ID, ROW, TIMESTAMP, USER, USER_ID
from diffurecsys.data.sequences import count_interactions
from diffurecsys.errors import DataError

logger = logging.getLogger(__name__)


class EmptyCoreError(DataError):
    """Filtering left no interactions."""


def filter_k_core(
    interactions: ibis.Table,
    *,
    user_k: int,
    item_k: int,
    duplicates: Literal["keep", "first", "last"] = "keep",
) -> ibis.Table:
    """Remove users with fewer than `user_k` and items with fewer than `item_k` interactions until all have enough.

    The result is the largest such set of interactions, whatever the order of removal. Rounds work on small cached
    tables of codes in the backend of `interactions`; texts are only looked at in the first and for the result.

    Args:
        interactions: table as in `diffurecsys.columns`; `row` is unique.
        user_k: interactions that each remaining user has at least.
        item_k: interactions that each remaining item has at least.
        duplicates: of a user's repeated interactions with one item, keep all (each counts), only the first or only
            the last, by timestamp, then by row.

    Returns:
        The remaining interactions, columns as given, ordered by row.

    Raises:
        EmptyCoreError: nothing is left; says what there was and what to change.
        ValueError: a threshold is below 1, or `duplicates` is none of the above.
    """
    for name, k in (("user_k", user_k), ("item_k", item_k)):
        if k < 1:
            raise ValueError(f"{name} must be at least 1, got {k}")
    if duplicates not in ("keep", "first", "last"):
        raise ValueError(f"duplicates must be keep, first or last, got {duplicates!r}")
    current = _encode(interactions, user_k, item_k)
    if duplicates != "keep":
        current = _replace(current, _one_a_pair(current, duplicates))
    n_rows, n_rounds, stable = _count(current), 1, False
    while n_rows and not stable:
        _log_round(n_rounds, n_rows)
        current = _replace(current, _drop_rare(current, user_k, item_k))
        n_before, n_rows = n_rows, _count(current)
        n_rounds, stable = n_rounds + 1, n_rows == n_before
    if not n_rows:
        raise EmptyCoreError(_explain_empty(interactions, user_k, item_k))
    return interactions.semi_join(current, ROW).order_by(ROW)


def drop_duplicates(interactions: ibis.Table, keep: Literal["first", "last"]) -> ibis.Table:
    """Keep one of each user's interactions with each item, the first or the last by timestamp, then by row."""
    users, items = (
        interactions.group_by(name).agg(**{new: _[ROW].min()}) for name, new in ((USER_ID, USER), (ITEM_ID, ITEM))
    )
    encoded = interactions.join(users, USER_ID).join(items, ITEM_ID).select(USER, ITEM, TIMESTAMP, ROW)
    return interactions.semi_join(_one_a_pair(encoded, keep), ROW)


def _encode(interactions: ibis.Table, user_k: int, item_k: int) -> ibis.Table:
    """First round: keep users and items with enough interactions, known from here on by their first row."""
    users = interactions.group_by(USER_ID).having(_.count() >= user_k).agg(**{USER: _[ROW].min()}).cache()
    items = interactions.group_by(ITEM_ID).having(_.count() >= item_k).agg(**{ITEM: _[ROW].min()}).cache()
    encoded = interactions.join(users, USER_ID).join(items, ITEM_ID).select(USER, ITEM, TIMESTAMP, ROW).cache()
    users.release()
    items.release()
    return encoded


def _one_a_pair(current: ibis.Table, duplicates: Literal["first", "last"]) -> ibis.Table:
    """Keep one interaction of each user with each item."""
    order = [_[TIMESTAMP], _[ROW]] if duplicates == "first" else [_[TIMESTAMP].desc(), _[ROW].desc()]
    position = ibis.row_number().over(group_by=[USER, ITEM], order_by=order)
    return current.mutate(position=position).filter(_.position == 0).drop("position")


def _drop_rare(current: ibis.Table, user_k: int, item_k: int) -> ibis.Table:
    rare_users = current.group_by(USER).having(_.count() < user_k).agg()
    rare_items = current.group_by(ITEM).having(_.count() < item_k).agg()
    return current.anti_join(rare_users, USER).anti_join(rare_items, ITEM)


def _replace(old: ibis.Table, new: ibis.Table) -> ibis.Table:
    """Compute `new` and release `old`, from which it was derived."""
    cached = new.cache()
    old.release()
    return cached


def _count(table: ibis.Table) -> int:
    return int(table.count().execute())


def _log_round(n_rounds: int, n_rows: int) -> None:
    logger.info("k-core, round %d: %s interactions left", n_rounds, f"{n_rows:,}")


def _explain_empty(interactions: ibis.Table, user_k: int, item_k: int) -> str:
    return (
        f"filtering left nothing of {count_interactions(interactions)}: no set of users with at least {user_k} and "
        f"items with at least {item_k} interactions exists. Lower preprocessing.user_k or preprocessing.item_k."
    )
