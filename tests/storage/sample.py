"""Rows to append, a reading of the whole database, and what it must say by the rules (an oracle without SQL)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select

from posthouse.storage.appliers import APPLIERS, Applier, Lines
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal, JournalOptions
from posthouse.storage.rows import END, HOLD, REQUEST, EndRow, HoldRow, JournalRow, RequestRow
from posthouse.storage.segments import Position
from posthouse.storage.tables import entries, holds, requests, spend

Line = tuple[str, JournalRow]
Dump = dict[str, list[tuple[Any, ...]]]
TABLES = (holds, entries, spend, requests)
FAST = JournalOptions(gather=0.001, retry=0.01)


def hold(number: int) -> Line:
    row = HoldRow(_id(number), f"key_{number % 3}", f"acc_{number % 2}", "fast", 900 + number, "USD", 1_000 + number)
    return HOLD, row


def end(number: int, charged: int = 7, state: str = "settled") -> Line:
    fields = [_id(number), state, 2_000 + number, charged, "USD", "provider", f"key_{number % 3}", f"acc_{number % 2}"]
    return END, msgspec.convert([*fields, "main", 20261121 + number % 2, None, "fast"], EndRow)


def request(number: int, model: str = "fast") -> Line:
    return REQUEST, RequestRow(
        id=_id(number),
        created_at=1_000 + number,
        key_id=f"key_{number % 3}",
        account_id=f"acc_{number % 2}",
        operation="chat.completions",
        model_asked=model,
        stream=number % 2 == 0,
        status=200,
        input=10,
        output=number,
        priced=True,
        cost=7,
        currency="USD",
        images=number % 3,
        audio_ms=number * 1_500,
        characters=number % 5,
        searches=number % 2,
        image_kind="1024x1024/high" if number % 3 else None,
        decision='["priority",[["main/é",0,[0,0],1.0]]]' if number % 2 else None,
    )


def whole(number: int) -> list[Line]:
    """One request from its beginning to its end."""
    return [hold(number), end(number), request(number)]


def _id(number: int) -> str:
    return f"req_{number:06d}"


def expected(lines: Sequence[Line]) -> Dump:
    """What the tables hold after these lines, read one by one: the first hold, end and record of an id count."""
    held: dict[str, list[Any]] = {}
    ended: set[str] = set()
    records: dict[str, tuple[Any, ...]] = {}
    legs: list[tuple[Any, ...]] = []
    spent: dict[tuple[str, int, str, str], int] = {}
    for _, row in lines:
        if isinstance(row, HoldRow):
            values = msgspec.structs.astuple(row)
            held.setdefault(row.id, [*values[:6], "held", row.created_at, None, None, None, row.owner])
        elif isinstance(row, RequestRow):
            records.setdefault(row.id, msgspec.structs.astuple(row))
        elif isinstance(row, EndRow) and row.hold_id not in ended:
            ended.add(row.hold_id)
            if row.hold_id in held:
                held[row.hold_id][6] = row.state
                held[row.hold_id][8:11] = [row.ended_at, row.charged, row.reason]
            if row.charged:
                tail = (row.currency, row.usage_source, row.ended_at)
                legs.append((row.hold_id, 0, f"account:{row.account_id}", row.charged, *tail))
                legs.append((row.hold_id, 1, f"provider:{row.provider}", -row.charged, *tail))
                for subject in (row.key_id, row.account_id):
                    key = (subject, row.day, str(row.currency), row.model or "")
                    spent[key] = spent.get(key, 0) + row.charged
    return {
        "holds": sorted(tuple(values) for values in held.values()),
        "entries": sorted(legs),
        "spend": sorted((*key, amount) for key, amount in spent.items()),
        "requests": sorted(records.values()),
    }


def dump(database: Database) -> Dump:
    with database.read() as connection:
        return {table.name: sorted(tuple(row) for row in connection.execute(select(table))) for table in TABLES}


def clear(database: Database) -> None:
    with database.write() as connection:
        for table in TABLES:
            connection.execute(table.delete())


@contextmanager
def journal_at(
    directory: Path,
    database: Database,
    options: JournalOptions = FAST,
    appliers: Mapping[str, Callable[[Database], Applier]] = APPLIERS,
) -> Iterator[Journal]:
    """An open journal; at the end everything must have been applied."""
    journal = Journal(directory, database, appliers, options)
    journal.start()
    try:
        yield journal
    finally:
        assert journal.close(30)


def append(journal: Journal, lines: Sequence[Line]) -> None:
    for kind, row in lines:
        journal.append(kind, row)
    journal.flush()


class BreakingApplier:
    """A real applier that fails at the n-th step for each n in `breaks`, before the step or after it is done.

    `after`: whether the step is done all the same, as when the answer to a commit gets lost.
    """

    def __init__(self, inner: Applier, breaks: Iterator[tuple[str, bool] | None]) -> None:
        self._inner = inner
        self._breaks = breaks

    def _step(self, name: str, step: Callable[[], Any]) -> Any:
        broken = next(self._breaks, None)
        if broken is None or broken[0] != name:
            return step()
        if broken[1]:
            step()
        raise ConnectionError("the database is gone")

    def position(self, journal: str) -> Position | None:
        return self._inner.position(journal)

    def begin(self) -> None:
        self._step("begin", self._inner.begin)

    def apply(self, lines: Lines, careful: bool = False) -> int:
        return int(self._step("apply", lambda: self._inner.apply(lines, careful)))

    def savepoint(self) -> None:
        self._inner.savepoint()

    def undo(self) -> None:
        self._inner.undo()

    def move(self, journal: str, position: Position) -> None:
        self._step("move", lambda: self._inner.move(journal, position))

    def commit(self) -> None:
        self._step("commit", self._inner.commit)

    def rollback(self) -> None:
        self._inner.rollback()

    def settle(self) -> bool:
        return self._inner.settle()

    def close(self) -> None:
        self._inner.close()


def breaking(breaks: Sequence[tuple[str, bool] | None]) -> Mapping[str, Callable[[Database], Applier]]:
    """Appliers that share one plan of failures over all their connections."""
    plan = iter(breaks)
    return {
        kind: lambda database, make=make: BreakingApplier(make(database), plan)  # type: ignore[misc]
        for kind, make in APPLIERS.items()
    }
