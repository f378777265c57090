"""Days of the calendar, and what is counted by them."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.limits.calendar import Calendar, Tally, day_of, zone_of

ZONES = (
    "UTC",
    "Asia/Shanghai",
    "Asia/Kathmandu",
    "America/New_York",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Pacific/Apia",
)


@pytest.mark.req("LIMIT-020")
@given(now=st.floats(1.0e9, 3.0e9), zone=st.sampled_from(ZONES))
def test_a_day_is_a_date_of_the_zone(now: float, zone: str) -> None:
    info = ZoneInfo(zone)
    day = day_of(now, info)
    assert day.starts <= now < day.ends
    date = dt.datetime.fromtimestamp(now, info).date()
    for moment in (day.starts, (day.starts + day.ends) / 2, day.ends - 0.001):
        assert dt.datetime.fromtimestamp(moment, info).date() == date
    assert dt.datetime.fromtimestamp(day.ends, info).date() > date


@pytest.mark.req("LIMIT-021")
def test_a_clock_that_goes_back_gives_no_day_twice() -> None:
    calendar = Calendar()
    monday = calendar.day(1_795_000_000.0)
    tuesday = calendar.day(monday.ends)
    assert tuesday is not monday
    assert calendar.day(monday.starts) is tuesday


@pytest.mark.req("LIMIT-022")
def test_what_is_settled_late_is_settled_on_its_own_day() -> None:
    calendar = Calendar()
    tally = Tally(100, calendar.day(1_795_000_000.0))
    tally.used += 90
    assert not tally.fits(11)
    tally.settle(40)
    assert tally.used == 50
    tally.settle(-60)
    assert tally.used == 110
    assert not tally.fits(1)


@pytest.mark.req("LIMIT-020")
def test_a_zone_has_a_name() -> None:
    assert zone_of("UTC") is dt.UTC
    assert zone_of("Asia/Shanghai") == ZoneInfo("Asia/Shanghai")
    for wrong in ("Mars/Olympus", "", "../etc/passwd", "a\0b", "Asia"):
        with pytest.raises(ValueError, match="time zone"):
            zone_of(wrong)
