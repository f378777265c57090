"""Service tiers, currencies and the price that a record names, through the whole spine, on both databases."""

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from posthouse.billing.balances import Balances
from posthouse.billing.desk import PriceDesk
from posthouse.billing.estimate import TokenCounter
from posthouse.billing.exchange import ExchangeBook
from posthouse.billing.ledger import Ledger
from posthouse.billing.prices import PriceBook
from posthouse.billing.stands import NoStands
from posthouse.billing.store import request_detail
from posthouse.billing.verify import verify
from posthouse.core.caller import Budget
from posthouse.core.errors import Forbidden
from posthouse.dialects.anthropic_messages import decode_head as decode_message
from posthouse.dialects.openai_chat_head import decode_head
from posthouse.gateway.admission import GatewayParts
from posthouse.gateway.model import Answer, Call, GatewayOptions
from posthouse.gateway.passage import Ledgers
from posthouse.gateway.pricing import Pricing
from posthouse.gateway.service import Gateway
from posthouse.limits.service import Limiter
from posthouse.settings.model import PriceSettings, RateSettings
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal
from posthouse.storage.rows import RequestRow
from posthouse.telemetry import Telemetry
from posthouse.upstream.memory import MemoryResponse
from posthouse.upstream.model import UpstreamRequest, UpstreamResponse
from tests.billing.fakes import caller, usd
from tests.billing.stored import opened
from tests.routing.rig import Deployed, Rig

TIERED: tuple[dict[str, Any], ...] = (
    {"currency": "USD", "input": "1", "output": "1"},
    {"currency": "USD", "service_tier": "priority", "input": "2", "output": "2"},
    {"service_tier": "flex", "multiplier": "0.5"},
    {"service_tier": "batch", "multiplier": "9"},
)
YUAN: tuple[dict[str, Any], ...] = ({"currency": "CNY", "input": "7", "output": "7"},)
TOKEN = 1_000  # nano-units at the standard price


class House(Struct):
    gateway: Gateway
    journal: Journal
    database: Database
    said: dict[str, Any]
    number: int = 0

    async def answers(self, _: UpstreamRequest) -> UpstreamResponse:
        choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        body = {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage, **self.said}
        return MemoryResponse(200, [(b"content-type", b"application/json")], [json.dumps(body).encode()])

    async def ask(self, budget: int | None = None, **members: object) -> tuple[Answer, RequestRow, int | None]:
        """The answer, the record, and what was held."""
        body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}], **members}
        request = decode_head(json.dumps(body).encode())
        self.number += 1
        id = f"req_{self.number}"
        who = caller(None if budget is None else usd(budget))
        answer = await self.gateway.run(Call(who, request, id, asyncio.get_running_loop().time()))
        assert self.journal.wait_applied(30)
        with self.database.read() as connection:
            detail = request_detail(connection, id)
        assert detail is not None and detail.request is not None and detail.hold is not None
        return answer, detail.request, detail.hold.amount


@asynccontextmanager
async def house(
    url: str, folder: Path, tables: tuple[dict[str, Any], ...], *rates: RateSettings
) -> AsyncIterator[House]:
    rig = Rig(Deployed("a"))
    counter = TokenCounter()
    with opened(url) as database:
        journal = Journal(folder / "journal", database)
        journal.start()
        parts = GatewayParts(
            limiter=Limiter(),
            ledger=Ledger(journal, Balances()),
            pricing=Pricing(PriceBook([PriceSettings(model="m", **table) for table in tables]), ExchangeBook(rates)),
            router=rig.router,
            counter=counter,
            ledgers=Ledgers(journal, Telemetry()),
            budgets=NoStands(),
        )
        made = House(Gateway(parts, GatewayOptions()), journal, database, {})
        rig.scripts = {"a/m": made.answers}
        try:
            yield made
            assert journal.wait_applied(30)
            assert verify(database, dt.datetime.now(dt.UTC).timestamp()).ok
        finally:
            await made.gateway.closing(10)
            assert journal.close(30)
            counter.close()


@pytest.mark.parametrize(
    ("asked", "told", "rate", "recorded"),
    [
        (None, None, 10, None),
        (None, "default", 10, "default"),
        (None, "flex", 5, "flex"),  # what was served is charged, whoever chose it
        ("flex", "flex", 5, "flex"),
        ("flex", None, 5, "flex"),
        ("priority", "priority", 20, "priority"),
        ("priority", "default", 10, "default"),
        ("auto", "priority", 20, "priority"),
        ("auto", None, 10, "auto"),
        ("default", None, 10, None),
    ],
)
async def test_a_call_costs_what_its_tier_does_as_the_answer_says_and_else_as_was_asked(
    asked: str | None, told: str | None, rate: int, recorded: str | None, tmp_path: Path
) -> None:
    async with house(f"sqlite:///{tmp_path / 'posthouse.db'}", tmp_path, TIERED) as made:
        made.said = {} if told is None else {"service_tier": told}
        _, row, _ = await made.ask() if asked is None else await made.ask(service_tier=asked)
    assert (row.cost, row.service_tier) == (rate * TOKEN, recorded)


async def test_a_tier_that_a_translation_has_lost_is_not_charged(tmp_path: Path) -> None:
    async with house(f"sqlite:///{tmp_path / 'posthouse.db'}", tmp_path, TIERED) as made:
        body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "a"}], "speed": "fast"}
        request = decode_message(json.dumps(body | {"service_tier": "priority"}).encode())
        made.number += 1
        call = Call(caller(None), request, f"req_{made.number}", asyncio.get_running_loop().time())
        await made.gateway.run(call)
        assert made.journal.wait_applied(30)
        with made.database.read() as connection:
            detail = request_detail(connection, f"req_{made.number}")
    assert detail is not None and detail.request is not None
    assert (detail.request.cost, detail.request.service_tier) == (10 * TOKEN, None)


@pytest.mark.parametrize(
    ("asked", "times"),
    [(None, 1), ("default", 1), ("flex", 1), ("priority", 2), ("auto", 2), ("batch", 9), ("?", 1), (5, 1)],
)
async def test_a_hold_covers_the_dearest_tier_that_may_be_served(asked: object, times: int, tmp_path: Path) -> None:
    async with house(f"sqlite:///{tmp_path / 'posthouse.db'}", tmp_path, TIERED) as made:
        _, _, usual = await made.ask()
        _, _, held = await made.ask(service_tier=asked) if asked is not None else await made.ask()
    assert usual is not None and held is not None
    larger = 0 if asked is None else 2 * (len(f'"service_tier": {json.dumps(asked)}, ') + 4) // 5 + 1
    assert usual * times <= held <= (usual + larger * TOKEN) * times


async def test_a_price_in_another_currency_than_the_budget_is_paid_at_the_rate_of_the_day(
    database_url: str, tmp_path: Path
) -> None:
    rate = RateSettings(base="CNY", quote="USD", rate="0.14", date=dt.date(2026, 1, 1))  # type: ignore[arg-type]
    async with house(database_url, tmp_path, YUAN, rate) as made:
        answer, row, held = await made.ask(budget=10**9)
        _, free, _ = await made.ask()
    assert (row.cost, row.currency) == (9_800, "USD")
    assert (row.list_cost, row.list_currency, row.exchange_rate) == (70_000, "CNY", "0.14")
    assert held is not None and held >= 9_800
    assert b"x-posthouse-cost: 0.0000098\r\nx-posthouse-currency: USD\r\n" in answer.headers
    # Without a budget nothing has to meet.
    assert (free.cost, free.currency, free.list_cost, free.exchange_rate) == (70_000, "CNY", None, None)


async def test_a_currency_without_a_rate_is_refused_and_the_refusal_says_how_to_mend_it(tmp_path: Path) -> None:
    async with house(f"sqlite:///{tmp_path / 'posthouse.db'}", tmp_path, YUAN) as made:
        with pytest.raises(Forbidden, match=r"\[\[rates\]\]") as caught:
            await made.ask(budget=10**9)
    assert caught.value.code == "currency_mismatch"


async def test_budgets_of_a_key_and_its_account_in_two_currencies_are_refused_whatever_rates_there_are(
    tmp_path: Path,
) -> None:
    rate = RateSettings(base="CNY", quote="USD", rate="0.14", date=dt.date(2026, 1, 1))  # type: ignore[arg-type]
    async with house(f"sqlite:///{tmp_path / 'posthouse.db'}", tmp_path, YUAN, rate) as made:
        request = decode_head(b'{"model":"m","messages":[{"role":"user","content":"a"}]}')
        who = caller(usd(10**9), Budget(10**9, "CNY", "total"))
        with pytest.raises(Forbidden) as caught:
            await made.gateway.run(Call(who, request, "req_1", asyncio.get_running_loop().time()))
    assert caught.value.code == "currency_mismatch"


async def test_a_record_names_the_price_that_it_was_billed_by_and_that_is_kept(
    database_url: str, tmp_path: Path
) -> None:
    async with house(database_url, tmp_path, TIERED) as made:
        _, row, _ = await made.ask()
        _, again, _ = await made.ask()
        assert row.price_id is not None and row.price_id == again.price_id
        kept = PriceDesk(made.database).snapshot(row.price_id)
    assert kept["id"] == row.price_id
    assert (kept["currency"], kept["per_million"]["input"]) == ("USD", "1")
    assert kept["service_tiers"]["flex"]["per_million"]["output"] == "0.5"
