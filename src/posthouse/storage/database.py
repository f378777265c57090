"""The database: SQLite in a file of ours, or PostgreSQL by URL. Synchronous: call it from threads, never from the loop.

Above: stores and the journal. Below: SQLAlchemy Core. Nothing here imports a dialect: PostgreSQL's costs 45 ms of start
(CPython 3.11) and is loaded by `create_engine` only where the URL asks for it.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from posthouse.core.errors import ConfigError, Unavailable
from posthouse.storage.migrations.upgrade import upgrade
from posthouse.storage.paths import make_private_folder

Kind = Literal["sqlite", "postgresql"]

BUSY_MS: Final = 5_000
_WRITE: Final = "posthouse_write"
_SQLITE_PRAGMAS: Final = (
    # With WAL, NORMAL cannot corrupt the file; a power cut may take back the last commits, which the journal still has.
    "PRAGMA synchronous=NORMAL",
    f"PRAGMA busy_timeout={BUSY_MS}",
    "PRAGMA foreign_keys=ON",
    "PRAGMA cache_size=-8000",
)
# Every call has a deadline: a server that vanished is noticed within seconds, a statement ends after 30 s.
_POSTGRES_ARGS: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "application_name": "posthouse",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_POSTGRES_STATEMENT_MS: Final = 30_000
_SERVER_KEEPALIVES: Final = {"tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3}
_SERVER_LOCK: Final = 0x706F7374_68000001  # any number that no other program takes: "posth", 1


class Database:
    """One database and its pool. `url` is `sqlite:///path` or `postgresql://...`; ConfigError for anything else."""

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise ConfigError("database url: not a URL; use sqlite:///path or postgresql://user@host/name") from None
        backend = parsed.get_backend_name()
        self.kind: Kind
        self.path: Path | None = None
        if backend == "sqlite":
            self.kind = "sqlite"
            self.path = _sqlite_path(parsed)
            self.engine = _sqlite_engine(parsed)
        elif backend in {"postgresql", "postgres"}:
            self.kind = "postgresql"
            self.engine = _postgres_engine(parsed)
        else:
            raise ConfigError(f"database url: {backend!r} is not supported; use sqlite:///path or postgresql://...")
        self.name = parsed.render_as_string(hide_password=True)
        self._claim: Connection | None = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection in a transaction of its own, for queries. Unavailable where the database does not answer."""
        with _answering(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """The same, where all queries see one state of the database."""
        with self.read() as connection:
            if self.kind == "postgresql":  # SQLite reads from one snapshot anyway
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits at the end of the block. On SQLite it takes the write lock at once (5 s at most),
        so that what was read inside it still holds when it writes."""
        with _answering(), self.engine.connect() as connection:
            connection = connection.execution_options(**{_WRITE: True})
            with connection.begin():
                yield connection

    def upgrade(self) -> None:
        """Makes the file and folder where missing and brings the schema to this version's. Cheap when it already is.

        ConfigError where the database is newer than this program, or cannot be reached or made.
        """
        if self.path is not None:
            _make_file(self.path)
        try:
            upgrade(self.engine, self.path)
        except DBAPIError as error:
            raise ConfigError(f"database {self.name} cannot be used: {_first_line(error)}") from error

    def claim(self, among_others: bool = False) -> None:
        """Makes this process the one server of a PostgreSQL database until `close`, or one `among_others` that share
        their limits and budgets; on SQLite the journal's lock on the data folder does the same. ConfigError where a
        server has it that stands alone: each would end the other's open holds, and it counts budgets in memory."""
        if self.kind == "sqlite":
            return
        lock = "pg_try_advisory_lock_shared" if among_others else "pg_try_advisory_lock"
        with _answering():
            connection = self.engine.connect()
            taken = connection.execute(text(f"SELECT {lock}(:key)"), {"key": _SERVER_LOCK}).scalar_one()
            for name, value in _SERVER_KEEPALIVES.items():
                # The server itself finds out that our machine is gone, and lets the next one in.
                connection.execute(text(f"SET {name} = {value}"))
            connection.commit()  # the lock is the session's, not the transaction's
        if not taken:
            connection.close()
            raise ConfigError(
                f"database {self.name} is in use by another posthouse server; several may serve it only if every "
                "one of them has the same storage.redis_url"
            )
        self._claim = connection

    def backup(self, target: Path) -> None:
        """A consistent copy of a SQLite database while it is in use. ConfigError on PostgreSQL, and where it exists."""
        if self.path is None:
            raise ConfigError("db backup copies SQLite only; use pg_dump for PostgreSQL")
        if not self.path.exists():
            raise ConfigError(f"there is no database at {self.path}")
        if target.exists():
            raise ConfigError(f"{target} exists already")
        part = target.with_name(target.name + ".part")
        try:
            os.close(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
            with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(part)) as copy:
                source.backup(copy, pages=1000)
            part.replace(target)
        except OSError as error:
            raise ConfigError(f"cannot write {target}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)

    def close(self) -> None:
        if self._claim is not None:
            self._claim.invalidate()  # ends the session, and with it the lock: back in the pool it would keep both
            self._claim.close()
            self._claim = None
        self.engine.dispose()


@contextmanager
def _answering() -> Iterator[None]:
    """What says that the database is gone, locked or exhausted becomes Unavailable; what is wrong with a row does
    not."""
    try:
        yield
    except (IntegrityError, DataError, ProgrammingError):
        raise
    except (DBAPIError, PoolTimeout) as error:
        raise Unavailable("The database does not answer just now.") from error


def _sqlite_path(url: URL) -> Path:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigError("database url: SQLite needs a file, as in sqlite:////var/lib/posthouse/posthouse.db")
    return Path(url.database)


def _make_file(path: Path) -> None:
    """The file is made before SQLite does, readable by its owner alone; its WAL takes over the mode."""
    make_private_folder(path.parent)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise ConfigError(f"cannot open the database {path}: {error.strerror}") from error


def _sqlite_engine(url: URL) -> Engine:
    # isolation_level None: the driver begins nothing by itself, `_begin` below does.
    arguments = {"isolation_level": None, "timeout": BUSY_MS / 1000, "check_same_thread": False}
    engine = create_engine(url.set(drivername="sqlite"), connect_args=arguments, pool_size=4, max_overflow=8)

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        for pragma in _SQLITE_PRAGMAS:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgres_engine(url: URL) -> Engine:
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args=_POSTGRES_ARGS,
        pool_size=4,
        max_overflow=4,
        pool_timeout=5,
        pool_pre_ping=True,
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        # Not as a start-up option: connection poolers refuse those.
        connection.execute(f"SET statement_timeout = {_POSTGRES_STATEMENT_MS}")
        connection.commit()

    return engine


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0]
