"""Roll-ups and sums compared with what they are made of, range of days by range of days, and made anew.

Both sides of a range are added up in one pass, the right one taken away: what is left is different. Ranges are small
enough to be sorted in memory, and together they are all of time, whatever is in the tables.

Above: folds.py. Below: the tables.
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Connection, text

from posthouse.billing.balances import DAY_MS
from posthouse.storage import sums
from posthouse.storage.rollups import HOUR_MS, HOURS_OF_DAY, recorded
from posthouse.storage.sums import DAYS_OF_BLOCK, PARTS, SHAPES, Shape, Unit
from posthouse.storage.tables import ROLLED_BY, ROLLED_UP, SUMMED, SUMMED_BY

MAX_DIFFERENCES: Final = 100
_AT_ONCE: Final = 40_000  # requests
_ALWAYS: Final = (-10_000_000, 10_000_000)  # days since 1970: more than any clock says


class Difference(Struct, frozen=True):
    """A row of a fold (`spend`, `usage_hours`, `usage_days`, `usage_sums`) that is not what it must be. `place` names
    the row; `found` and `expected` have the numbers that differ, nano-units for money, and None where there is no such
    row."""

    fold: str
    place: dict[str, str | int]
    found: dict[str, int] | None
    expected: dict[str, int] | None


class Fold(Struct, frozen=True):
    """Rows of `table` (`held`) and what they must add up to (`right`), each a query for `place` and `numbers` in a
    range of days (`{first}`, `{end}`, also in hours and ms); few enough for one range where `whole`."""

    table: str
    place: tuple[str, ...]
    numbers: tuple[str, ...]
    held: str
    right: str
    whole: bool = False


def _rows(columns: Sequence[str], table: str, where: str) -> str:
    return f"SELECT {', '.join(columns)} FROM {table} WHERE {where}"  # noqa: S608  names of ours


_HOURS_OF: Final = "hour >= {first_hour} AND hour < {end_hour}"
_DAYS_OF: Final = "day >= {first} AND day < {end}"
_COLUMNS: Final = (*ROLLED_BY, *ROLLED_UP)
HOURS: Final = Fold(
    "usage_hours",
    ("hour", *ROLLED_BY),
    ROLLED_UP,
    _rows(("hour", *_COLUMNS), "usage_hours", _HOURS_OF),
    recorded(HOUR_MS, "created_at >= {first_ms} AND created_at < {end_ms}"),
)
# Of hours that are right.
DAYS: Final = Fold(
    "usage_days",
    ("day", *ROLLED_BY),
    ROLLED_UP,
    _rows(("day", *_COLUMNS), "usage_days", _DAYS_OF),
    _rows((f"hour / {HOURS_OF_DAY} AS unit", *_COLUMNS), "usage_hours", _HOURS_OF),
)


def _sums(shape: Shape, unit: Unit) -> Fold:
    """Only what is to be believed: days that have changed since are somebody's to sum, and their blocks."""
    named = f"shape = '{shape.in_units(unit)}'"
    by = [name if name in (*shape.by, "currency", "usage_source") else "''" for name in SUMMED_BY]
    first = f"'{shape.in_units(unit)}'"
    numbers: Sequence[str] = [" + ".join(PARTS[name]) for name in SUMMED]
    if unit == "block":
        believed = f"NOT IN (SELECT day / {DAYS_OF_BLOCK} FROM usage_changed)"  # noqa: S608  a number
        block = f"unit / {DAYS_OF_BLOCK}"
        held = f"{named} AND unit {believed}"
        where = f"shape = '{shape.in_units('day')}' AND {block} {believed}"
        right = _rows((first, block, *by, *SUMMED), "usage_sums", where)
    elif unit == "day":
        believed = "NOT IN (SELECT day FROM usage_changed)"
        held = f"{named} AND unit >= {{first}} AND unit < {{end}} AND unit {believed}"
        right = _rows((first, "day", *by, *numbers), "usage_days", f"{_DAYS_OF} AND day {believed}")
    else:
        believed = f"/ {HOURS_OF_DAY} NOT IN (SELECT day FROM usage_changed)"  # noqa: S608  a number
        held = f"{named} AND unit >= {{first_hour}} AND unit < {{end_hour}} AND unit {believed}"
        right = _rows((first, "hour", *by, *numbers), "usage_hours", f"{_HOURS_OF} AND hour {believed}")
    place = ("shape", "unit", *SUMMED_BY)
    return Fold("usage_sums", place, SUMMED, _rows((*place, *SUMMED), "usage_sums", held), right, whole=unit == "block")


# In the order in which each is right if those before are.
FOLDS: Final = (
    HOURS,
    DAYS,
    *(_sums(shape, unit) for unit in ("hour", "day", "block") for shape in SHAPES if unit in shape.units),
)


def ranges(connection: Connection) -> list[tuple[int, int]]:
    """All of time, in ranges of days with some 40,000 requests each, if the roll-up of days is right."""
    cuts, requests = [_ALWAYS[0]], 0
    for day, number in connection.execute(text("SELECT day, sum(requests) FROM usage_days GROUP BY day ORDER BY day")):
        requests += int(number)
        if requests > _AT_ONCE and day > cuts[-1]:
            cuts.append(int(day))
            requests = int(number)
    return list(zip(cuts, [*cuts[1:], _ALWAYS[1]], strict=True))


def differences(connection: Connection, fold: Fold) -> list[Difference]:
    """In the order of their places; at most MAX_DIFFERENCES + 1."""
    found: list[Difference] = []
    for first, end in [_ALWAYS] if fold.whole else ranges(connection):
        query = _bounded(_compared(fold), first, end)
        found += [_difference(connection, fold, row) for row in connection.execute(text(query)).all()]
        if len(found) > MAX_DIFFERENCES:
            break
    return found[: MAX_DIFFERENCES + 1]


def _bounded(query: str, first: int, end: int) -> str:
    hours = {"first_hour": first * HOURS_OF_DAY, "end_hour": end * HOURS_OF_DAY}
    return query.format(first=first, end=end, first_ms=first * DAY_MS, end_ms=end * DAY_MS, **hours)


def _compared(fold: Fold) -> str:
    """SQL for the places where the sides differ: what is left of each number, and which sides have a row (1: held)."""
    names = ", ".join(f"p{number}" for number in range(len(fold.place)))
    numbers = [f"n{number}" for number in range(len(fold.numbers))]
    columns = f"{names}, {', '.join(numbers)}"
    taken = ", ".join(f"-{number}" for number in numbers)
    left = ", ".join(f"sum({number})" for number in numbers)
    wrong = " OR ".join(("min(side) = max(side)", *(f"sum({number}) <> 0" for number in numbers)))
    return (
        f"WITH held({columns}) AS ({fold.held}), expected({columns}) AS ({fold.right}),"  # noqa: S608  names of ours
        f" sides({columns}, side) AS (SELECT {columns}, 1 FROM held"
        f" UNION ALL SELECT {names}, {taken}, -1 FROM expected)"
        f" SELECT {names}, {left}, min(side), max(side) FROM sides GROUP BY {names} HAVING {wrong}"
        f" ORDER BY {names} LIMIT {MAX_DIFFERENCES + 1}"
    )


def _difference(connection: Connection, fold: Fold, row: Sequence[Any]) -> Difference:
    place: dict[str, str | int] = dict(zip(fold.place, row, strict=False))
    *left, low, high = row[len(fold.place) :]
    off = {name: int(number) for name, number in zip(fold.numbers, left, strict=True) if number}
    if low == high:
        only = {name: number * int(low) for name, number in off.items()}
        return Difference(fold.table, place, *((only, None) if low > 0 else (None, only)))
    where = " AND ".join(f"{name} = :{name}" for name in fold.place)
    query = f"SELECT {', '.join(off)} FROM {fold.table} WHERE {where}"  # noqa: S608  names of ours
    there = dict(zip(off, connection.execute(text(query), place).one(), strict=True))
    return Difference(fold.table, place, there, {name: there[name] - off[name] for name in off})


def remake(connection: Connection, fold: Fold) -> None:
    """Writes all rows of a fold anew."""
    if fold.table == "usage_sums":
        # Those of days that have changed meanwhile are nobody's; all of them are to be believed afterwards.
        connection.execute(text("DELETE FROM usage_sums"))
        sums.sum_days(connection.exec_driver_sql, *_ALWAYS)
        sums.sum_blocks(connection.exec_driver_sql, *_ALWAYS)
        connection.execute(text("DELETE FROM usage_changed"))
        return
    places = ", ".join(str(number + 1) for number in range(len(fold.place)))
    names = ", ".join((*fold.place, *fold.numbers))
    columns = ", ".join(("unit", *_COLUMNS))
    added = ", ".join(f"CAST(sum({name}) AS BIGINT)" for name in fold.numbers)
    right = _bounded(fold.right, *_ALWAYS)
    connection.execute(text(f"DELETE FROM {fold.table}"))  # noqa: S608  a name of ours
    connection.execute(
        text(
            f"WITH expected({columns}) AS ({right}) INSERT INTO {fold.table} ({names})"  # noqa: S608  names of ours
            f" SELECT unit, {', '.join(ROLLED_BY)}, {added} FROM expected GROUP BY {places}"
        )
    )
