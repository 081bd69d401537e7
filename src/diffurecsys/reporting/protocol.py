"""How a report names what was read, and how it was split."""

from __future__ import annotations

from collections.abc import Mapping

from diffurecsys.columns import SPLITS
from diffurecsys.data.split import LEAVE_ONE_OUT, TEMPORAL
from diffurecsys.data.temporal import describe_time

PROTOCOLS: dict[str, str] = {
    LEAVE_ONE_OUT: "leave-one-out: each user's last item is the test target, the one before the validation target",
    TEMPORAL: "temporal: targets are what users did after points in time that hold for all; training, filtering "
    "and the catalogue know only what happened before",
}


def protocol_rows(protocol: str, counts: Mapping[str, Mapping[str, int]]) -> list[tuple[str, str]]:
    """Return lines of a set-up: how events were split, and of a split in time what was not asked about.

    Args:
        protocol: name of the split.
        counts: as the node `count_dataset` writes them.
    """
    rows = [("Split", PROTOCOLS.get(protocol, protocol))]
    if (numbers := counts.get("split")) is None:
        return rows
    begins, ends = (describe_time(numbers[f"{name}_from"], numbers["ticks"]) for name in ("validation", "test"))
    rows.append(("Points in time", f"validation from {begins}, test from {ends} (UTC)"))
    rows.append(
        (
            "Training",
            f"{numbers['training_users']:,} users, {numbers['known_items']:,} items, "
            f"{numbers['training_interactions']:,} interactions; {numbers['unknown_items']:,} items appear later alone "
            f"or too rarely before, in {numbers['unknown_item_interactions']:,} later interactions",
        )
    )
    rows += [(f"Asked on {name}", _asked(name, numbers)) for name in SPLITS]
    return rows


def _asked(name: str, numbers: Mapping[str, int]) -> str:
    found = {key.removeprefix(f"{name}_"): value for key, value in numbers.items() if key.startswith(f"{name}_")}
    text = (
        f"{found['asked']:,} of {found['users']:,} users with an event there, {found['new_users']:,} of them unknown "
        f"to training; not asked: {found['unknown_target']:,} whose target training never saw, {found['no_history']:,} "
        "without a history"
    )
    if found["unknown_target"]:
        share = found["asked"] / (found["asked"] + found["unknown_target"])
        text += f" (with the former as misses, every metric is {share:.3f} of what is printed)"
    return text


def reading_row(counts: Mapping[str, Mapping[str, int]]) -> list[tuple[str, str]]:
    """Return a line of a set-up: how many rows of the files became interactions; none for archives."""
    if (read := counts.get("read")) is None:
        return []
    text = f"{read['rows']:,} rows; {read['left_out']:,} left out by rules, {read['dropped']:,} dropped as unreadable"
    return [("Files", text)]
