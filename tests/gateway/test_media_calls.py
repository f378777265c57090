"""Calls that say what they may consume: what is held for them and what they are charged, through the whole spine.

The operation is embeddings, whose answers may count tokens or nothing; what they are said to be made of is the test's.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import replace

from posthouse.billing.balances import Balances
from posthouse.billing.estimate import TokenCounter
from posthouse.billing.ledger import Ledger
from posthouse.billing.prices import PriceBook
from posthouse.billing.stands import NoStands
from posthouse.billing.store import request_detail
from posthouse.core.errors import Forbidden, InsufficientQuota
from posthouse.core.usage import Usage
from posthouse.dialects.openai_embeddings import decode_head
from posthouse.gateway.admission import GatewayParts
from posthouse.gateway.model import Answer, Call, GatewayOptions
from posthouse.gateway.passage import Ledgers
from posthouse.gateway.pricing import Pricing
from posthouse.gateway.service import Gateway
from posthouse.limits.service import Limiter
from posthouse.settings.model import PriceSettings
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal
from posthouse.storage.rows import RequestRow
from posthouse.telemetry import Telemetry
from posthouse.upstream.memory import MemoryResponse
from posthouse.upstream.model import UpstreamRequest, UpstreamResponse
from tests.billing.fakes import caller, usd
from tests.billing.stored import opened
from tests.routing.rig import Deployed, Rig

CENT = 10_000_000
TWO_PICTURES = Usage(input=9, image_output=8_320, images=2, image_kind="1024x1024/high")


def answer(usage: dict[str, int] | None) -> bytes:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
    return json.dumps({"object": "list", "data": data, "model": "m", "usage": usage}).encode()


class House(Struct):
    gateway: Gateway
    rig: Rig
    journal: Journal
    database: Database
    begun: asyncio.Event
    usage: dict[str, int] | None = None
    stuck: bool = False

    async def answers(self, _: UpstreamRequest) -> UpstreamResponse:
        self.begun.set()
        if self.stuck:
            await asyncio.Event().wait()
        return MemoryResponse(200, [(b"content-type", b"application/json")], [answer(self.usage)])

    async def ask(self, expected: Usage | None, budget: int | None = None) -> Answer:
        request = replace(decode_head(b'{"model":"m","input":"two cats"}'), expected=expected)
        accepted = asyncio.get_running_loop().time()
        who = caller(None if budget is None else usd(budget))
        return await self.gateway.run(Call(who, request, "req_1", accepted))

    def record(self) -> tuple[RequestRow, int | None, int | None]:
        """The record, what was held and what was charged."""
        assert self.journal.wait_applied(30)
        with self.database.read() as connection:
            detail = request_detail(connection, "req_1")
        assert detail is not None and detail.request is not None and detail.hold is not None
        return detail.request, detail.hold.amount, detail.hold.charged


@asynccontextmanager
async def house(folder: Path, *tables: dict[str, object]) -> AsyncIterator[House]:
    """One deployment for each table of prices: `a/m`, `b/m`, in this order of preference."""
    names = [chr(ord("a") + number) for number in range(len(tables))]
    prices = [
        PriceSettings(model="m", provider=name, **({"currency": "USD"} | table))  # type: ignore[arg-type]
        for name, table in zip(names, tables, strict=True)
        if table
    ]
    rig = Rig(*[Deployed(name, priority=-number) for number, name in enumerate(names)])
    counter = TokenCounter()
    with opened(f"sqlite:///{folder / 'posthouse.db'}") as database:
        journal = Journal(folder / "journal", database)
        journal.start()
        parts = GatewayParts(
            limiter=Limiter(),
            ledger=Ledger(journal, Balances()),
            pricing=Pricing(PriceBook(prices)),
            router=rig.router,
            counter=counter,
            ledgers=Ledgers(journal, Telemetry()),
            budgets=NoStands(),
        )
        made = House(Gateway(parts, GatewayOptions()), rig, journal, database, asyncio.Event())
        rig.scripts = {f"{name}/m": made.answers for name in names}
        try:
            yield made
        finally:
            await made.gateway.closing(10)
            assert journal.close(30)
            counter.close()


async def test_images_are_held_and_charged_by_their_kind(tmp_path: Path) -> None:
    table: dict[str, object] = {"image": "0.04", "image_kinds": {"1024x1024/high": "0.17"}}
    async with house(tmp_path, table) as made:
        got = await made.ask(TWO_PICTURES)
        row, held, charged = made.record()
    assert (held, charged) == (34 * CENT, 34 * CENT)
    assert (row.images, row.image_kind, row.usage_source) == (2, "1024x1024/high", "estimated")
    assert b"x-posthouse-cost: 0.34\r\n" in got.headers


async def test_a_provider_that_counts_tokens_is_charged_by_them_where_they_are_the_price(tmp_path: Path) -> None:
    async with house(tmp_path, {"input": "5", "output": "40"}) as made:
        made.usage = {"prompt_tokens": 7, "total_tokens": 7}
        await made.ask(Usage(input=9, searches=1))
        row, held, charged = made.record()
    assert (held, charged) == (9 * 5_000, 7 * 5_000)
    assert (row.input, row.searches, row.usage_source) == (7, 0, "provider")


async def test_an_answer_that_its_price_does_not_cover_is_charged_what_was_expected(tmp_path: Path) -> None:
    async with house(tmp_path, {"search": "0.002"}) as made:
        made.usage = {"prompt_tokens": 7, "total_tokens": 7}
        await made.ask(Usage(input=9, searches=3))
        row, held, charged = made.record()
    assert (held, charged) == (6_000_000, 6_000_000)
    assert (row.input, row.searches, row.usage_source) == (9, 3, "estimated")


async def test_a_client_that_leaves_a_call_of_units_pays_what_was_expected(tmp_path: Path) -> None:
    async with house(tmp_path, {"image": "0.04"}) as made:
        made.stuck = True
        asking = asyncio.ensure_future(made.ask(TWO_PICTURES))
        await asyncio.wait_for(made.begun.wait(), 10)
        asking.cancel()
        await asyncio.wait([asking], timeout=10)
        await made.gateway.closing(10)
        row, _, charged = made.record()
    assert (charged, row.images, row.ended_by, row.usage_source) == (8 * CENT, 2, "client", "estimated")


async def test_a_deployment_whose_price_is_for_another_use_does_not_serve_a_caller_with_a_budget(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, {"audio_second": "1"}, {"image": "0.04"}) as made:
        await made.ask(TWO_PICTURES, budget=100 * CENT)
        _, _, charged = made.record()
        assert (made.rig.visits, charged) == (["b/m"], 8 * CENT)


@pytest.mark.parametrize("table", [{"audio_second": "1"}, {"image": "0.04"}, {}])
async def test_what_has_no_price_for_its_use_is_refused_to_a_caller_with_a_budget_and_flagged_for_others(
    table: dict[str, object], tmp_path: Path
) -> None:
    async with house(tmp_path, table) as made:
        with pytest.raises(Forbidden) as refused:
            await made.ask(Usage(searches=1), budget=CENT)
        assert refused.value.code == "model_unpriced"
        assert made.rig.visits == []
        got = await made.ask(Usage(searches=1))
        assert b"x-posthouse-cost" not in got.headers


async def test_tokens_have_no_price_where_a_model_is_sold_by_units(tmp_path: Path) -> None:
    async with house(tmp_path, {"image": "0.04"}) as made:
        with pytest.raises(Forbidden) as refused:
            await made.ask(None, budget=100 * CENT)
        assert refused.value.code == "model_unpriced"


async def test_a_budget_that_does_not_cover_the_most_that_is_asked_for_refuses(tmp_path: Path) -> None:
    async with house(tmp_path, {"image": "0.04"}) as made:
        with pytest.raises(InsufficientQuota):
            await made.ask(TWO_PICTURES, budget=8 * CENT - 1)
        assert made.rig.visits == []
        await made.ask(TWO_PICTURES, budget=8 * CENT)
