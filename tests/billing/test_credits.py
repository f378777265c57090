"""Credits: what was paid in, as entries of their own, once for each source."""

import threading
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import func, select, text

from posthouse.accounts.store import REVISION
from posthouse.billing.credit_forms import new_credit_of
from posthouse.billing.credits import HOUSE, Balance, CreditDesk, Maker, NewCredit, SourceUsed
from posthouse.billing.folds import rebuild
from posthouse.billing.points import Points
from posthouse.billing.statements import month_of, statement
from posthouse.billing.store import Page, list_entries
from posthouse.core.errors import InvalidRequest
from posthouse.core.money import NANO
from posthouse.storage import revisions
from posthouse.storage.tables import credits, entries, spend, usage_days, usage_hours
from tests.billing.fakes import caller
from tests.billing.stored import StoredHouse

PAID = NewCredit("acc_1", 500, "USD", "manual", "manual:acc_1:t1", "by bank", "olga")


@pytest.fixture
def desk(stored: StoredHouse) -> CreditDesk:
    return CreditDesk(stored.database, Maker(stored.clock))


def revision(stored: StoredHouse) -> int:
    with stored.database.read() as connection:
        return revisions.read(connection).get(revisions.ACCOUNTS, 0)


def test_a_credit_is_two_entries_that_cancel_out_with_reason_and_author(stored: StoredHouse, desk: CreditDesk) -> None:
    made, is_new = desk.make(PAID)
    assert is_new
    assert (made.reason, made.author, made.created_at) == ("by bank", "olga", int(stored.clock() * 1000))
    with stored.database.read() as connection:
        legs, _ = list_entries(connection)
    assert {(leg.ledger_account, leg.amount, leg.currency, leg.usage_source) for leg in legs} == {
        ("account:acc_1", -500, "USD", None),
        (HOUSE, 500, "USD", None),
    }
    assert {leg.hold_id for leg in legs} == {made.id}
    stored.assert_sound()


def test_a_credit_is_no_spending_and_no_usage(stored: StoredHouse, desk: CreditDesk) -> None:
    stored.settle(stored.hold(caller()), 100)
    stored.save()

    def folds() -> list[list[Any]]:
        with stored.database.read() as connection:
            return [sorted(map(tuple, connection.execute(select(t)))) for t in (spend, usage_hours, usage_days)]

    before = folds()
    desk.make(PAID)
    desk.make(replace(PAID, amount=-200, source="back"))
    assert folds() == before
    assert rebuild(stored.database).differences == ()
    assert folds() == before
    stored.assert_sound()


def test_a_credit_tells_every_server_that_accounts_have_changed(stored: StoredHouse, desk: CreditDesk) -> None:
    assert revisions.ACCOUNTS == REVISION
    before = revision(stored)
    desk.make(PAID)
    assert revision(stored) > before


def test_the_same_source_makes_one_credit(stored: StoredHouse, desk: CreditDesk) -> None:
    first, _ = desk.make(PAID)
    stored.clock.now += 60
    assert desk.make(PAID) == (first, False)
    with stored.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(entries)).scalar_one() == 2
    assert desk.balances("acc_1") == [Balance("USD", 500, 0)]


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 501},
        {"currency": "EUR"},
        {"account_id": "acc_2"},
        {"reason": "x"},
        {"author": "x"},
        {"kind": "topup"},
    ],
)
def test_the_same_source_with_something_else_is_refused(
    stored: StoredHouse, desk: CreditDesk, change: dict[str, Any]
) -> None:
    desk.make(PAID)
    with pytest.raises(SourceUsed) as caught:
        desk.make(replace(PAID, **change))
    assert (caught.value.status, caught.value.code) == (409, "credit_exists")
    assert desk.balances("acc_1") == [Balance("USD", 500, 0)]
    assert desk.balances("acc_2") == []
    stored.assert_sound()


def test_one_source_from_many_threads_at_once_makes_one_credit(stored: StoredHouse, desk: CreditDesk) -> None:
    barrier, found = threading.Barrier(8), []

    def make() -> None:
        barrier.wait(20)
        found.append(desk.make(PAID))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(is_new for _, is_new in found) == [False] * 7 + [True]
    assert len({made.id for made, _ in found}) == 1
    assert desk.balances("acc_1") == [Balance("USD", 500, 0)]
    stored.assert_sound()


def test_a_balance_is_what_was_paid_in_less_what_was_spent(stored: StoredHouse, desk: CreditDesk) -> None:
    desk.make(PAID)
    desk.make(replace(PAID, currency="CNY", source="2"))
    desk.make(replace(PAID, amount=-50, source="3"))
    stored.settle(stored.hold(caller()), 100)
    stored.save()
    assert desk.balances("acc_1") == [Balance("CNY", 500, 0), Balance("USD", 450, 100)]
    assert desk.balances("acc_1")[1].left == 350


def test_no_sum_of_credits_is_too_large_to_be_added_up(stored: StoredHouse, desk: CreditDesk) -> None:
    for number in range(4):
        desk.make(replace(PAID, amount=10**9 * NANO, source=f"s{number}"))
    with pytest.raises(InvalidRequest, match="too large"):
        desk.make(replace(PAID, amount=1, source="more"))
    desk.make(replace(PAID, amount=-(10**9) * NANO, source="back"))
    assert desk.balances("acc_1")[0].paid_in == 3 * 10**9 * NANO
    stored.assert_sound()


def test_credits_of_an_account_are_listed_newest_first_and_none_of_another(
    stored: StoredHouse, desk: CreditDesk
) -> None:
    desk.make(replace(PAID, account_id="acc_2", source="other"))
    made = []
    for number in range(5):
        stored.clock.now += 1
        made.append(desk.make(replace(PAID, source=f"s{number}"))[0])
    first, cursor = desk.listed("acc_1", Page(3))
    rest, end = desk.listed("acc_1", Page(3, cursor))
    assert first + rest == made[::-1]
    assert end is None


def test_a_statement_shows_what_was_paid_in_and_goes_on_from_it(stored: StoredHouse, desk: CreditDesk) -> None:
    stored.settle(stored.hold(caller()), 100)
    stored.save()
    paid, _ = desk.make(PAID)
    with stored.database.snapshot() as connection:
        now, after = (statement(connection, "acc_1", month_of(month, "UTC")) for month in ("2026-11", "2026-12"))
    (total,) = now.totals
    assert now.credits == (paid,)
    assert (total.opening, total.usage, total.paid_in, total.total, total.closing) == (0, 100, 500, 100, -400)
    (following,) = after.totals
    assert (following.opening, following.paid_in, following.closing) == (-400, 0, -400)
    assert after.credits == ()


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("DELETE FROM entries", "CREDIT-1"),
        ("DELETE FROM entries WHERE leg = 1", "LEDGER-1"),
        ("UPDATE credits SET amount = 501", "CREDIT-1"),
        ("UPDATE credits SET currency = 'EUR'", "CREDIT-1"),
        ("UPDATE credits SET account_id = 'acc_9'", "CREDIT-1"),
        ("DELETE FROM credits", "LEDGER-2"),
        ("UPDATE credits SET kind = 'code'", "CODE-1"),
    ],
)
def test_a_credit_that_is_not_whole_is_a_problem(
    stored: StoredHouse, desk: CreditDesk, statement: str, rule: str
) -> None:
    desk.make(PAID)
    stored.assert_sound()
    with stored.database.write() as connection:
        connection.execute(text(statement))
    assert rule in stored.rules()


def test_a_credit_that_cannot_be_written_leaves_nothing(stored: StoredHouse, desk: CreditDesk) -> None:
    before = revision(stored)
    with pytest.raises(Exception, match=r"ck_credits_amount|CHECK"):
        desk.make(replace(PAID, amount=0))
    with stored.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(credits)).scalar_one() == 0
        assert connection.execute(select(func.count()).select_from(entries)).scalar_one() == 0
    assert revision(stored) == before


BODY: dict[str, Any] = {
    **{"amount": "-0.50", "currency": "USD", "reason": "chargeback", "author": "olga", "idempotency_key": "t"},
}


def test_a_form_becomes_a_credit() -> None:
    expected = NewCredit("acc_1", -500_000_000, "USD", "manual", "manual:acc_1:t", "chargeback", "olga")
    assert new_credit_of(BODY, "acc_1", None) == expected
    in_points = {**BODY, "amount": None, "currency": None, "points": -50}
    assert new_credit_of(in_points, "acc_1", Points("p", "USD", 100)) == expected


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"amount": "0"}, "amount"),
        ({"amount": "-0.0"}, "amount"),
        ({"amount": 5}, "amount"),
        ({"amount": "1_0"}, "amount"),
        ({"currency": "usd"}, "currency"),
        ({"points": 5}, "points"),
        ({"reason": ""}, "reason"),
        ({"reason": "a\nb"}, "reason"),
        ({"author": "x" * 129}, "author"),
        ({"idempotency_key": None}, "idempotency_key"),
        ({"idempotency_key": "\ud800"}, "idempotency_key"),
        ({"other": 5}, "other"),
    ],
)
def test_a_form_that_says_no_credit_is_refused_by_name(change: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        new_credit_of(BODY | change, "acc_1", None)
    assert caught.value.param == param
