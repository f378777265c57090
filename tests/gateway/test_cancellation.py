"""A client that leaves at any turn of the loop: its hold has ended once, its place is free, its provider is left."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
from msgspec import Struct

from posthouse.billing.balances import Balances
from posthouse.billing.estimate import TokenCounter
from posthouse.billing.ledger import Ledger
from posthouse.billing.prices import PriceBook
from posthouse.billing.stands import NoStands
from posthouse.core.caller import Caller, Limits, Subject
from posthouse.core.errors import UpstreamFailure
from posthouse.gateway.admission import GatewayParts
from posthouse.gateway.model import Call, GatewayOptions
from posthouse.gateway.passage import Ledgers
from posthouse.gateway.pricing import Pricing
from posthouse.gateway.service import Gateway
from posthouse.limits.service import Limiter
from posthouse.settings.model import PriceSettings
from posthouse.storage.rows import RequestRow
from posthouse.telemetry import Telemetry
from posthouse.upstream.memory import MemoryResponse
from posthouse.upstream.model import UpstreamRequest
from tests.billing.fakes import ListJournal, usd
from tests.routing.rig import Deployed, Rig, asked

EVENT: Final = b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
END: Final = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
WHOLE: Final = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}'
CALLER: Final = Caller(
    "key_1", "one", "acc_1", (Subject("key_1", "key", "one", Limits(concurrency=1), (usd(1_000_000_000),)),)
)
PRICE: Final[dict[str, Any]] = {"model": "m", "currency": "USD", "input": "1", "output": "1"}
TURNS: Final = 30


class Journal(ListJournal):
    """Everything is on disk at once."""

    def flush(self) -> None:
        return None

    def flush_soon(self) -> None:
        return None


class Spine(Struct):
    gateway: Gateway
    journal: Journal
    limiter: Limiter
    telemetry: Telemetry
    answers: list[MemoryResponse]

    async def ask(self, *, stream: bool) -> None:
        began = asyncio.get_running_loop().time()
        answer = await self.gateway.run(Call(CALLER, asked(stream=stream), "req_1", began))
        if answer.events is not None:
            try:
                async for _ in answer.events:
                    await asyncio.sleep(0)
            finally:
                await answer.events.aclose()


@pytest.fixture(scope="module")
def counter() -> Iterator[TokenCounter]:
    made = TokenCounter()
    yield made
    made.close()


def spine(counter: TokenCounter, *, fails: bool) -> Spine:
    """Two deployments; the first of them `fails`, or answers without telling what it took."""
    rig = Rig(Deployed("a", priority=1), Deployed("b"))
    journal, balances, telemetry = Journal(), Balances(), Telemetry()
    prices = PriceBook([PriceSettings(**PRICE)])
    parts = GatewayParts(
        limiter=Limiter(),
        ledger=Ledger(journal, balances),
        pricing=Pricing(prices),
        router=rig.router,
        counter=counter,
        ledgers=Ledgers(journal, telemetry),  # type: ignore[arg-type]
        budgets=NoStands(),
    )
    made = Spine(Gateway(parts, GatewayOptions()), journal, parts.limiter, telemetry, [])

    async def answers(request: UpstreamRequest) -> MemoryResponse:
        await asyncio.sleep(0)
        streamed = b'"stream":true' in request.body
        kind = b"text/event-stream" if streamed else b"application/json"

        async def pieces() -> AsyncIterator[bytes]:
            for piece in (EVENT, EVENT, END) if streamed else (WHOLE,):
                await asyncio.sleep(0)
                yield piece

        made.answers.append(MemoryResponse(200, [(b"content-type", kind)], pieces()))
        return made.answers[-1]

    async def fails_late(_: UpstreamRequest) -> MemoryResponse:
        await asyncio.sleep(0)
        raise UpstreamFailure("server", "no")

    rig.scripts = {"a/m": fails_late if fails else answers, "b/m": answers}
    return made


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_whoever_leaves_at_whatever_turn_leaves_nothing_behind(
    counter: TokenCounter, stream: bool, fails: bool
) -> None:
    ended: set[str] = set()
    for turns in range(TURNS):
        made = spine(counter, fails=fails)
        asking = asyncio.ensure_future(made.ask(stream=stream))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking], timeout=10)
        await made.gateway.closing(10)
        assert len(made.journal.holds()) == len(made.journal.ends()) <= 1, turns
        records = [row for _, row in made.journal.rows if isinstance(row, RequestRow)]
        assert len(records) == (turns > 0), turns
        ended |= {record.ended_by for record in records}
        assert made.telemetry.inflight == 0, turns
        assert all(answer.closed for answer in made.answers), turns
        await made.ask(stream=stream)  # the one place is free
        assert len(made.journal.holds()) == len(made.journal.ends())
    assert "client" in ended
