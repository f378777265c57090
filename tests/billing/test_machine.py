"""Any interleaving of holds, ends, budget edits, days and crashes, against a model that keeps its books another way.

The model is a list of holds; what a subject has spent and reserved in a period is added up from it each time. So the
state machine holds, on both databases: a hold ends exactly once, nothing is admitted beyond a budget, a refusal has a
reason, what a crash takes is what was not flushed, and the books verify at any moment.
"""

import datetime as dt
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from posthouse.billing.balances import day_of
from posthouse.billing.ledger import Hold
from posthouse.billing.model import HoldEnded, HoldState, Price
from posthouse.billing.verify import verify
from posthouse.core.caller import Budget, Caller, Limits, Period, Subject
from posthouse.core.errors import InsufficientQuota
from posthouse.storage.database import Database
from tests.billing.fakes import PRICE
from tests.billing.stored import StoredHouse, empty

KEYS = ("key_1", "key_2", "key_3")
ACCOUNTS = {"key_1": "acc_1", "key_2": "acc_1", "key_3": "acc_2"}
PERIODS: tuple[Period, ...] = ("total", "day", "week", "month")
PRICES = {"USD": PRICE, "CNY": Price("CNY", "test", "m", PRICE.rates)}
budgets = st.one_of(st.none(), st.builds(Budget, st.integers(0, 60), st.just("USD"), st.sampled_from(PERIODS)))


class Known:
    """A hold as the model knows it, and as it was when the journal was last flushed."""

    def __init__(self, hold: Hold, began: dt.date) -> None:
        self.hold = hold
        self.began = began
        self.key = hold.key_id
        self.state: HoldState = "held"
        self.amount = hold.amount or 0
        self.charges: dict[str, int] = {}
        self.flushed: tuple[HoldState, dict[str, int]] | None = None

    def end(self, state: HoldState, currency: str = "USD", charge: int = 0) -> None:
        self.state = state
        self.charges = {currency: charge} if charge else {}

    def counts(self, currency: str) -> int:
        if self.state == "held":
            return self.amount if self.hold.currency == currency else 0
        return self.charges.get(currency, 0)


def first_day(period: Period, today: dt.date) -> dt.date:
    match period:
        case "total":
            return dt.date.min
        case "day":
            return today
        case "week":
            return today - dt.timedelta(days=today.isoweekday() - 1)
        case "month":
            return dt.date(today.year, today.month, 1)


class Books(RuleBasedStateMachine):
    database: Database  # set by the test

    @initialize()
    def open(self) -> None:
        empty(self.database)
        self.house = StoredHouse(self.database)
        self.known: list[Known] = []
        self.budgets: dict[str, Budget | None] = {}

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.house.close()

    # What can happen

    @rule(subject=st.sampled_from([*KEYS, "acc_1", "acc_2"]), budget=budgets)
    def edit_budget(self, subject: str, budget: Budget | None) -> None:
        self.budgets[subject] = budget

    @rule(key=st.sampled_from(KEYS), amount=st.integers(0, 30))
    def hold(self, key: str, amount: int) -> None:
        exceeded = [
            budget
            for subject in (key, ACCOUNTS[key])
            if (budget := self.budgets.get(subject)) is not None
            and self.committed(subject, budget.period) + amount > budget.nano
        ]
        try:
            hold = self.house.hold(self.caller(key), amount)
        except InsufficientQuota:
            assert exceeded, "refused though every budget covers it"
            return
        assert not exceeded or amount == 0, "admitted beyond a budget"
        self.known.append(Known(hold, self.today()))

    @rule(key=st.sampled_from(KEYS), amount=st.integers(0, 30))
    def hold_in_another_currency(self, key: str, amount: int) -> None:
        if not any(self.budgets.get(subject) for subject in (key, ACCOUNTS[key])):
            self.known.append(Known(self.house.hold(self.caller(key), amount, "CNY"), self.today()))

    @precondition(lambda self: self.opened())
    @rule(data=st.data(), tokens=st.integers(0, 60), currency=st.sampled_from(["USD", "USD", "CNY"]))
    def settle(self, data: st.DataObject, tokens: int, currency: str) -> None:
        known = data.draw(st.sampled_from(self.opened()))
        cost = self.house.settle(known.hold, tokens, PRICES[currency])
        assert cost is not None
        assert (cost.nano, cost.currency) == (tokens, currency)
        known.end("settled", currency, tokens)

    @precondition(lambda self: self.opened())
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        known = data.draw(st.sampled_from(self.opened()))
        self.house.release(known.hold)
        known.end("released")

    @precondition(lambda self: any(known.state != "held" for known in self.known))
    @rule(data=st.data())
    def end_again(self, data: st.DataObject) -> None:
        known = data.draw(st.sampled_from([known for known in self.known if known.state != "held"]))
        verbs: tuple[Callable[[], object], ...] = (
            known.hold.release,
            known.hold.expire,
            lambda: self.house.settle(known.hold, 1),
        )
        for verb in verbs:
            with pytest.raises(HoldEnded):
                verb()

    @rule(hours=st.sampled_from([1, 7, 24, 24 * 8, 24 * 32]))
    def time_passes(self, hours: int) -> None:
        self.house.clock.now += hours * 3600

    @rule()
    def flush(self) -> None:
        self.house.journal.flush()
        for known in self.known:
            known.flushed = (known.state, known.charges)

    @rule()
    def apply(self) -> None:
        self.house.journal.apply()

    @rule()
    def crash(self) -> None:
        self.house.restart()
        self.known = [known for known in self.known if known.flushed is not None]
        for known in self.known:
            assert known.flushed is not None
            known.state, known.charges = known.flushed
            if known.state == "held":
                known.end("expired")
            known.hold.state = known.state  # an object of the life before; no request has it any more
            known.flushed = (known.state, known.charges)

    @rule()
    def verify(self) -> None:
        self.flush()
        self.house.journal.apply()
        found = verify(self.database, self.house.clock(), max_hold_seconds=10 * 365 * 86_400)
        assert found.problems == ()
        assert found.holds_open == len(self.opened())

    # What must always hold

    @invariant()
    def balances_are_what_the_holds_add_up_to(self) -> None:
        if not hasattr(self, "house"):
            return
        today = day_of(int(self.house.clock() * 1000))
        for subject in (*KEYS, "acc_1", "acc_2"):
            for currency in PRICES:
                purse = self.house.ledger._balances.purse(subject, currency)
                for period in PERIODS:
                    counted = purse.committed(Budget(0, currency, period), today)
                    assert counted == self.committed(subject, period, currency)

    @invariant()
    def open_holds_are_counted(self) -> None:
        if hasattr(self, "house"):
            assert self.house.ledger.counts.open == len(self.opened())

    # The model

    def opened(self) -> list[Known]:
        return [known for known in self.known if known.state == "held"]

    def today(self) -> dt.date:
        return dt.datetime.fromtimestamp(self.house.clock(), dt.UTC).date()

    def committed(self, subject: str, period: Period, currency: str = "USD") -> int:
        first = first_day(period, self.today())
        return sum(
            known.counts(currency)
            for known in self.known
            if subject in (known.key, ACCOUNTS[known.key]) and known.began >= first
        )

    def caller(self, key: str) -> Caller:
        account = ACCOUNTS[key]
        subjects = (
            Subject(key, "key", key, Limits(), tuple(filter(None, [self.budgets.get(key)]))),
            Subject(account, "account", account, Limits(), tuple(filter(None, [self.budgets.get(account)]))),
        )
        return Caller(key, key, account, subjects)


def test_no_interleaving_overruns_a_budget_ends_a_hold_twice_or_loses_a_charge(database: Database) -> None:
    books = type("BooksHere", (Books,), {"database": database})
    examples = 40 if database.kind == "sqlite" else 15
    run_state_machine_as_test(
        books,
        settings=settings(
            max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
