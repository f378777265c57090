"""Holds and budgets: compared and reserved in one step, ended exactly once."""

import itertools
from dataclasses import dataclass

import pytest

from posthouse.billing.ledger import Hold
from posthouse.billing.model import TRANSITIONS, HoldEnded, Price, rates_of
from posthouse.core.caller import Budget, Caller, Limits, Subject
from posthouse.core.errors import Forbidden, InsufficientQuota, Unavailable
from posthouse.core.money import Money
from posthouse.storage.rows import EndRow, HoldRow
from tests.billing.fakes import NOW, PRICE, House, caller, settlement, usd

ENDS = {
    "settle": lambda hold: hold.settle(settlement(7)),
    "release": lambda hold: hold.release("nothing came"),
    "expire": lambda hold: hold.expire("gone"),
}


def test_a_hold_and_its_settlement_are_written_with_all_that_the_entries_need() -> None:
    house = House()
    hold = house.hold(caller(), 10)
    house.clock.now += 2
    assert hold.settle(settlement(7)) == Money(7, "USD")
    created = int(NOW * 1000)
    assert house.journal.rows == [
        ("H", HoldRow("req_000001", "key_1", "acc_1", "m", 10, "USD", created)),
        (
            "E",
            EndRow(
                "req_000001",
                "settled",
                created + 2000,
                7,
                "USD",
                "provider",
                "key_1",
                "acc_1",
                "main",
                20261120,
                "complete",
                "m",
            ),
        ),
    ]


def test_a_release_charges_nothing_and_gives_the_reserve_back() -> None:
    house = House()
    someone = caller(usd(10))
    hold = house.hold(someone, 10)
    hold.release("no deployment answered")
    end = house.journal.ends()[0]
    assert (end.state, end.charged, end.usage_source, end.provider) == ("released", 0, None, None)
    house.hold(someone, 10)


def test_a_settlement_gives_back_what_was_not_used() -> None:
    house = House()
    someone = caller(usd(10))
    house.hold(someone, 10).settle(settlement(4))
    with pytest.raises(InsufficientQuota):
        house.hold(someone, 7)
    house.hold(someone, 6)


def test_a_settlement_of_zero_is_settled_at_zero() -> None:
    house = House()
    hold = house.hold(caller(usd(10)), 10)
    assert hold.settle(settlement(0)) == Money(0, "USD")
    assert (house.journal.ends()[0].state, house.journal.ends()[0].charged) == ("settled", 0)
    assert house.balances.purse("key_1", "USD").total == 0


@pytest.mark.parametrize(("first", "second"), list(itertools.product(ENDS, ENDS)))
def test_a_hold_that_has_ended_cannot_end_again(first: str, second: str) -> None:
    house = House()
    hold = house.hold(caller(usd(100)), 10)
    ENDS[first](hold)
    before = (house.balances.purse("key_1", "USD").total, len(house.journal.rows), hold.state, hold.charged)
    with pytest.raises(HoldEnded, match="req_000001"):
        ENDS[second](hold)
    assert before == (house.balances.purse("key_1", "USD").total, len(house.journal.rows), hold.state, hold.charged)


def test_the_table_of_transitions_leads_nowhere_out_of_an_end() -> None:
    assert {state for state, _ in TRANSITIONS} == {"held"}
    assert "held" not in TRANSITIONS.values()


def test_a_budget_is_never_promised_twice() -> None:
    house = House()
    someone = caller(usd(100))
    held = []
    for _ in range(15):
        try:
            held.append(house.hold(someone, 10))
        except InsufficientQuota:
            continue
    assert len(held) == 10


def test_a_hold_takes_from_every_budget_or_from_none() -> None:
    house = House()
    with pytest.raises(InsufficientQuota, match="this account"):
        house.hold(caller(usd(100), usd(5)), 10)
    assert house.balances.purse("key_1", "USD").total == 0
    assert house.balances.purse("acc_1", "USD").total == 0
    assert house.journal.rows == []


def test_a_caller_without_a_cap_is_admitted_with_what_is_left() -> None:
    house = House()
    hold = house.hold(caller(usd(30), usd(20)), 100, least=5)
    assert hold.amount == 20
    hold.settle(settlement(4))
    assert house.hold(caller(usd(30), usd(20)), 100, least=5).amount == 16


def test_a_hold_that_takes_what_is_left_leaves_nothing_to_others() -> None:
    house = House()
    someone = caller(usd(20))
    house.hold(someone, 100, least=5)
    for least in (0, 1, 5):
        with pytest.raises(InsufficientQuota):
            house.hold(someone, 100, least=least)
    with pytest.raises(InsufficientQuota):
        house.hold(caller(usd(4), name="2"), 100, least=5)


def test_the_keys_of_an_account_share_its_budget() -> None:
    house = House()
    house.hold(caller(None, usd(15), "1"), 10)
    with pytest.raises(InsufficientQuota):
        house.hold(caller(None, usd(15), "2"), 10)


def test_a_refusal_for_money_says_what_is_left_and_is_not_worth_a_retry() -> None:
    house = House()
    someone = caller(Budget(5 * 10**9, "USD", "month"))
    house.hold(someone, 4_500_000_000)
    with pytest.raises(InsufficientQuota) as caught:
        house.hold(someone, 700_000_000)
    assert caught.value.status == 429
    assert ("x-should-retry", "false") in caught.value.headers()
    assert caught.value.message == (
        "The monthly budget of this key (5 USD) does not cover this request: 0.5 USD are left, and it may cost 0.7."
    )


@pytest.mark.parametrize(("period", "seconds"), [("day", 12 * 3600), ("week", 2.5 * 86_400), ("month", 10.5 * 86_400)])
def test_a_period_begins_anew_at_utc_midnight_of_its_first_day(period: str, seconds: float) -> None:
    house = House()
    someone = caller(usd(10, period))
    house.hold(someone, 10).settle(settlement(10))
    house.clock.now = NOW + seconds - 0.001
    with pytest.raises(InsufficientQuota):
        house.hold(someone, 1)
    house.clock.now = NOW + seconds
    house.hold(someone, 10)


def test_a_total_budget_never_begins_anew() -> None:
    house = House()
    someone = caller(usd(10))
    house.hold(someone, 10).settle(settlement(10))
    house.clock.now += 10 * 365 * 86_400
    with pytest.raises(InsufficientQuota):
        house.hold(someone, 1)


def test_a_hold_is_charged_to_the_period_in_which_it_began() -> None:
    house = House()
    someone = caller(usd(10, "day"))
    late = house.hold(someone, 10)
    house.clock.now += 12 * 3600
    house.hold(someone, 10)  # the new day is whole, though the old hold is still open
    late.settle(settlement(10))
    assert house.journal.ends()[0].day == 20261120
    with pytest.raises(InsufficientQuota):
        house.hold(someone, 1)


def test_a_clock_that_goes_back_does_not_pay_a_period_twice() -> None:
    house = House()
    someone = caller(usd(10, "day"))
    house.clock.now += 86_400
    house.hold(someone, 10).settle(settlement(10))
    house.clock.now -= 86_400
    with pytest.raises(InsufficientQuota):
        house.hold(someone, 1)


def test_a_budget_that_is_changed_keeps_what_was_spent_and_held() -> None:
    house = House()
    house.hold(caller(), 10).settle(settlement(10))
    house.hold(caller(), 5)
    with pytest.raises(InsufficientQuota):
        house.hold(caller(usd(20)), 6)
    house.hold(caller(usd(20, "day")), 5)
    with pytest.raises(InsufficientQuota):
        house.hold(caller(usd(20, "week")), 1)
    house.hold(caller(usd(21, "month")), 1)


def test_an_end_may_cost_more_than_was_held_and_the_next_request_pays_for_it() -> None:
    house = House()
    someone = caller(usd(20))
    assert house.hold(someone, 10).settle(settlement(25)) == Money(25, "USD")
    assert (house.ledger.counts.overdrafts, house.ledger.counts.overdraft) == (1, 15)
    with pytest.raises(InsufficientQuota, match="0 USD are left"):
        house.hold(someone, 1)


def test_what_costs_nothing_is_not_refused_for_a_budget() -> None:
    house = House()
    someone = caller(usd(0))
    free = Price("CNY", "self-hosted", "m", rates_of({"input": 0}))
    assert house.ledger.refusal(someone, "m", free) is None
    assert house.hold(someone, 0, "CNY").settle(settlement(5, free)) == Money(0, "CNY")


def test_a_budget_in_another_currency_refuses_and_says_how_to_mend_it() -> None:
    house = House()
    someone = caller(usd(10**9))
    yuan = Price("CNY", "test", "m", rates_of({"input": 1}))
    refusal = house.ledger.refusal(someone, "m", yuan)
    assert refusal is not None
    assert (refusal.status, refusal.code, refusal.param) == (403, "currency_mismatch", "model")
    assert "USD" in refusal.message and "CNY" in refusal.message and "[[prices]]" in refusal.message
    with pytest.raises(Forbidden, match="CNY"):
        house.hold(someone, 1, "CNY")
    assert house.ledger.refusal(caller(), "m", yuan) is None
    assert house.ledger.refusal(someone, "m", PRICE) is None


@dataclass(frozen=True)
class Unpriced:
    policy: str
    budget: bool
    refused: bool


@pytest.mark.parametrize(
    "case",
    [
        Unpriced("auto", False, False),
        Unpriced("auto", True, True),
        Unpriced("allow", True, False),
        Unpriced("refuse", False, True),
    ],
)
def test_a_model_without_a_price_is_let_pass_or_refused_by_policy(case: Unpriced) -> None:
    house = House(case.policy)  # type: ignore[arg-type]
    someone = caller(None, usd(10) if case.budget else None)
    if case.refused:
        with pytest.raises(Forbidden, match=r"\[\[prices\]\]") as caught:
            house.hold(someone, None)
        assert caught.value.code == "model_unpriced"
        assert house.journal.rows == []
    else:
        assert house.hold(someone, None).settle(settlement(7, None)) is None
        assert [house.journal.holds()[0].amount, house.journal.holds()[0].currency] == [None, None]
        assert (house.journal.ends()[0].state, house.journal.ends()[0].charged) == ("settled", 0)
    assert (house.ledger.refusal(someone, "m", None) is not None) == case.refused


def test_a_call_that_ends_at_a_deployment_of_another_currency_is_charged_in_that_one() -> None:
    house = House()
    yuan = Price("CNY", "test", "m", rates_of({"input": 1_000_000}))
    assert house.hold(caller(), 10).settle(settlement(7, yuan)) == Money(7, "CNY")
    assert house.journal.ends()[0].currency == "CNY"
    assert house.balances.purse("key_1", "USD").total == 0
    assert house.balances.purse("key_1", "CNY").total == 7


def test_an_unpriced_hold_that_ends_at_a_priced_deployment_is_charged() -> None:
    house = House()
    assert house.hold(caller(), None).settle(settlement(7)) == Money(7, "USD")
    assert house.balances.purse("acc_1", "USD").total == 7


def test_a_hold_that_cannot_be_written_reserves_nothing() -> None:
    house = House()
    someone = caller(usd(10))
    house.journal.failure = Unavailable("the journal is full")
    with pytest.raises(Unavailable):
        house.hold(someone, 10)
    house.journal.failure = None
    house.hold(someone, 10)


def test_an_end_that_cannot_be_written_leaves_the_hold_open() -> None:
    house = House()
    hold = house.hold(caller(usd(10)), 10)
    house.journal.failure = Unavailable("the journal is full")
    with pytest.raises(Unavailable):
        hold.settle(settlement(5))
    assert (hold.state, house.ledger.counts.open) == ("held", 1)
    house.journal.failure = None
    hold.settle(settlement(5))


def test_the_ledger_counts_its_holds() -> None:
    house = House()
    holds: list[Hold] = [house.hold(caller()) for _ in range(4)]
    holds[0].settle(settlement(1))
    holds[1].release()
    holds[2].expire()
    counts = house.ledger.counts
    assert (counts.open, counts.settled, counts.released, counts.expired) == (1, 1, 1, 1)


def test_one_request_may_cost_no_more_than_its_limits_say() -> None:
    house = House()
    limits = Limits(request_nano=100, request_currency="USD")
    who = Caller("key_1", "key", "acc_1", (Subject("key_1", "key", "key", limits, (usd(1_000),)),))
    assert house.hold(who, 100).amount == 100
    with pytest.raises(InsufficientQuota, match=r"allow 0\.0000001 USD for one request"):
        house.hold(who, 101)
    assert house.hold(who, 500, least=60).amount == 100  # it names no cap: it is held to what it may cost
    with pytest.raises(InsufficientQuota):
        house.hold(who, 500, least=101)
    with pytest.raises(Forbidden, match="limit of a request"):
        house.hold(Caller("key_1", "key", "acc_1", (Subject("key_1", "key", "key", limits),)), 5, "CNY")
    assert house.ledger.allowed(who, Money(90, "USD"), None) == Money(90, "USD")
    assert house.ledger.allowed(who, Money(900, "USD"), 50) == Money(100, "USD")
