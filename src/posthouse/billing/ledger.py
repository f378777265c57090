"""Holds: reserve before, settle after, each exactly once. (Rules: docs/billing.md; the state table: model.py.)

Everything here is synchronous and in memory, and appends to the journal; whoever calls flushes it: the hold before the
first byte of the answer leaves, its end before the last. So comparing a budget and reserving from it is one step that
nothing can come between, and no request awaits the database.

Above: gateway. Below: the journal (`Appends`) and the balances. Not for several threads at once: the event loop's.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from msgspec import Struct

from posthouse.billing.balances import DAY_MS, Balances, Day, Purse, day_of
from posthouse.billing.corrections import Correction, newest
from posthouse.billing.dashboard import Standing
from posthouse.billing.model import TRANSITIONS, HoldEnded, HoldEvent, HoldState, Price, Settlement, UnpricedPolicy
from posthouse.billing.recovery import expire_open
from posthouse.core.caller import Caller, Period, Subject
from posthouse.core.errors import Forbidden, InsufficientQuota
from posthouse.core.money import Money, format_nano
from posthouse.storage.database import Database
from posthouse.storage.rows import END, HOLD, EndRow, EndState, HoldRow, JournalRow

_PERIODS: Final = {"total": "total", "day": "daily", "week": "weekly", "month": "monthly"}


class Appends(Protocol):
    """The part of the journal that billing needs."""

    def append(self, kind: str, row: JournalRow, /) -> None: ...


class Counts(Struct):
    """What happened since start. `overdraft` is nano-units, of whatever currency, charged beyond what was held;
    `recovered` are holds that a former life left open."""

    open: int = 0
    settled: int = 0
    released: int = 0
    expired: int = 0
    refused: int = 0
    overdrafts: int = 0
    overdraft: int = 0
    recovered: int = 0


class Hold:
    """A reservation of one request. Ends exactly once, by `settle`, `release` or `expire`; HoldEnded a second time.

    `amount` is nano-units of `currency`, both None where the model has no price; `created_at` ms since the epoch; `day`
    the UTC day (yyyymmdd) that bears the cost; `charged` is None until the hold has ended; `purses` the balances that
    it is part of, kept because looking them up again costs 0.5 us.
    """

    __slots__ = (
        "_ledger",
        "account_id",
        "amount",
        "charged",
        "created_at",
        "currency",
        "day",
        "id",
        "key_id",
        "purses",
        "state",
        "subjects",
    )

    def __init__(self, ledger: "Ledger", row: HoldRow, day: int, subjects: Sequence[Subject]) -> None:
        self._ledger = ledger
        self.id = row.id
        self.key_id = row.key_id
        self.account_id = row.account_id
        self.amount = row.amount
        self.currency = row.currency
        self.created_at = row.created_at
        self.day = day
        self.subjects = subjects
        self.purses: tuple[Purse, ...] = ()
        self.state: HoldState = "held"
        self.charged: int | None = None

    def settle(self, settlement: Settlement) -> Money | None:
        """Charges what was consumed and gives the cost; None where the model has no price."""
        price = settlement.price
        cost = None if price is None else Money(price.cost(settlement.usage), price.currency)
        self._ledger.end(self, "settle", cost, settlement, settlement.reason)
        return cost

    def release(self, reason: str | None = None) -> None:
        """Gives everything back: nothing was consumed."""
        self._ledger.end(self, "release", None, None, reason)

    def expire(self, reason: str | None = None) -> None:
        """Ends a hold whose request cannot account for itself any more; charges nothing."""
        self._ledger.end(self, "expire", None, None, reason)


class Ledger:
    """Makes and ends holds. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        journal: Appends,
        balances: Balances,
        clock: Callable[[], float] = time.time,
        unpriced: UnpricedPolicy = "auto",
        owner: str | None = None,
    ) -> None:
        self._journal = journal
        self._balances = balances
        self._clock = clock
        self._unpriced: UnpricedPolicy = unpriced
        self._owner = owner
        self._corrected: Callable[[set[str]], None] | None = None
        self._day = day_of(int(clock() * 1000))
        self.counts = Counts()
        self.corrected_to = 0  # the number of the last correction that the balances know of

    @classmethod
    def open(
        cls,
        database: Database,
        journal: Appends,
        unpriced: UnpricedPolicy = "auto",
        clock: Callable[[], float] = time.time,
        owner: str | None = None,
    ) -> "Ledger":
        """The ledger of a process that begins to serve: its journal is applied. `owner` is the name of a replica, None
        where no other server writes holds."""
        now_ms = int(clock() * 1000)
        expired = expire_open(database, now_ms, owner)
        balances = Balances()
        with database.snapshot() as connection:
            balances.load(connection, now_ms)
            corrected_to = newest(connection)
        ledger = cls(journal, balances, clock, unpriced, owner)
        ledger.corrected_to = corrected_to
        ledger.counts.recovered = expired
        return ledger

    def heed(self, made: Iterable[Correction]) -> None:
        """Counts corrections as spent, each once and in the order of their numbers."""
        subjects: set[str] = set()
        for one in made:
            if one.number > self.corrected_to:
                self.corrected_to = one.number
                subjects.update(one.subjects)
                for subject_id in one.subjects:
                    self._balances.purse(subject_id, one.currency).add(day_of(one.created_at).number, one.amount)
        if subjects and self._corrected is not None:
            self._corrected(subjects)

    def follow(self, clock: Callable[[], float], corrected: Callable[[set[str]], None]) -> None:
        """One server among several: from here on time is what `clock` says, in seconds since the epoch, and the keys
        and accounts whose spending was corrected are told to `corrected`."""
        self._clock = clock
        self._corrected = corrected

    def standing(self, caller: Caller) -> Standing:
        """How the caller's key stands with the budget, its own or its account's, that has the least left."""
        today = day_of(int(self._clock() * 1000))
        found = Standing(0, None, None)
        for subject in caller.subjects:
            budget = subject.budget
            if budget is None:
                continue
            left = budget.nano - self._balances.purse(subject.id, budget.currency).committed(budget, today)
            if found.left is None or left < found.left:
                used = self._balances.purse(caller.key_id, budget.currency).committed(budget, today)
                found = Standing(used, left, budget.currency, *_bounds(budget.period, today))
        return found

    def refusal(self, caller: Caller, model: str, price: Price | None) -> Forbidden | None:
        """Why a deployment with this price must not serve this caller, None where it may.

        The gateway leaves such deployments out of its plan, so that no call of a caller with a budget is settled in
        another currency or without a price.
        """
        if price is None:
            return self._unpriced_refusal(caller, model)
        for subject in caller.subjects:
            budget = subject.budget
            if budget is not None and budget.currency != price.currency and not price.free:
                return _mismatch(subject, budget.currency, price.currency)
        return None

    def hold(
        self, caller: Caller, request_id: str, model: str, reserve: Money | None, least: int | None = None
    ) -> Hold:
        """Compares with every budget of the caller and reserves from all of them, or from none.

        `reserve` is the most that the call is expected to cost, None for a model without a price. `least`, in
        nano-units, is given where that is a guess because the caller named no cap: then as little as `least` is
        enough, and the hold takes all that is left. Raises InsufficientQuota, or Forbidden with code `model_unpriced`
        or `currency_mismatch`.
        """
        now_ms = int(self._clock() * 1000)
        day = self._day
        if not day.start_ms <= now_ms < day.end_ms:
            day = self._day = day_of(now_ms)
        amount = currency = None
        if reserve is None:
            refusal = self._unpriced_refusal(caller, model)
            if refusal is not None:
                self.counts.refused += 1
                raise refusal
        else:
            amount, currency = reserve.nano, reserve.currency
            if amount:
                for subject in caller.subjects:
                    if subject.limits.request_nano is not None:
                        amount = min(amount, self._within(subject, reserve, least))
                    if subject.budget is not None:
                        amount = min(amount, self._covered(subject, reserve, least, day))
        return self._begin(
            caller, HoldRow(request_id, caller.key_id, caller.account_id, model, amount, currency, now_ms)
        )

    def allowed(self, caller: Caller, reserve: Money, least: int | None) -> Money:
        """The reserve, or as much of it as one request of this caller may cost, where that is enough.
        InsufficientQuota, Forbidden with code `currency_mismatch`."""
        nano = reserve.nano
        for subject in caller.subjects:
            if subject.limits.request_nano is not None:
                nano = min(nano, self._within(subject, reserve, least))
        return reserve if nano == reserve.nano else Money(nano, reserve.currency)

    def record(self, caller: Caller, request_id: str, model: str, reserve: Money | None, now_ms: int) -> Hold:
        """A hold of what the shared gate has taken from the budgets already, at `now_ms`; nothing is compared here."""
        if not self._day.start_ms <= now_ms < self._day.end_ms:
            self._day = day_of(now_ms)
        amount, currency = (None, None) if reserve is None else (reserve.nano, reserve.currency)
        row = HoldRow(request_id, caller.key_id, caller.account_id, model, amount, currency, now_ms, self._owner)
        return self._begin(caller, row)

    def unpriced(self, caller: Caller, model: str) -> Forbidden | None:
        """Why this caller may not use a model without a price, None where it may."""
        return self._unpriced_refusal(caller, model)

    def _begin(self, caller: Caller, row: HoldRow) -> Hold:
        self._journal.append(HOLD, row)
        # From here on nothing can fail: what is reserved in memory is what the journal says.
        hold = Hold(self, row, self._day.number, caller.subjects)
        if row.amount is not None and row.currency is not None:
            hold.purses = self._purses(caller.subjects, row.currency)
            for purse in hold.purses:
                purse.add(hold.day, row.amount)
        self.counts.open += 1
        return hold

    def end(
        self, hold: Hold, event: HoldEvent, cost: Money | None, settlement: Settlement | None, reason: str | None
    ) -> None:
        """Ends a hold: the one place where it changes. Called by the verbs of `Hold` only."""
        state = TRANSITIONS.get((hold.state, event))
        if state is None or state == "held":
            raise HoldEnded(f"hold {hold.id} is {hold.state}: it cannot {event}")
        if cost is None:
            charged, currency = 0, hold.currency
        else:
            charged, currency = cost.nano, cost.currency
        source = provider = None
        if settlement is not None:
            source, provider = settlement.usage_source, settlement.provider
        now_ms = int(self._clock() * 1000)
        key_id, account_id = hold.key_id, hold.account_id
        self._journal.append(
            END,
            EndRow(hold.id, state, now_ms, charged, currency, source, key_id, account_id, provider, hold.day, reason),
        )
        hold.state = state
        hold.charged = charged
        amount = hold.amount or 0
        if currency == hold.currency:
            for purse in hold.purses:
                purse.add(hold.day, charged - amount)
        else:
            for purse in hold.purses:
                purse.add(hold.day, -amount)
            if charged and currency is not None:
                for purse in self._purses(hold.subjects, currency):
                    purse.add(hold.day, charged)
        self._count(state, charged - amount)

    def _purses(self, subjects: Sequence[Subject], currency: str) -> tuple[Purse, ...]:
        purse = self._balances.purse
        return tuple([purse(subject.id, currency) for subject in subjects])

    def _count(self, state: EndState, excess: int) -> None:
        counts = self.counts
        counts.open -= 1
        if state == "settled":
            counts.settled += 1
            if excess > 0:
                counts.overdrafts += 1
                counts.overdraft += excess
        elif state == "released":
            counts.released += 1
        else:
            counts.expired += 1

    def _covered(self, subject: Subject, reserve: Money, least: int | None, today: Day) -> int:
        """How much of the reserve this subject's budget covers: all of it, or what is left where that is enough."""
        budget = subject.budget
        assert budget is not None  # the caller of this has looked
        if budget.currency != reserve.currency:
            self.counts.refused += 1
            raise _mismatch(subject, budget.currency, reserve.currency)
        left = budget.nano - self._balances.purse(subject.id, budget.currency).committed(budget, today)
        if reserve.nano <= left:
            return reserve.nano
        if least is not None and 0 < left and least <= left:
            return left
        self.counts.refused += 1
        raise not_covered(subject, left, reserve)

    def _within(self, subject: Subject, reserve: Money, least: int | None) -> int:
        """How much of the reserve one request of this subject may cost."""
        most, currency = subject.limits.request_nano, subject.limits.request_currency
        assert most is not None and currency is not None  # they go with each other, and the caller of this has looked
        if currency != reserve.currency:
            self.counts.refused += 1
            raise _mismatch(subject, currency, reserve.currency, "limit of a request")
        if reserve.nano <= most or (least is not None and least <= most):
            return min(reserve.nano, most)
        self.counts.refused += 1
        raise InsufficientQuota(
            f"The limits of this {subject.kind} allow {format_nano(most)} {currency} for one request, and this one may "
            f"cost {format_nano(reserve.nano)}. Shorten the input or lower the output cap."
        )

    def _unpriced_refusal(self, caller: Caller, model: str) -> Forbidden | None:
        if self._unpriced == "allow":
            return None
        why = "this installation refuses models without one"
        if self._unpriced == "auto":
            if not caller.has_budget:
                return None
            why = "this key or its account has a budget"
        return Forbidden(
            f"No price is known for this use of the model {model!r}, and {why}. The operator can set one in "
            f"posthouse.toml: [[prices]] with model, currency, and what it is sold by (input and output, image, "
            f"audio_second, character, search, request); or allow such models with billing.unpriced.",
            param="model",
            code="model_unpriced",
        )


def not_covered(subject: Subject, left: int, reserve: Money) -> InsufficientQuota:
    """`left` nano-units of the subject's budget do not cover the reserve."""
    budget = subject.budget
    assert budget is not None  # whoever asks has compared with it
    return InsufficientQuota(
        f"The {_PERIODS[budget.period]} budget of this {subject.kind} ({format_nano(budget.nano)} "
        f"{budget.currency}) does not cover this request: {format_nano(max(0, left))} "
        f"{budget.currency} are left, and it may cost {format_nano(reserve.nano)}."
    )


def _bounds(period: Period, today: Day) -> tuple[int | None, int | None]:
    """The current period, from (included) to (not included), ms since the epoch."""
    if period == "total":
        return None, None
    start = end = today
    while start.number > today.first(period):
        start = day_of(start.start_ms - DAY_MS)
    while end.first(period) == today.first(period):
        end = day_of(end.end_ms)
    return start.start_ms, end.start_ms


def _mismatch(subject: Subject, budget: str, price: str, what: str = "budget") -> Forbidden:
    return Forbidden(
        f"The {what} of this {subject.kind} is in {budget}, but the price of this model is in {price}, and no rate "
        f"between the two is known. The operator can give one ([[rates]] in posthouse.toml), a price in {budget} "
        f"([[prices]]), or a budget in {price}.",
        param="model",
        code="currency_mismatch",
    )
