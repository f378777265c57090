"""The spine. Every request for a model, whichever face it came through, goes this way and no other:

    admit    the key may use the model, the limits allow it       (accounts' Caller, limits)
    hold     the most it can cost is reserved                     (billing)
    attempt  a deployment has begun to answer                     (routing -> providers -> upstream)
    watch    its events pass; usage and the end are observed      (dialects)
    settle   what it cost is charged, what is left is given back  (billing, limits, telemetry)

The rules of what is charged when are docs/billing.md. Above: the faces. Nobody else reaches a provider.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from typing import Final

from posthouse.billing.estimate import rough_input_tokens
from posthouse.core.caller import Caller
from posthouse.core.errors import PosthouseError, Unavailable, UpstreamFailure
from posthouse.core.money import format_nano
from posthouse.core.requests import ModelRequest, Operation
from posthouse.core.usage import Usage, UsageSource
from posthouse.dialects.errors import DialectError
from posthouse.dialects.streams import AnswerStream
from posthouse.gateway.admission import Admission, GatewayParts, forbidden
from posthouse.gateway.dropped import dropped_line
from posthouse.gateway.model import Answer, Call, GatewayOptions
from posthouse.gateway.passage import Outcome, Passage, tell_of
from posthouse.gateway.scopes import check_scope
from posthouse.limits.model import LimitReached
from posthouse.providers.reply import Reply, failure_in_stream
from posthouse.storage.rows import EndedBy
from posthouse.upstream.model import UpstreamResponse

logger = logging.getLogger("posthouse.gateway")

_LEFT: Final = Outcome(status=499, error="client_left", ended_by="client")
_FAULT: Final = Outcome(status=500, error="internal_error", ended_by="error")


class Gateway:
    """One per process. `closing()` waits for settlements that are still being counted."""

    def __init__(self, parts: GatewayParts, options: GatewayOptions) -> None:
        self._admit = Admission(parts, options.default_output).admit
        self._shared = parts.shared
        self._budgets = parts.budgets
        self._ledger = parts.ledger
        self._limiter = parts.limiter
        self._router = parts.router
        self._counter = parts.counter
        self._ledgers = parts.ledgers
        self._journal = parts.ledgers.journal
        self._telemetry = parts.ledgers.telemetry
        self._options = options
        self._finishing: set[asyncio.Task[None]] = set()

    async def run(self, call: Call) -> Answer:
        """Raises PosthouseError; then nothing is charged but what a provider has really consumed."""
        request = call.request
        passage = Passage(call, self._ledgers)
        self._telemetry.inflight += 1
        try:
            check_scope(call.caller, request.operation)
            if not self._router.catalog.candidates(request.model):
                await self._router.catalog.resolve(request.model)
            if call.caller.apart or self._ledger.doubts:
                await self._budgets.ready(call.caller, request.model)
            plan = self._admit(passage)
            if self._shared is not None:
                await self._shared.take(passage)
            router = self._router if call.own is None else self._router.apart()
            reply = await router.attempt(plan, request, passage.trace)
        except PosthouseError as error:
            ended_by: EndedBy = "upstream" if isinstance(error, UpstreamFailure) else "error"
            passage.release(Outcome(status=error.status, error=error.code or error.type, ended_by=ended_by))
            trace = passage.trace
            if trace.candidate is not None:
                error.trail = trace.candidate.head + b"x-posthouse-attempts: %d\r\n" % trace.attempts
            self._journal.flush()
            raise
        except BaseException as error:  # a mistake of ours too must not leave a hold open or a place taken
            self._left_waiting(passage, _how(error))
            raise
        passage.first_at = reply.first_at
        if reply.stream is not None:
            self._make_durable(passage, reply)
            headers = self._headers(passage, reply)
            return Answer(headers, events=self._watch(passage, reply), stream=reply.stream, kind=reply.kind)
        await self._settle_whole(passage, reply)
        return Answer(self._headers(passage, reply), body=reply.body, kind=reply.kind)

    async def passes(self, request: ModelRequest) -> bool:
        """Whether a provider of this model speaks the request's dialect. Raises NotFound."""
        candidates = await self._router.catalog.resolve(request.model)
        wires = [one.prepared[request.operation].wire for one in candidates if request.operation in one.prepared]
        return request.operation in wires

    def offering(self, operation: Operation) -> list[str]:
        """The names of models that some provider has this operation for, as they are listed."""
        catalog = self._router.catalog
        return [
            model.id
            for model in catalog.listed()
            if any(operation in one.prepared for one in catalog.candidates(model.id))
        ]

    async def count_tokens(self, caller: Caller, request: ModelRequest) -> int:
        """Tokens of input, counted here with the vocabulary of the model's family; no provider is asked and nothing is
        charged. Raises NotFound, Forbidden."""
        check_scope(caller, request.operation)
        candidates = await self._router.catalog.resolve(request.model)
        if not caller.may_use(request.model):
            raise forbidden(request.model)
        return await self._counter.count_request(request, candidates[0].deployment.upstream_model)

    async def count_repeat(self, caller: Caller, request_id: str) -> None:
        """One more request of the caller's, without tokens and over at once: it is answered from what was kept, so
        nothing is held or recorded. Raises LimitReached."""
        try:
            if self._shared is not None:
                await self._shared.count(caller, request_id)
            else:
                self._limiter.admit(caller, 0).release()
        except LimitReached as error:
            self._telemetry.rejected(error.scope, error.dimension)
            raise

    async def closing(self, timeout: float) -> None:
        """Waits until what was left by clients has been counted and settled."""
        if self._finishing:
            await asyncio.wait(self._finishing, timeout=timeout)

    # Whole answers

    async def _settle_whole(self, passage: Passage, reply: Reply) -> None:
        whole = reply.whole
        assert whole is not None
        usage: Usage | None = whole.usage
        source: UsageSource = "provider"
        if usage is None:
            source = "estimated"
            try:
                usage = await self._counted(passage, reply.text)
            except asyncio.CancelledError:
                self._finish_later(self._count_and_settle(passage, reply.text, _LEFT))
                raise
            if reply.write is not None:
                reply.body = reply.write(usage)
        passage.settle(usage, source)
        self._journal.flush()

    # Streams

    def _make_durable(self, passage: Passage, reply: Reply) -> None:
        """The hold is on disk before the first byte leaves the house, or nothing leaves it."""
        try:
            self._journal.flush()
        except Unavailable as error:
            if reply.response is not None:
                reply.response.close()
            passage.release(Outcome(status=error.status, error=error.code, ended_by="error"))
            raise

    async def _watch(self, passage: Passage, reply: Reply) -> AsyncGenerator[bytes, None]:
        """Events as they come; the settlement; the end. Raises UpstreamFailure where the provider broke off."""
        stream, response = reply.stream, reply.response
        assert stream is not None and response is not None
        try:
            try:
                if reply.first:
                    yield reply.first
                while not stream.done and stream.error is None:
                    data = await response.chunk()
                    out = stream.feed(data) if data else stream.finish()
                    if out:
                        yield out
                    if not data:
                        break
                failure = self._fault(passage, stream)
            except UpstreamFailure as error:
                failure = error
            except DialectError as error:
                failure = UpstreamFailure("server", f"The provider's stream makes no sense: {error}.")
            if stream.done and failure is None:
                response.finish()
            else:
                response.close()
            usage, source = await self._conclude(passage, stream, failure)
        except BaseException as error:  # whoever leaves, and whatever is wrong: the hold ends
            if not passage.ended:
                self._left_streaming(passage, stream, response, _how(error))
            raise
        last = stream.end(usage, source != "provider")
        if last:
            yield last

    async def _conclude(
        self, passage: Passage, stream: AnswerStream, failure: UpstreamFailure | None
    ) -> tuple[Usage, UsageSource]:
        """Settles a stream that has ended; raises what was wrong with it."""
        usage, source = await self._usage_of(passage, stream)
        if failure is None:
            passage.settle(usage, source)
            self._journal.flush()
            return usage, source
        self._telemetry.aborted("upstream")
        outcome = Outcome(status=failure.status, error=failure.code or failure.type, ended_by="upstream")
        passage.settle(usage, source, outcome)
        self._journal.flush()
        raise failure

    def _fault(self, passage: Passage, stream: AnswerStream) -> UpstreamFailure | None:
        """What was wrong with a stream that has ended, None where it is whole."""
        if stream.error is not None:
            candidate = passage.trace.candidate
            assert candidate is not None
            return failure_in_stream(candidate.deployment.account, stream.error)
        if stream.finish_reason is None:
            return UpstreamFailure("server", "The provider's stream ended before the answer was finished.")
        return None

    async def _usage_of(self, passage: Passage, stream: AnswerStream) -> tuple[Usage, UsageSource]:
        if stream.usage is not None:
            return stream.usage, "provider"
        return await self._counted(passage, stream.emitted().text), "estimated"

    # Clients that leave

    def _left_waiting(self, passage: Passage, outcome: Outcome) -> None:
        """Nothing has come yet. If a provider was asked, it has read the prompt: that is charged, counted by us. Of
        half a form with a file nobody makes anything."""
        if passage.ended:
            return
        self._telemetry.aborted("client")
        upload = passage.call.request.upload
        half = upload is not None and not upload.sent
        if passage.hold is None or not passage.trace.asking or half:
            passage.release(outcome)
            self._journal.flush()
        else:
            self._finish_later(self._count_and_settle(passage, "", outcome))

    def _left_streaming(
        self, passage: Passage, stream: AnswerStream, response: UpstreamResponse, outcome: Outcome
    ) -> None:
        """The provider is cancelled at once (or read to its end, where the deployment says so), then what was streamed
        is settled."""
        self._telemetry.aborted("client")
        candidate = passage.trace.candidate
        assert candidate is not None
        if outcome is _LEFT and candidate.deployment.account.on_disconnect == "drain":
            self._finish_later(self._drain(passage, stream, response))
            return
        response.close()
        if stream.usage is not None:
            passage.settle(stream.usage, "provider", outcome)
            self._journal.flush()
        else:
            self._finish_later(self._count_and_settle(passage, stream.emitted().text, outcome))

    async def _drain(self, passage: Passage, stream: AnswerStream, response: UpstreamResponse) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._options.drain_seconds
        try:
            while not stream.done and stream.error is None and loop.time() < until:
                data = await response.chunk()
                if not data:
                    stream.finish()
                    break
                stream.feed(data)
        except UpstreamFailure as failure:
            logger.info("a drained stream broke off: %s", failure.message)
        except DialectError as error:
            logger.info("a drained stream makes no sense: %s", error)
        finally:
            response.close()
        usage, source = await self._usage_of(passage, stream)
        passage.settle(usage, source, _LEFT)
        self._journal.flush()

    async def _count_and_settle(self, passage: Passage, text: str, outcome: Outcome) -> None:
        passage.settle(await self._counted(passage, text), "estimated", outcome)
        self._journal.flush()

    async def _counted(self, passage: Passage, text: str) -> Usage:
        """Usage counted by us, with the vocabulary of the model that answered; where one is said, what was expected."""
        candidate = passage.trace.candidate
        assert candidate is not None
        model = candidate.deployment.upstream_model
        request = passage.call.request
        if request.expected is not None:
            return request.expected
        try:
            prompt = await self._counter.count_request(request, model)
            output = await self._counter.count(text, model) if text else 0
        except (RuntimeError, ValueError, OSError):  # a vocabulary that cannot be had must not leave the hold open
            logger.exception("tokens of %s could not be counted; they are estimated by size", passage.call.id)
            prompt, output = rough_input_tokens(request), len(text.encode()) * 2 // 5
        return Usage(input=prompt, output=output)

    def _finish_later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._finishing.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._finishing.discard(task)
        tell_of(task)

    # Answer headers

    def _headers(self, passage: Passage, reply: Reply) -> bytes:
        candidate = passage.trace.candidate
        assert candidate is not None
        lines = candidate.head + b"x-posthouse-attempts: %d\r\n" % passage.trace.attempts
        if passage.grant is not None:
            lines += passage.grant.head()
        cost = passage.cost
        if cost is not None:
            lines += b"x-posthouse-cost: %b\r\nx-posthouse-currency: %b\r\n" % (
                format_nano(cost.nano).encode(),
                cost.currency.encode(),
            )
        if reply.dropped:
            lines += dropped_line(reply.dropped)
        return lines


def _how(error: BaseException) -> Outcome:
    """How a request ended that was cancelled or closed from above, or failed by a mistake of ours."""
    return _LEFT if isinstance(error, asyncio.CancelledError | GeneratorExit) else _FAULT
