"""Sends what passes as it is to a provider account: by which of its credentials, and what its answer says of them.

The first credential that is of use, and always the same one as long as it is: what a vendor keeps (files, batches, ...)
is found again under the credential that it was given by. Which are of use is told as for every attempt, by
`routing.health`.

Sent once, since it may be a write; again only where no connection could be made, so that the provider cannot have heard
anything of it.

Above: `raw.py`. Below: routing (the choice, the pauses, the health of credentials), upstream.
"""

import asyncio
from typing import Final

from msgspec.structs import replace

from posthouse.core.errors import UpstreamFailure
from posthouse.core.requests import Operation
from posthouse.gateway.passage import Passage
from posthouse.providers.failures import failure_of
from posthouse.providers.passing import Parcel, request_below
from posthouse.routing.model import AttemptRecord, Candidate
from posthouse.routing.service import Router
from posthouse.telemetry import Telemetry
from posthouse.upstream.model import UpstreamResponse

_PASSES: Final = "passthrough"


class Sender:
    def __init__(self, router: Router, telemetry: Telemetry) -> None:
        self._router = router
        self._telemetry = telemetry

    async def send(self, passage: Passage, parcel: Parcel, endpoint: Operation | None) -> UpstreamResponse:
        """The answer, whatever its status. `endpoint` is the operation that this is of a model that the house may know
        too. The candidate of the passage, made at admission, is given the credential that is used."""
        loop = asyncio.get_running_loop()
        trace, options = passage.trace, self._router.options
        deadline = loop.time() + options.deadline
        while True:
            candidate = self._with_credential(passage, endpoint, loop.time())
            trace.attempts += 1
            trace.asking = True
            began = loop.time()
            probe = self._router.health.begins(candidate, _PASSES, began)
            try:
                request = request_below(candidate.deployment.account, parcel, deadline)
                response = await candidate.transport.send(request)
            except UpstreamFailure as failure:
                trace.asking = not failure.unsent
                self._note(passage, failure, began)
                pause = self._router.backoff(trace.attempts)
                last = trace.attempts >= options.max_attempts or loop.time() + pause >= deadline
                if not failure.unsent or failure.kind != "connect" or last:
                    raise
            else:
                passage.first_at = loop.time()
                trace.spent += passage.first_at - began
                if response.status < 400:
                    self._router.health.succeeded(candidate, _PASSES, passage.first_at)
                self._telemetry.attempt(candidate.deployment.account.name, "ok" if response.status < 400 else "refused")
                return response
            finally:
                if probe is not None:
                    probe.end()
            await asyncio.sleep(pause)

    def refused(self, passage: Passage, response: UpstreamResponse, body: bytes) -> None:
        """What a refusal says of the credential: that it is limited, has no money left, or is none. Anything else may
        be the client's own fault."""
        candidate, first_at = passage.trace.candidate, passage.first_at
        assert candidate is not None and first_at is not None
        if not candidate.credential:
            return  # there is no other
        account = candidate.deployment.account
        failure = failure_of(account.row, response.status, response.headers, body, account.credential)
        if failure.kind in ("rate", "quota") or (failure.kind == "auth" and response.status == 401):
            now = asyncio.get_running_loop().time()
            self._router.health.failed(candidate, _PASSES, failure, first_at - passage.trace.spent, now)

    def _with_credential(self, passage: Passage, endpoint: Operation | None, now: float) -> Candidate:
        candidate = passage.trace.candidate
        assert candidate is not None
        deployment = candidate.deployment
        if deployment.account.brought:
            return candidate  # the caller's, and no other
        name = deployment.account.name
        served = () if endpoint is None else self._router.catalog.candidates(f"{name}/{deployment.model}")
        chosen = self._router.planner.below(name, served, endpoint or _PASSES, now)
        if chosen is None:
            return candidate
        passage.trace.candidate = replace(
            candidate,
            deployment=replace(deployment, account=chosen.deployment.account),
            credential=chosen.credential,
        )
        return passage.trace.candidate

    def _note(self, passage: Passage, failure: UpstreamFailure, began: float) -> None:
        trace, candidate = passage.trace, passage.trace.candidate
        assert candidate is not None
        now = asyncio.get_running_loop().time()
        trace.spent += now - began
        self._telemetry.attempt(candidate.deployment.account.name, failure.kind)
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
