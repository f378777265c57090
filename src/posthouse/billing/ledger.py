"""Holds: reserve before, settle after, each exactly once. (Rules: docs/billing.md; the state table: model.py.)

Everything here is synchronous and in memory, and appends to the journal; whoever calls flushes it: the hold before the
first byte of the answer leaves, its end before the last. So comparing a budget and reserving from it is one step that
nothing can come between, and no request awaits the database.

Above: gateway. Below: the journal (`Appends`) and the balances. Not for several threads at once: the event loop's.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from posthouse.billing.balances import Balances, Purse, day_of
from posthouse.billing.corrections import Correction, newest
from posthouse.billing.folds import REBUILT
from posthouse.billing.model import TRANSITIONS, HoldEnded, HoldEvent, HoldState, Price, Settlement, UnpricedPolicy
from posthouse.billing.periods import Periods
from posthouse.billing.recovery import expire_open
from posthouse.billing.refusals import mismatch, no_price, not_covered, not_within
from posthouse.billing.stands import Stand, Stands
from posthouse.core.caller import Budget, Caller, Subject
from posthouse.core.errors import Forbidden, Unavailable
from posthouse.core.money import Money
from posthouse.storage.database import Database
from posthouse.storage.revisions import read
from posthouse.storage.rows import END, HOLD, EndRow, EndState, HoldRow, JournalRow


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
        "model",
        "purses",
        "state",
        "subjects",
    )

    def __init__(self, ledger: "Ledger", row: HoldRow, day: int, subjects: Sequence[Subject]) -> None:
        self._ledger = ledger
        self.id = row.id
        self.key_id = row.key_id
        self.account_id = row.account_id
        self.model = row.model
        self.amount = row.amount
        self.currency = row.currency
        self.created_at = row.created_at
        self.day = day
        self.subjects = subjects
        self.purses: tuple[Purse | Stand, ...] = ()
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
        self._periods = Periods()
        self._open: dict[str, Hold] = {}
        self.stands = Stands(self._periods)
        self.doubts = False
        self._doubted: set[str] | None = set()
        self.counts = Counts()
        self.above: Callable[[str], Iterable[str]] = lambda _: ()
        """The ids of the accounts above one."""
        self.corrected_to = 0  # the number of the last correction that the balances know of
        self.rebuilt = 0  # as often as folds had been made anew when these were read

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
            corrected_to, rebuilt = newest(connection), read(connection).get(REBUILT, 0)
        ledger = cls(journal, balances, clock, unpriced, owner)
        ledger.corrected_to, ledger.rebuilt = corrected_to, rebuilt
        ledger.counts.recovered = expired
        return ledger

    def heed(self, made: Iterable[Correction]) -> None:
        """Counts corrections as spent, each once and in the order of their numbers."""
        subjects: set[str] = set()
        for one in made:
            if one.number > self.corrected_to:
                self.corrected_to = one.number
                moved = {*one.subjects, *self.above(one.account_id)}
                for subject_id in moved:
                    self._balances.purse(subject_id, one.currency).add(day_of(one.created_at).number, one.amount)
                self.stands.correct(one, moved, self.now_ms())
                subjects |= moved
        if subjects and self._corrected is not None:
            self._corrected(subjects)

    def follow(self, clock: Callable[[], float], corrected: Callable[[set[str]], None]) -> None:
        """One server among several: from here on time is what `clock` says, in seconds since the epoch, and the keys
        and accounts whose spending was corrected are told to `corrected`."""
        self._clock = clock
        self._corrected = corrected

    def now_ms(self) -> int:
        return int(self._clock() * 1000)

    def doubt(self, subjects: Iterable[str] | None) -> None:
        """What is known of these keys and accounts (None: all) is not what the database says: from here on it is asked
        once for each of their budgets that is needed."""
        self.doubts = True
        self.stands.drop_of(subjects)
        self._doubted = None if subjects is None or self._doubted is None else self._doubted | {*subjects}

    def doubted(self, subject_id: str) -> bool:
        return self.doubts and (self._doubted is None or subject_id in self._doubted)

    def begin_stand(self, subject_id: str, budget: Budget) -> Stand:
        """A stand of this budget, with the open holds of its current period in it; what was spent is to be read."""
        stand = self.stands.begin(subject_id, budget, self.now_ms())
        for hold in self._open.values():
            mine = hold.created_at >= stand.span.starts and hold.currency == budget.currency
            if mine and budget.applies(hold.model) and subject_id in self._line(hold):
                stand.names[hold.id] = None
                stand.add(hold.day, hold.amount or 0)
                hold.purses = (*hold.purses, stand)
        return stand

    def refusal(self, caller: Caller, model: str, price: Price | None) -> Forbidden | None:
        """Why a deployment with this price must not serve this caller, None where it may.

        The gateway leaves such deployments out of its plan, so that no call of a caller with a budget is settled in
        another currency or without a price.
        """
        if price is None:
            return self._unpriced_refusal(caller, model)
        for subject in caller.subjects:
            for budget in subject.budgets:
                if budget.currency != price.currency and not price.free and budget.applies(model):
                    return mismatch(subject, budget.currency, price.currency)
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
                    for budget in subject.budgets:
                        if budget.model is None or budget.model == model:
                            amount = min(amount, self._covered(subject, budget, reserve, least))
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
            hold.purses = self._purses(hold, row.currency)
            for purse in hold.purses:
                purse.add(hold.day, row.amount)
        self._open[row.id] = hold
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
            EndRow(
                hold.id,
                state,
                now_ms,
                charged,
                currency,
                source,
                key_id,
                account_id,
                provider,
                hold.day,
                reason,
                hold.model,
            ),
        )
        hold.state = state
        hold.charged = charged
        self._open.pop(hold.id, None)
        amount = hold.amount or 0
        if currency == hold.currency:
            for purse in hold.purses:
                purse.add(hold.day, charged - amount)
        else:
            for purse in hold.purses:
                purse.add(hold.day, -amount)
            if charged and currency is not None:
                for purse in self._purses(hold, currency):
                    purse.add(hold.day, charged)
        self._count(state, charged - amount)

    def _purses(self, hold: Hold, currency: str) -> tuple[Purse | Stand, ...]:
        purse, subjects = self._balances.purse, hold.subjects
        if not self.stands:
            return tuple([purse(subject.id, currency) for subject in subjects])
        stands = self.stands.attached(self._line(hold), currency, hold)
        return (*[purse(subject.id, currency) for subject in subjects], *stands)

    def _line(self, hold: Hold) -> set[str]:
        """The ids of its key, its account and those above it: then, and now."""
        return {*[subject.id for subject in hold.subjects], *self.above(hold.account_id)}

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

    def _covered(self, subject: Subject, budget: Budget, reserve: Money, least: int | None) -> int:
        """How much of the reserve this budget covers: all of it, or what is left where that is enough."""
        if budget.currency != reserve.currency:
            self.counts.refused += 1
            raise mismatch(subject, budget.currency, reserve.currency)
        left = budget.nano - self._committed(subject, budget)
        if reserve.nano <= left:
            return reserve.nano
        if least is not None and 0 < left and least <= left:
            return left
        self.counts.refused += 1
        raise not_covered(subject, budget, left, reserve)

    def _committed(self, subject: Subject, budget: Budget) -> int:
        """Spent and held in the current period, in nano-units. Unavailable where that has yet to be read."""
        if budget.plain and not self.doubted(subject.id):
            return self._balances.purse(subject.id, budget.currency).committed(budget, self._day)
        committed = self.stands.committed(subject.id, budget, self.now_ms())
        if committed is None:
            raise Unavailable("The budget of this key is being read. Try again.")
        return committed

    def _within(self, subject: Subject, reserve: Money, least: int | None) -> int:
        """How much of the reserve one request of this subject may cost."""
        most, currency = subject.limits.request_nano, subject.limits.request_currency
        assert most is not None and currency is not None  # they go with each other, and the caller of this has looked
        if currency != reserve.currency:
            self.counts.refused += 1
            raise mismatch(subject, currency, reserve.currency, "limit of a request")
        if reserve.nano <= most or (least is not None and least <= most):
            return min(reserve.nano, most)
        self.counts.refused += 1
        raise not_within(subject, reserve)

    def _unpriced_refusal(self, caller: Caller, model: str) -> Forbidden | None:
        policy = caller.unpriced or self._unpriced
        if policy == "allow":
            return None
        why = "this installation refuses models without one"
        if caller.unpriced is not None:
            why = "this key or its account refuses models without one"
        elif policy == "auto":
            if not caller.has_budget:
                return None
            why = "this key or its account has a budget"
        return no_price(model, why)
