"""When a price holds by the hour."""

import datetime as dt

import pytest

from posthouse.core.hours import hours_of, zone_of


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("moment", "holds"),
    [
        ("2026-11-20T16:29", False),
        ("2026-11-20T16:30", True),  # half past midnight, eight hours east
        ("2026-11-21T00:29", True),
        ("2026-11-21T00:30", False),
    ],
)
def test_hours_are_of_their_zone_and_leave_their_end_out(moment: str, holds: bool) -> None:
    for zone in ("+08:00", "Asia/Shanghai"):
        hours = hours_of("00:30", "08:30", zone)
        assert hours is not None
        assert hours.active(at(moment)) == holds


def test_hours_may_go_over_midnight_and_the_same_time_twice_is_all_day() -> None:
    night, day = hours_of("18:00", "08:00"), hours_of("07:00", "07:00")
    assert night is not None and day is not None
    hours = range(0, 24, 2)
    assert [hour for hour in hours if night.active(at(f"2026-11-20T{hour:02}:00"))] == [0, 2, 4, 6, 18, 20, 22]
    assert all(day.active(at(f"2026-11-20T{hour:02}:00")) for hour in hours)


def test_a_day_is_that_of_the_moment_in_the_zone() -> None:
    weekend = hours_of(None, None, "+08:00", ["sat", "sun"])
    assert weekend is not None
    assert not weekend.active(at("2026-11-20T15:59"))  # a Friday
    assert weekend.active(at("2026-11-20T16:00"))
    assert weekend.active(at("2026-11-22T15:59"))
    assert not weekend.active(at("2026-11-22T16:00"))


def test_a_zone_with_summer_time_keeps_its_own_clock() -> None:
    hours = hours_of("09:00", "17:00", "Europe/Berlin")
    assert hours is not None
    assert [hours.active(at(f"2026-{day}T07:30")) for day in ("07-01", "12-01")] == [True, False]


def test_nothing_said_is_always() -> None:
    assert hours_of(None, None) is None


@pytest.mark.parametrize(
    "said",
    [("08:00", None, "UTC"), (None, "08:00", "UTC"), ("8:00", "09:00", "UTC"), ("24:00", "09:00", "UTC")],
)
def test_half_a_span_and_what_is_no_time_are_refused(said: tuple[str | None, str | None, str]) -> None:
    with pytest.raises(ValueError, match=r"daily|time of day"):
        hours_of(*said)


@pytest.mark.parametrize("name", ["+8", "+24:00", "+08:60", "Nowhere/Else", "../etc/passwd", ""])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"zone|offset"):
        zone_of(name)
