"""Reconciliation: what a provider says that was used, beside what our records say, by UTC day and model.

`exports.py` reads what providers export. Here both sides are added up and compared: a model goes by the provider's own
name, with or without its date (`-2025-08-07`, `-20250514`, `@...`) or `-latest`. What stands on one side only is listed
with zeros on the other. Our costs are those in US dollars.
Requests by a credential of their caller's are not the operator's to pay, and are left out.

Above: the command line. Below: the roll-ups.
"""

import datetime as dt
import re
from collections.abc import Collection, Iterable
from fractions import Fraction
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, Row, Select, Subquery, select

from posthouse.billing.balances import DAY_MS
from posthouse.billing.exports import CURRENCY, Export, Used
from posthouse.billing.span import Scope, Span, own_credentials, summed, summed_parts
from posthouse.billing.sums import UNKNOWN_MODEL
from posthouse.core.money import format_nano
from posthouse.storage.rollups import CORRECTION
from posthouse.storage.sums import CACHED, INPUT, OUTPUT

_NOTHING: Final = Used(0, 0, 0, 0, 0)
_EPOCH: Final = dt.date(1970, 1, 1)
_VERSION: Final = re.compile(r"(?:[-@](?:\d{8}|\d{4}-\d{2}-\d{2}|latest))\Z")
_SUMS: Final = {
    "requests": ("requests",),
    "input": INPUT,
    "cached": CACHED,
    "output": OUTPUT,
    "cost": ("cost",),
}


class Line(Struct, frozen=True):
    """A day (ISO) and a model, on both sides; None where that side does not have it. `told` names what the export tells
    at all."""

    day: str
    model: str
    ours: Used | None
    theirs: Used | None
    told: tuple[str, ...]

    def differences(self) -> dict[str, int]:
        """Theirs less ours, of everything that the provider tells; empty where nothing differs."""
        found = {name: _number(self.theirs, name) - _number(self.ours, name) for name in self.told}
        return {name: difference for name, difference in found.items() if difference}


class Reconciliation(Struct, frozen=True):
    """`lines` are all that one side says, by day and model; `ignored` is what of the export nobody has understood."""

    lines: tuple[Line, ...]
    ignored: tuple[str, ...]

    @property
    def different(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.differences())


def reconcile(connection: Connection, providers: Collection[str], export: Export) -> Reconciliation:
    """Compares an export with the records of these provider accounts on the days that it tells of (or covers)."""
    theirs: dict[tuple[str, str], Used] = {}
    for one in export.rows:
        place = (one.day, canonical(one.model))
        theirs[place] = _plus(theirs.get(place), one.used)
    ours: dict[tuple[str, str], Used] = {}
    days = sorted(export.days)
    if days:
        span = Span(_day_ms(days[0]), _day_ms(days[-1]) + DAY_MS)
        for day, model, used in _used(connection, providers, span):
            if day in export.days:
                place = (day, canonical(model))
                ours[place] = _plus(ours.get(place), used)
    if export.without_models:
        ours = _by_day(ours)
    places = sorted({*ours, *theirs})
    told = tuple(
        name for name in Used.__struct_fields__ if any(getattr(one.used, name) is not None for one in export.rows)
    )
    lines = tuple(Line(*place, ours.get(place), theirs.get(place), told) for place in places)
    return Reconciliation(lines, export.ignored)


def canonical(model: str) -> str:
    """A model's name without its account's prefix (`main/`) and without its date or `latest`."""
    return _VERSION.sub("", model.rpartition("/")[2])


def reconciliation_to_json(found: Reconciliation, every: bool) -> dict[str, Any]:
    """Lines that differ, or all; numbers as they were told, money as decimal strings, per cent of theirs by ours."""
    return {
        "data": [_line_to_json(line) for line in (found.lines if every else found.different)],
        "equal": len(found.lines) - len(found.different),
        "ignored": list(found.ignored),
        "next": None,
    }


def _line_to_json(line: Line) -> dict[str, Any]:
    differences = line.differences()
    shown: dict[str, Any] = {"day": line.day, "model": line.model, "matched": None not in (line.ours, line.theirs)}
    for name in line.told:
        mine, difference = _number(line.ours, name), differences.get(name, 0)
        shown[name] = {
            "ours": _shown(name, mine),
            "theirs": _shown(name, _number(line.theirs, name)),
            "difference": _shown(name, difference),
            "per_cent": float(round(Fraction(100 * difference, mine), 2)) if mine else None,
        }
    return shown


def _shown(name: str, value: int) -> int | str:
    return format_nano(value) if name == "cost" else value


def _used(connection: Connection, providers: Collection[str], span: Span) -> Iterable[tuple[str, str, Used]]:
    def by(part: Subquery) -> dict[str, ColumnElement[Any]]:
        c = part.c
        return {
            "on": c.day,
            "deployment": c.deployment,
            "model": c.model,
            "provider": c.provider,
            "operation": c.operation,
            "billed_in": c.currency,
        }

    every = summed(Scope(span), by, _SUMS)
    own = summed_parts([own_credentials(span)], by, _SUMS)
    taken = {_place(row): _sums(row) for row in connection.execute(_of(own, providers))}
    for row in connection.execute(_of(every, providers)):
        used = _sums(row)
        if (others := taken.get(_place(row))) is not None:
            used = Used(*(getattr(used, name) - getattr(others, name) for name in Used.__struct_fields__))
            if used == _NOTHING:
                continue
        if row.billed_in not in ("", CURRENCY):
            used = replace(used, cost=0)
        # `main/gpt-x`: the deployment says how the provider itself calls the model.
        model = row.deployment.partition("/")[2] or row.model or UNKNOWN_MODEL
        yield (_EPOCH + dt.timedelta(days=int(row.on))).isoformat(), model, used


def _of(found: Subquery, providers: Collection[str]) -> Select[Any]:
    return select(found).where(found.c.provider.in_(sorted(providers)), found.c.operation != CORRECTION)


def _place(row: Row[Any]) -> tuple[Any, ...]:
    return row.on, row.deployment, row.model, row.provider, row.operation, row.billed_in


def _sums(row: Row[Any]) -> Used:
    return Used(*(int(getattr(row, name)) for name in Used.__struct_fields__))


def _by_day(rows: dict[tuple[str, str], Used]) -> dict[tuple[str, str], Used]:
    whole: dict[tuple[str, str], Used] = {}
    for (day, _), used in rows.items():
        whole[day, ""] = _plus(whole.get((day, "")), used)
    return whole


def _plus(one: Used | None, other: Used) -> Used:
    if one is None:
        return other
    names = [name for name in Used.__struct_fields__ if (getattr(one, name), getattr(other, name)) != (None, None)]
    return Used(**{name: _number(one, name) + _number(other, name) for name in names})


def _number(used: Used | None, name: str) -> int:
    return 0 if used is None else getattr(used, name) or 0


def _day_ms(day: str) -> int:
    return (dt.date.fromisoformat(day) - _EPOCH).days * DAY_MS
