"""Days, periods and the purses that are kept by them."""

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from posthouse.billing.balances import DAY_MS, Balances, Purse, day_of
from posthouse.core.caller import Budget


def test_a_day_knows_its_bounds_its_monday_and_its_month() -> None:
    noon = int(dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC).timestamp() * 1000)
    day = day_of(noon)
    assert (day.number, day.week, day.month) == (20261120, 20261116, 20261101)
    assert (day.start_ms, day.end_ms) == (noon - DAY_MS // 2, noon + DAY_MS // 2)
    assert [day.first(period) for period in ("total", "day", "week", "month")] == [0, 20261120, 20261116, 20261101]


@given(st.datetimes(min_value=dt.datetime(1970, 1, 1), max_value=dt.datetime(2200, 1, 1)))
def test_every_instant_lies_in_the_day_that_the_calendar_says(moment: dt.datetime) -> None:
    ms = int(moment.replace(tzinfo=dt.UTC).timestamp() * 1000)
    day = day_of(ms)
    assert day.number == int(moment.strftime("%Y%m%d"))
    assert day.start_ms <= ms < day.end_ms
    assert day.week <= day.number
    assert day.month // 100 == day.number // 100


def test_a_purse_keeps_its_total_and_at_most_forty_days() -> None:
    purse = Purse()
    for number in range(1000):
        purse.add(day_of(number * DAY_MS).number, 1)
    assert purse.total == 1000
    assert len(purse.days) == 40
    today = day_of(999 * DAY_MS)
    assert purse.committed(Budget(0, "USD", "total"), today) == 1000
    assert purse.committed(Budget(0, "USD", "day"), today) == 1
    assert purse.committed(Budget(0, "USD", "month"), today) == today.number - today.month + 1


def test_subjects_and_currencies_have_purses_of_their_own() -> None:
    balances = Balances()
    balances.purse("key_1", "USD").add(20261120, 5)
    assert balances.purse("key_1", "USD").total == 5
    assert balances.purse("key_1", "CNY").total == 0
    assert balances.purse("acc_1", "USD").total == 0
