"""Corrections: entries of their own, which move spending, budgets and roll-ups, once."""

from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import func, select, text

from posthouse.billing.book_forms import new_correction_of
from posthouse.billing.corrections import HOUSE, CorrectionDesk, KeyReused, NewCorrection
from posthouse.billing.folds import rebuild
from posthouse.billing.span import Span
from posthouse.billing.store import Page, UsageRow, list_entries, usage
from posthouse.core.errors import InsufficientQuota, InvalidRequest
from posthouse.storage.tables import corrections, entries, spend
from tests.billing.fakes import caller, usd
from tests.billing.stored import StoredHouse

CREDIT = NewCorrection("acc_1", None, -60, "USD", "an answer was cut off", "olga", "ticket-1")


@pytest.fixture
def desk(stored: StoredHouse) -> CorrectionDesk:
    return CorrectionDesk(stored.database, stored.clock)


def test_a_correction_is_two_entries_that_cancel_out_with_reason_and_author(
    stored: StoredHouse, desk: CorrectionDesk
) -> None:
    made = desk.make(CREDIT)
    assert (made.reason, made.author, made.created_at) == (CREDIT.reason, "olga", int(stored.clock() * 1000))
    with stored.database.read() as connection:
        legs, _ = list_entries(connection)
    assert {(leg.ledger_account, leg.amount, leg.currency, leg.usage_source) for leg in legs} == {
        ("account:acc_1", -60, "USD", None),
        (HOUSE, 60, "USD", None),
    }
    assert {leg.hold_id for leg in legs} == {made.id}
    stored.assert_sound()


def test_a_correction_moves_spending_of_account_and_key_and_the_roll_ups(
    stored: StoredHouse, desk: CorrectionDesk
) -> None:
    stored.settle(stored.hold(caller()), 100)
    stored.save()
    desk.make(replace(CREDIT, key_id="key_1"))
    desk.make(replace(CREDIT, idempotency_key="ticket-2"))
    with stored.database.read() as connection:
        rows = connection.execute(select(spend.c.subject_id, func.sum(spend.c.amount)).group_by(spend.c.subject_id))
        spent = {subject_id: int(amount) for subject_id, amount in rows}
        by_account, _ = usage(connection, "account")
        by_model, _ = usage(connection, "model")
        edge, _ = usage(connection, "account", Span(int(stored.clock() * 1000) - 1, int(stored.clock() * 1000) + 1))
    assert spent == {"key_1": 40, "acc_1": -20}
    assert [(row.group, row.requests, row.cost) for row in by_account] == [("acc_1", 1, -20)]
    assert by_model[0] == UsageRow("correction", 0, 0, 0, 0, -120, "USD", {})
    assert edge == by_account
    stored.assert_sound()
    assert rebuild(stored.database).differences == ()


def test_a_correction_holds_for_budgets_at_once_and_after_a_restart(stored: StoredHouse, desk: CorrectionDesk) -> None:
    poor = caller(account=usd(100))
    stored.settle(stored.hold(poor), 95)
    stored.save()
    with pytest.raises(InsufficientQuota):
        stored.hold(poor, 10)
    desk.make(CREDIT)
    stored.ledger.heed(desk.after(stored.ledger.corrected_to))
    stored.ledger.heed(desk.after(0))  # heard twice, counted once
    stored.hold(poor, 65).release()
    with pytest.raises(InsufficientQuota):
        stored.hold(poor, 66)
    stored.save()
    stored.restart()
    assert desk.after(stored.ledger.corrected_to) == []
    stored.hold(poor, 65).release()
    with pytest.raises(InsufficientQuota):
        stored.hold(poor, 66)


def test_a_charge_by_correction_uses_a_budget_up(stored: StoredHouse, desk: CorrectionDesk) -> None:
    desk.make(replace(CREDIT, amount=91))
    stored.ledger.heed(desk.after(0))
    with pytest.raises(InsufficientQuota):
        stored.hold(caller(account=usd(100, "day")), 10)


def test_the_same_idempotency_key_makes_one_correction(stored: StoredHouse, desk: CorrectionDesk) -> None:
    first = desk.make(CREDIT)
    stored.clock.now += 60
    assert desk.make(CREDIT) == first
    with stored.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(entries)).scalar_one() == 2
        assert connection.execute(select(func.sum(spend.c.amount))).scalar_one() == -60
    assert len(desk.after(0)) == 1


@pytest.mark.parametrize(
    "change", [{"amount": -61}, {"currency": "EUR"}, {"reason": "another"}, {"author": "igor"}, {"key_id": "key_1"}]
)
def test_the_same_idempotency_key_with_something_else_is_refused(desk: CorrectionDesk, change: dict[str, Any]) -> None:
    desk.make(CREDIT)
    with pytest.raises(KeyReused) as caught:
        desk.make(replace(CREDIT, **change))
    assert (caught.value.status, caught.value.param) == (409, "idempotency_key")


def test_another_account_may_use_the_same_idempotency_key(desk: CorrectionDesk) -> None:
    assert desk.make(CREDIT).id != desk.make(replace(CREDIT, account_id="acc_2")).id


def test_corrections_of_an_account_are_listed_newest_first_and_none_of_another(
    stored: StoredHouse, desk: CorrectionDesk
) -> None:
    desk.make(replace(CREDIT, account_id="acc_2"))
    made = []
    for number in range(5):
        stored.clock.now += 1
        made.append(desk.make(replace(CREDIT, idempotency_key=f"t{number}")))
    first, cursor = desk.listed("acc_1", Page(3))
    rest, end = desk.listed("acc_1", Page(3, cursor))
    assert first + rest == made[::-1]
    assert end is None


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("DELETE FROM entries", "LEDGER-10"),
        ("UPDATE corrections SET amount = -61", "LEDGER-10"),
        ("UPDATE corrections SET currency = 'EUR'", "LEDGER-10"),
        ("UPDATE corrections SET account_id = 'acc_9'", "LEDGER-10"),
        ("DELETE FROM corrections", "LEDGER-2"),
        ("DELETE FROM spend", "LEDGER-4"),
        ("DELETE FROM usage_hours", "LEDGER-8"),
    ],
)
def test_a_correction_that_is_not_whole_is_a_problem(
    stored: StoredHouse, desk: CorrectionDesk, statement: str, rule: str
) -> None:
    desk.make(CREDIT)
    stored.assert_sound()
    with stored.database.write() as connection:
        connection.execute(text(statement))
    assert rule in stored.rules()


def test_a_correction_that_cannot_be_written_leaves_nothing(stored: StoredHouse, desk: CorrectionDesk) -> None:
    with pytest.raises(Exception, match=r"ck_corrections_amount|CHECK"):
        desk.make(replace(CREDIT, amount=0))
    with stored.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(corrections)).scalar_one() == 0
        assert connection.execute(select(func.count()).select_from(entries)).scalar_one() == 0
    assert desk.after(0) == []


BODY: dict[str, Any] = {
    **{"amount": "-0.50", "currency": "USD", "reason": "broken", "author": "olga", "idempotency_key": "t"},
}


def test_a_form_becomes_a_correction() -> None:
    assert new_correction_of(BODY, "acc_1") == NewCorrection("acc_1", None, -500_000_000, "USD", "broken", "olga", "t")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"amount": "0"}, "amount"),
        ({"amount": "-0.0"}, "amount"),
        ({"amount": "--1"}, "amount"),
        ({"amount": "1e400"}, "amount"),
        ({"amount": "0.0000000001"}, "amount"),
        ({"amount": 5}, "amount"),
        ({"amount": None}, "amount"),
        ({"currency": "usd"}, "currency"),
        ({"currency": "US"}, "currency"),
        ({"reason": ""}, "reason"),
        ({"reason": "a\nb"}, "reason"),
        ({"author": "x" * 129}, "author"),
        ({"idempotency_key": None}, "idempotency_key"),
        ({"key": 5}, "key"),
        ({"other": 5}, "other"),
    ],
)
def test_a_form_that_says_no_correction_is_refused_by_name(change: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        new_correction_of(BODY | change, "acc_1")
    assert caught.value.param == param


def test_a_form_that_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        new_correction_of([BODY], "acc_1")
