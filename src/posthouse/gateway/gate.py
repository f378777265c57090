"""What is taken for a request before anybody is asked: by this one process, or by all replicas together.

One process alone compares limits and budgets in memory and takes from both at once; nothing can come between, since
nothing waits (`Admission.admit` does it itself). Replicas that share a Redis take there, by `Replica.take`. (ADR 8)

Above: admission. Below: the shared gate (limits), the ledger (billing).
"""

from posthouse.billing.ledger import Ledger
from posthouse.billing.periods import Periods
from posthouse.billing.refusals import not_covered
from posthouse.billing.spending import name_of
from posthouse.billing.truth import kept_for
from posthouse.core.caller import Budget, Caller, Subject
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
        self._periods = Periods()

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
        budgeted = {} if reserve is None or not reserve.nano else self._budgeted(caller, model, now_ms)
        demand = Demand(
            self._installation,
            call.id,
            wanted.subjects,
            wanted.tokens,
            wanted.images,
            [
                Purse(name, budget.nano, reserve.nano, wanted.least, kept_for(budget))
                for name, (_, budget) in budgeted.items()
            ]
            if reserve is not None
            else (),
        )
        try:
            taken = await self._gate.take(demand)
        except LimitReached as error:
            self._telemetry.rejected(error.scope, error.dimension)
            raise
        except NotCovered as error:
            assert reserve is not None
            self._ledger.counts.refused += 1
            raise not_covered(*budgeted[error.purse.id], error.left, reserve) from None
        passage.grant = taken
        if reserve is not None and demand.purses:
            reserve = Money(taken.amount, reserve.currency)
        passage.hold = self._ledger.record(caller, call.id, model, reserve, now_ms)
        self._journal.flush_soon()

    async def count(self, caller: Caller, request_id: str) -> None:
        """Takes one request without tokens, which is over at once. LimitReached."""
        if any(subject.limits.rated for subject in caller.subjects):
            (await self._gate.take(Demand(self._installation, request_id, caller.subjects, 0))).release()

    def _budgeted(self, caller: Caller, model: str, now_ms: int) -> dict[str, tuple[Subject, Budget]]:
        """Every budget that applies, all in the currency of the reserve (the plan was made so), by its purse. Of two
        that have one purse the smaller is in force."""
        found: dict[str, tuple[Subject, Budget]] = {}
        for subject in caller.subjects:
            for budget in subject.budgets:
                if budget.applies(model):
                    name = name_of(subject.id, budget, self._periods.at(budget, now_ms).first)
                    if name not in found or budget.nano < found[name][1].nano:
                        found[name] = (subject, budget)
        return found
