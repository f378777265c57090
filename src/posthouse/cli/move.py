"""`posthouse db move`: an installation leaves SQLite for PostgreSQL."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from posthouse.app import open_database
from posthouse.billing.forms import verification_to_json
from posthouse.billing.verify import verify
from posthouse.cli.options import AsJson, Config, Data
from posthouse.cli.output import FAILED, complain, reporting, say, show_json, table
from posthouse.cli.premises import is_taken
from posthouse.cli.workbench import read_settings
from posthouse.core.errors import ConfigError, InvalidRequest
from posthouse.settings import Settings
from posthouse.settings.secret import resolve
from posthouse.storage.database import Database
from posthouse.storage.journal import FolderTaken, Journal
from posthouse.storage.moving import Progress, TableSums, check_target, count
from posthouse.storage.moving import move as move_rows
from posthouse.storage.segments import segment_path, segments

_RECOVER_SECONDS: Final = 600.0
_CLOSE_SECONDS: Final = 30.0
_EVERY_SECONDS: Final = 0.2


def move(
    to: Annotated[str, typer.Option(help="postgresql://user:password@host/name, or env:NAME, or file:PATH.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look whether it could be done.")] = False,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Copy a stopped installation from SQLite into an empty PostgreSQL database, and compare both."""
    with reporting():
        settings = read_settings(config, data).settings
        source, target = open_database(settings), _target(to)
        try:
            if dry_run:
                _look(settings, source, target, as_json)
                return
            with _stopped(settings, source):
                done = move_rows(source, target, _progress())
            found = verify(target, time.time(), time.time())
        finally:
            target.close()
            source.close()
    problems = len(found.problems)
    if as_json:
        show_json({"database": target.name, "tables": _rows(done), "ledger": verification_to_json(found)})
    else:
        _show(done)
        say(f"Every row and every sum is the same in {target.name}.")
        say(f"Its ledger: {'ok' if found.ok else 'NOT OK'}, {found.holds_open} holds open, {problems} problems.")
    if not found.ok:
        complain(
            f"the ledger does not add up, in {source.name} neither, since both are the same: `posthouse ledger verify`"
        )
        raise typer.Exit(FAILED)
    if not as_json:
        say("From now on start with POSTHOUSE_DATABASE_URL (or storage.database_url) set to it, on the same data")
        say(f"folder; {source.path} is as it was, and is not used any more.")


def _target(to: str) -> Database:
    try:
        url, _ = resolve(to, os.environ, Path.cwd())
    except ValueError as error:
        raise InvalidRequest(f"--to: {error}") from None
    return Database(url)


def _look(settings: Settings, source: Database, target: Database, as_json: bool) -> None:
    """What a move would find. Nothing is changed, not even the journal is applied."""
    folder = settings.storage.data / "journal"
    if is_taken(folder):
        raise _running(settings)
    found = count(source)
    check_target(target)
    waiting = sum(segment_path(folder, number).stat().st_size for number in segments(folder)) if folder.is_dir() else 0
    if as_json:
        show_json({"database": target.name, "tables": _rows(found), "journal_bytes": waiting})
        return
    _show(found)
    say(f"{waiting} bytes of the journal would be applied first." if waiting else "The journal is empty.")
    say(f"All of it can move to {target.name}. Nothing was changed.")


@contextmanager
def _stopped(settings: Settings, source: Database) -> Iterator[None]:
    """Holds the data folder, so that no server starts on it; what a killed one left in the journal is applied first."""
    if source.path is None or not source.path.exists():
        yield  # the move says what is wrong, and no folder is made
        return
    journal = Journal(settings.storage.data / "journal", source)
    try:
        journal.start()
    except FolderTaken:
        raise _running(settings) from None
    try:
        if not journal.wait_applied(_RECOVER_SECONDS):
            raise ConfigError("the journal of the data folder could not be applied: see the log; nothing was copied")
        yield
    finally:
        journal.close(_CLOSE_SECONDS)


def _running(settings: Settings) -> ConfigError:
    return ConfigError(
        f"a server runs on {settings.storage.data}; stop it first, since a move needs everything at rest"
    )


def _progress() -> Progress:
    """Lines on stderr: one for each table that is done, and where a person looks on, how far it is."""
    told = 0.0

    def tell(name: str, done: int, rows: int) -> None:
        nonlocal told
        now = time.monotonic()
        if done == rows:
            sys.stderr.write(f"{_BACK if _WATCHED else ''}{name}: {rows} rows\n")
        elif _WATCHED and now - told > _EVERY_SECONDS:
            told = now
            sys.stderr.write(f"{_BACK}{name}: {done} of {rows} rows ({done * 100 // rows} %)")
            sys.stderr.flush()

    return tell


_WATCHED: Final = sys.stderr.isatty()
_BACK: Final = "\r\x1b[K"


def _rows(found: Sequence[TableSums]) -> list[dict[str, Any]]:
    """Sums as strings: some have more digits than a JSON number keeps for everybody."""
    return [
        {
            "table": one.name,
            "rows": one.rows,
            "sums": {name: str(total) for name, (_, total) in one.sums.items()},
            "replaced_nul": one.nuls,
        }
        for one in found
    ]


def _show(found: Sequence[TableSums]) -> None:
    say(table(("table", "rows"), [[one.name, str(one.rows)] for one in found]))
    if nuls := sum(one.nuls for one in found):
        say(f"{nuls} characters U+0000, which PostgreSQL does not store, became U+FFFD.")
