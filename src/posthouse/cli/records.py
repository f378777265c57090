"""`posthouse usage` and `db`: what happened, and where it is kept."""

from pathlib import Path
from typing import Annotated, Any

import typer

from posthouse.app import open_database
from posthouse.billing import store
from posthouse.billing.forms import span_of, usage_to_json
from posthouse.cli.move import move
from posthouse.cli.options import AsJson, Config, Data
from posthouse.cli.output import reporting, say, show_json, show_listing
from posthouse.cli.workbench import opened_books, read_settings, settled_books
from posthouse.storage.migrations.revisions import HEAD

db = typer.Typer(help="The database.", no_args_is_help=True)


def usage(  # noqa: PLR0913
    *,
    by: Annotated[store.GroupBy, typer.Option(help="What the rows stand for.")] = "model",
    start: Annotated[str | None, typer.Option("--from", help="First day or time (ISO 8601, UTC).")] = None,
    end: Annotated[str | None, typer.Option("--to", help="The day or time after the last one.")] = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Size: the parameters of a command are its options."""
    with reporting():
        span = span_of(start, end)
        rows: list[dict[str, Any]] = []
        with settled_books(config, data) as books, books.database.read() as connection:
            page: store.Page | None = store.Page(store.MAX_PAGE)
            while page is not None:
                found, following = store.usage(connection, by, span, page)
                rows += [usage_to_json(row, by) for row in found]
                page = None if following is None else store.Page(store.MAX_PAGE, following)
    units = [name for name in store.UNITS if any(row[name] for row in rows)]
    columns = (by, "requests", "input_tokens", "cached_input_tokens", "output_tokens", *units, "cost", "currency")
    show_listing(rows, (*columns, "by_source"), as_json=as_json, empty="Nothing was used.")


@db.command()
def upgrade(as_json: AsJson = False, config: Config = None, data: Data = None) -> None:
    """Make the database, or bring it to this version's schema. `serve` does the same when it starts."""
    with reporting(), opened_books(config, data) as books:
        name = books.database.name
    if as_json:
        show_json({"database": name, "schema": HEAD})
    else:
        say(f"{name} has schema {HEAD}.")


@db.command()
def backup(
    target: Annotated[Path, typer.Argument(help="The file to write; it must not exist yet.")],
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Copy a SQLite database while it is in use, whole and consistent."""
    with reporting():
        database = open_database(read_settings(config, data).settings)
        try:
            database.backup(target)
        finally:
            database.close()
    if as_json:
        show_json({"file": str(target), "bytes": target.stat().st_size})
    else:
        say(f"{target}: {target.stat().st_size} bytes")


db.command()(move)
