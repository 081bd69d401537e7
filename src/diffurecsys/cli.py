"""The project's own commands of `kedro`; Kedro finds this file by its name and adds them to its own."""

from __future__ import annotations

from pathlib import Path

import click
from kedro.framework.startup import ProjectMetadata

from diffurecsys.errors import UserError


@click.group(name="diffurecsys")
def cli() -> None:
    """Commands of DiffuRecSys."""


@cli.command("new-experiment")
@click.argument("name")
@click.option(
    "--file", "path", required=True, help="CSV, TSV, Parquet, JSON lines or atomic file; a folder; a pattern."
)
@click.option("--user", default="", help="Column of the user; guessed by its name otherwise.")
@click.option("--item", default="", help="Column of the item.")
@click.option("--time", "time", default="", help="Column of the time.")
@click.option("--time-format", default=None, help="s, ms, us, iso, or a pattern like '%d.%m.%Y %H:%M'.")
@click.option("--time-zone", default="UTC", show_default=True, help="Of times that name none, like Europe/Berlin.")
@click.option("--delimiter", default=None, help="Between columns; told by the first line otherwise.")
@click.option("--no-header", is_flag=True, help="The columns are called 1, 2, ...")
@click.option("--keep", multiple=True, help="Rule for rows: event=view,buy or rating>=4; may be repeated.")
@click.option("--items", default=None, help="Table of items with titles and categories.")
@click.option("--drop-bad-rows", is_flag=True, help="Leave out and count what cannot be read.")
@click.pass_obj
def new_experiment(
    metadata: ProjectMetadata,
    name: str,
    path: str,
    user: str,
    item: str,
    time: str,
    time_format: str | None,
    time_zone: str,
    delimiter: str | None,
    no_header: bool,
    keep: tuple[str, ...],
    items: str | None,
    drop_bad_rows: bool,
) -> None:
    """Write conf/NAME for a file of your own, and say what was understood of it."""
    from diffurecsys import new_experiment as made  # here, so that other commands start as fast as without
    from diffurecsys.data.sources.spec import ColumnNames

    project = Path(metadata.project_path)
    conf = project / "conf"
    try:
        made.check_name(name, conf)
        look = made.look_at(
            Path(path),
            project / "data" / "01_raw",
            columns=ColumnNames(user, item, time or None),
            delimiter=delimiter,
            header=not no_header,
            time_format=time_format,
            time_zone=time_zone,
            keep=[made.parse_rule(text) for text in keep],
            drop_bad_rows=drop_bad_rows,
            items=None if items is None else Path(items),
        )
        written = made.write_experiment(name, look, conf)
    except (UserError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    for line in made.describe_look(look):
        click.echo(line)
    click.echo(f"Written     {', '.join(str(file.relative_to(project)) for file in written)}")
    click.echo(
        f"\nNext: kedro run --pipeline=describe --env={name}\nThen: kedro run --pipeline=train_eval --env={name}"
    )
