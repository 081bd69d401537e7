"""The page that describes a dataset before anything is trained on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter
from numpy.typing import NDArray

from diffurecsys.columns import SPLITS, TEST, VALIDATION
from diffurecsys.data.split import LEAVE_ONE_OUT
from diffurecsys.data.temporal import are_dates, describe_time
from diffurecsys.evaluation.dataset_facts import QUANTILES, TOP_SHARES, DatasetFacts, Estimate
from diffurecsys.reporting.protocol import protocol_rows, reading_row
from diffurecsys.reporting.report import environment
from diffurecsys.reporting.style import COLOURS, GREY, INK, add_caption, style_panel
from diffurecsys.reporting.svg import embed_figure
from diffurecsys.reporting.text_table import Line, Table

Counts = Mapping[str, Mapping[str, int]]

# Shares from which a page warns
SAME_TIME, REPEATED, UNTRAINED, LATER, SMALL_GAIN = 0.05, 0.2, 0.1, 0.05, 0.1
FEW_TARGETS, MANY_TIES = 500, 0.5
MARKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 100_000)


@dataclass(frozen=True)
class DatasetPage:
    """All the text of a page.

    Attributes:
        title: names the experiment and its dataset.
        summary: the dataset in sentences.
        warnings: where evaluation on it would mislead.
        setup: what was read and split, as (label, value).
        tables: the numbers.
    """

    title: str
    summary: tuple[str, ...]
    warnings: tuple[str, ...]
    setup: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]


def write_page(
    facts: DatasetFacts,
    *,
    experiment: str,
    dataset: str,
    counts: Counts,
    bad_rows: Sequence[Mapping[str, Any]],
    popular: Sequence[Mapping[str, Any]],
    protocol: str,
    ticks: int,
) -> DatasetPage:
    """Put a page's text together.

    Args:
        facts: what was found.
        experiment: its name.
        dataset: name of its dataset.
        counts: as the node `count_dataset` writes them.
        bad_rows: groups of rows that were dropped, as `SourceRecord` has them.
        popular: the most popular items: `item_id`, `title`, `category` (None where not known) and `interactions`.
        protocol: name of the split.
        ticks: timestamps in a second.
    """
    period = f"{describe_time(facts.first, ticks)} to {describe_time(facts.last, ticks)}"
    setup = [
        ("Dataset", dataset),
        *reading_row(counts),
        *((f"Dropped: {group['column']}", f"{group['rows']:,} rows: {_bad(group)}") for group in bad_rows),
        ("Before filtering", _count(counts["raw"])),
        ("After filtering", _count(counts["core"])),
        ("Period", period),
        *protocol_rows(protocol, counts),
    ]
    return DatasetPage(
        title=f"{experiment}: the dataset {dataset}",
        summary=_summary(facts),
        warnings=tuple(find_warnings(facts, protocol=protocol, ticks=ticks)),
        setup=tuple(setup),
        tables=(_sequences_table(facts), _targets_table(facts), _order_table(facts), _popular_table(popular)),
    )


def find_warnings(facts: DatasetFacts, *, protocol: str, ticks: int) -> list[str]:
    """Return one sentence for everything by which sequential evaluation on this dataset would mislead."""
    test, order, said = facts.targets[TEST], facts.order, []
    ordered = are_dates(facts.last, ticks)
    if facts.first == facts.last:
        said.append("All events have one time: what is called their order is the order of the file's rows.")
    elif not ordered:
        said.append(
            "The timestamps are no dates but perhaps positions: each user's own order is known, not what happened "
            "at the same time. A temporal split means nothing here; leave-one-out may train on the future of others."
        )
    if test.same_time >= SAME_TIME:
        said.append(
            f"For {test.same_time:.1%} of the test users the target has the time of the event before it: the order of "
            "the file decides which item is asked for."
        )
    if facts.ties >= MANY_TIES:
        said.append(
            f"{facts.ties:.1%} of all events have the time of the event before: sequences are mostly the file's order "
            "(times by the day, or batches such as ratings entered at one sitting)."
        )
    if test.had_before >= REPEATED:
        said.append(
            f"{test.had_before:.1%} of the test targets are items that the user had before: among unseen items "
            "(ranking: unseen) they cannot be found, and among all items, repeating the history is a strong baseline."
        )
    if order.gain.low <= 0:
        said.append(
            f"No order is seen: a first-order transition model is as good on shuffled histories (validation NDCG@10 "
            f"{order.shuffled.mean:.4f}) as on real ones ({order.real.mean:.4f}; difference {_interval(order.gain)}). "
            "A sequential model that wins here need not win by the sequence."
        )
    elif order.gain.mean < SMALL_GAIN * order.real.mean:
        said.append(
            f"Order says little: shuffling all histories costs a first-order transition model only "
            f"{order.gain.mean / order.real.mean:.1%} of its validation NDCG@10."
        )
    if protocol == LEAVE_ONE_OUT and ordered and facts.later >= LATER:
        said.append(
            f"Leave-one-out lets training see the future: {facts.later:.1%} of the training events happened after half "
            "of the test targets had. What counts in use is `split: temporal`."
        )
    said += _drift_warnings(facts)
    few = min(facts.targets.values(), key=lambda target: target.n)
    if few.n < FEW_TARGETS:
        said.append(
            f"Only {facts.targets[VALIDATION].n:,} validation and {test.n:,} test targets: the 95 % interval of a "
            f"metric reaches some {1.96 * 0.3 / few.n**0.5:.3f} to either side, and small differences cannot be shown."
        )
    for name in SPLITS:
        target = facts.targets[name]
        if target.untrained >= UNTRAINED:
            said.append(
                f"{target.untrained:.1%} of the {name} targets never occur in training: no ranker can know them."
            )
    return said


def render_page(page: DatasetPage, figure: Figure) -> tuple[str, str]:
    """Return the page as HTML that requests nothing else, and as Markdown."""
    drawing = embed_figure(figure, "lengths, popularity and times", prefix="figure-1")
    templates = environment()
    html = templates.get_template("dataset.html.j2").render(page=page, drawing=drawing)
    return html, templates.get_template("dataset.md.j2").render(page=page)


def draw_dataset(
    lengths: NDArray[np.int64],
    popularity: NDArray[np.int64],
    times: Mapping[str, NDArray[np.int64]],
    *,
    ticks: int,
) -> Figure:
    """Draw how long sequences are, how popular items are, and when training events and targets happened.

    Args:
        lengths: `[users]`, events.
        popularity: `[items]`, training events.
        times: timestamps of `training` events, `validation` and `test` targets.
        ticks: timestamps in a second.
    """
    figure = Figure(figsize=(11.0, 4.0), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.hist(lengths, bins=np.geomspace(max(1, lengths.min()), lengths.max() + 1, 30), color=COLOURS[0], alpha=0.7)
    left.set(xscale="log", xlabel="events of a user", ylabel="users")
    left.xaxis.set_major_formatter(ScalarFormatter())
    left.xaxis.set_minor_formatter(NullFormatter())
    left.set_xticks([mark for mark in MARKS if lengths.min() <= mark <= lengths.max()])
    ranked = np.sort(popularity)[::-1]
    middle.plot(np.arange(1, len(ranked) + 1), np.maximum(ranked, 0.5), color=COLOURS[1])
    middle.set(xscale="log", yscale="log", xlabel="item, most popular first", ylabel="training events")
    _draw_times(right, times, ticks)
    for panel in (left, middle, right):
        style_panel(panel, grid="y")
    add_caption(
        figure,
        "Left: users by number of events. Middle: items by training events (never: 0.5). Right: share of training "
        "events and of targets in each of 40 equal parts of the whole time.",
    )
    return figure


def _draw_times(panel: Any, times: Mapping[str, NDArray[np.int64]], ticks: int) -> None:  # noqa: ANN401 - Axes
    low, high = (
        int(pick(found.min() if pick is min else found.max() for found in times.values())) for pick in (min, max)
    )
    edges = np.linspace(low, max(high, low + 1), 41)
    dated = are_dates(high, ticks)
    middles = (edges[1:] + edges[:-1]) / 2
    shown: Any = (middles / ticks * 1000).astype("datetime64[ms]") if dated else middles
    for (name, found), colour in zip(times.items(), (GREY, COLOURS[2], COLOURS[1]), strict=True):
        share = np.histogram(found, edges)[0] / max(1, len(found))
        panel.step(shown, share, where="mid", color=colour, label=name, linewidth=1.5)
    panel.set(xlabel="date" if dated else "timestamp", ylabel="share of its kind")
    panel.tick_params(axis="x", rotation=30)
    panel.legend(frameon=False, labelcolor=INK)


def _summary(facts: DatasetFacts) -> tuple[str, ...]:
    order, test = facts.order, facts.targets[TEST]
    matters = (
        f"Order matters: a first-order transition model reaches a validation NDCG@10 of {order.real.mean:.4f} on real "
        f"histories and {order.shuffled.mean:.4f} on shuffled ones (difference {_interval(order.gain)})."
        if order.gain.low > 0
        else "No sign that order matters (see the warnings)."
    )
    return (
        f"{facts.users:,} users have {facts.events:,} events with {facts.items:,} items, half of them "
        f"{facts.lengths[QUANTILES.index(0.5)]:,} events or fewer; the most popular tenth of the items has "
        f"{facts.top_shares[TOP_SHARES.index(0.1)]:.0%} of the {facts.trained:,} training events.",
        matters,
        f"Of {test.n:,} test targets {test.had_before:.1%} were had before and {test.untrained:.1%} never occur "
        "in training.",
    )


def _drift_warnings(facts: DatasetFacts) -> list[str]:
    said = []
    if facts.distance > facts.chance_high:
        said.append(
            f"Validation and test ask for different items: their distributions are {facts.distance:.3f} apart (total "
            f"variation), where the same targets dealt at random are {facts.chance:.3f} apart (95th percentile "
            f"{facts.chance_high:.3f}). What is chosen on validation may not be best on test."
        )
    for ranker in ("popularity", "transitions"):
        first, second = (getattr(facts.targets[name], ranker) for name in (VALIDATION, TEST))
        if first.low > second.high or second.low > first.high:
            said.append(
                f"Test is {'harder' if first.mean > second.mean else 'easier'} than validation: NDCG@10 of {ranker} is "
                f"{_interval(first)} there and {_interval(second)} on test."
            )
    return said


def _sequences_table(facts: DatasetFacts) -> Table:
    names = {0.0: "shortest sequence", 0.5: "median sequence", 1.0: "longest sequence"}
    lines = [
        (names.get(q, f"{q:.0%} of the users have at most"), f"{length:,} events")
        for q, length in zip(QUANTILES, facts.lengths, strict=True)
    ]
    lines += [
        (f"training events with the {share:.0%} most popular items", f"{found:.1%}")
        for share, found in zip(TOP_SHARES, facts.top_shares, strict=True)
    ]
    lines += [
        ("Gini coefficient of the items' training events", f"{facts.gini:.3f}"),
        ("events with the time of the event before", f"{facts.ties:.1%}"),
        ("events with an item that the user had before", f"{facts.repeats:.1%}"),
        ("events with the item of the event before", f"{facts.immediate:.1%}"),
        ("training events after half of the test targets", f"{facts.later:.1%}"),
    ]
    return Table("sequences", "Sequences and popularity", ("", "value"), tuple(Line(line) for line in lines))


def _targets_table(facts: DatasetFacts) -> Table:
    lines = []
    for name in (VALIDATION, TEST):
        found = facts.targets[name]
        shares = (found.had_before, found.same_time, found.untrained, found.new_users)
        scores = (_interval(found.popularity), _interval(found.transitions))
        lines.append(Line((name, f"{found.n:,}", *(f"{share:.1%}" for share in shares), *scores)))
    columns = ("", "targets", "had before", "time of event before", "never in training", "new users")
    return Table(
        "targets",
        "Targets",
        (*columns, "popularity", "transitions"),
        tuple(lines),
        caption="Last columns: NDCG@10, all items ranked, with 95 % interval over users. "
        f"Items of validation and test targets are {facts.distance:.3f} apart (total variation), {facts.chance:.3f} if "
        f"dealt at random (95th percentile {facts.chance_high:.3f}).",
    )


def _order_table(facts: DatasetFacts) -> Table:
    order = facts.order
    rows = (("real order", order.real), ("shuffled", order.shuffled), ("difference, users paired", order.gain))
    return Table(
        "order",
        "Does order matter?",
        ("histories and counts", "validation NDCG@10 of first-order transitions"),
        tuple(Line((name, _interval(found))) for name, found in rows),
        caption=f"{order.real.n:,} validation users, 95 % intervals. Shuffled: every user's events before the target "
        "in random order, for counting and asking, mean of five such orders.",
    )


def _popular_table(popular: Sequence[Mapping[str, Any]]) -> Table:
    columns = [
        "item_id",
        *(name for name in ("title", "category") if any(row[name] for row in popular)),
        "interactions",
    ]
    lines = [
        Line(tuple(f"{row[name]:,}" if name == "interactions" else row[name] or "–" for name in columns))
        for row in popular
    ]
    headings = {"item_id": "item", "interactions": "training events"}
    return Table("popular", "Most popular items", tuple(headings.get(name, name) for name in columns), tuple(lines))


def _bad(group: Mapping[str, Any]) -> str:
    return f"{group['value']} {group['reason']} (first: {group['file']}, {group['place']})"


def _count(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[name]:,} {name}" for name in ("users", "items", "interactions"))


def _interval(found: Estimate) -> str:
    return f"{found.mean:.4f} [{found.low:.4f}, {found.high:.4f}]"
