"""Codes and webhooks under any order of making, redeeming, revoking, expiring, paying, replaying, forging, refunding,
crashes, and several at once: what accounts have is what a simple model says, and the books are sound."""

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection

from posthouse.accounts.model import NewAccount
from posthouse.billing.codes import CodeDesk, NewBatch, Redeemer
from posthouse.billing.credits import Credit, Maker, NewCredit
from posthouse.billing.payments import PaymentDesk
from posthouse.billing.verify import verify
from posthouse.core.errors import NotFound, PosthouseError
from posthouse.core.money import NANO
from posthouse.storage.database import Database
from tests.api.counter import Counter, checkout, dispute, refund, stripe_headers
from tests.billing.fakes import Clock
from tests.billing.stored import empty

ACCOUNTS = ("machine a", "machine b")
CENT = NANO // 100
accounts = st.sampled_from(ACCOUNTS)
cents = st.integers(1, 50)
which = st.integers(0, 3)


class Broken(Maker):
    """Writes the credit, and then the process dies."""

    def make(self, connection: Connection, new: NewCredit) -> tuple[Credit, bool]:
        super().make(connection, new)
        raise ZeroDivisionError


class Paid:
    """What the model knows of one payment, in cents."""

    def __init__(self) -> None:
        self.account = ""
        self.paid = self.refunded = self.taken = 0
        self.disputes: dict[str, int] = {}

    def settle(self) -> int:
        """What is taken back now."""
        due = min(self.paid, self.refunded + sum(self.disputes.values())) if self.account else 0
        back, self.taken = max(0, due - self.taken), max(due, self.taken)
        return back


class Tills(RuleBasedStateMachine):
    database: Database

    @initialize()
    def begin(self) -> None:
        empty(self.database)
        self.clock = Clock()
        self.counter = Counter(self.database, self.clock)
        directory = self.counter.directory
        self.ids: dict[str, str] = {}
        for name in ACCOUNTS:
            try:
                self.ids[name] = directory.get_account(name).id
            except NotFound:
                self.ids[name] = directory.create_account(NewAccount(name=name)).id
        self.has = dict.fromkeys(ACCOUNTS, 0)  # in cents
        self.codes: list[dict[str, Any]] = []
        self.batches: list[str] = []
        self.told: dict[str, Any] = {}  # events of either kind, and what they said
        self.topups: dict[str, tuple[str, int]] = {}
        self.payments: dict[str, Paid] = {}
        self.next = 0

    def fresh(self, prefix: str) -> str:
        self.next += 1
        return f"{prefix}_{self.next}"

    # Codes

    @rule(count=st.integers(1, 3), worth=cents, lives=st.sampled_from([None, 30, 90]))
    def make_batch(self, count: int, worth: int, lives: int | None) -> None:
        expires = None if lives is None else int(self.clock() * 1000) + lives * 1000
        batch, made = self.counter.till.codes.make(NewBatch("b", worth * CENT, "USD", count, expires, "olga"))
        self.batches.append(batch.id)
        self.codes += [
            {"code": one, "batch": batch.id, "worth": worth, "expires": expires, "state": "open"} for one in made
        ]

    def redeemer(self, account: str) -> Redeemer:
        return Redeemer(self.ids[account], {"USD"}, "key_1")

    def expected(self, code: dict[str, Any]) -> str:
        if code["state"] != "open":
            return {"redeemed": "code_used", "revoked": "code_revoked"}[code["state"]]
        over = code["expires"] is not None and code["expires"] <= self.clock() * 1000
        return "code_expired" if over else "open"

    @precondition(lambda self: self.codes)
    @rule(at=st.integers(0, 99), account=accounts)
    def redeem(self, at: int, account: str) -> None:
        code = self.codes[at % len(self.codes)]
        expected = self.expected(code)
        try:
            self.counter.till.codes.redeem(code["code"], self.redeemer(account))
        except PosthouseError as error:
            assert error.code == expected
            return
        assert expected == "open"
        code["state"] = "redeemed"
        self.has[account] += code["worth"]

    @precondition(lambda self: self.codes)
    @rule(at=st.integers(0, 99))
    def redeem_at_once(self, at: int) -> None:
        code = self.codes[at % len(self.codes)]
        expected = self.expected(code)
        desk = self.counter.till.codes
        acts = [lambda a=account: desk.redeem(code["code"], self.redeemer(a)) for account in (*ACCOUNTS, *ACCOUNTS)]
        found = at_once(acts)
        won = [account for account, one in zip((*ACCOUNTS, *ACCOUNTS), found, strict=True) if isinstance(one, Credit)]
        lost = {getattr(one, "code", None) for one in found if not isinstance(one, Credit)}
        if expected == "open":
            assert (len(won), lost) == (1, {"code_used"})
            code["state"] = "redeemed"
            self.has[won[0]] += code["worth"]
        else:
            assert (won, lost) == ([], {expected})

    @precondition(lambda self: self.codes)
    @rule(at=st.integers(0, 99), account=accounts)
    def die_while_redeeming(self, at: int, account: str) -> None:
        code = self.codes[at % len(self.codes)]
        with pytest.raises((ZeroDivisionError, PosthouseError)):
            CodeDesk(self.database, Broken(self.clock)).redeem(code["code"], self.redeemer(account))

    @precondition(lambda self: self.batches)
    @rule(at=st.integers(0, 99))
    def revoke(self, at: int) -> None:
        batch = self.batches[at % len(self.batches)]
        self.counter.till.codes.revoke(batch)
        for code in self.codes:
            if code["batch"] == batch and code["state"] == "open":
                code["state"] = "revoked"

    @rule(seconds=st.integers(1, 60))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    # Webhooks

    @rule(number=which, account=accounts, amount=cents)
    def topup(self, number: int, account: str, amount: int) -> None:
        event = f"bank-{number}"
        told = {"id": event, "account": account, "amount": f"{amount / 100:.2f}", "currency": "USD"}
        status, answer = self.counter.topup(told)
        known = self.topups.setdefault(event, (account, amount))
        if event not in self.told:
            self.told[event] = told
            self.has[account] += amount
            assert (status, answer["credited"]) == (200, True)
        elif known == (account, amount):
            assert (status, answer["credited"]) == (200, False)
        else:
            assert (status, answer["error"]["code"]) == (409, "credit_exists")

    @rule(
        number=which, account=accounts, intent=which, amount=cents, kind=st.sampled_from(["pay", "refund", "dispute"])
    )
    def stripe(self, number: int, account: str, intent: int, amount: int, kind: str) -> None:
        event, pi = f"evt_{kind}_{number}", f"pi_{intent}"
        name = f"dp_{intent}_{amount % 2}"
        made = {
            "pay": lambda: checkout(event, pi, account, amount),
            "refund": lambda: refund(event, pi, amount),
            "dispute": lambda: dispute(event, name, pi, amount),
        }[kind]()
        paid = self.payments.setdefault(pi, Paid())
        known = self.told.get(event)
        bad = known is not None and known != made
        if known is None and kind == "pay":
            bad = bool(paid.account) and (paid.account, paid.paid) != (account, amount)
        elif known is None and kind == "dispute":
            bad = paid.disputes.get(name, amount) != amount
        status, answer = self.counter.stripe(made)
        if bad:
            assert (status, answer["error"]["code"]) == (409, "event_reused")
            return
        assert status == 200, answer
        if known is not None:
            assert answer == {"credited": False, "credits": []}
            return
        self.told[event] = made
        if kind == "pay" and not paid.account:
            paid.account, paid.paid = account, amount
            self.has[account] += amount
        elif kind == "refund":
            paid.refunded = max(paid.refunded, amount)
        elif kind == "dispute":
            paid.disputes[name] = amount
        if paid.account:
            self.has[paid.account] -= paid.settle()

    @rule(
        account=accounts, amount=cents, how=st.sampled_from(["secret", "stale", "early", "body", "amount", "currency"])
    )
    def forge(self, account: str, amount: int, how: str) -> None:
        event = checkout(self.fresh("evt_forged"), self.fresh("pi_forged"), account, amount)
        now = self.clock.now
        if how == "secret":
            status, _ = self.counter.stripe(event, secret="another-secret-of-the-tests")
        elif how in ("stale", "early"):
            self.clock.now += -301 if how == "stale" else 301
            body, headers = signed_stripe(event, self.clock.now)
            self.clock.now = now
            status, _ = self.counter.post("/webhooks/stripe", body, headers)
        elif how == "body":
            body, headers = signed_stripe(event, now)
            status, _ = self.counter.post("/webhooks/stripe", body.replace(b'"usd"', b'"eur"'), headers)
        else:
            event["data"]["object"]["amount_total" if how == "amount" else "currency"] = (
                -amount if how == "amount" else 5
            )
            status, _ = self.counter.stripe(event)
        assert 400 <= status < 500

    @rule(account=accounts, amount=cents)
    def die_while_paying(self, account: str, amount: int) -> None:
        self.counter.till.payments = PaymentDesk(self.database, Broken(self.clock))
        status, _ = self.counter.stripe(checkout(self.fresh("evt_died"), self.fresh("pi_died"), account, amount))
        assert status == 500
        self.counter.till.payments = PaymentDesk(self.database, Maker(self.clock))

    # What always holds

    @invariant()
    def accounts_have_what_the_model_says(self) -> None:
        for name, has in self.has.items():
            found = self.counter.till.credits.balances(self.ids[name])
            assert sum(one.paid_in for one in found) == has * CENT

    def teardown(self) -> None:
        if hasattr(self, "clock"):
            found = verify(self.database, self.clock())
            assert found.problems == ()


def signed_stripe(event: dict[str, Any], now: float) -> tuple[bytes, Any]:
    body = json.dumps(event).encode()
    return body, stripe_headers(body, now)


def at_once(acts: Sequence[Callable[[], object]]) -> list[object]:
    """What each gives, or the error that it raises, all begun together."""
    barrier = threading.Barrier(len(acts))
    found: list[object] = [None] * len(acts)

    def run(number: int) -> None:
        barrier.wait(20)
        try:
            found[number] = acts[number]()
        except PosthouseError as error:
            found[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def test_no_order_of_codes_and_events_credits_what_nobody_has_paid(books: Database) -> None:
    class Here(Tills):
        """On this database."""

        database = books

    run_state_machine_as_test(
        Here, settings=settings(max_examples=15, stateful_step_count=40, deadline=None, database=None)
    )
