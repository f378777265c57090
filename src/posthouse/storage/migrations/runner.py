"""Runs Alembic over an open connection. Only `python -m posthouse.storage.migrations` and tests import this (see
upgrade.py)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from posthouse.storage.migrations.revisions import HEAD

FOLDER: Final = Path(__file__).parent


def scripts() -> ScriptDirectory:
    return ScriptDirectory(str(FOLDER))


def migrate(connection: Connection, target: str = HEAD) -> None:
    """Runs every missing migration up to `target` in the connection's transaction, which the caller commits."""
    directory = scripts()

    def steps(heads: Sequence[str], _context: MigrationContext) -> Any:
        # Alembic's own commands use this method; there is no other door to a plan of steps without an env.py.
        return directory._upgrade_revs(target, heads)  # type: ignore[arg-type]

    context = MigrationContext.configure(connection, opts={"fn": steps, "script": directory})
    with Operations.context(context):
        context.run_migrations()
