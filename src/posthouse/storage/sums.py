"""Sums of usage by few columns, of hours, days and blocks of days, so that the console reads a year in milliseconds.

A house with a hundred keys has some 800 rows of a day in the roll-ups, 300,000 of a year; by key alone it has 200 of a
day or a block of days, some 6,000 of a year. What is here is made of the roll-ups (`fold`), once a day is over, and
says nothing that they do not say. Whoever adds to a day of the roll-ups notes it in `usage_changed` in the same
transaction, before it adds; whoever reads takes a changed day from the roll-ups themselves. So a sum is never wrong,
only absent.

Above: the appliers, and in billing `sums.py` (reads) and `folds.py` (compares, makes anew). Below: the tables.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

from msgspec import Struct

from posthouse.storage.tables import SUMMED, SUMMED_BY

Unit = Literal["hour", "day", "block"]
# Runs a statement; what it gives has `fetchall`.
Execute = Callable[[str], Any]

HOURS_OF_DAY: Final = 24
# At the edges of a span half of them are read one by one at most: 16 is near the best for anything up to some years.
DAYS_OF_BLOCK: Final = 16
_MOST_DAYS: Final = 8  # of one `fold`: some tenths of a second
_EVERY_SECONDS: Final = 30.0  # what is late for its day does not have the day summed again with every batch


class Shape(Struct, frozen=True):
    """What is told apart, and in which units."""

    name: str
    by: tuple[str, ...]
    units: tuple[Unit, ...]

    def in_units(self, unit: Unit) -> str:
        """How `usage_sums.shape` calls it."""
        return f"{self.name}.{unit}"


HOUSE: Final = Shape("house", (), ("hour", "day"))
MODELS: Final = Shape("model", ("model", "provider", "deployment"), ("hour", "day", "block"))
ACCOUNTS: Final = Shape("account", ("account_id",), ("hour", "day", "block"))
KEYS: Final = Shape("key", ("key_id", "account_id"), ("day", "block"))
ACCOUNT_MODELS: Final = Shape("account_model", ("account_id", "model", "provider", "deployment"), ("day", "block"))
SHAPES: Final = (HOUSE, MODELS, ACCOUNTS, KEYS, ACCOUNT_MODELS)

# What is summed, of the columns of the roll-ups and the records. Input is all input, as `Usage.total_input` has it.
INPUT: Final = (
    *("input", "cache_read", "cache_write", "cache_write_1h", "audio_input", "image_input"),
    *("audio_cache_read", "image_cache_read"),
)
CACHED: Final = ("cache_read", "audio_cache_read", "image_cache_read")
OUTPUT: Final = ("output", "reasoning", "audio_output", "image_output")
PARTS: Final = {
    name: {"input_tokens": INPUT, "cached_input_tokens": CACHED, "output_tokens": OUTPUT}.get(name, (name,))
    for name in SUMMED
}

_DUE: Final = (
    "SELECT day FROM usage_changed WHERE day < (SELECT max(day) FROM usage_changed)"  # noqa: S608  numbers of ours
    f" ORDER BY day LIMIT {_MOST_DAYS}"
)
# Of appliers that run meanwhile: whoever has noted a change has not committed it yet, or comes after us.
LOCK: Final = "LOCK TABLE usage_changed IN SHARE ROW EXCLUSIVE MODE"


def noted(day: str) -> str:
    """SQL that notes the change of a day, to be run before it; `day` is a number or a parameter's mark."""
    return f"INSERT INTO usage_changed (day) VALUES ({day}) ON CONFLICT (day) DO NOTHING"  # noqa: S608  a mark


class Summing:
    """Of one applier: sums days that are over, between its batches. `begin` begins a transaction of its driver's
    connection; `lock` where other servers may write meanwhile."""

    def __init__(self, connection: Any, begin: str, *, lock: bool) -> None:
        self._connection = connection
        self._begin = begin
        self._lock = lock
        self._next = 0.0

    def look(self) -> None:
        """Outside of any transaction: while it waits for other servers' batches it must hold nothing that they wait
        for."""
        if time.monotonic() < self._next:
            return
        execute = self._connection.execute
        done = 0
        if execute(_DUE).fetchall():
            self._connection.rollback()
            execute(self._begin)
            if self._lock:
                execute(LOCK)
            done = fold(execute)
            self._connection.commit()
        self._connection.rollback()
        if not done:
            self._next = time.monotonic() + _EVERY_SECONDS

    def note(self, days: Iterable[int]) -> None:
        """In the transaction that adds to these days, before it does."""
        for day in sorted(days):
            self._connection.execute(noted(str(day)))


def fold(execute: Execute) -> int:
    """Sums some days that have changed, in a transaction of its own, behind LOCK on PostgreSQL. Gives their number: 0
    where all are done but the newest, in which changes are still to be expected."""
    days = [int(row[0]) for row in execute(_DUE).fetchall()]
    for day in days:
        sum_days(execute, day, day + 1)
        execute(f"DELETE FROM usage_changed WHERE day = {day}")  # noqa: S608  a number
    for block in sorted({day // DAYS_OF_BLOCK for day in days}):
        within = f"day >= {block * DAYS_OF_BLOCK} AND day < {(block + 1) * DAYS_OF_BLOCK}"
        if not execute(f"SELECT 1 FROM usage_changed WHERE {within} LIMIT 1").fetchall():  # noqa: S608  numbers
            sum_blocks(execute, block, block + 1)
    return len(days)


def sum_days(execute: Execute, first: int, end: int) -> None:
    """Makes the sums of hours and days anew, from the roll-ups."""
    for shape in SHAPES:
        if "hour" in shape.units:
            _put(execute, shape, "hour", (first * HOURS_OF_DAY, end * HOURS_OF_DAY))
        _put(execute, shape, "day", (first, end))


def sum_blocks(execute: Execute, first: int, end: int) -> None:
    """Makes the sums of blocks anew, from those of days."""
    for shape in SHAPES:
        if "block" in shape.units:
            _put(execute, shape, "block", (first, end))


def _put(execute: Execute, shape: Shape, unit: Unit, units: tuple[int, int]) -> None:
    first, end = units
    execute(
        f"DELETE FROM usage_sums WHERE shape = '{shape.in_units(unit)}'"  # noqa: S608  names and numbers of ours
        f" AND unit >= {first} AND unit < {end}"
    )
    execute(
        f"INSERT INTO usage_sums (shape, unit, {', '.join((*SUMMED_BY, *SUMMED))})"
        f" {summed(shape, unit, [(first, end)])}"
    )


def summed(shape: Shape, unit: Unit, units: Iterable[tuple[int, int]]) -> str:
    """SQL for what `usage_sums` must hold of some ranges of units: hours and days from the roll-ups, blocks from the
    sums of days."""
    by = ", ".join(name if name in (*shape.by, "currency", "usage_source") else f"'' AS {name}" for name in SUMMED_BY)
    if unit == "block":
        column, table, factor = f"unit / {DAYS_OF_BLOCK}", "usage_sums", DAYS_OF_BLOCK
        parts: Mapping[str, tuple[str, ...]] = {name: (name,) for name in SUMMED}
        where, at = f"shape = '{shape.in_units('day')}' AND ", "unit"
    else:
        column = at = unit
        table, factor, parts, where = f"usage_{unit}s", 1, PARTS, ""
    ranges = " OR ".join(f"{at} >= {first * factor} AND {at} < {end * factor}" for first, end in units) or "1 = 0"
    sums = ", ".join(f"CAST(sum({' + '.join(parts[name])}) AS BIGINT) AS {name}" for name in SUMMED)
    places = ", ".join((column, *shape.by, "currency", "usage_source"))
    return (
        f"SELECT '{shape.in_units(unit)}' AS shape, {column} AS unit, {by}, {sums} FROM {table}"  # noqa: S608  ours
        f" WHERE {where}({ranges}) GROUP BY {places}"
    )
