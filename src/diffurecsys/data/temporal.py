"""Dividing interactions at two points in time that hold for all users, so that training knows nothing of the future.

The parts: what happened before the first point is trained on; the last (or first) event of each user between the points
is a validation target, the last (or first) one from the second point on a test target. What a target's user did before
it is its history. Filtering, vocabulary and numbering know only what happened before the first point.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import ibis
from ibis import _

from diffurecsys.columns import (
    HISTORY,
    ITEM_ID,
    PART,
    ROW,
    TEST_TARGET,
    TIMESTAMP,
    TRAINING,
    USER_ID,
    VALIDATION_TARGET,
)
from diffurecsys.data.kcore import drop_duplicates, filter_k_core
from diffurecsys.errors import DataError


@dataclass(frozen=True)
class TimePoints:
    """Where validation and test begin, as timestamps of the interactions.

    Attributes:
        validation: training lies before it.
        test: validation targets lie before it.
    """

    validation: int
    test: int


def find_time_points(
    interactions: ibis.Table, validation_from: float | str, test_from: float | str, *, ticks: int
) -> TimePoints:
    """Turn quantiles of the interactions' times, or dates, into timestamps.

    Args:
        interactions: table as in `diffurecsys.columns`.
        validation_from: share of all interactions that lie before it, or a date as ISO 8601 writes it (UTC).
        test_from: likewise.
        ticks: timestamps in a second.

    Raises:
        DataError: no interactions lie before, between or after them.
    """
    points = TimePoints(
        *(
            _date(point, ticks) if isinstance(point, str) else _quantile(interactions, point)
            for point in (validation_from, test_from)
        )
    )
    stage = ibis.cases((_[TIMESTAMP] < points.validation, 0), (_[TIMESTAMP] < points.test, 1), else_=2)
    found = interactions.group_by(stage=stage).agg(n=_.count()).to_pyarrow().to_pylist()
    sizes = {row["stage"]: row["n"] for row in found}
    if points.validation >= points.test or len(sizes) < 3:
        shown = f"{describe_time(points.validation, ticks)} and {describe_time(points.test, ticks)}"
        raise DataError(
            f"the temporal split at {shown} leaves {sizes.get(0, 0):,} interactions before, {sizes.get(1, 0):,} "
            f"between and {sizes.get(2, 0):,} after these points; each part needs some. "
            "Choose other split.validation_from and split.test_from, or split: leave_one_out where times cannot be "
            "compared between users"
        )
    return points


def divide_by_time(
    interactions: ibis.Table,
    points: TimePoints,
    *,
    user_k: int,
    item_k: int,
    duplicates: Literal["keep", "first"] = "keep",
    target: Literal["last", "first"] = "last",
) -> tuple[ibis.Table, dict[str, int]]:
    """Filter and mark interactions for a split in time.

    The k-core is that of the training part. Items outside of it are unknown: their events go, and users whose target
    is such an item are not asked about but counted. Users outside of it are not trained on; they are asked about where
    an event with a known item stands before their target.

    Args:
        interactions: table as in `diffurecsys.columns`; `row` is unique.
        points: where validation and test begin.
        user_k: training interactions that each user trained on has at least.
        item_k: training interactions that each known item has at least.
        duplicates: of a user's repeated interactions with one item, keep all or the first.
        target: which of a user's events of a period is asked for.

    Returns:
        The interactions of known items with PART (`TRAINING`, `VALIDATION_TARGET`, `TEST_TARGET`, or `HISTORY` for all
        others), of users who are trained on or asked about, ordered by row; and numbers: the points, training_users,
        training_interactions, known_items, unknown_items, unknown_item_interactions, and of validation and test each
        users (who have a target), asked, unknown_target, no_history, new_users (asked, and not trained on).
    """
    seen = (interactions if duplicates == "keep" else drop_duplicates(interactions, duplicates)).cache()
    core = filter_k_core(seen.filter(_[TIMESTAMP] < points.validation), user_k=user_k, item_k=item_k).cache()
    items, users = core.select(ITEM_ID).distinct().cache(), core.select(USER_ID).distinct().cache()
    targets = _targets(seen, points, items, users, target).cache()
    good = targets.filter(_.known & _.history)
    known = seen.semi_join(items, ITEM_ID)
    useful = users.union(good.select(USER_ID), distinct=True)
    parts = good.select(ROW, PART)
    trained = known.filter(_[TIMESTAMP] < points.validation).semi_join(users, USER_ID).select(ROW)
    marked = (
        known.semi_join(useful, USER_ID)
        .left_join(parts.union(trained.mutate(**{PART: ibis.literal(TRAINING, "int8")})), ROW)
        .select(USER_ID, ITEM_ID, TIMESTAMP, ROW, **{PART: _as_int8(_[PART].fill_null(HISTORY))})
        .order_by(ROW)
        .cache()
    )
    unknown = seen.anti_join(items, ITEM_ID).filter(_[TIMESTAMP] >= points.validation)
    (rest,) = unknown.agg(items=_[ITEM_ID].nunique(), rows=_.count()).to_pyarrow().to_pylist()
    counts = {
        "validation_from": points.validation,
        "test_from": points.test,
        "training_users": int(users.count().execute()),
        "training_interactions": int(core.count().execute()),
        "known_items": int(items.count().execute()),
        "unknown_items": rest["items"],
        "unknown_item_interactions": rest["rows"],
    }
    for name, part in (("validation", VALIDATION_TARGET), ("test", TEST_TARGET)):
        counts |= {f"{name}_{key}": value for key, value in _count_targets(targets.filter(_[PART] == part)).items()}
    return marked, counts


def _targets(
    seen: ibis.Table, points: TimePoints, items: ibis.Table, users: ibis.Table, target: Literal["last", "first"]
) -> ibis.Table:
    """Every user's last or first event of both periods, and whether its item, history and user are known."""
    part = _as_int8(ibis.ifelse(_[TIMESTAMP] < points.test, VALIDATION_TARGET, TEST_TARGET))
    later = seen.filter(_[TIMESTAMP] >= points.validation).mutate(**{PART: part})
    order = [_[TIMESTAMP], _[ROW]] if target == "first" else [_[TIMESTAMP].desc(), _[ROW].desc()]
    place = ibis.row_number().over(group_by=[USER_ID, PART], order_by=order)
    asked = later.mutate(place=place).filter(_.place == 0).drop("place")
    begins = (
        seen.semi_join(items, ITEM_ID)
        .mutate(place=ibis.row_number().over(group_by=USER_ID, order_by=[_[TIMESTAMP], _[ROW]]))
        .filter(_.place == 0)
        .select(USER_ID, begin=TIMESTAMP, begin_row=ROW)
    )
    joined = (
        asked.left_join(items.mutate(known=True), ITEM_ID)
        .drop(f"{ITEM_ID}_right")
        .left_join(users.mutate(trained=True), USER_ID)
        .drop(f"{USER_ID}_right")
        .left_join(begins, USER_ID)
        .drop(f"{USER_ID}_right")
    )
    before = (_.begin < _[TIMESTAMP]) | ((_.begin == _[TIMESTAMP]) & (_.begin_row < _[ROW]))
    return joined.select(
        ROW,
        USER_ID,
        PART,
        known=_.known.fill_null(False),
        trained=_.trained.fill_null(False),
        history=before.fill_null(False),
    )


def _as_int8(value: ibis.Value) -> ibis.Value:
    """Cast by way of another type: Ibis takes small literals for int8 already and leaves Spark its int32."""
    return value.cast("int64").cast("int8")


def _count_targets(targets: ibis.Table) -> dict[str, int]:
    asked = _.known & _.history
    counted = targets.agg(
        users=_.count(),
        asked=asked.sum(),
        unknown_target=(~_.known).sum(),
        no_history=(_.known & ~_.history).sum(),
        new_users=(asked & ~_.trained).sum(),
    )
    (row,) = counted.to_pyarrow().to_pylist()
    return {name: int(value or 0) for name, value in row.items()}


def describe_time(timestamp: int, ticks: int) -> str:
    """Write a timestamp as a date in UTC, or as the number it is where it is none that a dataset could have."""
    try:
        found = datetime.fromtimestamp(timestamp / ticks, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{timestamp:,}"
    return f"{found:%Y-%m-%d %H:%M}" if are_dates(timestamp, ticks) else f"{timestamp:,}"


def are_dates(latest: int, ticks: int) -> bool:
    """Whether timestamps can be dates: the latest of them lies after 1980. Positions in a sequence do not."""
    return latest / ticks > EARLIEST_DATE


EARLIEST_DATE = 315_532_800  # 1980-01-01, seconds


def _date(text: str, ticks: int) -> int:
    found = datetime.fromisoformat(text)
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()) * ticks


def _quantile(interactions: ibis.Table, share: float) -> int:
    n_before = int(interactions.count().execute() * share)
    counted = interactions.group_by(TIMESTAMP).agg(n=_.count())
    reached = counted.mutate(upto=_.n.sum().over(order_by=TIMESTAMP, rows=(None, 0)))
    return int(reached.filter(_.upto > n_before)[TIMESTAMP].min().execute())
