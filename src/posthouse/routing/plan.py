"""The plan of a request: which candidates may serve it, in the order in which they are to be tried.

Above: `service.py`, which tries them, and the gateway, which leaves out those that must not serve this caller. Below:
the catalog, the health of deployments, and how fast they were. Nothing here awaits anything.
"""

import random
from collections.abc import Sequence
from itertools import count

from msgspec import Struct
from msgspec.structs import replace

from posthouse.core.errors import FailureKind, NotFound, UpstreamFailure
from posthouse.core.money import Money
from posthouse.core.requests import ModelRequest, Operation
from posthouse.providers.brought import Brought
from posthouse.routing.catalog import Catalog
from posthouse.routing.decision import Decision
from posthouse.routing.health import Health
from posthouse.routing.lending import lending_of, nobody
from posthouse.routing.model import Candidate, Trace
from posthouse.routing.pace import Paces

_Turn = tuple[str, int, FailureKind | None]


class Figures(Struct, eq=False):
    """What a plan is made by. `rng` draws among equals."""

    catalog: Catalog
    health: Health
    paces: Paces
    rng: random.Random


class Planner:
    def __init__(self, figures: Figures) -> None:
        self._catalog = figures.catalog
        self._health = figures.health
        self._paces = figures.paces
        self._random = figures.rng
        self._count = count(1)
        self._turns: dict[_Turn, int] = {}  # when each of several credentials was the first one in a plan

    def plan(self, request: ModelRequest, now: float, trace: Trace) -> Sequence[Candidate]:
        """Candidates for a known model in the order to try them, as its route's strategy says; coolest last, and the
        fallbacks of a route behind them all.

        Raises NotFound where no deployment of the model has the operation, UpstreamFailure("rate") while every one of
        them is under its provider's own Retry-After.
        """
        model, operation = request.model, request.operation
        found = self._catalog.candidates(model)
        if not found:
            raise self._catalog.unknown(model)
        if len(found) == 1 and operation in found[0].prepared:
            # Nothing to decide, unless it is in trouble itself: what ails others is no concern of this request.
            if self._health.all_well or self._health.suffers(found[0], operation, now) is None:
                return found
        decision = trace.decision = Decision(self._catalog.strategy(model))
        lacking = [one for one in found if operation not in one.prepared]
        own = [one for one in found if one.after is None and operation in one.prepared]
        if not own:
            self._note(decision, lacking, {}, operation, now)
            decision.pass_over(lacking, "lacks_operation")
            raise NotFound(f"The model {model!r} does not offer {operation}.", param="model", code="model_not_found")
        figures: dict[str, float] = {}
        ordered = self._by_strategy(own, request, now, trace, figures)
        fallbacks = [one for one in found if one.after is not None and operation in one.prepared]
        if len(fallbacks) > 1:
            heads = self._drawn([one for one in fallbacks if one.credential <= 1], {}, by_rank=True)
            fallbacks = self._in_turn(heads, fallbacks, operation, now)
        plan = ordered + fallbacks
        wait = 0.0
        if not self._health.all_well:
            plan, wait = self._by_health(ordered, fallbacks, operation, now)
        limited = ordered if wait > 0 else []
        self._note(decision, [*plan, *limited, *lacking], figures, operation, now)
        decision.pass_over(lacking, "lacks_operation")
        decision.pass_over(limited, "limited")
        if not plan:
            raise UpstreamFailure(
                "rate",
                "Every deployment of this model is rate limited by its provider.",
                code="rate_limit_exceeded",
                retry_after=wait,
            )
        return plan

    def brought(self, request: ModelRequest, own: Brought, trace: Trace) -> list[Candidate]:
        """The plan of a request whose caller brings a credential: every candidate has that in the place of its
        account's. Nothing that was learnt with those (health, pace) has a say in it.

        Raises NotFound, and Forbidden where none of them may have it.
        """
        model, operation = request.model, request.operation
        found = self._catalog.candidates(model)
        if not found:
            raise self._catalog.unknown(model)
        decision = trace.decision = Decision(self._catalog.strategy(model))
        lending = lending_of(found, operation, own)
        figures: dict[str, float] = {}
        by_rank = self._catalog.strategy(model) != "weighted"
        ordered = self._drawn([one for one in lending.own if one.after is None], figures, by_rank=by_rank)
        fallbacks = self._drawn([one for one in lending.own if one.after is not None], {}, by_rank=True)
        plan = ordered + fallbacks
        for candidate in plan:
            decision.note(candidate, figures.get(candidate.deployment.id), None)
        for candidate, why in lending.passed_over:
            decision.note(candidate, None, None)
            decision.pass_over([candidate], why)
        if not ordered:
            decision.pass_over(fallbacks, "own_not_allowed")
            raise nobody(model, operation, [why for one, why in lending.passed_over if one.after is None])
        return plan

    def cheapest_first(
        self,
        plan: Sequence[Candidate],
        costs: Sequence[Money | None],
        operation: Operation,
        now: float,
        trace: Trace,
    ) -> list[Candidate]:
        """A plan in the order of what the request would cost at each of its candidates (`costs`, None where no price is
        known): those that cost nothing first, those without a price last, and those that cool behind all others.
        Fallbacks stay where they are.

        Amounts in different currencies are not compared: the currency of the first candidate with a price goes first.
        """
        own = [index for index, candidate in enumerate(plan) if candidate.after is None]
        leading = next((cost.currency for cost in costs if cost is not None and cost.nano), "")

        def order(index: int) -> tuple[bool, int, str, int]:
            cooling = self._health.cooling(plan[index], operation, now)
            cost = costs[index]
            if cost is None:
                return cooling, 3, "", 0
            if not cost.nano:
                return cooling, 0, "", 0
            if cost.currency == leading:
                return cooling, 1, "", cost.nano
            return cooling, 2, cost.currency, cost.nano

        ordered = [plan[index] for index in sorted(own, key=order)] + list(plan[len(own) :])
        if trace.decision is not None:
            trace.decision.costs(plan, costs)
            trace.decision.order(ordered)
        return ordered

    def below(self, account: str, served: Sequence[Candidate], operation: Operation, now: float) -> Candidate | None:
        """By which credential an account is asked for something that just passes: the first that is of use, so always
        the same one as long as it is. `served` is the deployment whose model is asked at the endpoint of `operation`,
        where the house has one: what limits that, limits this. None where the account is not open any more."""
        found = self._catalog.below(account)
        if len(found) <= 1 or self._health.all_well:
            return found[0] if found else None
        troubles = {one.credential: self._trouble(one, operation, now) for one in served}

        def order(one: Candidate) -> tuple[bool, float]:
            own = self._trouble(one, "passthrough", now)
            return max(own, troubles.get(one.credential, own))

        return min(found, key=order)

    def _trouble(self, candidate: Candidate, operation: Operation, now: float) -> tuple[bool, float]:
        """Sorts credentials: those that cool behind those that do not, and behind these those that are limited, by
        when that ends."""
        health = self._health
        return health.cooling(candidate, operation, now), health.limited_for(candidate, operation, now)

    def _by_strategy(
        self, own: list[Candidate], request: ModelRequest, now: float, trace: Trace, figures: dict[str, float]
    ) -> list[Candidate]:
        """`figures` gets what the order was made by, for each deployment."""
        strategy = self._catalog.strategy(request.model)
        heads = [one for one in own if one.credential <= 1]
        if strategy == "latency":
            trace.measured = True
            warm = self._warm(own, request.operation, now)
            heads = self._soonest(heads, request, now, warm, figures)
        elif len(heads) > 1:
            heads = self._drawn(heads, figures, by_rank=strategy != "weighted")
        return self._in_turn(heads, own, request.operation, now)

    def _by_health(
        self, own: list[Candidate], fallbacks: list[Candidate], operation: Operation, now: float
    ) -> tuple[list[Candidate], float]:
        """What cools goes last. Where every provider has asked to be left alone, the fallbacks for that take over, and
        the second of the pair says for how many seconds; without fallbacks the plan is empty."""
        health = self._health

        def limited(candidate: Candidate) -> float:
            return health.limited_for(candidate, operation, now)

        def cooling(candidate: Candidate) -> bool:
            return health.cooling(candidate, operation, now)

        wait = min(map(limited, own))
        if wait > 0:
            own = [replace(one, after=None) for one in fallbacks if one.after == "rate" and not limited(one)]
            fallbacks = [one for one in fallbacks if one.after != "rate"] if own else []
        # Stable: among those that cool, and among those that do not, the order drawn above stays.
        return sorted(own, key=cooling) + sorted(fallbacks, key=cooling), wait

    def _note(
        self,
        decision: Decision,
        candidates: list[Candidate],
        figures: dict[str, float],
        operation: Operation,
        now: float,
    ) -> None:
        well = self._health.all_well
        for candidate in candidates:
            suffers = None if well else self._health.suffers(candidate, operation, now)
            decision.note(candidate, figures.get(candidate.deployment.id), suffers)

    def forget(self, known: frozenset[str]) -> None:
        """Drops the turns of deployments that are no more."""
        for turn in [turn for turn in self._turns if turn[0] not in known]:
            del self._turns[turn]

    def _warm(self, own: list[Candidate], operation: Operation, now: float) -> set[str]:
        """The deployments that do not cool, at least with one of their credentials."""
        return {one.deployment.id for one in own if not self._health.cooling(one, operation, now)}

    def _in_turn(
        self, heads: list[Candidate], every: list[Candidate], operation: Operation, now: float
    ) -> list[Candidate]:
        """Puts the other credentials of a deployment beside the first one, which stands for all of them in `heads`: who
        was in front longest ago goes first, who cools last."""
        if len(heads) == len(every):
            return heads
        groups: dict[tuple[str, FailureKind | None], list[Candidate]] = {}
        for one in every:
            groups.setdefault((one.deployment.id, one.after), []).append(one)
        spread: list[Candidate] = []
        for head in heads:
            group = groups[head.deployment.id, head.after]
            if len(group) > 1:
                group.sort(key=lambda one: (self._trouble(one, operation, now), self._turns.get(_turn(one), 0)))
                self._turns[_turn(group[0])] = next(self._count)
            spread += group
        return spread

    def _soonest(
        self, own: list[Candidate], request: ModelRequest, now: float, warm: set[str], figures: dict[str, float]
    ) -> list[Candidate]:
        """Power of two choices: of two that do not cool (`warm`), drawn at random, the one with the better score goes
        first. The best of all would get every request until it is the slowest. Behind it the others, by their
        scores."""
        operation, stream = request.operation, request.stream
        scores = [self._paces.of(c.deployment.id, operation).score(stream, now) for c in own]
        figures.update((one.deployment.id, score) for one, score in zip(own, scores, strict=True))
        order = sorted(range(len(own)), key=scores.__getitem__)
        ready = [index for index in order if own[index].deployment.id in warm]
        if len(ready) > 1:
            draw = self._random.randrange
            one, other = draw(len(ready)), draw(len(ready) - 1)
            first = ready[min(one, other + (other >= one))]  # `ready` is in the order of the scores
            order.remove(first)
            order.insert(0, first)
        return [own[index] for index in order]

    def _drawn(self, fit: list[Candidate], figures: dict[str, float], *, by_rank: bool) -> list[Candidate]:
        """Orders by rank (or not at all), then by weighted draw: u^(1/w) sorted gives each its share of first
        places."""
        draw = self._random.random
        keyed = []
        for index, candidate in enumerate(fit):
            drawn = draw() ** (1.0 / max(candidate.weight, 1e-9))
            figures[candidate.deployment.id] = drawn
            keyed.append((candidate.rank if by_rank else (0, 0), -drawn, index))
        keyed.sort()
        return [fit[index] for _, _, index in keyed]


def _turn(candidate: Candidate) -> _Turn:
    """A fallback has turns of its own: it is planned more often than it is tried."""
    return candidate.deployment.id, candidate.credential, candidate.after
