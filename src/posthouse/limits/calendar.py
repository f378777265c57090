"""Counters of calendar days. A day begins at midnight of the installation's time zone, and lasts 23 to 25 hours where
the clocks change.

A charge belongs to the day in which it was made, however late it is settled. The day is told by the wall clock, which
can step: back into a day that is over, and that day is gone on with the one that has begun, so that no limit is given
twice.
"""

import datetime as dt
from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct

_DAY: Final = dt.timedelta(days=1)


class Day:
    """One calendar day: when it began and ends, in seconds since the epoch."""

    __slots__ = ("ends", "starts")

    def __init__(self, starts: float, ends: float) -> None:
        self.starts = starts
        self.ends = ends


class Calendar:
    """Tells the day. `now` never goes back to a day before the last one told."""

    def __init__(self, zone: dt.tzinfo = dt.UTC) -> None:
        self._zone = zone
        self._day = Day(0.0, 0.0)

    def day(self, now: float) -> Day:
        """The day that `now`, in seconds since the epoch, lies in. The same object as long as it is the same day."""
        if now >= self._day.ends:
            self._day = day_of(now, self._zone)
        return self._day


def day_of(now: float, zone: dt.tzinfo = dt.UTC) -> Day:
    date = dt.datetime.fromtimestamp(now, zone).date()
    starts = dt.datetime.combine(date, dt.time(), zone).timestamp()
    ends = dt.datetime.combine(date + _DAY, dt.time(), zone).timestamp()
    # Where midnight does not exist, or is there twice, Python's rule of folds may put it behind `now`.
    return Day(min(starts, now), max(ends, now + 1.0) if ends <= now else ends)


def zone_of(name: str) -> dt.tzinfo:
    """A time zone by its name in the IANA database. ValueError where there is none."""
    try:
        return dt.UTC if name == "UTC" else ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(f"{name[:64]!r} is not the name of a time zone, such as UTC or Asia/Shanghai") from None


class Used(Struct, frozen=True):
    """What was used of a day."""

    requests: int = 0
    tokens: int = 0
    images: int = 0

    def __add__(self, other: "Used") -> "Used":
        return Used(self.requests + other.requests, self.tokens + other.tokens, self.images + other.images)


NOTHING: Final = Used()


class Tally:
    """What a subject has used on one day, of a limit per day."""

    __slots__ = ("day", "limit", "used")

    def __init__(self, limit: int, day: Day) -> None:
        self.limit = limit
        self.day = day
        self.used = 0

    def fits(self, amount: int) -> bool:
        return self.used + amount <= self.limit

    def settle(self, excess: int) -> None:
        """Gives back what was charged ahead and not used, or charges what is missing when negative."""
        self.used -= excess
