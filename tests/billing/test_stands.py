"""Budgets of single models and of other calendars: what is read of them, and what is counted meanwhile."""

import asyncio
from pathlib import Path

import pytest

from posthouse.billing.balances import Balances
from posthouse.billing.ledger import Ledger
from posthouse.billing.model import Settlement
from posthouse.billing.periods import Periods, span_of, starts_of
from posthouse.billing.spending import name_of, place_of
from posthouse.billing.stands import StandReader, spent_without
from posthouse.core.caller import Budget, Caller, Limits, Subject
from posthouse.core.errors import InsufficientQuota, Unavailable
from posthouse.core.money import Money
from posthouse.core.usage import Usage
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal, JournalOptions
from tests.billing.fakes import NOW, PRICE, Clock, ListJournal, caller
from tests.billing.stored import StoredHouse

MONTH_OF_M = Budget(100, "USD", "month", model="m")
DAY_IN_SHANGHAI = Budget(100, "USD", "day", zone="Asia/Shanghai")
HOUR = 3600


class Stuck(Journal):
    """Nothing of it is ever applied."""

    def flush(self) -> None:
        pass

    def wait_applied(self, timeout: float) -> bool:
        return False


def with_budgets(*budgets: Budget) -> Caller:
    mine = Subject("key_1", "key", "key", Limits(), budgets)
    return Caller("key_1", "key", "acc_1", (mine, Subject("acc_1", "account", "a", Limits())), apart=True)


def test_what_ended_while_the_database_was_asked_is_counted_once(stored: StoredHouse) -> None:
    before = stored.hold(caller(), 30)
    stand = stored.ledger.begin_stand("key_1", MONTH_OF_M)
    stored.hold(caller(), 20)
    meanwhile = stored.hold(caller(), 40)
    for hold, tokens in ((before, 5), (meanwhile, 7)):
        stored.settle(hold, tokens)
    stored.save()
    with stored.database.snapshot() as connection:
        found = spent_without(connection, stand, MONTH_OF_M)
    assert found == (0, 0)
    stand.read(*found)
    assert stand.committed == 5 + 20 + 7


def test_what_was_spent_before_is_read(stored: StoredHouse) -> None:
    stored.settle(stored.hold(caller(), 30), 25)
    stored.save()
    stored.restart()
    who = with_budgets(MONTH_OF_M)
    with pytest.raises(Unavailable):
        stored.hold(who, 10)
    stand = stored.ledger.begin_stand("key_1", MONTH_OF_M)
    with stored.database.snapshot() as connection:
        stand.read(*spent_without(connection, stand, MONTH_OF_M))
    stored.hold(who, 75)
    with pytest.raises(InsufficientQuota, match="monthly budget of this key for the model 'm'"):
        stored.hold(who, 1)


def test_a_budget_of_one_model_says_nothing_of_another() -> None:
    ledger = Ledger(ListJournal(), Balances(), Clock())
    who = with_budgets(Budget(0, "USD", "total", model="m"))
    assert ledger.hold(who, "req_1", "n", Money(5, "USD")).amount == 5


def test_a_day_begins_at_midnight_of_its_zone(stored: StoredHouse) -> None:
    who = with_budgets(DAY_IN_SHANGHAI)
    stored.clock.now = NOW + 3 * HOUR  # 23:00 in Shanghai, 15:00 UTC
    read(stored, who)
    stored.settle(stored.hold(who, 100), 100)
    with pytest.raises(InsufficientQuota):
        stored.hold(who, 1)
    stored.clock.now = NOW + 4 * HOUR  # midnight there, and the same day in UTC
    stored.settle(stored.hold(who, 60), 60)
    stored.save()
    stored.restart()
    read(stored, who)
    stored.hold(who, 40)
    with pytest.raises(InsufficientQuota):
        stored.hold(who, 1)


def read(house: StoredHouse, who: Caller) -> None:
    for subject in who.subjects:
        for budget in subject.budgets:
            stand = house.ledger.begin_stand(subject.id, budget)
            with house.database.snapshot() as connection:
                stand.read(*spent_without(connection, stand, budget))


async def test_all_who_wait_for_the_same_budget_wait_for_one_reading(database: Database, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", database, options=JournalOptions(gather=0.001))
    journal.start()
    try:
        ledger = Ledger(journal, Balances(), Clock())
        ledger.hold(caller(), "req_1", "m", Money(30, "USD")).settle(
            Settlement(Usage(input=30), "provider", PRICE, "main", "complete")
        )
        reader = StandReader(ledger, database, journal)
        who = with_budgets(MONTH_OF_M, DAY_IN_SHANGHAI)
        waiting = [asyncio.ensure_future(reader.ready(who, "m")) for _ in range(5)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert waiting[0].cancelled()
        assert len(ledger.stands) == 2
        assert ledger.hold(who, "req_2", "m", Money(70, "USD")).amount == 70
        with pytest.raises(InsufficientQuota):
            ledger.hold(who, "req_3", "m", Money(1, "USD"))
    finally:
        journal.close(10)


async def test_a_database_that_is_away_makes_it_unavailable_and_the_next_try_reads_again(
    database: Database, tmp_path: Path
) -> None:
    ledger = Ledger(ListJournal(), Balances(), Clock())
    reader = StandReader(ledger, database, Stuck(tmp_path / "journal", database))
    with pytest.raises(Unavailable):
        await reader.ready(with_budgets(MONTH_OF_M), "m")
    assert len(ledger.stands) == 0


@pytest.mark.parametrize(
    ("zone", "period", "first", "hours"),
    [
        ("UTC", "day", 20261120, -12),
        ("Asia/Shanghai", "day", 20261120, -20),
        ("America/New_York", "day", 20261120, -7),
        ("Asia/Shanghai", "week", 20261116, -20 - 4 * 24),
        ("Asia/Kathmandu", "month", 20261101, -12 - 19 * 24 - 5.75),
        ("+08:00", "month", 20261101, -20 - 19 * 24),
    ],
)
def test_a_period_is_that_of_its_zone(zone: str, period: str, first: int, hours: float) -> None:
    span = span_of(zone, period, int(NOW * 1000))  # type: ignore[arg-type]
    assert (span.first, span.starts) == (first, int((NOW + hours * HOUR) * 1000))
    assert starts_of(zone, first) == span.starts
    assert span_of(zone, period, span.ends).starts == span.ends  # type: ignore[arg-type]


def test_a_period_that_is_over_does_not_come_back_with_the_clock() -> None:
    periods = Periods()
    today = periods.at(DAY_IN_SHANGHAI, int(NOW * 1000))
    tomorrow = periods.at(DAY_IN_SHANGHAI, int(NOW * 1000) + 86_400_000)
    assert tomorrow.starts == today.ends
    assert periods.at(DAY_IN_SHANGHAI, int(NOW * 1000)) is tomorrow


def test_days_are_as_long_as_the_clocks_make_them() -> None:
    summer = span_of("Europe/Berlin", "day", 1_774_742_400_000)  # 29 March 2026
    assert summer.ends - summer.starts == 23 * HOUR * 1000


@pytest.mark.parametrize(
    "budget",
    [
        MONTH_OF_M,
        DAY_IN_SHANGHAI,
        Budget(1, "CNY", "total", zone="Asia/Shanghai", model="a|b:c{d}"),
        Budget(1, "CNY", "week"),
        Budget(1, "CNY", "total", zone="Asia/Shanghai"),
    ],
)
def test_the_name_of_a_purse_says_all_that_is_needed_to_read_it(budget: Budget) -> None:
    span = span_of(budget.zone, budget.period, int(NOW * 1000))
    place = place_of(name_of("key_1", budget, span.first))
    assert (place.subject_id, place.currency, place.model) == ("key_1", budget.currency, budget.model)
    assert (place.first, place.starts) == (span.first, span.starts)


def test_budgets_of_the_whole_calendar_of_utc_keep_the_name_that_they_had() -> None:
    assert name_of("key_1", Budget(1, "USD", "month"), 20261101) == "key_1|USD|month|20261101"
