"""When the periods of budgets begin and end, in the calendar of their time zones. Weeks begin on Monday."""

import datetime as dt
from functools import lru_cache
from typing import Final

from msgspec import Struct

from posthouse.core.caller import Budget, Period
from posthouse.core.hours import zone_of

_NEVER: Final = 2**62
_DAY: Final = dt.timedelta(days=1)


class Span(Struct, frozen=True, gc=False):
    """A period: its first day (yyyymmdd in its zone; 0 where it has none), its beginning (included) and end (not
    included) in ms since the epoch."""

    first: int
    starts: int
    ends: int


_ALWAYS: Final = Span(0, 0, _NEVER)


class Periods:
    """Tells the period of a moment, and never one before the last that it told: where a clock goes back, no period is
    paid out twice."""

    def __init__(self) -> None:
        self._spans: dict[tuple[str, Period], Span] = {}

    def at(self, budget: Budget, now_ms: int) -> Span:
        """The period of this budget that an instant (ms since the epoch) lies in."""
        if budget.period == "total":
            return _ALWAYS
        key = (budget.zone, budget.period)
        span = self._spans.get(key)
        if span is None or now_ms >= span.ends:
            span = self._spans[key] = span_of(budget.zone, budget.period, now_ms)
        return span

    def now(self, budget: Budget, now_ms: int) -> Span:
        """The same, of a clock that has gone back too."""
        span = self.at(budget, now_ms)
        return span if span.starts <= now_ms else span_of(budget.zone, budget.period, now_ms)


def span_of(zone: str, period: Period, now_ms: int) -> Span:
    """The period of this kind that an instant lies in. ValueError where the zone is none."""
    if period == "total":
        return _ALWAYS
    where = _zone(zone)
    date = dt.datetime.fromtimestamp(now_ms / 1000, where).date()
    match period:
        case "day":
            first, after = date, date + _DAY
        case "week":
            first = date - date.weekday() * _DAY
            after = first + 7 * _DAY
        case "month":
            first = date.replace(day=1)
            after = (first + 31 * _DAY).replace(day=1)
    starts, ends = _midnight(first, where), _midnight(after, where)
    # Where midnight is there twice, or not at all, the rule of folds may put it behind `now`.
    return Span(number_of(first), min(starts, now_ms), ends if ends > now_ms else now_ms + 1)


def starts_of(zone: str, first: int) -> int:
    """When a day (yyyymmdd) began in a zone, in ms since the epoch; 0 for 0, which is before all days."""
    if not first:
        return 0
    return _midnight(dt.date(first // 10_000, first // 100 % 100, first % 100), _zone(zone))


def number_of(date: dt.date) -> int:
    """yyyymmdd."""
    return date.year * 10_000 + date.month * 100 + date.day


def _midnight(date: dt.date, zone: dt.tzinfo) -> int:
    return int(dt.datetime.combine(date, dt.time(), zone).timestamp() * 1000)


@lru_cache(64)
def _zone(name: str) -> dt.tzinfo:
    return zone_of(name)
