"""What is taken for a request before anybody is asked: by this one process, or by all replicas together.

One process alone compares limits and budgets in memory and takes from both at once; nothing can come between, since
nothing waits (`Admission.admit` does it itself). Replicas that share a Redis take there, by `Replica.take`. (ADR 8)

Above: admission. Below: the shared gate (limits), the ledger (billing).
"""

from posthouse.billing.balances import day_of
from posthouse.billing.ledger import Ledger, not_covered
from posthouse.billing.truth import kept_for, purse_of
from posthouse.core.caller import Caller, Subject
from posthouse.core.money import Money
from posthouse.gateway.passage import Passage
from posthouse.gateway.replica import Replica
from posthouse.limits.demand import Demand, NotCovered, Purse
from posthouse.limits.model import LimitReached
from posthouse.storage.journal import Journal
from posthouse.telemetry import Telemetry


class SharedTaking:
    """Takes from the limits and budgets of all replicas."""

    def __init__(self, replica: Replica, ledger: Ledger, journal: Journal, telemetry: Telemetry) -> None:
        self._gate = replica.gate
        self._installation = replica.installation
        self._journal = journal
        self._ledger = ledger
        self._telemetry = telemetry

    async def take(self, passage: Passage) -> None:
        """All that the passage wants or nothing, into it. LimitReached, InsufficientQuota, Forbidden, Unavailable."""
        wanted = passage.wanted
        assert wanted is not None
        call = passage.call
        caller, model = call.caller, call.request.model
        reserve = wanted.reserve
        if reserve is None and (refusal := self._ledger.unpriced(caller, model)) is not None:
            raise refusal
        if reserve is not None and reserve.nano:
            reserve = self._ledger.allowed(caller, reserve, wanted.least)
        now_ms = int(self._gate.now() * 1000)
        budgeted = [] if reserve is None or not reserve.nano else _budgeted(caller, reserve)
        demand = Demand(
            self._installation,
            call.id,
            wanted.subjects,
            wanted.tokens,
            wanted.images,
            [_purse(subject, reserve, wanted.least, now_ms) for subject in budgeted] if reserve is not None else (),
        )
        try:
            taken = await self._gate.take(demand)
        except LimitReached as error:
            self._telemetry.rejected(error.scope, error.dimension)
            raise
        except NotCovered as error:
            assert reserve is not None
            self._ledger.counts.refused += 1
            subject = next(one for one in budgeted if error.purse.id.startswith(f"{one.id}|"))
            raise not_covered(subject, error.left, reserve) from None
        passage.grant = taken
        if reserve is not None and demand.purses:
            reserve = Money(taken.amount, reserve.currency)
        passage.hold = self._ledger.record(caller, call.id, model, reserve, now_ms)
        self._journal.flush_soon()


def _budgeted(caller: Caller, reserve: Money) -> list[Subject]:
    """The subjects with a budget, all in the currency of the reserve: the plan was made so."""
    found = [subject for subject in caller.subjects if subject.budget is not None]
    assert all(one.budget is not None and one.budget.currency == reserve.currency for one in found)
    return found


def _purse(subject: Subject, reserve: Money, least: int | None, now_ms: int) -> Purse:
    budget = subject.budget
    assert budget is not None
    return Purse(purse_of(subject, budget, day_of(now_ms)), budget.nano, reserve.nano, least, kept_for(budget))
