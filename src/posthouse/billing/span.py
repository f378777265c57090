"""A span of time over the roll-ups: whole days, the hours at its edges, and single records at the edges of those.

Any span comes out exactly, and a month costs thirty days of sums however many records it has. Corrections are part of
the roll-ups; at the edges they are read beside the records.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    String,
    Subquery,
    case,
    func,
    literal,
    literal_column,
    select,
    union_all,
)

from posthouse.billing.balances import DAY_MS
from posthouse.storage.rollups import CORRECTION, HOUR_MS
from posthouse.storage.tables import ROLLED_BY, ROLLED_UP, corrections, requests, usage_days, usage_hours
from posthouse.storage.trees import subtree


class Span(Struct, frozen=True):
    """From (included) to (not included), ms since the epoch; None is open."""

    start_ms: int | None = None
    end_ms: int | None = None


class Scope(Struct, frozen=True):
    """What of the roll-ups is meant; None is all. `within`: an account and all below it. `hourly`: hours are told
    apart, so days will not do."""

    span: Span = Span()
    account_id: str | None = None
    key_id: str | None = None
    within: str | None = None
    hourly: bool = False


class Piece(Struct, frozen=True):
    """Part of a span, in units of `size` ms (1: single records); None is open."""

    size: int
    start: int | None
    end: int | None


_SIZES: Final = (DAY_MS, HOUR_MS, 1)
# Ids of requests are made of their time (core/ids.py), which is not quite that of the record: a body may take hours to
# come, and clocks are set. Wide enough for both, and narrow enough for the primary key to find the place.
_SLACK_MS: Final = 2 * DAY_MS


def pieces(span: Span, hourly: bool = False) -> list[Piece]:
    """The span in as few and as large units as it has, in the order of time where both ends are given."""
    return _cut(span.start_ms, span.end_ms, _SIZES[1:] if hourly else _SIZES)


def _cut(start: int | None, end: int | None, sizes: Sequence[int]) -> list[Piece]:
    if start is not None and end is not None and start >= end:
        return []
    size, *smaller = sizes
    if size == 1:
        return [Piece(1, start, end)]
    first = None if start is None else -(-start // size)
    last = None if end is None else end // size
    if first is not None and last is not None and first >= last:
        return _cut(start, end, smaller)
    found = []
    if start is not None and first is not None:
        found += _cut(start, first * size, smaller)
    found.append(Piece(size, first, last))
    if end is not None and last is not None:
        found += _cut(last * size, end, smaller)
    return found


def parts(scope: Scope) -> list[Subquery]:
    """What is to be added up: each has one row or several for each place of ROLLED_BY, with its `hour`, `day` and
    ROLLED_UP. Add up each by itself and then the sums: a union of them all takes three times as long."""
    found: list[Select[Any]] = []
    for piece in pieces(scope.span, scope.hourly):
        if piece.size == 1:
            found += [_records(scope, piece), _corrections(scope, piece)]
        else:
            found.append(_units(scope, piece))
    if not found:
        found = [_units(scope, Piece(HOUR_MS, 1, 0))]
    return [part.subquery() for part in found]


def summed(
    scope: Scope, by: Callable[[Subquery], dict[str, ColumnElement[Any]]], sums: Mapping[str, tuple[str, ...]]
) -> Subquery:
    """The sums over a scope for each place that `by` names of a part. A sum is one of several columns of ROLLED_UP."""
    return summed_parts(parts(scope), by, sums)


def summed_parts(
    parts: Sequence[Subquery],
    by: Callable[[Subquery], dict[str, ColumnElement[Any]]],
    sums: Mapping[str, tuple[str, ...]],
) -> Subquery:
    grouped = []
    for part in parts:
        named = by(part)
        added = [func.sum(_added(part, names)).label(name) for name, names in sums.items()]
        grouped.append(select(*(one.label(name) for name, one in named.items()), *added).group_by(*named.values()))
    if len(grouped) == 1:
        return grouped[0].subquery("summed")
    every = union_all(*grouped).subquery()
    names = [name for name in every.c.keys() if name not in sums]
    again = [func.sum(every.c[name]).label(name) for name in sums]
    places = [every.c[name] for name in names]
    return select(*places, *again).group_by(*places).subquery("summed")


def _added(part: Subquery, names: tuple[str, ...]) -> ColumnElement[Any]:
    total: ColumnElement[Any] = part.c[names[0]]
    for name in names[1:]:
        total = total + part.c[name]
    return total


def own_credentials(span: Span) -> Subquery:
    """Of a span, the records alone whose callers brought a credential: what they consumed is on no bill of the
    operator's. As one of `parts`."""
    records = _records(Scope(), Piece(1, span.start_ms, span.end_ms))
    return records.where(requests.c.own_fee_ppm.is_not(None)).subquery()


def id_range(column: ColumnElement[str], start_ms: int | None, end_ms: int | None) -> list[ColumnElement[bool]]:
    """Where ids of requests of this time can be, so that the primary key finds them; `created_at` says which are."""
    conditions: list[ColumnElement[bool]] = []
    if start_ms is not None and start_ms > _SLACK_MS:
        conditions.append(column >= f"req_{start_ms - _SLACK_MS:012x}")
    if end_ms is not None and end_ms + _SLACK_MS < 1 << 48:
        conditions.append(column < f"req_{max(0, end_ms + _SLACK_MS):012x}")
    return conditions


def _units(scope: Scope, piece: Piece) -> Select[Any]:
    daily = piece.size == DAY_MS
    table = usage_days if daily else usage_hours
    unit = table.c.day if daily else table.c.hour
    named = [unit.label("day"), (unit * 24).label("hour")] if daily else [(unit // 24).label("day"), unit.label("hour")]
    query = select(*named, *(table.c[name] for name in (*ROLLED_BY, *ROLLED_UP)))
    return query.where(*_bounds(unit, piece.start, piece.end), *_owned(table, scope))


def _records(scope: Scope, piece: Piece) -> Select[Any]:
    c = requests.c
    given: dict[str, ColumnElement[Any]] = {
        "requests": literal_column("1"),
        "failed": case((c.status >= 400, 1), else_=0),
        "priced": case((c.priced, 1), else_=0),
        "unpriced": case((~c.priced & c.usage_source.is_not(None), 1), else_=0),
        "cost": func.coalesce(c.cost, 0),
    }
    sums = [given.get(name, c[name] if name in c else literal(0)).label(name) for name in ROLLED_UP]
    return _single(requests, [func.coalesce(c[name], "").label(name) for name in ROLLED_BY], sums).where(
        *_bounds(c.created_at, piece.start, piece.end),
        # Part of an hour, by its own index: all that an account ever did may be a hundred times as much.
        *_owned(requests, scope, indexed=False),
    )


def _corrections(scope: Scope, piece: Piece) -> Select[Any]:
    c = corrections.c
    given: dict[str, ColumnElement[Any]] = {
        "key_id": func.coalesce(c.key_id, ""),
        "account_id": c.account_id,
        "currency": c.currency,
        "usage_source": literal("", String),
    }
    by = [given.get(name, literal(CORRECTION, String)).label(name) for name in ROLLED_BY]
    sums = [(c.amount if name == "cost" else literal_column("0")).label(name) for name in ROLLED_UP]
    bounds = _bounds(c.created_at, piece.start, piece.end)
    return _single(corrections, by, sums).where(*bounds, *_owned(corrections, scope))


def _single(table: FromClause, by: list[Any], sums: list[Any]) -> Select[Any]:
    at = table.c.created_at
    return select((at // DAY_MS).label("day"), (at // HOUR_MS).label("hour"), *by, *sums)


def _bounds(column: ColumnElement[int], start: int | None, end: int | None) -> list[ColumnElement[bool]]:
    conditions = []
    if start is not None:
        conditions.append(column >= start)
    if end is not None:
        conditions.append(column < end)
    return conditions


def _owned(table: FromClause, scope: Scope, indexed: bool = True) -> list[ColumnElement[bool]]:
    """`indexed` False keeps the database from going by the index of the owner."""
    conditions: list[ColumnElement[bool]] = []
    for column, owner in ((table.c.account_id, scope.account_id), (table.c.key_id, scope.key_id)):
        if owner is not None:
            conditions.append((column if indexed else column.concat("")) == owner)
    if scope.within is not None:
        conditions.append(table.c.account_id.in_(subtree(scope.within)))
    return conditions
