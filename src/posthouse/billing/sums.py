"""Usage in groups over any span of time, from as few rows as there are: sums of blocks, days and hours, and single
records at the edges.

A span is cut where its edges are nearest to: of a day of which more than half is meant, what is not meant is taken
away from the day. Days that have changed since they were summed come from the roll-ups. (storage/sums.py)

Above: `store.usage`. Below: the tables.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct
from sqlalchemy import Connection, Row, text

from posthouse.billing.balances import DAY_MS
from posthouse.billing.span import Span
from posthouse.storage.rollups import CORRECTION, HOUR_MS
from posthouse.storage.sums import (
    ACCOUNT_MODELS,
    ACCOUNTS,
    DAYS_OF_BLOCK,
    HOURS_OF_DAY,
    HOUSE,
    KEYS,
    MODELS,
    PARTS,
    Shape,
)
from posthouse.storage.tables import SUMMED
from posthouse.storage.trees import asking

GroupBy = Literal["key", "model", "hour", "day", "provider", "deployment", "account"]
Source = Literal["block", "day", "hour", "usage_days", "usage_hours", "requests", "corrections"]

# Refused requests may have asked for anything: what callers invent is no group of its own.
UNKNOWN_MODEL: Final = "unknown"
_MOST_RUNS: Final = 8  # of days that have changed; where there are more, all between the first and the last count so
_MORE_UNITS: Final = 3  # one says whether there is a next page; those at the edges of a span may have nothing inside it
_MOST_NAMED: Final = 500
_CHANGED: Final = text("SELECT day FROM usage_changed ORDER BY day")
# Each by itself, or SQLite reads the whole table.
_DAYS: Final = text("SELECT (SELECT min(day) FROM usage_days), (SELECT max(day) FROM usage_days)")
_UNIT_MS: Final[Mapping[str, int]] = {"hour": HOUR_MS, "day": DAY_MS}
_FIRST: Final = {unit: text(f"SELECT min({unit}) FROM usage_{unit}s WHERE {unit} >= :start") for unit in _UNIT_MS}  # noqa: S608
_NAMES: Final = {"key": "key_id", "model": "model", "provider": "provider", "deployment": "deployment"}
_BELOW: Final = (
    "WITH RECURSIVE below(id) AS (SELECT id FROM accounts WHERE id = :within"
    " UNION SELECT accounts.id FROM accounts JOIN below ON accounts.parent_id = below.id) "
)


class Asked(Struct, frozen=True):
    """Usage of a span by group; `within` an account and those below it. Groups after `after` (a name, or a number of
    hours or days since the epoch), of which those of `units` hours or days at least are there."""

    group_by: GroupBy
    span: Span
    units: int
    within: str | None = None
    after: str | int | None = None

    @property
    def shape(self) -> Shape:
        """The sums that tell apart what is asked for, in the fewest rows."""
        match self.group_by:
            case "key":
                return KEYS
            case "account":
                return ACCOUNTS
            case "hour" | "day":
                return HOUSE if self.within is None else ACCOUNTS
            case _:
                return MODELS if self.within is None else ACCOUNT_MODELS

    @property
    def sizes(self) -> tuple[int, ...]:
        """In which units the span may be cut."""
        return (HOUR_MS, 1) if self.group_by == "hour" else (DAY_MS, HOUR_MS, 1)


class Piece(Struct, frozen=True):
    """Units of `size` ms (1: single records) from `start` to `end`, to be added (`sign` 1) or taken away (-1)."""

    size: int
    start: int
    end: int
    sign: int = 1


class Part(Struct, frozen=True):
    """Rows of one source: from `start` to `end`, in its units."""

    source: Source
    start: int
    end: int
    sign: int


class _Known(Struct, frozen=True):
    """What was looked up first: days that have changed since they were summed, and of those whose usage is asked for
    the ids; None where all are meant, or more than can be named."""

    changed: Sequence[int]
    owners: Sequence[str] | None


def usage_rows(connection: Connection, asked: Asked) -> Sequence[Row[Any]]:
    """By `name` (hours and days: their number since the epoch), `currency` and `usage_source`, in the order of the
    names, with all of SUMMED."""
    span = _bounded(connection, asked)
    if span is None:
        return ()
    changed = connection.execute(_CHANGED).scalars().all()
    owners = None
    if asked.within is not None:
        owners = asking(connection, asked.within, _MOST_NAMED)  # once, not for every part
        if owners is not None and not owners:
            return ()
    known = _Known(changed, owners)
    size = _UNIT_MS.get(asked.group_by)
    if size is None:
        return _rows(connection, asked, span, known)
    # A page of hours or days needs those alone; there may have been nothing in most of them.
    start, end = span
    first = connection.execute(_FIRST[asked.group_by], {"start": start // size}).scalar()
    count = asked.units + _MORE_UNITS
    while first is not None:
        stop = min(end, (first + count) * size)
        rows = _rows(connection, asked, (start, stop), known)
        if stop == end or len({row.name for row in rows}) > asked.units:
            return rows
        count *= 4
    return ()


def _rows(connection: Connection, asked: Asked, span: tuple[int, int], known: _Known) -> Sequence[Row[Any]]:
    pieces = cut(*span, asked.sizes)
    selects = [_select(asked, part, known) for piece in pieces for part in _parts(asked, piece, known.changed)]
    if not selects:
        return ()
    sums = ", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in SUMMED)
    # What was taken away again is nothing.
    kept = "" if all(piece.sign > 0 for piece in pieces) else _KEPT
    query = (
        f"SELECT name, currency, usage_source, {sums} FROM ({' UNION ALL '.join(selects)}) AS e"  # noqa: S608  ours
        f" GROUP BY name, currency, usage_source{kept} ORDER BY name"
    )
    given: dict[str, str] = {}
    if known.owners is not None:
        given = {f"owner{number}": owner for number, owner in enumerate(known.owners)}
    elif asked.within is not None:
        query = _BELOW + query
        given["within"] = asked.within
    if isinstance(asked.after, str):
        given["after"] = asked.after
    return connection.execute(text(query), given).all()


_KEPT: Final = f" HAVING {' OR '.join(f'sum({name}) <> 0' for name in SUMMED)}"


def _bounded(connection: Connection, asked: Asked) -> tuple[int, int] | None:
    """The part of the span in which there is anything, and which comes after `after`."""
    first, last = connection.execute(_DAYS).one()
    if first is None:
        return None
    start, end = asked.span.start_ms, asked.span.end_ms
    start = first * DAY_MS if start is None else max(start, first * DAY_MS)
    end = (last + 1) * DAY_MS if end is None else min(end, (last + 1) * DAY_MS)
    if isinstance(asked.after, int):
        start = max(start, (asked.after + 1) * _UNIT_MS[asked.group_by])
    return (start, end) if start < end else None


def cut(start: int, end: int, sizes: Sequence[int]) -> list[Piece]:
    """A span in as large units as it has, each edge from where it is nearest."""
    if start >= end:
        return []
    size, *smaller = sizes
    if size == 1:
        return [Piece(1, start, end)]
    first, last = (start + size // 2) // size, (end + size // 2) // size
    if first == last:
        return cut(start, end, smaller)
    found = [Piece(size, first, last)]
    for inner, outer in ((start, first * size), (last * size, end)):
        found += cut(inner, outer, smaller)
        found += [Piece(one.size, one.start, one.end, -one.sign) for one in cut(outer, inner, smaller)]
    return found


def _parts(asked: Asked, piece: Piece, changed: Sequence[int]) -> Iterator[Part]:
    """Where the rows of a piece are."""
    shape = asked.shape
    if piece.size == 1:
        yield Part("requests", piece.start, piece.end, piece.sign)
        yield Part("corrections", piece.start, piece.end, piece.sign)
    elif piece.size == HOUR_MS and "hour" not in shape.units:
        yield Part("usage_hours", piece.start, piece.end, piece.sign)
    else:
        of_day = HOURS_OF_DAY if piece.size == HOUR_MS else 1
        for first, end, as_summed in _runs(piece.start // of_day, -(-piece.end // of_day), changed):
            start, stop = max(first * of_day, piece.start), min(end * of_day, piece.end)
            if of_day > 1:
                yield Part("hour" if as_summed else "usage_hours", start, stop, piece.sign)
            elif not as_summed:
                yield Part("usage_days", start, stop, piece.sign)
            else:
                yield from _blocks(start, stop, piece.sign, blocks=asked.group_by != "day")


def _runs(first: int, end: int, changed: Sequence[int]) -> Iterator[tuple[int, int, bool]]:
    """Days from `first` to `end` in runs: those that are summed, and those that have changed since."""
    inside = [day for day in changed if first <= day < end]
    runs: list[tuple[int, int]] = []
    for day in inside:
        if runs and runs[-1][1] == day:
            runs[-1] = (runs[-1][0], day + 1)
        else:
            runs.append((day, day + 1))
    if len(runs) > _MOST_RUNS:
        runs = [(runs[0][0], runs[-1][1])]
    for begin, stop in runs:
        if first < begin:
            yield first, begin, True
        yield begin, stop, False
        first = stop
    if first < end:
        yield first, end, True


def _blocks(first: int, end: int, sign: int, *, blocks: bool) -> Iterator[Part]:
    """Of days that are summed, all of a block together."""
    begin, stop = -(-first // DAYS_OF_BLOCK), end // DAYS_OF_BLOCK
    if not blocks or begin >= stop:
        yield Part("day", first, end, sign)
        return
    yield Part("block", begin, stop, sign)
    if first < begin * DAYS_OF_BLOCK:
        yield Part("day", first, begin * DAYS_OF_BLOCK, sign)
    if stop * DAYS_OF_BLOCK < end:
        yield Part("day", stop * DAYS_OF_BLOCK, end, sign)


def _select(asked: Asked, part: Part, known: _Known) -> str:
    """SQL for what a part adds."""
    table, at, where = _place(asked, part.source)
    where += [f"{at} >= {part.start}", f"{at} < {part.end}"]
    name, currency, source = _named(asked.group_by, part.source)
    owner = "account_id"
    if part.source == "requests":
        # Part of an hour, by its own index: all that an account ever did may be a hundred times as much.
        owner = "account_id || ''"
    if asked.within is not None:
        below = "SELECT id FROM below"
        if known.owners is not None:
            below = ", ".join(f":owner{number}" for number in range(len(known.owners)))
        where.append(f"{owner} IN ({below})")
    if isinstance(asked.after, str):
        where.append(f"{name} > :after")
    sums = []
    for one in SUMMED:
        value = _value(part.source, one)
        sums.append("0" if value == "0" else f"sum({value})" if part.sign > 0 else f"-sum({value})")
    numbers = ", ".join(f"{value} AS {one}" for value, one in zip(sums, SUMMED, strict=True))
    return (
        f"SELECT {name} AS name, {currency} AS currency, {source} AS usage_source, {numbers}"  # noqa: S608  ours
        f" FROM {table} WHERE {' AND '.join(where)} GROUP BY 1, 2, 3"
    )


def _place(asked: Asked, source: Source) -> tuple[str, str, list[str]]:
    """The table, its column of time, and what else its rows must be."""
    match source:
        case "block" | "day" | "hour":
            return "usage_sums", "unit", [f"shape = '{asked.shape.in_units(source)}'"]
        case "usage_days":
            return source, "day", []
        case "usage_hours":
            return source, "hour", []
        case _:
            return source, "created_at", []


def _named(group_by: GroupBy, source: Source) -> tuple[str, str, str]:
    """What the group, the currency and the source of usage are in a table."""
    if group_by in ("hour", "day"):
        size = HOUR_MS if group_by == "hour" else DAY_MS
        hour = f"unit / {HOURS_OF_DAY}" if group_by == "day" else "unit"
        match source:
            case "requests" | "corrections":
                name = f"created_at / {size}"
            case "usage_hours":
                name = f"hour / {HOURS_OF_DAY}" if group_by == "day" else "hour"
            case "usage_days":
                name = "day"
            case _:
                name = hour if source == "hour" else "unit"
    elif group_by == "account":
        name = "account_id"
    elif source == "corrections":
        name = "coalesce(key_id, '')" if group_by == "key" else f"'{CORRECTION}'"
    else:
        name = _NAMES[group_by]
        if source == "requests":
            name = f"coalesce({name}, '')"
    if group_by == "model":
        name = f"CASE WHEN {name} = '' THEN '{UNKNOWN_MODEL}' ELSE {name} END"
    if source == "corrections":
        return name, "currency", "''"
    if source == "requests":
        return name, "coalesce(currency, '')", "coalesce(usage_source, '')"
    return name, "currency", "usage_source"


def _value(source: Source, name: str) -> str:
    """What of a row is summed."""
    match source:
        case "block" | "day" | "hour":
            return name
        case "corrections":
            return "amount" if name == "cost" else "0"
        case "requests" if name == "requests":
            return "1"
        case "requests" if name == "cost":
            return "coalesce(cost, 0)"
        case _:
            return " + ".join(PARTS[name])
