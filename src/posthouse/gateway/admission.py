"""Admission: who may serve a request, what is taken for it from limits and budgets, all of it or nothing.

Above: `service.py`. Below: accounts' Caller, routing's plan, limits, billing. Nothing here awaits anything: between the
comparison with a budget and the reservation nothing can come.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from msgspec import Struct

from posthouse.billing.estimate import TokenCounter, reserve_of, rough_input_tokens
from posthouse.billing.ledger import Ledger
from posthouse.core.caller import Caller, Subject
from posthouse.core.errors import Forbidden
from posthouse.core.money import Money
from posthouse.core.requests import ModelRequest
from posthouse.gateway.dropped import strictly
from posthouse.gateway.gate import SharedTaking
from posthouse.gateway.passage import Ledgers, Passage, Wanted
from posthouse.gateway.pricing import Pricing, Size, asked_tier, by_own, estimates, paid_in
from posthouse.gateway.subjects import HouseLimits, passable, subjects_of
from posthouse.limits.model import LimitReached
from posthouse.limits.service import Limiter
from posthouse.routing.decision import PassedOver
from posthouse.routing.model import Candidate, can_serve
from posthouse.routing.service import Router

# A caller that names no cap is admitted with what its budget has left, if that covers its input and this many tokens.
_LEAST_OUTPUT: Final = 64
# The ledger's refusals, as a decision has them.
_REASONS: Final[dict[str | None, PassedOver]] = {
    "model_unpriced": "model_unpriced",
    "currency_mismatch": "currency_mismatch",
}


class Budgets(Protocol):
    """Makes sure that budgets of a model, or of another calendar, can be compared with."""

    async def ready(self, caller: Caller, model: str) -> None:
        """Unavailable."""
        ...


class GatewayParts(Struct, eq=False):
    """What the spine is made of."""

    limiter: Limiter
    ledger: Ledger
    pricing: Pricing
    router: Router
    counter: TokenCounter
    ledgers: Ledgers
    budgets: Budgets
    shared: SharedTaking | None = None
    house: HouseLimits = HouseLimits()


class Admission:
    """`default_output`: tokens to reserve where the caller set no cap."""

    def __init__(self, parts: GatewayParts, default_output: int) -> None:
        self._limiter = parts.limiter
        self._ledger = parts.ledger
        self._pricing = parts.pricing
        self._router = parts.router
        self._journal = parts.ledgers.journal
        self._telemetry = parts.ledgers.telemetry
        self._default_output = default_output
        self._shared = parts.shared is not None
        self._house = parts.house
        self._outputs = parts.ledgers.outputs

    def admit(self, passage: Passage) -> Sequence[Candidate]:
        """Scope, limits, budget: all of them or nothing is taken; where replicas take together, what is `wanted` is
        left for that."""
        call = passage.call
        request = call.request
        if not call.caller.may_use(request.model):
            raise forbidden(request.model)
        if call.own is None:
            plan = self._router.planner.plan(request, asyncio.get_running_loop().time(), passage.trace)
        else:
            plan = self._router.planner.brought(request, call.own, passage.trace)
        passage.planned = True
        if call.strict:
            plan = self._strictly(passage, plan)
        expected = request.expected
        subjects = subjects_of(self._house, call.caller, request.model, call.address)
        images = 0
        if expected is None:
            rough = rough_input_tokens(request)
            output = 0 if request.operation == "embeddings" else self._output_cap(request, subjects, rough)
            ahead = rough + self._outputs.likely(request.model, request.choices, output, subjects)
        else:
            rough, images = expected.total_input, expected.images
            output = passable(subjects, rough, expected.total_output)
            ahead = rough + output
        if not self._shared:
            try:
                passage.grant = self._limiter.admit_subjects(subjects, ahead, images)
            except LimitReached as error:
                self._telemetry.rejected(error.scope, error.dimension)
                raise
        plan = self._priced(passage, plan)
        tier = passage.tier = asked_tier(request.fields)
        size = Size(rough, output, expected, tier)
        if len(plan) > 1 and self._router.catalog.strategy(request.model) == "cheapest":
            costs = estimates([passage.prices[one.deployment.id] for one in plan], size)
            now = asyncio.get_running_loop().time()
            planner = (self._router if call.own is None else self._router.apart()).planner
            plan = planner.cheapest_first(plan, costs, request.operation, now, passage.trace)
        reserve, least = self._reserve(passage, plan, size)
        if self._shared:
            passage.wanted = Wanted(subjects, ahead, images, reserve, least)
            return plan
        passage.hold = self._ledger.hold(call.caller, call.id, request.model, reserve, least)
        self._journal.flush_soon()
        return plan

    def _reserve(self, passage: Passage, plan: Sequence[Candidate], size: Size) -> tuple[Money | None, int | None]:
        """The most that the dearest of the plan may cost, and with how many nano-units a caller is content that names
        no cap."""
        call = passage.call
        reserve = least = None
        for candidate in plan:
            price = passage.prices[candidate.deployment.id]
            if price is not None:
                most = size.reserve(price)
                if reserve is None or most.nano > reserve.nano:
                    reserve = most
                    if call.request.max_output is None and size.expected is None and call.caller.has_budget:
                        least = reserve_of(price, size.rough, min(size.output, _LEAST_OUTPUT), size.tier).nano
        return reserve, least

    def _strictly(self, passage: Passage, plan: Sequence[Candidate]) -> Sequence[Candidate]:
        kept = strictly(plan, passage.call.request)
        if passage.trace.decision is not None:
            passed_over = [candidate for candidate in plan if candidate not in kept]
            passage.trace.decision.pass_over(passed_over, "unsupported_parameter")
        return kept

    def _output_cap(self, request: ModelRequest, subjects: Sequence[Subject], rough: int) -> int:
        """Tokens of output that there may be: what the caller allows, else the default, but no more than its limits
        could ever let through: a small limit must not refuse a caller that names no cap."""
        if request.max_output is not None:
            return request.max_output * request.choices
        return passable(subjects, rough, self._default_output * request.choices)

    def _priced(self, passage: Passage, plan: Sequence[Candidate]) -> Sequence[Candidate]:
        """Notes the price of every candidate, and leaves out those that must not serve this caller: without a price, or
        in another currency than its budget's that nothing is known to exchange it into. Raises what stands in the way
        where none is left."""
        now = passage.began
        call = passage.call
        prices = passage.prices
        kept: list[Candidate] = []
        refusal = None
        price_of = self._pricing.at if call.request.expected is None else self._pricing.of(call.request.expected)
        currency = paid_in(call.caller)
        for candidate in plan:
            price = price_of(candidate.deployment, now)
            if price is not None and currency is not None and price.currency != currency:
                price = self._pricing.paid(price, currency, now)
            if call.own is not None:
                price = by_own(price, call.caller, candidate.deployment)
            prices[candidate.deployment.id] = price
            wrong = self._ledger.refusal(call.caller, call.request.model, price)
            if wrong is None:
                kept.append(candidate)
            else:
                refusal = refusal or wrong
                if passage.trace.decision is not None:
                    passage.trace.decision.pass_over([candidate], _REASONS[wrong.code])
        if can_serve(kept):
            return kept
        assert refusal is not None  # a plan is never empty
        raise refusal


def forbidden(model: str) -> Forbidden:
    return Forbidden(f"This key may not use the model {model[:200]!r}.", param="model", code="model_not_allowed")
