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
from collections.abc import AsyncGenerator, Coroutine, Sequence
from typing import Final

from msgspec import Struct

from posthouse.billing.estimate import TokenCounter, reserve_of, rough_input_tokens
from posthouse.billing.ledger import Ledger
from posthouse.core.errors import Forbidden, PosthouseError, Unavailable, UpstreamFailure
from posthouse.core.money import format_nano
from posthouse.core.usage import Usage, UsageSource
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_stream import ChatStream, usage_chunk
from posthouse.dialects.openai_chat_whole import whole_text
from posthouse.gateway.model import Answer, Call, GatewayOptions
from posthouse.gateway.passage import Ledgers, Outcome, Passage
from posthouse.gateway.pricing import Pricing
from posthouse.limits.model import LimitReached
from posthouse.limits.service import Limiter
from posthouse.providers.call import Reply, failure_in_stream
from posthouse.routing.model import Candidate
from posthouse.routing.service import Router
from posthouse.storage.rows import EndedBy
from posthouse.upstream.model import UpstreamResponse

logger = logging.getLogger("posthouse.gateway")

# A caller that names no cap is admitted with what its budget has left, if that covers its input and this many tokens.
_LEAST_OUTPUT: Final = 64
_LEFT: Final = Outcome(status=499, error="client_left", ended_by="client")
_FAULT: Final = Outcome(status=500, error="internal_error", ended_by="error")


class GatewayParts(Struct, eq=False):
    """What the spine is made of."""

    limiter: Limiter
    ledger: Ledger
    pricing: Pricing
    router: Router
    counter: TokenCounter
    ledgers: Ledgers


class Gateway:
    """One per process. `closing()` waits for settlements that are still being counted."""

    def __init__(self, parts: GatewayParts, options: GatewayOptions) -> None:
        self._limiter = parts.limiter
        self._ledger = parts.ledger
        self._pricing = parts.pricing
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
            if not self._router.catalog.candidates(request.model):
                await self._router.catalog.resolve(request.model)
            plan = self._admit(passage)
            reply = await self._router.attempt(plan, request, passage.trace)
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
            return Answer(self._headers(passage), events=self._watch(passage, reply))
        await self._settle_whole(passage, reply)
        return Answer(self._headers(passage), body=reply.body)

    async def closing(self, timeout: float) -> None:
        """Waits until what was left by clients has been counted and settled."""
        if self._finishing:
            await asyncio.wait(self._finishing, timeout=timeout)

    # Admission

    def _admit(self, passage: Passage) -> Sequence[Candidate]:
        """Scope, limits, budget: all of them or nothing is taken."""
        call = passage.call
        request = call.request
        if not call.caller.may_use(request.model):
            raise Forbidden(
                f"This key may not use the model {request.model[:200]!r}.", param="model", code="model_not_allowed"
            )
        plan = self._router.plan(request.model, request.operation, asyncio.get_running_loop().time())
        passage.planned = True
        rough = rough_input_tokens(request)
        output = 0 if request.operation == "embeddings" else self._output_cap(call, rough)
        try:
            passage.grant = self._limiter.admit(call.caller, rough + output)
        except LimitReached as error:
            self._telemetry.rejected(error.scope, error.dimension)
            raise
        plan = self._priced(passage, plan)
        reserve = least = None
        for candidate in plan:
            price = passage.prices[candidate.deployment.id]
            if price is not None:
                most = reserve_of(price, rough, output)
                if reserve is None or most.nano > reserve.nano:
                    reserve = most
                    if request.max_output is None and call.caller.has_budget:
                        least = reserve_of(price, rough, min(output, _LEAST_OUTPUT)).nano
        passage.hold = self._ledger.hold(call.caller, call.id, request.model, reserve, least)
        self._journal.flush_soon()
        return plan

    def _output_cap(self, call: Call, rough: int) -> int:
        """Tokens of output to charge ahead: what the caller allows, else the default, but no more than its limits could
        ever let through: a small limit must not refuse a caller that names no cap."""
        request = call.request
        if request.max_output is not None:
            return request.max_output * request.choices
        cap = self._options.default_output * request.choices
        for subject in call.caller.subjects:
            tpm = subject.limits.tpm
            if tpm is not None and rough + cap > tpm:
                cap = max(0, tpm - rough)
        return cap

    def _priced(self, passage: Passage, plan: Sequence[Candidate]) -> Sequence[Candidate]:
        """Notes the price of every candidate, and leaves out those that must not serve this caller: without a price, or
        in another currency than its budget's. Raises what stands in the way where none is left."""
        now = passage.began
        call = passage.call
        prices = passage.prices
        kept: list[Candidate] = []
        refusal = None
        for candidate in plan:
            price = prices[candidate.deployment.id] = self._pricing.at(candidate.deployment, now)
            refusal = self._ledger.refusal(call.caller, call.request.model, price)
            if refusal is None:
                kept.append(candidate)
        if kept:
            return kept
        assert refusal is not None  # a plan is never empty
        raise refusal

    # Whole answers

    async def _settle_whole(self, passage: Passage, reply: Reply) -> None:
        whole = reply.whole
        assert whole is not None
        usage: Usage | None = whole.usage
        source: UsageSource = "provider"
        if usage is None:
            source = "estimated"
            chat = passage.call.request.operation == "chat.completions"
            text = whole_text(reply.body).text if chat else ""
            try:
                usage = await self._counted(passage, text)
            except asyncio.CancelledError:
                self._finish_later(self._count_and_settle(passage, text, _LEFT))
                raise
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
        if source != "provider" and passage.call.request.include_usage:
            yield (
                usage_chunk(usage, stream.id or passage.call.id, passage.call.request.model, int(passage.began))
                + stream.tail()
            )
        else:
            yield stream.tail()

    async def _conclude(
        self, passage: Passage, stream: ChatStream, failure: UpstreamFailure | None
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

    def _fault(self, passage: Passage, stream: ChatStream) -> UpstreamFailure | None:
        """What was wrong with a stream that has ended, None where it is whole."""
        if stream.error is not None:
            candidate = passage.trace.candidate
            assert candidate is not None
            return failure_in_stream(candidate.deployment.account, stream.error)
        if stream.finish_reason is None:
            return UpstreamFailure("server", "The provider's stream ended before the answer was finished.")
        return None

    async def _usage_of(self, passage: Passage, stream: ChatStream) -> tuple[Usage, UsageSource]:
        if stream.usage is not None:
            return stream.usage, "provider"
        return await self._counted(passage, stream.emitted().text), "estimated"

    # Clients that leave

    def _left_waiting(self, passage: Passage, outcome: Outcome) -> None:
        """Nothing has come yet. If a provider was asked, it has read the prompt: that is charged, counted by us."""
        if passage.ended:
            return
        self._telemetry.aborted("client")
        if passage.hold is None or not passage.trace.asking:
            passage.release(outcome)
            self._journal.flush()
        else:
            self._finish_later(self._count_and_settle(passage, "", outcome))

    def _left_streaming(
        self, passage: Passage, stream: ChatStream, response: UpstreamResponse, outcome: Outcome
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

    async def _drain(self, passage: Passage, stream: ChatStream, response: UpstreamResponse) -> None:
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
        """Usage counted by us, with the vocabulary of the model that answered."""
        candidate = passage.trace.candidate
        assert candidate is not None
        model = candidate.deployment.upstream_model
        request = passage.call.request
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
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a settlement failed", exc_info=error)

    # Answer headers

    def _headers(self, passage: Passage) -> bytes:
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
        return lines


def _how(error: BaseException) -> Outcome:
    """How a request ended that was cancelled or closed from above, or failed by a mistake of ours."""
    return _LEFT if isinstance(error, asyncio.CancelledError | GeneratorExit) else _FAULT
