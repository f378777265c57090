"""`python -m posthouse.storage.migrations`, with the database's URL on standard input: migrates it to the newest
revision."""

import sys
from pathlib import Path

from sqlalchemy import create_engine, event, make_url

from posthouse.storage.migrations.runner import migrate
from posthouse.storage.migrations.upgrade import exclusively, lock


def main(url: str) -> None:
    parsed = make_url(url)
    path = Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None
    engine = create_engine(parsed, connect_args={"isolation_level": None} if path is not None else {})
    if path is not None:
        # Foreign keys stay off (SQLite's default): a table that is rebuilt must not take its children with it.
        @event.listens_for(engine, "begin")
        def _begin(connection: object) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]

    with exclusively(path), engine.begin() as connection:
        lock(connection)
        migrate(connection)
    engine.dispose()


if __name__ == "__main__":
    main(sys.stdin.readline().strip())
