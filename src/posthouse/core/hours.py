"""When a price holds: from a day to a day (UTC), and within that at certain hours of certain days in some time zone."""

import datetime as dt
import re
from collections.abc import Collection
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_OFFSET: Final = re.compile(r"([+-])(\d{2}):(\d{2})\Z")
_TIME: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\Z")


class Hours(Struct, frozen=True):
    """Minutes of the day, `start` included and `end` not; where `end` is before `start` it is of the next day, and
    where both are the same it is all day. `days` are weekdays (0 is Monday) of the very moment, in `zone`."""

    start: int
    end: int
    zone: dt.tzinfo
    days: frozenset[int] | None = None

    def active(self, now: dt.datetime) -> bool:
        """`now` must say its time zone."""
        local = now.astimezone(self.zone)
        if self.days is not None and local.weekday() not in self.days:
            return False
        minute = local.hour * 60 + local.minute
        if self.start < self.end:
            return self.start <= minute < self.end
        return self.start == self.end or minute >= self.start or minute < self.end


def hours_of(start: str | None, end: str | None, zone: str = "UTC", days: Collection[str] = ()) -> Hours | None:
    """From `HH:MM` to `HH:MM`; None where nothing is said. ValueError where it makes no sense."""
    if start is None and end is None and not days:
        return None
    if (start is None) != (end is None):
        raise ValueError("daily_from and daily_until go with each other")
    return Hours(
        minute_of(start or "00:00"),
        minute_of(end or "00:00"),
        zone_of(zone),
        frozenset(DAYS.index(day) for day in days) if days else None,
    )


def minute_of(text: str) -> int:
    found = _TIME.match(text)
    if found is None:
        raise ValueError(f"{text!r} is not a time of day such as 08:30")
    return int(found[1]) * 60 + int(found[2])


@lru_cache(maxsize=64)
def zone_of(name: str) -> dt.tzinfo:
    """`UTC`, an offset such as `+08:00`, or a name of the time zone database of this machine."""
    if name == "UTC":
        return dt.UTC
    offset = _OFFSET.match(name)
    if offset is not None:
        minutes = int(offset[2]) * 60 + int(offset[3])
        if minutes >= 24 * 60 or int(offset[3]) >= 60:
            raise ValueError(f"{name!r} is not an offset from UTC")
        return dt.timezone(dt.timedelta(minutes=-minutes if offset[1] == "-" else minutes))
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone that this machine knows; +08:00 is one everywhere") from None
