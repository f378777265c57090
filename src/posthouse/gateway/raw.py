"""The raw door: a request for a vendor's own interface, which passes as it is, but not around limits and budgets.

    admit    the account is open, the key may, the limits allow it
    hold     the most it can cost, where that can be known; see PASS in docs/billing.md
    send     once, by the first credential that is of use: what to do about a failure is the client's to decide here
    watch    its bytes pass; usage is observed beside them
    settle   by what was told or counted; what the provider refused costs nothing

The same passage as in `service.py`, without a choice of deployments and without a dialect that both sides speak. Above:
the face `api/passing.py`. Below: as there.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from typing import Final

from msgspec import Struct

from posthouse.billing.estimate import reserve_of
from posthouse.billing.model import Price
from posthouse.core.caller import Caller
from posthouse.core.errors import Forbidden, NotFound, PosthouseError, UpstreamFailure
from posthouse.core.requests import ModelRequest, Operation
from posthouse.core.usage import NO_USAGE, Usage, UsageSource
from posthouse.dialects.beside import Beside
from posthouse.dialects.codecs import CODECS
from posthouse.gateway.admission import GatewayParts
from posthouse.gateway.below import Sender
from posthouse.gateway.model import Call, GatewayOptions
from posthouse.gateway.passage import Outcome, Passage, Wanted, tell_of
from posthouse.gateway.pricing import UNNAMED, by_own, paid_in
from posthouse.gateway.scopes import check_scope
from posthouse.gateway.subjects import passable, subjects_of
from posthouse.limits.model import LimitReached
from posthouse.providers.brought import Brought, can_be_brought, lent
from posthouse.providers.model import Deployment
from posthouse.providers.passing import Parcel, head_below
from posthouse.providers.reply import content_type
from posthouse.routing.model import Candidate, Offer
from posthouse.storage.rows import EndedBy
from posthouse.upstream.model import UpstreamResponse

logger = logging.getLogger("posthouse.gateway")

_LEFT: Final = Outcome(status=499, error="client_left", ended_by="client")
_FAULT: Final = Outcome(status=500, error="internal_error", ended_by="error")
_LEAST_OUTPUT: Final = 64  # as in admission: what a caller without a cap must be able to pay beside its input
_EVENTS: Final = b"text/event-stream"
_REFUSAL_LIMIT: Final = 1 << 20
_HELD: Final = 64 << 10  # what may follow the end of a stream and still be part of it
_END_SECONDS: Final = 1.0


class Asked(Struct, frozen=True):
    """What is known of a request before it is sent. `endpoint`: it is one of those that are charged by the tokens of a
    model; then `sure` says whether that is `model` (as the provider calls it) for certain, and the answer tells what it
    took. `tokens` of input, rather too many than too few; `max_output` and `choices` as in `ModelRequest`; `tier` as in
    `asked_tier`."""

    endpoint: Operation | None = None
    model: str | None = None
    sure: bool = False
    tokens: int = 0
    max_output: int | None = None
    choices: int = 1
    tier: str = ""


class RawCall(Struct, eq=False):
    """One request of one caller, for the interface of the provider account `account`. `accepted` is the loop's time;
    `own` the credential that the caller brings."""

    caller: Caller
    id: str
    accepted: float
    account: str
    parcel: Parcel
    asked: Asked
    address: str = ""
    own: Brought | None = None


class RawAnswer(Struct, eq=False):
    """What came back: the provider's status, and complete header lines (its own that may be shown, and ours). Either
    `body` is all of it, or `pieces` yields it as it comes; whoever takes them must close them (`aclose`). Where they
    raise a PosthouseError the answer is not whole."""

    status: int
    headers: bytes
    body: bytes = b""
    pieces: AsyncGenerator[bytes, None] | None = None


class RawDoor:
    """One per process. `closing()` waits for settlements that are still being counted."""

    def __init__(self, parts: GatewayParts, options: GatewayOptions) -> None:
        self._parts = parts
        self._catalog = parts.router.catalog
        self._journal = parts.ledgers.journal
        self._telemetry = parts.ledgers.telemetry
        self._sender = Sender(parts.router, self._telemetry)
        self._default_output = options.default_output
        self._finishing: set[asyncio.Task[None]] = set()

    def account(self, name: str, caller: Caller, own: Brought | None = None) -> None:
        """Raises NotFound where no account of this name is open here, Forbidden where the caller may not use it, or not
        by a credential of its own."""
        self._offer(name, caller, own)

    async def run(self, call: RawCall) -> RawAnswer:
        """Raises PosthouseError where the provider gave no answer; then nothing is charged but what it consumed."""
        asked = call.asked
        request = ModelRequest("passthrough", "", asked.model or UNNAMED, {}, 0)
        passage = Passage(
            Call(call.caller, request, call.id, call.accepted, address=call.address, own=call.own), self._parts.ledgers
        )
        self._telemetry.inflight += 1
        try:
            offer = self._offer(call.account, call.caller, call.own)
            ours = self._name_of(offer, asked.model)
            if call.caller.apart or self._parts.ledger.doubts:
                await self._parts.budgets.ready(call.caller, ours or passage.call.request.model)
            self._admit(passage, offer, asked, ours)
            if self._parts.shared is not None:
                await self._parts.shared.take(passage)
            sender = self._sender if call.own is None else Sender(self._parts.router.apart(), self._telemetry)
            response = await sender.send(passage, call.parcel, asked.endpoint)
            try:
                if response.status >= 400:
                    return await self._refused(passage, response)
                self._journal.flush()  # the hold is on disk before the first byte leaves, or nothing leaves
            except BaseException:
                response.close()
                raise
        except PosthouseError as error:
            ended_by: EndedBy = "upstream" if isinstance(error, UpstreamFailure) else "error"
            passage.release(Outcome(status=error.status, error=error.code or error.type, ended_by=ended_by))
            self._journal.flush()
            raise
        except BaseException as error:
            self._left(passage, call, Beside(None, b""), _how(error))
            raise
        kind = content_type(response)
        beside = Beside(CODECS.get(asked.endpoint) if asked.endpoint is not None else None, kind)
        request.stream = kind.startswith(_EVENTS)
        pieces = self._watch(passage, call, response, beside)
        return RawAnswer(response.status, self._head(passage, response), pieces=pieces)

    async def closing(self, timeout: float) -> None:
        if self._finishing:
            await asyncio.wait(self._finishing, timeout=timeout)

    # Admission

    def _offer(self, name: str, caller: Caller, own: Brought | None) -> Offer:
        check_scope(caller, "passthrough")
        offer = next((one for one in self._catalog.offers if one.account.name == name), None)
        if offer is None or not offer.account.passthrough:
            raise NotFound(
                f"No provider account named {name[:100]!r} is open here. The operator opens one with "
                "`passthrough = true` in its [[providers]] table.",
                code="provider_not_open",
            )
        if caller.models is not None:
            raise Forbidden(
                "This key may use certain models only, so it may not use what is beside them.", code="model_not_allowed"
            )
        if own is not None and name not in own.accounts:
            raise Forbidden(
                f"This key may not bring a credential in the place of {name[:100]!r}'s.",
                code="own_credential_no_account",
            )
        if own is not None and not can_be_brought(offer.account):
            raise Forbidden(
                f"The provider account {name[:100]!r} is not known by a single credential here, so yours cannot take "
                "its place.",
                code="own_credential_unsupported",
            )
        return offer

    def _admit(self, passage: Passage, offer: Offer, asked: Asked, ours: str | None) -> None:
        """Limits and budgets: all of them or nothing is taken. `ours`: what the house calls the model."""
        caller, account = passage.call.caller, offer.account
        output = self._output(asked)
        subjects = subjects_of(self._parts.house, caller, ours or asked.model or UNNAMED, passage.call.address)
        # A model that the house offers too is known by how long its answers are.
        known = ours is not None and output > 0
        ahead = self._parts.ledgers.outputs.likely(ours or "", asked.choices, output, subjects) if known else output
        tokens = passable(subjects, 0, asked.tokens + ahead)
        if self._parts.shared is None:
            try:
                passage.grant = self._parts.limiter.admit_subjects(subjects, tokens)
            except LimitReached as error:
                self._telemetry.rejected(error.scope, error.dimension)
                raise
        pricing, now = self._parts.pricing, passage.began
        if asked.endpoint is None:
            price = pricing.below(account, UNNAMED, None).listed(now)
        elif asked.sure and asked.model is not None:
            price = pricing.below(account, asked.model, ours).at(now)
        else:
            price = pricing.below(account, "", None).at(now)  # none, but at a provider that is free
        currency = paid_in(caller)
        if price is not None and currency is not None:
            price = pricing.paid(price, currency, now)
        own = passage.call.own
        if own is not None:
            account = lent(account, own)
        model = (ours or passage.call.request.model) if asked.endpoint is not None else UNNAMED
        deployment = Deployment(
            id=account.name, account=account, model=ours or UNNAMED, upstream_model=asked.model or UNNAMED
        )
        if own is not None:
            price = by_own(price, caller, deployment)
        ledger = self._parts.ledger
        wrong = ledger.refusal(caller, model, price)
        if wrong is not None:
            raise wrong
        passage.trace.candidate = Candidate(
            deployment, offer.transport, {}, (0, 0), 1.0, b"x-posthouse-deployment: %b\r\n" % account.name.encode()
        )
        passage.prices[deployment.id] = price
        reserve = least = None
        if price is not None:
            reserve = reserve_of(price, asked.tokens, output, asked.tier)
            if asked.max_output is None and output and caller.has_budget:
                least = reserve_of(price, asked.tokens, min(output, _LEAST_OUTPUT), asked.tier).nano
        passage.tier = asked.tier
        if self._parts.shared is not None:
            passage.wanted = Wanted(subjects, tokens, 0, reserve, least)
            return
        passage.hold = ledger.hold(caller, passage.call.id, model, reserve, least)
        self._journal.flush_soon()

    def _output(self, asked: Asked) -> int:
        if asked.endpoint is None or asked.endpoint == "embeddings":
            return 0
        return (self._default_output if asked.max_output is None else asked.max_output) * asked.choices

    def _name_of(self, offer: Offer, model: str | None) -> str | None:
        """What the house calls a model of this account; None where it has none of this name."""
        if model is None:
            return None
        for name in offer.models or ():
            if name.upstream == model:
                return name.name
        found = self._catalog.candidates(f"{offer.account.name}/{model}")
        return found[0].deployment.model if found and found[0].deployment.upstream_model == model else None

    # The answer

    async def _refused(self, passage: Passage, response: UpstreamResponse) -> RawAnswer:
        """The provider's error, in its own words, but for the credential where it repeats that."""
        candidate = passage.trace.candidate
        assert candidate is not None
        try:
            body = await response.read(_REFUSAL_LIMIT)
        except asyncio.CancelledError:
            passage.release(_LEFT)
            raise
        finally:
            response.close()
        self._sender.refused(passage, response, body)
        secret = candidate.deployment.account.credential
        if secret:
            for form in (secret, secret.replace("/", "\\/")):  # as it is, and as some write it in JSON
                body = body.replace(form.encode(), b"[credential]")
        passage.release(Outcome(status=response.status, error="provider_refused", ended_by="upstream"))
        self._journal.flush()
        return RawAnswer(response.status, self._head(passage, response), body)

    async def _watch(
        self, passage: Passage, call: RawCall, response: UpstreamResponse, beside: Beside
    ) -> AsyncGenerator[bytes, None]:
        """Bytes as they come; the settlement; the end."""
        held = b""
        try:
            failure: PosthouseError | None = None
            try:
                while data := await response.chunk():
                    beside.feed(data)
                    if beside.done:
                        held = data + await _rest(response)
                        break
                    yield data
                beside.finish()
            except PosthouseError as error:  # the provider's, or what is wrong with the rest of the client's body
                failure = error
            response.close()
            await self._conclude(passage, call, beside, failure)
        except BaseException as error:  # whoever leaves, and whatever is wrong: the hold ends
            response.close()
            self._left(passage, call, beside, _how(error))
            raise
        if held:
            yield held

    async def _conclude(self, passage: Passage, call: RawCall, beside: Beside, failure: PosthouseError | None) -> None:
        if failure is None:
            await self._settle(passage, call, beside, Outcome())
            return
        broke_off = isinstance(failure, UpstreamFailure)
        if broke_off:
            self._telemetry.aborted("upstream")
        ended_by: EndedBy = "upstream" if broke_off else "error"
        outcome = Outcome(status=failure.status, error=failure.code or failure.type, ended_by=ended_by)
        await self._settle(passage, call, beside, outcome)
        raise failure

    def _left(self, passage: Passage, call: RawCall, beside: Beside, outcome: Outcome) -> None:
        """The client has left, or we have failed. Of half a request no provider makes anything."""
        if passage.ended:
            return
        self._telemetry.aborted("client")
        body = call.parcel.body
        if passage.hold is None or not passage.trace.asking or (passage.first_at is None and body and not body.ended):
            passage.release(outcome)
            self._journal.flush()
        else:
            self._finish_later(self._settle(passage, call, beside, outcome))

    # The end

    async def _settle(self, passage: Passage, call: RawCall, beside: Beside, outcome: Outcome) -> None:
        usage, source = await self._usage_of(passage, call.asked, beside)
        candidate = passage.trace.candidate
        assert candidate is not None
        account = candidate.deployment.account
        if source == "provider" and call.asked.endpoint is None and passage.prices[account.name] is None:
            passage.prices[account.name] = self._told_price(passage, candidate, call.asked, usage)
        passage.settle(usage, source, outcome)
        self._journal.flush()

    def _told_price(self, passage: Passage, candidate: Candidate, asked: Asked, usage: Usage) -> Price | None:
        """What is known only from the answer is charged where its model has a price for it. (A caller with a budget
        does not come here: it was refused.)"""
        if asked.model is None:
            return None
        deployment = candidate.deployment
        ours = deployment.model if deployment.model != UNNAMED else None
        price = self._parts.pricing.below(deployment.account, asked.model, ours).listed(passage.began)
        if passage.call.own is not None:
            price = by_own(price, passage.call.caller, deployment)
        return price if price is not None and price.covers(usage) else None

    async def _usage_of(self, passage: Passage, asked: Asked, beside: Beside) -> tuple[Usage, UsageSource]:
        told = beside.usage
        if told is not None:
            return told, "provider"
        if asked.endpoint is None:
            return NO_USAGE, "estimated"
        emitted = beside.emitted()
        if emitted is None:  # whole: an answer of text has about as many tokens as its JSON, and mostly fewer
            output = beside.size * 2 // 5 if beside.readable and asked.endpoint != "embeddings" else 0
        else:
            model = asked.model or UNNAMED
            try:
                output = await self._parts.counter.count(emitted.text, model) if emitted.text else 0
            except (RuntimeError, ValueError, OSError):  # what cannot be counted must not leave the hold open
                logger.exception("tokens of %s could not be counted; they are estimated by size", passage.call.id)
                output = len(emitted.text.encode()) * 2 // 5
        return Usage(input=asked.tokens, output=output), "estimated"

    def _finish_later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._finishing.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._finishing.discard(task)
        tell_of(task)

    def _head(self, passage: Passage, response: UpstreamResponse) -> bytes:
        candidate = passage.trace.candidate
        assert candidate is not None
        ours = b"" if passage.grant is None else passage.grant.head()
        if content_type(response).startswith(_EVENTS):
            ours += b"x-accel-buffering: no\r\n"  # a proxy in front of us must not gather them
        return head_below(response.headers) + candidate.head + ours


async def _rest(response: UpstreamResponse) -> bytes:
    """What follows what a dialect calls the end, as long as it comes at once."""
    rest = b""
    try:
        async with asyncio.timeout(_END_SECONDS):
            while len(rest) < _HELD and (data := await response.chunk()):
                rest += data
    except (TimeoutError, UpstreamFailure):
        pass
    return rest


def _how(error: BaseException) -> Outcome:
    """How a request ended that was cancelled or closed from above, or failed by a mistake of ours."""
    return _LEFT if isinstance(error, asyncio.CancelledError | GeneratorExit) else _FAULT
