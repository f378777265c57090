"""How a batch of journal lines gets into the database: folded here, written with few statements there.

A batch is folded first: a hold that begins and ends in it becomes one finished row (2,000 requests a second do that to
most of them), an end becomes two entries, all charges of a subject's day and model one row of `spend`, and records of
one hour and kind one row of the roll-ups (rollups.py). What is written is the same for both databases; how differs:

- SQLite takes rows as `VALUES (?, ...), (?, ...)`, 64 rows to a statement. sqlite3 gives the GIL back around each step,
  and a statement is one step: the event loop runs on while SQLite works. Measured on CPython 3.11 and SQLite 3.40, CPU
  per request of one hold, one end and one record: 24-29 us; with one row per statement (executemany) 39-50 us and 64
  times as many fights for the GIL; with one JSON parameter for the whole batch (json_each, json_extract) 80 us, 37 of
  them for finding the 33 columns of a record.
- PostgreSQL takes one JSON parameter: the server unpacks it, and our own part is one round trip.

A hold ends once: the first end wins. Whether an end repeats one that is already in the database shows in the counts of
changed rows; only then is the batch taken back and applied again with a look at each end. (A hold that other servers
have given up ends all the same: late.py.)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import astuple
from sqlalchemy import Table

from posthouse.storage.database import Database
from posthouse.storage.late import NOTE, REOPEN, noted_as
from posthouse.storage.rollups import rolled_up
from posthouse.storage.rows import END, HOLD, PRICE, REQUEST, EndRow, HoldRow, PriceRow, RequestRow
from posthouse.storage.segments import Position
from posthouse.storage.sums import Summing
from posthouse.storage.tables import (
    ROLLED_BY,
    ROLLED_UP,
    entries,
    holds,
    price_snapshots,
    requests,
    spend,
    usage_days,
    usage_hours,
)

# Lines of a batch without head and newline, by kind.
Lines = Mapping[str, Sequence[bytes]]
Row = tuple[Any, ...]

_NUL: Final = b"\\u0000"
_REPLACEMENT: Final = b"\\ufffd"
_SIZES: Final = (64, 16, 4, 1)  # rows per SQLite statement; few, so that all stay prepared


class Rejected(Exception):
    """The batch holds a line that no retry can apply. Nothing of it was applied."""


class Repeated(Exception):
    """The batch holds an end of a hold that has ended, a record that is there, or a line that leaves something to be
    looked up. Nothing of it was applied; apply it again with `careful`."""


class Applier(Protocol):
    """One connection that applies lines in transactions. Any other exception than Rejected and Repeated is worth a
    retry on a new connection."""

    def position(self, journal: str) -> Position | None:
        """How far a journal has been applied; None where never."""
        ...

    def begin(self) -> None: ...
    def apply(self, lines: Lines, careful: bool = False) -> int:
        """Returns the number of ends that were ignored as repeated (only when careful)."""

    def savepoint(self) -> None: ...
    def undo(self) -> None:
        """Back to the savepoint."""
        ...

    def move(self, journal: str, position: Position) -> None: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def settle(self) -> bool:
        """Whether all commits are on the disk for good, after making them so where that is ours to do."""
        ...

    def close(self) -> None: ...


class Folded(Struct):
    """Rows to write, table by table. `holds` in the order of _HOLDS, `ends` of _ENDS."""

    holds: list[Row]
    ends: list[Row]
    entries: list[Row]
    spend: list[Row]
    requests: list[Row]
    prices: list[Row]
    hours: list[Row]
    days: list[Row]
    repeated: int


class _Bulk(Struct, frozen=True):
    """A statement over many rows: `{rows}` in `sql` stands for them."""

    table: Table
    columns: tuple[str, ...]
    sql: str


def _insert(table: Table, columns: Iterable[str], conflict: str) -> _Bulk:
    names = tuple(columns)
    return _Bulk(table, names, f"INSERT INTO {table.name} ({', '.join(names)}) {{rows}} ON CONFLICT {conflict}")


_HOLDS: Final = _insert(
    holds,
    (*HoldRow.__struct_fields__, "state", "ended_at", "charged", "reason"),
    "(id) DO UPDATE SET state = excluded.state, ended_at = excluded.ended_at, charged = excluded.charged,"
    " reason = excluded.reason WHERE holds.state = 'held'",
)
_ENDS: Final = _Bulk(
    holds,
    ("id", "state", "ended_at", "charged", "reason"),
    "UPDATE holds SET state = e.state, ended_at = e.ended_at, charged = e.charged, reason = e.reason"
    " FROM ({rows}) AS e WHERE holds.id = e.id AND holds.state = 'held'",
)
_ENTRIES: Final = _insert(entries, entries.c.keys(), "DO NOTHING")
_SPEND: Final = _insert(
    spend, spend.c.keys(), "(subject_id, day, currency, model) DO UPDATE SET amount = spend.amount + excluded.amount"
)


def _adding(table: Table, unit: str, names: tuple[str, ...]) -> _Bulk:
    sums = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in names)
    return _insert(table, (unit, *ROLLED_BY, *names), f"({unit}, {', '.join(ROLLED_BY)}) DO UPDATE SET {sums}")


# Nearly everything is text: a statement over half of the columns takes half the time.
_TEXT_SUMS: Final = ROLLED_UP[: ROLLED_UP.index("reasoning") + 1]
_TEXT_WIDTH: Final = 1 + len(ROLLED_BY) + len(_TEXT_SUMS)
_HOURS: Final = _adding(usage_hours, "hour", ROLLED_UP), _adding(usage_hours, "hour", _TEXT_SUMS)
_DAYS: Final = _adding(usage_days, "day", ROLLED_UP), _adding(usage_days, "day", _TEXT_SUMS)
_REQUESTS: Final = _insert(requests, RequestRow.__struct_fields__, "DO NOTHING")
_PRICES: Final = _insert(price_snapshots, PriceRow.__struct_fields__, "DO NOTHING")
_BULKS: Final = (_HOLDS, _ENDS, _ENTRIES, _SPEND, _REQUESTS, _PRICES, *_HOURS, *_DAYS)
_MOVE: Final = (
    'INSERT INTO journal_position (journal, segment, "offset") VALUES (?, ?, ?)'
    ' ON CONFLICT (journal) DO UPDATE SET segment = excluded.segment, "offset" = excluded."offset"'
)
_POSITION: Final = 'SELECT segment, "offset" FROM journal_position WHERE journal = ?'
_ENDED: Final = (
    "SELECT 1 FROM holds WHERE id = ? AND state <> 'held' UNION ALL SELECT 1 FROM entries WHERE hold_id = ? LIMIT 1"
)
_MODEL: Final = "SELECT model FROM holds WHERE id = ?"
_RECORDED: Final = "SELECT 1 FROM requests WHERE id = ?"

_holds_of: Final = msgspec.json.Decoder(list[HoldRow]).decode
_ends_of: Final = msgspec.json.Decoder(list[EndRow]).decode
_requests_of: Final = msgspec.json.Decoder(list[RequestRow]).decode
_prices_of: Final = msgspec.json.Decoder(list[PriceRow]).decode


class Known(Protocol):
    """What the database has from before this batch."""

    def ended(self, hold_id: str) -> bool: ...
    def recorded(self, request_id: str) -> bool: ...
    def model(self, hold_id: str) -> str:
        """Of a hold; empty where there is none."""


def fold(lines: Lines, known: Known | None = None) -> Folded:
    """What a batch comes to. None takes it that no hold of it has ended before, and that no record is there yet.

    A line of an older version may lack the newest fields: they take their defaults. MsgspecError for a bad line.
    """
    begun = {row.id: row for row in _holds_of(_array(lines, HOLD))}
    records = [astuple(row) for row in _requests_of(_array(lines, REQUEST))]
    if known is not None:
        records = list({row[0]: row for row in reversed(records) if not known.recorded(row[0])}.values())[::-1]
    # In one order too, and each once: several servers may say the same.
    prices = {row.id: astuple(row) for row in _prices_of(_array(lines, PRICE))}
    hours, days = rolled_up(records)
    folded = Folded([], [], [], [], records, sorted(prices.values(), key=_first), hours, days, 0)
    finished = folded.holds
    spent: dict[tuple[str, int, str | None, str], int] = {}
    seen: set[str] = set()
    for end in _ends_of(_array(lines, END)):
        hold_id, charged, currency = end.hold_id, end.charged, end.currency
        if hold_id in seen or (known is not None and known.ended(hold_id)):
            folded.repeated += 1
            continue
        seen.add(hold_id)
        how = (end.state, end.ended_at, charged, end.reason)
        hold = begun.pop(hold_id, None)
        if hold is not None:
            finished.append(astuple(hold) + how)
        else:
            folded.ends.append((hold_id, *how))
        if charged:
            source, at = end.usage_source, end.ended_at
            debit, credit = f"account:{end.account_id}", f"provider:{end.provider}"
            if end.provider is None:
                raise msgspec.ValidationError(f"the charge of {hold_id} names no provider")
            folded.entries.append((hold_id, 0, debit, charged, currency, source, at))
            folded.entries.append((hold_id, 1, credit, -charged, currency, source, at))
            model = end.model if hold is None else hold.model
            if model is None:
                if known is None:
                    raise Repeated
                model = known.model(hold_id)
            for subject in (end.key_id, end.account_id):
                fold_key = (subject, end.day, currency, model)
                spent[fold_key] = spent.get(fold_key, 0) + charged
    finished.extend((*astuple(hold), "held", None, None, None) for hold in begun.values())
    # Always in one order, so that no two servers on one database wait for each other (pains 12).
    for rows in (finished, folded.ends):
        rows.sort(key=_first)
    folded.spend = [(*key, amount) for key, amount in sorted(spent.items(), key=_spend_order)]
    return folded


def _first(row: Row) -> str:
    return str(row[0])


def _spend_order(item: tuple[tuple[str, int, str | None, str], int]) -> tuple[str, int, str, str]:
    subject, day, currency, model = item[0]
    return subject, day, currency or "", model


def _array(lines: Lines, kind: str) -> bytes:
    data = b"[" + b",".join(lines.get(kind, ())) + b"]"
    # Clients may send a NUL in the name of a model; PostgreSQL stores none. Here, and not on the hot path: 0.5 us a
    # line.
    return data.replace(_NUL, _REPLACEMENT) if _NUL in data else data


class _Session:
    """What both databases share: the order of the writes and what their counts must be."""

    def __init__(self, database: Database, begin: str, mark: str) -> None:
        pooled = database.engine.raw_connection()
        self._connection: Any = pooled.driver_connection
        pooled.detach()  # its own, not the pool's: it lives as long as the journal
        self._pooled = pooled
        driver = database.engine.dialect.loaded_dbapi
        # What no retry heals; the driver's other errors (locked, gone, cancelled, no such table) are somebody's to
        # repair.
        self._hopeless = (driver.IntegrityError, driver.DataError, msgspec.MsgspecError, OverflowError)
        self._begin = begin
        self._move = _MOVE.replace("?", mark)
        self._position = _POSITION.replace("?", mark)
        self._ended_sql = _ENDED.replace("?", mark)
        self._recorded_sql = _RECORDED.replace("?", mark)
        self._model_sql = _MODEL.replace("?", mark)
        self._reopen, self._note = REOPEN.replace("?", mark), NOTE.replace("?", mark)
        self._summing = Summing(self._connection, begin, lock=database.kind == "postgresql")

    def position(self, journal: str) -> Position | None:
        row = self._connection.execute(self._position, (journal,)).fetchone()
        self._connection.rollback()  # PostgreSQL has begun a transaction for it
        return None if row is None else Position(*row)

    def begin(self) -> None:
        self._summing.look()
        self._connection.execute(self._begin)

    def apply(self, lines: Lines, careful: bool = False) -> int:
        try:
            folded = fold(lines, self if careful else None)
            self._many(_HOLDS, folded.holds)
            ended = self._many(_ENDS, folded.ends)
            entered = self._many(_ENTRIES, folded.entries)
            if not careful and (ended < len(folded.ends) or entered < len(folded.entries) or folded.repeated):
                raise Repeated
            # Before what adds up: a record that was there already counts once.
            recorded = self._many(_REQUESTS, folded.requests)
            if not careful and recorded < len(folded.requests):
                raise Repeated
            self._many(_SPEND, folded.spend)
            self._summing.note({row[0] for row in folded.days})
            self._add(_HOURS, folded.hours)
            self._add(_DAYS, folded.days)
            self._many(_PRICES, folded.prices)
        except self._hopeless as error:
            raise Rejected(str(error)) from error
        return folded.repeated

    def _add(self, bulks: tuple[_Bulk, _Bulk], rows: list[Row]) -> None:
        everything, text = bulks
        self._many(text, [row[:_TEXT_WIDTH] for row in rows if not any(row[_TEXT_WIDTH:])])
        self._many(everything, [row for row in rows if any(row[_TEXT_WIDTH:])])

    def savepoint(self) -> None:
        self._connection.execute("SAVEPOINT line")

    def undo(self) -> None:
        self._connection.execute("ROLLBACK TO SAVEPOINT line")

    def move(self, journal: str, position: Position) -> None:
        self._connection.execute(self._move, (journal, *position))

    def commit(self) -> None:
        self._connection.commit()

    def rollback(self) -> None:
        self._connection.rollback()

    def close(self) -> None:
        self._pooled.close()

    def ended(self, hold_id: str) -> bool:
        for subjects in self._connection.execute(self._reopen, (hold_id,)).fetchall():  # one that was given up
            for subject_id in subjects:
                self._connection.execute(self._note, (noted_as(subject_id), hold_id))
            return False
        return self._connection.execute(self._ended_sql, (hold_id, hold_id)).fetchone() is not None

    def recorded(self, request_id: str) -> bool:
        return self._connection.execute(self._recorded_sql, (request_id,)).fetchone() is not None

    def model(self, hold_id: str) -> str:
        row = self._connection.execute(self._model_sql, (hold_id,)).fetchone()
        return "" if row is None else str(row[0])

    def _many(self, bulk: _Bulk, rows: list[Row]) -> int:
        raise NotImplementedError


class SqliteApplier(_Session):
    """Rows as parameters, many to a statement."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "BEGIN IMMEDIATE", "?")
        # 16 MB between checkpoints instead of 4: pages that change often are copied into the file once, not four times.
        self._connection.execute("PRAGMA wal_autocheckpoint=4000")
        self._statements = {(id(bulk), size): _sqlite(bulk, size) for bulk in _BULKS for size in _SIZES}

    def settle(self) -> bool:
        # A commit in WAL mode is safe from a kill, but not from a power cut before the next checkpoint.
        busy, wal, copied = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return bool(busy == 0 and wal == copied)

    def _many(self, bulk: _Bulk, rows: list[Row]) -> int:
        done = changed = 0
        left = len(rows)
        for size in _SIZES:
            while left >= size:
                parameters: list[Any] = []
                for row in rows[done : done + size]:
                    parameters += row
                changed += self._connection.execute(self._statements[id(bulk), size], parameters).rowcount
                done += size
                left -= size
        return changed


class PostgresApplier(_Session):
    """Rows as one JSON array, unpacked by the server."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "SELECT 1", "%s")
        self._statements = {id(bulk): _postgres(bulk) for bulk in _BULKS}
        self._encode = msgspec.json.Encoder().encode

    def settle(self) -> bool:
        return True  # a commit is on the server's disk

    def _many(self, bulk: _Bulk, rows: list[Row]) -> int:
        if not rows:
            return 0
        parameter = self._encode(rows).decode()
        return int(self._connection.execute(self._statements[id(bulk)], (parameter,)).rowcount)


def _sqlite(bulk: _Bulk, size: int) -> str:
    row = f"({', '.join('?' * len(bulk.columns))})"
    rows = "VALUES " + ", ".join([row] * size)
    if bulk is _ENDS:  # SQLite names the columns of VALUES itself
        named = ", ".join(f"column{number} AS {name}" for number, name in enumerate(bulk.columns, 1))
        rows = f"SELECT {named} FROM ({rows})"  # noqa: S608  names of ours
    return bulk.sql.format(rows=rows)


def _postgres(bulk: _Bulk) -> str:
    fields = ", ".join(
        f"CAST(r ->> {number} AS {bulk.table.c[name].type.compile()}) AS {name}"
        for number, name in enumerate(bulk.columns)
    )
    rows = f"SELECT {fields} FROM jsonb_array_elements(CAST(%s AS JSONB)) AS t(r)"  # noqa: S608  names of ours
    return bulk.sql.format(rows=rows)


APPLIERS: Final[Mapping[str, Callable[[Database], Applier]]] = {
    "sqlite": SqliteApplier,
    "postgresql": PostgresApplier,
}
