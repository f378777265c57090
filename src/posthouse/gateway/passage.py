"""One request on its way through the house: what was taken for it, and how it ends.

A passage ends exactly once, by `settle` (something was consumed) or `release` (nothing was). Ending it gives back
what the limits had reserved, ends the hold, writes the record and tells telemetry. All of that is synchronous, so
that it can be done while a task is being cancelled; what it writes is durable before the caller gets the last byte.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from posthouse.billing.forms import price_to_json
from posthouse.billing.ledger import Hold
from posthouse.billing.model import Price, Settlement
from posthouse.core.caller import Subject
from posthouse.core.errors import Unavailable
from posthouse.core.money import Money
from posthouse.core.usage import NO_USAGE, Usage, UsageSource
from posthouse.gateway.model import Call
from posthouse.gateway.outputs import Outputs
from posthouse.limits.model import Grant
from posthouse.routing.model import Trace
from posthouse.storage.journal import Journal
from posthouse.storage.rows import PRICE, REQUEST, EndedBy, PriceRow, RequestRow
from posthouse.telemetry import Finished, Telemetry

logger = logging.getLogger("posthouse.gateway")

_encode: Final = msgspec.json.Encoder().encode
_MOST_NOTED: Final = 65_536


class Ledgers(Struct, eq=False):
    """Where a passage writes. `clock` gives seconds since the epoch; `noted` are the ids of prices that this process
    has written down."""

    journal: Journal
    telemetry: Telemetry
    clock: Callable[[], float] = time.time
    noted: set[str] = msgspec.field(default_factory=set)
    outputs: Outputs = msgspec.field(default_factory=Outputs)

    def note(self, price: Price, now: float) -> None:
        """Writes a price down when it is first billed with."""
        if price.id and price.id not in self.noted:
            if len(self.noted) >= _MOST_NOTED:
                self.noted.clear()
            self.noted.add(price.id)
            self.journal.append(PRICE, PriceRow(price.id, _encode(price_to_json(price)).decode(), int(now * 1000)))


class Outcome(Struct, frozen=True, gc=False, kw_only=True):
    """How a request ended. `status` is the HTTP status that the caller saw, or would have."""

    status: int = 200
    error: str | None = None
    ended_by: EndedBy = "complete"


COMPLETE: Final = Outcome()


class Wanted(Struct, frozen=True, gc=False):
    """What a request needs besides its one place: tokens and images, and its reserve, None for a model without a price.
    `subjects`: whose limits it is under; `least`: with as many nano-units it is content."""

    subjects: Sequence[Subject]
    tokens: int
    images: int
    reserve: Money | None
    least: int | None


class Passage:
    """`prices` are those of the plan's deployments at admission: what was reserved by is what is charged by. `tier` is
    the service tier that was asked for."""

    __slots__ = (
        "_began",
        "_billed",
        "_ended",
        "_ledgers",
        "call",
        "cost",
        "first_at",
        "grant",
        "hold",
        "planned",
        "prices",
        "tier",
        "trace",
        "wanted",
    )

    def __init__(self, call: Call, ledgers: Ledgers) -> None:
        self._ledgers = ledgers
        self._began = ledgers.clock()
        self._ended = False
        self.call = call
        self.trace = Trace(call.accepted, call.id)
        self.prices: dict[str, Price | None] = {}
        self.planned = False  # the model is known: its name is no invention of the caller's
        self.wanted: Wanted | None = None  # of the shared gate, until it is taken
        self.grant: Grant | None = None
        self.hold: Hold | None = None
        self.cost: Money | None = None
        self.first_at: float | None = None
        self.tier = ""
        self._billed: Price | None = None

    @property
    def began(self) -> float:
        """Seconds since the epoch."""
        return self._began

    @property
    def ended(self) -> bool:
        return self._ended

    def settle(self, usage: Usage, source: UsageSource, outcome: Outcome = COMPLETE) -> None:
        """Something was consumed: charges it, whatever the outcome."""
        deployment = self.trace.candidate.deployment if self.trace.candidate is not None else None
        assert deployment is not None and self.hold is not None
        assert not self._ended
        self._ended = True
        price = self.prices.get(deployment.id)
        expected = self.call.request.expected
        if expected is not None and price is not None and not price.covers(usage):
            # The answer tells of nothing that its price is for: it is charged what was reserved for, and never nothing.
            usage, source = expected, "estimated"
        if self.tier and not usage.tier and self._was_said():
            usage = replace(usage, tier=self.tier)
        self._billed = price
        self.cost = self.hold.settle(Settlement(usage, source, price, deployment.account.name, outcome.ended_by))
        if self.grant is not None:
            self.grant.settle(usage.total, usage.images)
            self.grant.release(self.hold.charged or 0)
        if expected is None and outcome is COMPLETE and self.planned:
            self._ledgers.outputs.add(self.call.request.model, usage.total_output // self.call.request.choices)
        self._record(usage, source, outcome)

    def release(self, outcome: Outcome) -> None:
        """Nothing was consumed, or nothing that can be known: gives everything back."""
        if self._ended:
            return
        self._ended = True
        if self.hold is not None:
            self.hold.release(outcome.error or outcome.ended_by)
        if self.grant is not None:
            self.grant.settle(0)
            self.grant.release()
        self._record(NO_USAGE, None, outcome)

    def _served_by(self) -> tuple[str | None, str | None, str | None]:
        """The model, the provider account and the deployment, as far as there are any."""
        if self.trace.candidate is not None:
            chosen = self.trace.candidate.deployment
            return chosen.model, chosen.account.name, chosen.id
        return self.call.request.model if self.planned else None, None, None

    def _billing_of(self, usage: Usage) -> tuple[str | None, int | None, str | None, str | None]:
        """The id of the price, and what it came to in its own currency, where it was paid in another: amount, currency,
        rate."""
        price = self._billed
        if price is None:
            return None, None, None, None
        self._ledgers.note(price, self._began)
        exchange = price.exchange
        if exchange is None:
            return price.id or None, None, None, None
        return price.id or None, price.listed(usage), exchange.listed, str(exchange)

    def _was_said(self) -> bool:
        """Whether the provider was told all that the client said: a request that was translated may have lost its
        tier."""
        candidate, operation = self.trace.candidate, self.call.request.operation
        prepared = None if candidate is None else candidate.prepared.get(operation)
        return prepared is None or prepared.wire == operation

    def _record(self, usage: Usage, source: UsageSource | None, outcome: Outcome) -> None:
        call = self.call
        caller = call.caller
        request = call.request
        trace = self.trace
        hold = self.hold
        cost = self.cost
        duration = asyncio.get_running_loop().time() - call.accepted
        first = overhead = None
        if self.first_at is not None:
            first = self.first_at - call.accepted
            overhead = (first if request.stream else duration) - trace.spent
        model, provider, deployment = self._served_by()
        # By position, in the order of the struct: 48 keywords would take 2 us more.
        row = RequestRow(
            call.id,
            int(self._began * 1000),
            caller.key_id,
            caller.account_id,
            request.operation,
            request.model[:256],
            model,
            provider,
            deployment,
            request.stream,
            outcome.status,
            outcome.error,
            trace.attempts,
            _encode(trace.failed).decode() if trace.failed else None,
            usage.input,
            usage.cache_read,
            usage.cache_write,
            usage.cache_write_1h,
            usage.output,
            usage.reasoning,
            usage.audio_input,
            usage.audio_output,
            usage.image_input,
            usage.image_output,
            source,
            None if cost is None else cost.nano,
            None if cost is None else cost.currency,
            cost is not None,
            None if hold is None else hold.amount,
            None if hold is None or hold.state == "held" else hold.state,
            None if first is None else int(first * 1000),
            int(duration * 1000),
            outcome.ended_by,
            usage.images,
            usage.audio_ms,
            usage.characters,
            usage.searches,
            usage.image_kind or None,
            None if trace.decision is None else trace.decision.encoded(),
            usage.audio_cache_read,
            usage.image_cache_read,
            usage.web_searches,
            usage.file_searches,
            usage.sessions,
            usage.tier or None,
            *self._billing_of(usage),
            None if call.own is None or caller.own is None else caller.own.fee_ppm,
        )
        ledgers = self._ledgers
        ledgers.journal.append(REQUEST, row)
        telemetry = ledgers.telemetry
        telemetry.inflight -= 1
        at = self._began + duration
        telemetry.request_done(Finished(row, usage, caller.key_name, at, duration, first, overhead))


def tell_of(settling: asyncio.Task[None]) -> None:
    """Logs why a settlement that was made for a client that left has failed; one that could not be written has not."""
    error = None if settling.cancelled() else settling.exception()
    if isinstance(error, Unavailable):
        logger.warning("what a client that left has cost is kept in memory for now: %s", error.message)
    elif error is not None:
        logger.error("a settlement failed", exc_info=error)
