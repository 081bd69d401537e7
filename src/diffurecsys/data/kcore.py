"""k-core filtering as Ibis expressions."""

from __future__ import annotations

import logging
from typing import Literal

import ibis
from ibis import _

from diffurecsys.columns import ITEM, ITEM_ID, ROW, TIMESTAMP, USER, USER_ID
from diffurecsys.data.specs import Counts
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

    The result is the largest such set of interactions, whatever the order of removal.

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
    return filter_and_count(interactions, user_k=user_k, item_k=item_k, duplicates=duplicates)[0]


def filter_and_count(
    interactions: ibis.Table,
    *,
    user_k: int,
    item_k: int,
    duplicates: Literal["keep", "first", "last"] = "keep",
) -> tuple[ibis.Table, Counts]:
    """Filter as `filter_k_core` does, and count what there was before: both ask for each user and item once.

    Rounds work on small cached tables of codes in the backend of `interactions`; texts are only looked at in the first
    and for the result.

    Returns:
        The remaining interactions, and the counts of all interactions.
    """
    for name, k in (("user_k", user_k), ("item_k", item_k)):
        if k < 1:
            raise ValueError(f"{name} must be at least 1, got {k}")
    if duplicates not in ("keep", "first", "last"):
        raise ValueError(f"duplicates must be keep, first or last, got {duplicates!r}")
    times = [] if duplicates == "keep" else [TIMESTAMP]
    current, counts = _encode(interactions, user_k, item_k, times)
    if duplicates != "keep":
        current = _replace(current, _one_a_pair(current, duplicates))
    n_rows, n_rounds, stable = _count(current), 1, False
    while n_rows and not stable:
        _log_round(n_rounds, n_rows)
        for code, k in ((USER, user_k), (ITEM, item_k)):  # items look at what users left: half as many rounds
            current = _replace(current, _drop_rare(current, code, k))
        n_before, n_rows = n_rows, _count(current)
        n_rounds, stable = n_rounds + 1, n_rows == n_before
    if not n_rows:
        raise EmptyCoreError(_explain_empty(counts, user_k, item_k))
    return interactions.semi_join(current, ROW).order_by(ROW), counts


def drop_duplicates(interactions: ibis.Table, keep: Literal["first", "last"]) -> ibis.Table:
    """Keep one of each user's interactions with each item, the first or the last by timestamp, then by row."""
    users, items = (
        interactions.group_by(name).agg(**{new: _[ROW].min()}) for name, new in ((USER_ID, USER), (ITEM_ID, ITEM))
    )
    encoded = interactions.join(users, USER_ID).join(items, ITEM_ID).select(USER, ITEM, TIMESTAMP, ROW)
    return interactions.semi_join(_one_a_pair(encoded, keep), ROW)


def _encode(interactions: ibis.Table, user_k: int, item_k: int, times: list[str]) -> tuple[ibis.Table, Counts]:
    """First round: keep users and items with enough interactions, known from here on by their first row."""
    users, items = _frequent(interactions, USER_ID, USER, user_k), _frequent(interactions, ITEM_ID, ITEM, item_k)
    counts = Counts(users=_sum(users, "found"), items=_sum(items, "found"), interactions=_sum(users, "rows"))
    kept = [
        found.filter(_.kept.notnull()).select("kept", code).rename({text: "kept"})
        for found, text, code in ((users, USER_ID, USER), (items, ITEM_ID, ITEM))
    ]
    encoded = interactions.join(kept[0], USER_ID).join(kept[1], ITEM_ID).select(USER, ITEM, ROW, *times).cache()
    users.release()
    items.release()
    return encoded, counts


def _frequent(interactions: ibis.Table, text: str, code: str, k: int) -> ibis.Table:
    """One row for each user or item with at least `k` interactions, and one, without a text, for all others."""
    found = interactions.group_by(text).agg(n=_.count(), **{code: _[ROW].min()})
    kept = ibis.ifelse(_.n >= k, _[text], ibis.null(str))
    return found.group_by(kept=kept).agg(found=_.count(), rows=_.n.sum(), **{code: _[code].min()}).cache()


def _sum(table: ibis.Table, column: str) -> int:
    return int(table[column].sum().execute() or 0)


def _one_a_pair(current: ibis.Table, duplicates: Literal["first", "last"]) -> ibis.Table:
    """Keep one interaction of each user with each item."""
    order = [_[TIMESTAMP], _[ROW]] if duplicates == "first" else [_[TIMESTAMP].desc(), _[ROW].desc()]
    position = ibis.row_number().over(group_by=[USER, ITEM], order_by=order)
    return current.mutate(position=position).filter(_.position == 0).drop("position")


def _drop_rare(current: ibis.Table, code: str, k: int) -> ibis.Table:
    return current.anti_join(current.group_by(code).having(_.count() < k).agg(), code)


def _replace(old: ibis.Table, new: ibis.Table) -> ibis.Table:
    """Compute `new` and release `old`, from which it was derived."""
    cached = new.cache()
    old.release()
    return cached


def _count(table: ibis.Table) -> int:
    return int(table.count().execute())


def _log_round(n_rounds: int, n_rows: int) -> None:
    logger.info("k-core, round %d: %s interactions left", n_rounds, f"{n_rows:,}")


def _explain_empty(counts: Counts, user_k: int, item_k: int) -> str:
    return (
        f"filtering left nothing of {counts}: no set of users with at least {user_k} and "
        f"items with at least {item_k} interactions exists. Lower preprocessing.user_k or preprocessing.item_k."
    )
