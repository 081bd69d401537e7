"""From a file of one's own to the folder of an experiment: looks, proposes, and writes three short files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import yaml

from diffurecsys.data.kcore import EmptyCoreError, filter_k_core
from diffurecsys.data.sequences import count_interactions
from diffurecsys.data.sources import inspect
from diffurecsys.data.sources.inspect import Facts
from diffurecsys.data.sources.read import SourceRecord, read_source
from diffurecsys.data.sources.spec import ColumnNames, ItemTable, Rule, SourceSpec
from diffurecsys.data.specs import Counts
from diffurecsys.data.temporal import are_dates, describe_time
from diffurecsys.errors import UserError
from diffurecsys.files import atomic_path

RESERVED = ("base", "local", "on", "off", "yes", "no", "true", "false", "null", "y", "n")
THRESHOLDS = (5, 3, 2, 1)  # of the k-core, the first that leaves something
SMALL = 300_000  # interactions up to which a CPU trains within minutes to hours
TICKS = 1_000_000

STUDY = """# {title}
#   kedro run --pipeline=describe --env={name}      # the data, before anything is trained
#   kedro run --pipeline=train_eval --env={name}    # the study
# Any parameter of conf/base/parameters.yml may stand here.
study:
  rankers: [popularity, transitions, sasrec, diffurec]
  n_seeds: 3
  sweeps: {{delta: {{n_seeds: 0}}}}  # {{}}: also the controls without diffusion of conf/base
{preprocessing}
split: leave_one_out  # or temporal: targets after points in time that hold for all users
"""
SIZES = """
# networks and trainings small enough for a CPU; without these lines they are the paper's
width: 64
blocks: 2
heads: 2
epochs: 20
batch_size: 256
lr_decay_epoch: 15
patience: 5
"""


class ExperimentError(UserError, ValueError):
    """A new experiment cannot be written; the message says why and what to do."""


@dataclass(frozen=True)
class Look:
    """What a look at a file of one's own found.

    Attributes:
        spec: the dataset's entry.
        record: what reading it gave.
        facts: what the interactions hold.
        core_k: thresholds of the k-core that leaves something.
        core: what it leaves.
        choices: values of further columns with few different ones, by column.
        titled: items of the interactions with a title; None without a table of items.
    """

    spec: SourceSpec
    record: SourceRecord
    facts: Facts
    core_k: int
    core: Counts
    choices: dict[str, list[tuple[str, int]]]
    titled: int | None = None


def look_at(
    path: Path,
    raw_folder: Path,
    *,
    columns: ColumnNames | None = None,
    delimiter: str | None = None,
    header: bool = True,
    time_format: str | None = None,
    time_zone: str = "UTC",
    keep: Sequence[Rule] = (),
    drop_bad_rows: bool = False,
    items: Path | None = None,
) -> Look:
    """Propose how to read a file, and read it so.

    Args:
        path: file, folder or pattern.
        raw_folder: what the entry's paths start from where the files lie in it.
        columns: names that are known already; empty ones are guessed.
        delimiter: as in `SourceSpec`; None: told by the first line.
        header: whether the first line names the columns.
        time_format: as in `SourceSpec`; None: guessed.
        time_zone: of times that name none.
        keep: rules for rows.
        drop_bad_rows: whether rows that cannot be read are dropped.
        items: a table of items.

    Raises:
        SourceError: the file cannot be read, or its columns cannot be guessed.
    """
    names = inspect.propose_columns(path, delimiter, given=columns, header=header)
    if time_format is None:
        known = names.time is not None
        time_format = inspect.propose_time_format(path, delimiter, names.time, header=header) if known else "s"  # type: ignore[arg-type]
    table = None if items is None else inspect.propose_item_table(items, names.item)
    spec = SourceSpec(
        _portable(path, raw_folder),
        names,
        time_format=time_format,
        time_zone=time_zone,
        delimiter=delimiter,
        header=header,
        keep=tuple(keep),
        on_bad_rows="drop" if drop_bad_rows else "error",
        items=None
        if table is None
        else ItemTable(_portable(items, raw_folder), table.item, table.title, table.category),  # type: ignore[arg-type]
    )
    interactions, record = read_source(spec, raw_folder)
    used = [names.user, names.item, names.time, *(rule.column for rule in keep)]
    choices = {
        name: found
        for name in inspect.other_columns(path, delimiter, used, header=header)
        if (found := inspect.values_of(path, delimiter, name, header=header))
    }
    core_k, core = _core(interactions)
    return Look(spec, record, inspect.find_facts(interactions), core_k, core, choices)


def describe_look(look: Look) -> list[str]:
    """Say what was understood, line by line."""
    spec, facts = look.spec, look.facts
    when = "the order of rows" if spec.columns.time is None else f"{spec.columns.time} ({spec.time_format})"
    lines = [
        f"Columns     user = {spec.columns.user}, item = {spec.columns.item}, time = {when}",
        f"Rows        {look.record.rows:,}, of which {facts.rows:,} are interactions",
        *(f"Left out    {rows:,} by the rule {rule}" for rule, rows in look.record.left_out.items()),
        *(f"Dropped     {group}" for group in look.record.bad),
        f"Users       {facts.users:,}",
        f"Items       {facts.items:,}",
        f"Period      {describe_time(facts.first, TICKS)} to {describe_time(facts.last, TICKS)}"
        + ("" if are_dates(facts.last, TICKS) else " - no dates: positions rather than times"),
        f"Duplicates  {facts.copies:,} rows repeat user, item and time of another; "
        f"{facts.repeats:,} a user's item ({facts.repeats / facts.rows:.1%})",
        f"Ties        {facts.ties:,} rows share their time with another of their user ({facts.ties / facts.rows:.1%}); "
        f"for {facts.tied_users:,} users the file's order decides which item is the last",
        f"Filtered    {look.core} have at least {look.core_k} interactions each",
    ]
    for name, found in look.choices.items():
        shown = ", ".join(f"{value or 'nothing'} ({rows:,})" for value, rows in found)
        lines.append(f"Column      {name}: {shown}; choose with --keep")
    return lines


def write_experiment(name: str, look: Look, conf: Path) -> list[Path]:
    """Write `globals.yml`, `datasets.yml` and `parameters.yml`.

    Args:
        name: of experiment, dataset and folder.
        look: what they say.
        conf: the project's `conf`.

    Returns:
        The files.

    Raises:
        ExperimentError: there is such an experiment, or the name cannot be one.
    """
    check_name(name, conf)
    thresholds = (
        ""
        if look.core_k == THRESHOLDS[0]
        else (
            "\npreprocessing:  # with 5, as in conf/base, nothing would be left\n"
            f"  user_k: {max(3, look.core_k)}\n  item_k: {look.core_k}\n"
        )
    )
    texts = {
        "globals": f"experiment: {name}\ndataset: {name}\n{SIZES if look.facts.rows <= SMALL else ''}",
        "datasets": _yaml({"datasets": {name: {"name": name, "source": _plain(look.spec)}}}),
        "parameters": STUDY.format(name=name, title=f"{name}: {look.core}.", preprocessing=thresholds),
    }
    written = []
    for file, text in texts.items():
        path = conf / name / f"{file}.yml"
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def check_name(name: str, conf: Path) -> None:
    """Refuse a name that cannot be an experiment's, or is one's already.

    Raises:
        ExperimentError: saying what is allowed, or how to get it away.
    """
    if not re.fullmatch("[a-z][a-z0-9_-]{0,59}", name) or name in RESERVED:
        raise ExperimentError(
            f"{name!r} cannot name an experiment: a lower-case letter, then letters, digits, - and _, and none of "
            f"{', '.join(RESERVED)}"
        )
    if (conf / name).exists():
        raise ExperimentError(f"{conf / name} is there already; remove it, or choose another name")


def parse_rule(text: str) -> Rule:
    """Read `event=view,buy` or `rating>=4`.

    Raises:
        ExperimentError: it is neither.
    """
    column, more, number = text.partition(">=")
    if more:
        with suppress(ValueError):
            return Rule(column.strip(), at_least=float(number))
    elif match := re.fullmatch(r"([^=]+)=(.+)", text):
        return Rule(match[1].strip(), tuple(value.strip() for value in match[2].split(",")))
    raise ExperimentError(f"--keep {text!r}: write a rule like event=view,buy or rating>=4")


def _core(interactions: pa.Table) -> tuple[int, Counts]:
    connection = ibis.duckdb.connect()
    try:
        table = connection.create_table("interactions", interactions)
        for k in THRESHOLDS:
            try:
                return k, count_interactions(filter_k_core(table, user_k=max(k, 3), item_k=k))
            except EmptyCoreError:
                continue
    finally:
        connection.disconnect()
    raise ExperimentError(
        "no user has three interactions: a history, a validation and a test target. Is the right column the user's?"
    )


def _portable(path: Path, raw_folder: Path) -> str:
    """A path relative to the raw folder where it lies in it, so that the project can move; absolute otherwise."""
    whole = path.absolute()
    return str(whole.relative_to(raw_folder)) if whole.is_relative_to(raw_folder) else str(whole)


def _plain(value: Any) -> Any:  # noqa: ANN401 - a dataclass of the entry, or what it holds
    """Return what an entry says beyond the defaults, as YAML knows it."""
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if not hasattr(value, "__dataclass_fields__"):
        return value.replace("${", "\\${") if isinstance(value, str) else value
    return {part.name: _plain(found) for part in fields(value) if (found := getattr(value, part.name)) != part.default}


def _yaml(value: Any) -> str:  # noqa: ANN401
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120))
