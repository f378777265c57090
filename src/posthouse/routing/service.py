"""The one attempt loop: try, fall back, until the commit point or the deadline.

Above: the gateway. Below: `plan.py`, which gives the order, and `providers.call`, one attempt. Nothing retries, falls
back or cools down anywhere else.
"""

import asyncio
import random
from collections.abc import Coroutine, Sequence

from posthouse.core.errors import FAILOVER_KINDS, RETRY_KINDS, FailureKind, UpstreamFailure
from posthouse.core.requests import ModelRequest, Operation
from posthouse.providers.call import call
from posthouse.providers.reply import Reply
from posthouse.routing.catalog import Catalog
from posthouse.routing.decision import Decision
from posthouse.routing.health import OF_CREDENTIAL, OF_DEPLOYMENT, Health
from posthouse.routing.model import AttemptRecord, Candidate, RoutingOptions, Trace
from posthouse.routing.pace import CountedResponse, Paces, Visit
from posthouse.routing.plan import Figures, Planner
from posthouse.telemetry import Telemetry


class Router:
    """`rng` draws among equals, and jitters pauses."""

    def __init__(
        self, catalog: Catalog, options: RoutingOptions, telemetry: Telemetry, rng: random.Random | None = None
    ) -> None:
        self.catalog = catalog
        self.options = options
        self.health = Health(options)
        self.paces = Paces(options.fade)
        self._telemetry = telemetry
        self._random = rng or random.Random()  # noqa: S311  # shares load; keeps no secret
        self.planner = Planner(Figures(catalog, self.health, self.paces, self._random))

    def use(self, options: RoutingOptions) -> None:
        """Other options, from the next attempt on."""
        self.options = self.health.options = options

    def apart(self) -> "Router":
        """A router for one request that is asked by its caller's own credential: what others have met does not hold for
        that, and what it meets is nothing to them."""
        return Router(self.catalog, self.options, self._telemetry, self._random)

    def forget(self, known: frozenset[str]) -> None:
        """Drops whatever is kept of deployments that are no more."""
        self.health.forget(known)
        self.paces.forget(known)
        self.planner.forget(known)

    def circuits(self, now: float) -> list[tuple[str, Operation, bool]]:
        """Of all (deployment, operation) with trouble, whether it cools, with every credential that it has."""
        known = {(place.deployment, place.operation) for place in self.health.report(now)}
        return [(name, operation, self._cools(name, operation, now)) for name, operation in sorted(known)]

    def _cools(self, name: str, operation: Operation, now: float) -> bool:
        found = self.catalog.below(name) if operation == "passthrough" else self.catalog.candidates(name)
        return bool(found) and all(self.health.cooling(one, operation, now) for one in found)

    async def attempt(self, plan: Sequence[Candidate], request: ModelRequest, trace: Trace) -> Reply:
        """Tries the plan until one candidate has begun to answer. Raises the UpstreamFailure that tells most."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.options.deadline  # what a client took to send its request is its own time
        operation, health = request.operation, self.health
        left = list(plan) if plan[-1].after is None else [one for one in plan if one.after is None]
        failures: list[UpstreamFailure] = []
        while True:
            candidate = left[0]
            trace.candidate = candidate
            trace.attempts += 1
            began = loop.time()
            trace.asking = True
            probe = None if health.all_well else health.begins(candidate, operation, began)
            try:
                ready = candidate.prepared[operation]
                answer = call(ready, request, candidate.transport, deadline, trace.name)
                reply = await (self._measured(answer, candidate, request) if trace.measured else answer)
            except UpstreamFailure as failure:
                trace.asking = False
                failures.append(failure)
            else:
                trace.spent += reply.first_at - began
                if trace.decision is not None:
                    trace.decision.answered_by = candidate.credential
                    trace.decision.answered_at = int((began - trace.began) * 1000)
                health.succeeded(candidate, operation, reply.first_at)
                self._telemetry.attempt(candidate.deployment.account.name, "ok")
                return reply
            finally:
                if probe is not None:
                    probe.end()
            self._note(candidate, request, failures[-1], trace, began)
            left = self._next(plan, left, operation, trace)
            gone = request.upload is not None and not request.upload.repeatable
            # Without time left the next would fail at once, and look ill without having been asked.
            late = loop.time() >= deadline
            if not left or gone or late or trace.attempts >= self.options.max_attempts:
                raise telling(failures)
            if tried_alike(left[0], trace):
                await self._pause(left, operation, failures, deadline)

    async def _measured(
        self, answer: Coroutine[None, None, Reply], candidate: Candidate, request: ModelRequest
    ) -> Reply:
        """Awaits an attempt whose time to the first byte, and whose stay, count for the strategy `latency`."""
        loop = asyncio.get_running_loop()
        pace = self.paces.of(candidate.deployment.id, request.operation)
        visit = Visit(pace, request.stream, loop.time())
        try:
            reply = await answer
        except BaseException as error:
            visit.failed(error, loop.time())
            raise
        visit.answered(reply.first_at)
        if reply.response is None:
            visit.end()
        else:
            reply.response = CountedResponse(reply.response, visit)
        return reply

    def _next(
        self, plan: Sequence[Candidate], left: list[Candidate], operation: Operation, trace: Trace
    ) -> list[Candidate]:
        """What to try after a failure, in its order: first what was not tried before, and of that the coolest last."""
        failed, kind = trace.candidate, trace.failed[-1].kind
        assert failed is not None and kind is not None
        now = asyncio.get_running_loop().time()

        def order(one: Candidate) -> tuple[bool, bool]:
            again = tried_alike(one, trace)
            return again, not again and self.health.cooling(one, operation, now)

        untried = [one for one in plan if not tried_alike(one, trace)]
        return sorted(onward(failed, kind, left, untried), key=order)

    async def _pause(
        self, left: list[Candidate], operation: Operation, failures: list[UpstreamFailure], deadline: float
    ) -> None:
        """Sleeps before the next round, which begins with who may be asked first; raises instead where the sleep would
        be too long."""
        options = self.options
        now = asyncio.get_running_loop().time()
        left.sort(key=lambda one: self.health.limited_for(one, operation, now))
        wish = self.health.limited_for(left[0], operation, now)
        pause = max(self.backoff(len(failures)), wish)
        if wish > options.max_retry_after or now + pause >= deadline:
            raise telling(failures)
        await asyncio.sleep(pause)

    def backoff(self, failures: int) -> float:
        """Seconds to pause after so many failures of one request."""
        options = self.options
        doubled: float = min(options.backoff * 2 ** (failures - 1), options.backoff_max)
        return doubled * self._random.uniform(0.5, 1.0)

    def _note(
        self, candidate: Candidate, request: ModelRequest, failure: UpstreamFailure, trace: Trace, began: float
    ) -> None:
        now = asyncio.get_running_loop().time()
        upload = request.upload
        trace.spent += now - began
        if trace.decision is None:  # the one deployment that there was, and well until now
            trace.decision = Decision("priority")
            trace.decision.note(candidate, None, None)
        # Of a body that comes no faster than its client sends it, that may have been too slow for the provider.
        if upload is None or upload.repeatable or upload.sent:
            self.health.failed(candidate, request.operation, failure, began, now)
        account = candidate.deployment.account
        refused = account.brought and failure.kind in OF_CREDENTIAL  # the caller's own: nothing ails the account
        self._telemetry.attempt(account.name, "refused" if refused else failure.kind)
        trace.failed.append(
            AttemptRecord(
                deployment=candidate.deployment.id,
                at_ms=int((began - trace.began) * 1000),
                duration_ms=int((now - began) * 1000),
                kind=failure.kind,
                status=failure.upstream_status,
                message=failure.message[:200],
                credential=candidate.credential,
            )
        )


def tried_alike(candidate: Candidate, trace: Trace) -> bool:
    """Whether a candidate has failed before, or its deployment has with another credential and would with this."""
    return any(
        record.deployment == candidate.deployment.id
        and (record.credential == candidate.credential or record.kind in OF_DEPLOYMENT)
        for record in trace.failed
    )


def onward(
    failed: Candidate, kind: FailureKind, left: Sequence[Candidate], untried: Sequence[Candidate]
) -> list[Candidate]:
    """What is left to try after a failure, in its order; empty where nothing can help.

    A failure that another deployment may not have goes on to the next one, then to the fallbacks for its kind, then,
    where that may help, to the same one again. Of any other failure the rest of the plan would be no cure: only the
    fallbacks for its kind are tried.
    """
    if kind in failed.halts:
        return []
    fallbacks = [one for one in untried if one.after == kind]
    if kind not in FAILOVER_KINDS:
        return fallbacks
    rest = [one for one in left if one is not failed]
    known = {one.key for one in rest}
    rest += [one for one in fallbacks if one.key not in known]
    return [*rest, failed] if kind in RETRY_KINDS else rest


def telling(failures: list[UpstreamFailure]) -> UpstreamFailure:
    """The failure to tell the caller: one that it can act upon, if a fallback was of no help against it; a rate limit
    with the earliest Retry-After if that is what stood in the way; else the last."""
    for failure in failures:
        if failure.kind not in FAILOVER_KINDS:
            return failure
    last = failures[-1]
    if last.kind != "rate":
        return last
    wishes = [failure.retry_after for failure in failures if failure.retry_after is not None]
    if wishes:
        last.retry_after = min(wishes)
    return last
