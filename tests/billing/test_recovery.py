"""What a start does about the life before it."""

import pytest
from sqlalchemy import select

from posthouse.billing.recovery import expire_open
from posthouse.core.errors import InsufficientQuota
from posthouse.storage.tables import entries, holds
from tests.billing.fakes import PRICE, caller, usd
from tests.billing.stored import StoredHouse


def test_a_hold_that_a_crash_left_open_is_expired_and_charged_nothing(stored: StoredHouse) -> None:
    open_hold = stored.hold(caller())
    done = stored.hold(caller())
    stored.settle(done, 7)
    stored.journal.flush()
    stored.restart()
    with stored.database.read() as connection:
        found = {row.id: row for row in connection.execute(select(holds))}
        legs = connection.execute(select(entries.c.hold_id)).scalars().all()
    crashed = found[open_hold.id]
    assert (crashed.state, crashed.charged, crashed.reason) == ("expired", 0, "crash")
    assert crashed.ended_at == int(stored.clock() * 1000)
    assert (found[done.id].state, found[done.id].charged) == ("settled", 7)
    assert legs == [done.id, done.id]
    assert stored.ledger.counts.recovered == 1
    stored.assert_sound()


def test_expiring_open_holds_twice_changes_nothing(stored: StoredHouse) -> None:
    stored.hold(caller())
    stored.save()
    assert expire_open(stored.database, 1) == 1
    assert expire_open(stored.database, 2) == 0


def test_a_settlement_that_was_not_flushed_is_not_charged(stored: StoredHouse) -> None:
    hold = stored.hold(caller(usd(10)))
    stored.journal.flush()
    stored.settle(hold, 10)
    stored.restart()
    stored.hold(caller(usd(10)), 10)
    stored.save()
    stored.assert_sound()


@pytest.mark.parametrize("period", ["total", "month", "week", "day"])
def test_what_was_spent_counts_after_a_restart(period: str, stored: StoredHouse) -> None:
    someone = caller(usd(20, period), usd(1000))
    stored.settle(stored.hold(someone), 15)
    stored.journal.flush()
    stored.restart()
    with pytest.raises(InsufficientQuota):
        stored.hold(someone, 6)
    stored.hold(someone, 5)


def test_what_was_spent_long_ago_counts_for_a_total_only(stored: StoredHouse) -> None:
    stored.settle(stored.hold(caller()), 15)
    stored.clock.now += 60 * 86_400
    stored.settle(stored.hold(caller()), 2)
    stored.journal.flush()
    stored.restart()
    assert stored.ledger._balances.purse("key_1", "USD").total == 17
    with pytest.raises(InsufficientQuota):
        stored.hold(caller(usd(20)), 4)
    stored.hold(caller(usd(20, "month")), 18)


@pytest.mark.parametrize("days", [1, 31, 39, 40, 41])
def test_what_was_spent_is_loaded_once_however_old_it_is(days: int, stored: StoredHouse) -> None:
    stored.settle(stored.hold(caller()), 15)
    stored.journal.flush()
    stored.clock.now += days * 86_400
    stored.restart()
    assert stored.ledger._balances.purse("key_1", "USD").total == 15


def test_currencies_are_remembered_apart(stored: StoredHouse) -> None:
    yuan = type(PRICE)("CNY", "test", "m", PRICE.rates)
    stored.settle(stored.hold(caller(), 10, "CNY"), 9, yuan)
    stored.settle(stored.hold(caller()), 4)
    stored.journal.flush()
    stored.restart()
    balances = stored.ledger._balances
    assert (balances.purse("acc_1", "CNY").total, balances.purse("acc_1", "USD").total) == (9, 4)
