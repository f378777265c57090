"""A whole SQLite database into an empty PostgreSQL one: every table, in one transaction of the target.

So an interrupted move leaves nothing behind and is simply begun again; nobody ever sees half of it. Rows stream from
one driver into COPY of the other, a batch in memory at a time. Before the commit both sides are counted in SQL: the
rows, the values that are not null, the exact sum of every number and the bytes of every text. The source is locked
for writing meanwhile, and not changed.

Above: `posthouse db move`. Below: the database and its tables.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import BigInteger, Boolean, Column, Connection, Integer, LargeBinary, Table, cast, func, select, text
from sqlalchemy.exc import DBAPIError

from posthouse.core.errors import ConfigError, Unavailable
from posthouse.storage.database import Database
from posthouse.storage.migrations.revisions import HEAD
from posthouse.storage.migrations.upgrade import recorded
from posthouse.storage.tables import metadata

_BATCH: Final = 2_000
_NUL: Final = "\0"
_REPLACEMENT: Final = "\ufffd"  # what the journal writes for a NUL too
_GROWTH: Final = len(_REPLACEMENT.encode()) - len(_NUL.encode())
# `sum` of SQLite overflows beyond 63 bits; two halves of each number cannot.
_HALF: Final = 32
_LOW: Final = (1 << _HALF) - 1

# Says how far a table is: its name, rows so far, rows in all.
Progress = Callable[[str, int, int], None]


class TableSums(Struct, frozen=True):
    """`sums`: for each column (values that are not null, their sum; of texts and bytes their length in bytes)."""

    name: str
    rows: int
    sums: dict[str, tuple[int, int]]
    nuls: int = 0  # U+0000 in texts, which PostgreSQL does not store


def in_order() -> Sequence[Table]:
    """Every table, those first that others refer to."""
    return metadata.sorted_tables


def count(source: Database) -> list[TableSums]:
    """Rows and sums of every table of SQLite. ConfigError where there is no database of this version's schema."""
    _check_source(source)
    with source.read() as connection:
        return [_sums(connection, table) for table in in_order()]


def check_target(target: Database) -> None:
    """ConfigError where the target cannot be moved into: not PostgreSQL, out of reach, newer, or not empty. Changes
    nothing."""
    if target.kind != "postgresql":
        raise ConfigError(f"{target.name} is not PostgreSQL; a move goes to postgresql://user:password@host/name")
    try:
        with target.engine.connect() as connection:
            if recorded(connection) is not None:
                _check_empty(connection, target.name)
    except DBAPIError as error:
        raise ConfigError(f"{target.name} cannot be used: {_first_line(error)}") from None


def move(source: Database, target: Database, progress: Progress) -> list[TableSums]:
    """Copies, compares, commits, and says what it copied. ConfigError where it cannot; then the target is as it was.

    The caller holds the folder of the source's server; `target` is claimed here, so that no server serves it meanwhile.
    """
    _check_source(source)
    check_target(target)
    target.claim()
    target.upgrade()
    done: list[TableSums] = []
    try:
        with source.write() as origin, target.write() as copy:
            # The default of a connection ends a statement after 30 s.
            copy.execute(text("SET LOCAL statement_timeout = 0"))
            names = [_quoted(copy, table.name) for table in in_order()]
            copy.execute(text(f"LOCK TABLE {', '.join(names)} IN EXCLUSIVE MODE"))
            _check_empty(copy, target.name)
            copied = [_move_table(origin, copy, table, progress) for table in in_order()]
            for name in names:
                copy.execute(text(f"ANALYZE {name}"))
            done = copied
    except Unavailable as error:
        reason = "" if error.__cause__ is None else f": {_first_line(error.__cause__)}"
        raise ConfigError(f"a database stopped answering{reason}. {_UNKNOWN if done else _NOTHING}") from error
    return done


_NOTHING: Final = "Nothing was copied, and the source is as it was; mend it and begin again"
_UNKNOWN: Final = (
    "Everything had been copied and compared, but the answer to the commit is missing: where --dry-run says that the"
    " target is not empty, all of it is there, and else nothing; the source is as it was"
)


def _check_source(source: Database) -> None:
    if source.path is None:
        raise ConfigError(
            f"{source.name} is what the settings name, and a move begins with SQLite; leave storage.database_url"
            " (POSTHOUSE_DATABASE_URL) out of this command, and name the target with --to"
        )
    if not source.path.exists():
        raise ConfigError(f"there is no database at {source.path}; say with --data where it is")
    with source.read() as connection:
        found = recorded(connection)
    if found != HEAD:
        raise ConfigError(
            f"{source.path} has schema {found}, and a move needs {HEAD}: `posthouse db upgrade` brings it there"
        )


def _check_empty(connection: Connection, name: str) -> None:
    there = set(_tables_of(connection))
    filled = [
        table.name
        for table in in_order()
        if table.name in there and connection.execute(select(1).select_from(table).limit(1)).first() is not None
    ]
    if filled:
        raise ConfigError(
            f"{name} is not empty: there are rows in {', '.join(filled)}. Nothing was changed; make an empty database"
            " (CREATE DATABASE) and name that one"
        )


def _tables_of(connection: Connection) -> list[str]:
    found = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = ANY (current_schemas(false))"))
    return list(found.scalars())


def _move_table(origin: Connection, copy: Connection, table: Table, progress: Progress) -> TableSums:
    with _explained(table.name, copy):
        expected = _sums(origin, table)
        progress(table.name, 0, expected.rows)
        nuls = dict.fromkeys((column.name for column in table.columns), 0)
        driver = copy.connection.driver_connection
        assert driver is not None
        names = ", ".join(_quoted(copy, column.name) for column in table.columns)
        with driver.cursor() as cursor, cursor.copy(f"COPY {_quoted(copy, table.name)} ({names}) FROM STDIN") as stream:
            done = 0
            for batch in origin.execute(select(table)).partitions(_BATCH):
                for row in batch:
                    stream.write_row(_storable(row, table, nuls))
                done += len(batch)
                progress(table.name, done, expected.rows)
        found = _sums(copy, table)
    replaced = {name: (filled, size + _GROWTH * nuls[name]) for name, (filled, size) in expected.sums.items()}
    if (found.rows, found.sums) != (expected.rows, replaced):
        wrong = [name for name in replaced if found.sums[name] != replaced[name]]
        raise ConfigError(
            f"{table.name} was not copied exactly: {expected.rows} rows there, {found.rows} here"
            f"{'; different: ' + ', '.join(wrong) if wrong else ''}. {_NOTHING}"
        )
    return TableSums(found.name, found.rows, found.sums, sum(nuls.values()))


def _storable(row: Any, table: Table, nuls: dict[str, int]) -> Sequence[Any]:
    """The row as PostgreSQL can store it; most rows are just that."""
    if not any(type(value) is str and _NUL in value for value in row):
        return tuple(row)
    values = list(row)
    for at, column in enumerate(table.columns):
        if isinstance(values[at], str):
            nuls[column.name] += values[at].count(_NUL)
            values[at] = values[at].replace(_NUL, _REPLACEMENT)
    return values


def _sums(connection: Connection, table: Table) -> TableSums:
    asked: list[Any] = [func.count()]
    sqlite = connection.dialect.name == "sqlite"
    for column in table.columns:
        asked += [func.count(column), *(_halves(column) if sqlite else _whole(column))]
    row = list(connection.execute(select(*asked).select_from(table)).one())
    rows, rest = int(row[0]), [int(value or 0) for value in row[1:]]
    width = 3 if sqlite else 2
    sums = {}
    for at, column in enumerate(table.columns):
        filled, *parts = rest[at * width : (at + 1) * width]
        sums[str(column.name)] = (filled, (parts[0] << _HALF) + parts[1] if sqlite else parts[0])
    return TableSums(str(table.name), rows, sums)


def _halves(column: Column[Any]) -> Iterator[Any]:
    """SQLite: the sum of the upper halves, and of the lower ones."""
    number = _number(column, func.length(cast(column, LargeBinary)))
    yield func.sum(number.op(">>")(_HALF))
    yield func.sum(number.op("&")(_LOW))


def _whole(column: Column[Any]) -> Iterator[Any]:
    """PostgreSQL sums into numeric, which has no end."""
    yield func.sum(cast(_number(column, func.octet_length(column)), BigInteger))


def _number(column: Column[Any], length: Any) -> Any:
    match column.type:
        case Boolean():
            return cast(column, Integer)
        case Integer():
            return column
        case _:
            return length


@contextmanager
def _explained(name: str, copy: Connection) -> Iterator[None]:
    """What a row does wrong is told with its table; the driver's own errors come as they are, not as SQLAlchemy's."""
    assert copy.dialect.dbapi is not None
    try:
        yield
    except DBAPIError as error:
        raise ConfigError(f"the table {name} cannot be copied: {_first_line(error)}. {_NOTHING}") from error
    except copy.dialect.dbapi.Error as error:
        raise ConfigError(f"the table {name} cannot be copied: {_first_line(error)}. {_NOTHING}") from error


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)


def _first_line(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
