"""Payments, refunds and disputes, each heeded once, whatever order they come in."""

import threading

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, func, select, text

from posthouse.billing.credits import Credit, CreditDesk, Maker, NewCredit
from posthouse.billing.payments import EventReused, Payment, PaymentDesk, Return
from posthouse.core.errors import InvalidRequest
from posthouse.storage.tables import payment_events, payments
from tests.billing.stored import StoredHouse

PAID = Payment("stripe:evt_1", "stripe:pi_1", "acc_1", 1_000, "USD", "paid by stripe:pi_1")
REFUND = Return("stripe:evt_r", "stripe:pi_1", None, 300, "USD")
DISPUTE = Return("stripe:evt_d", "stripe:pi_1", "stripe:dp_1", 600, "USD")


@pytest.fixture
def desk(stored: StoredHouse) -> PaymentDesk:
    return PaymentDesk(stored.database, Maker(stored.clock))


def paid_in(stored: StoredHouse, account_id: str = "acc_1") -> int:
    """Nano-units of dollars, the only currency here; and the books are sound."""
    stored.assert_sound()
    found = CreditDesk(stored.database, Maker(stored.clock)).balances(account_id)
    assert {one.currency for one in found} <= {"USD"}
    return sum(one.paid_in for one in found)


def amounts(credits: list[Credit]) -> list[int]:
    return [one.amount for one in credits]


def test_a_payment_is_credited_once_by_whatever_event_it_comes(stored: StoredHouse, desk: PaymentDesk) -> None:
    assert amounts(desk.pay(PAID)) == [1_000]
    assert desk.pay(PAID) == []
    assert desk.pay(replace(PAID, event="stripe:evt_2")) == []
    assert paid_in(stored) == 1_000


@pytest.mark.parametrize(
    "other", [{"amount": 1_001}, {"account_id": "acc_2"}, {"currency": "EUR"}, {"id": "stripe:pi_2"}]
)
def test_something_else_under_an_event_is_refused(
    stored: StoredHouse, desk: PaymentDesk, other: dict[str, str]
) -> None:
    desk.pay(PAID)
    with pytest.raises(EventReused) as caught:
        desk.pay(replace(PAID, **other))
    assert (caught.value.status, caught.value.code) == (409, "event_reused")
    assert (paid_in(stored), paid_in(stored, "acc_2")) == (1_000, 0)


def test_something_else_of_a_payment_is_refused(stored: StoredHouse, desk: PaymentDesk) -> None:
    desk.pay(PAID)
    for other in (replace(PAID, amount=2_000), replace(PAID, account_id="acc_2")):
        with pytest.raises(EventReused):
            desk.pay(replace(other, event="stripe:evt_2"))
    with pytest.raises(InvalidRequest, match="in USD, not in EUR"):
        desk.pay(replace(PAID, event="stripe:evt_3", currency="EUR"))
    with pytest.raises(InvalidRequest, match="in USD, not in EUR"):
        desk.give_back(replace(REFUND, currency="EUR"))
    assert (paid_in(stored), paid_in(stored, "acc_2")) == (1_000, 0)


def test_partial_refunds_are_taken_back_by_their_difference(stored: StoredHouse, desk: PaymentDesk) -> None:
    desk.pay(PAID)
    assert amounts(desk.give_back(REFUND)) == [-300]
    assert desk.give_back(REFUND) == []
    assert amounts(desk.give_back(replace(REFUND, event="stripe:evt_r2", amount=450))) == [-150]
    assert desk.give_back(replace(REFUND, event="stripe:evt_late", amount=300)) == []  # an older one comes late
    assert paid_in(stored) == 550
    assert amounts(desk.give_back(replace(REFUND, event="stripe:evt_r3", amount=1_000))) == [-550]
    assert paid_in(stored) == 0


def test_a_dispute_takes_back_once(stored: StoredHouse, desk: PaymentDesk) -> None:
    desk.pay(PAID)
    assert amounts(desk.give_back(DISPUTE)) == [-600]
    assert desk.give_back(DISPUTE) == []
    assert desk.give_back(replace(DISPUTE, event="stripe:evt_d2")) == []
    with pytest.raises(EventReused):
        desk.give_back(replace(DISPUTE, event="stripe:evt_d3", amount=700))
    assert paid_in(stored) == 400


def test_no_more_is_taken_back_than_was_paid(stored: StoredHouse, desk: PaymentDesk) -> None:
    desk.pay(PAID)
    desk.give_back(replace(REFUND, amount=700))
    assert amounts(desk.give_back(DISPUTE)) == [-300]
    assert desk.give_back(replace(REFUND, event="stripe:evt_r2", amount=5_000)) == []
    assert paid_in(stored) == 0


def test_a_refund_that_comes_before_its_payment_is_kept_for_it(stored: StoredHouse, desk: PaymentDesk) -> None:
    assert desk.give_back(REFUND) == []
    assert desk.give_back(replace(DISPUTE, amount=100)) == []
    assert paid_in(stored) == 0
    assert amounts(desk.pay(PAID)) == [1_000, -400]
    assert paid_in(stored) == 600


def test_one_event_many_times_at_once_credits_once(stored: StoredHouse, desk: PaymentDesk) -> None:
    barrier, found = threading.Barrier(8), []

    def pay(number: int) -> None:
        barrier.wait(20)
        found.append(desk.pay(PAID) if number % 2 else desk.give_back(REFUND))

    threads = [threading.Thread(target=pay, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 8
    assert sorted(amount for credits in found for amount in amounts(credits)) == [-300, 1_000]
    assert paid_in(stored) == 700


class Broken(Maker):
    """Writes the credit, and then fails."""

    def make(self, connection: Connection, new: NewCredit) -> tuple[Credit, bool]:
        super().make(connection, new)
        raise OSError("the machine goes away")


def test_what_fails_halfway_is_as_if_the_event_had_not_come(stored: StoredHouse, desk: PaymentDesk) -> None:
    broken = PaymentDesk(stored.database, Broken(stored.clock))
    with pytest.raises(OSError, match="goes away"):
        broken.pay(PAID)
    with stored.database.read() as connection:
        for table in (payments, payment_events):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0
    assert paid_in(stored) == 0
    desk.pay(PAID)
    with pytest.raises(OSError, match="goes away"):
        broken.give_back(REFUND)
    assert paid_in(stored) == 1_000
    assert amounts(desk.give_back(REFUND)) == [-300]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payments SET taken = 0",
        "UPDATE payments SET taken = 1001",
        "UPDATE payments SET paid = 2000",
        "UPDATE payments SET account_id = 'acc_2'",
        "UPDATE payments SET account_id = NULL",
    ],
)
def test_a_payment_that_its_credits_contradict_is_a_problem(
    stored: StoredHouse, desk: PaymentDesk, statement: str
) -> None:
    desk.pay(PAID)
    desk.give_back(REFUND)
    stored.assert_sound()
    with stored.database.write() as connection:
        connection.execute(text(statement))
    assert "TOPUP-4" in stored.rules()
