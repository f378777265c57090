"""The one attempt loop: plan, try, fall back, until the commit point or the deadline.

Above: the gateway. Below: `providers.call`, one attempt. Nothing retries, falls back or cools down anywhere else.
"""

import asyncio
import random
from collections.abc import Sequence

from posthouse.core.errors import FAILOVER_KINDS, RETRY_KINDS, NotFound, UpstreamFailure
from posthouse.core.requests import ModelRequest, Operation
from posthouse.providers.call import Reply, call
from posthouse.routing.catalog import Catalog
from posthouse.routing.health import Health
from posthouse.routing.model import AttemptRecord, Candidate, RoutingOptions
from posthouse.telemetry import Telemetry


class Trace:
    """What became of one request's attempts; bounded by `max_attempts`.

    `began` is the loop's time; `spent` the seconds spent on providers until one had begun to answer; `asking` whether a
    provider has been asked and has not failed: then it may charge for the prompt, whatever becomes of the answer.
    """

    __slots__ = ("asking", "attempts", "began", "candidate", "failed", "spent")

    def __init__(self, began: float) -> None:
        self.began = began
        self.attempts = 0
        self.spent = 0.0
        self.asking = False
        self.failed: list[AttemptRecord] = []
        self.candidate: Candidate | None = None  # the one being tried, or the one that answered


class Router:
    """`rng` draws among equals, and jitters pauses."""

    def __init__(
        self, catalog: Catalog, options: RoutingOptions, telemetry: Telemetry, rng: random.Random | None = None
    ) -> None:
        self.catalog = catalog
        self.options = options
        self.health = Health(options)
        self._telemetry = telemetry
        self._random = rng or random.Random()  # noqa: S311  # shares load; keeps no secret

    def plan(self, model: str, operation: Operation, now: float) -> Sequence[Candidate]:
        """Candidates for a known model in the order to try them: by rank, drawn by weight among equals, coolest last.

        Raises NotFound where no deployment of the model has the operation, UpstreamFailure("rate") while every one of
        them is under its provider's own Retry-After.
        """
        found = self.catalog.candidates(model)
        if not found:
            raise self.catalog.unknown(model)
        health = self.health
        if len(found) == 1 and health.all_well and operation in found[0].prepared:
            return found
        fit = [candidate for candidate in found if operation in candidate.prepared]
        if not fit:
            raise NotFound(f"The model {model!r} does not offer {operation}.", param="model", code="model_not_found")
        if len(fit) > 1:
            fit = self._drawn(fit, by_rank=not self.catalog.weighted(model))
        if health.all_well:
            return fit
        waits = [health.limited_for(candidate.deployment.id, operation, now) for candidate in fit]
        if min(waits) > 0:
            raise UpstreamFailure(
                "rate",
                "Every deployment of this model is rate limited by its provider.",
                code="rate_limit_exceeded",
                retry_after=min(waits),
            )
        # Stable: among those that cool, and among those that do not, the order drawn above stays.
        return sorted(fit, key=lambda c: health.cooling(c.deployment.id, operation, now))

    async def attempt(self, plan: Sequence[Candidate], request: ModelRequest, trace: Trace) -> Reply:
        """Tries the plan until one candidate has begun to answer. Raises the UpstreamFailure that tells most."""
        options = self.options
        loop = asyncio.get_running_loop()
        deadline = trace.began + options.deadline
        left = list(plan)
        failures: list[UpstreamFailure] = []
        while True:
            candidate = left[0]
            trace.candidate = candidate
            trace.attempts += 1
            began = loop.time()
            trace.asking = True
            try:
                reply = await call(candidate.prepared[request.operation], request, candidate.transport, deadline)
            except UpstreamFailure as failure:
                trace.asking = False
                self._note(candidate, request.operation, failure, trace, began)
                failures.append(failure)
                if failure.kind not in FAILOVER_KINDS:
                    raise
                # Goes behind those that are still untried, or away where a second try cannot help.
                left.remove(candidate)
                untried = bool(left) and trace.attempts < len(plan)
                if failure.kind in RETRY_KINDS:
                    left.append(candidate)
                if not left or trace.attempts >= options.max_attempts:
                    raise telling(failures) from None
                if not untried:
                    await self._pause(failures, trace, deadline)
                continue
            trace.spent += reply.first_at - began
            self.health.succeeded(candidate.deployment.id, request.operation)
            self._telemetry.attempt(candidate.deployment.account.name, "ok")
            return reply

    async def _pause(self, failures: list[UpstreamFailure], trace: Trace, deadline: float) -> None:
        """Sleeps before the next round; raises instead where the sleep would be too long."""
        options = self.options
        wish = failures[-1].retry_after or 0.0
        doubled: float = min(options.backoff * 2 ** (len(failures) - 1), options.backoff_max)
        pause = max(doubled * self._random.uniform(0.5, 1.0), wish)
        if wish > options.max_retry_after or asyncio.get_running_loop().time() + pause >= deadline:
            raise telling(failures)
        await asyncio.sleep(pause)

    def _note(
        self, candidate: Candidate, operation: Operation, failure: UpstreamFailure, trace: Trace, began: float
    ) -> None:
        now = asyncio.get_running_loop().time()
        trace.spent += now - began
        name = candidate.deployment.id
        self.health.failed(name, operation, failure, now)
        self._telemetry.attempt(candidate.deployment.account.name, failure.kind)
        trace.failed.append(
            AttemptRecord(
                deployment=name,
                at_ms=int((began - trace.began) * 1000),
                duration_ms=int((now - began) * 1000),
                kind=failure.kind,
                status=failure.upstream_status,
                message=failure.message[:200],
            )
        )

    def _drawn(self, fit: list[Candidate], *, by_rank: bool) -> list[Candidate]:
        """Orders by rank (or not at all), then by weighted draw: u^(1/w) sorted gives each its share of first
        places."""
        draw = self._random.random
        keyed = [
            (candidate.rank if by_rank else (0, 0), -(draw() ** (1.0 / max(candidate.weight, 1e-9))), index)
            for index, candidate in enumerate(fit)
        ]
        keyed.sort()
        return [fit[index] for _, _, index in keyed]


def telling(failures: list[UpstreamFailure]) -> UpstreamFailure:
    """The failure to tell the caller: a rate limit with the earliest Retry-After if that is what stood in the way,
    else the last."""
    last = failures[-1]
    if last.kind != "rate":
        return last
    wishes = [failure.retry_after for failure in failures if failure.retry_after is not None]
    if wishes:
        last.retry_after = min(wishes)
    return last
