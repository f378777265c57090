"""`/dashboard/billing/subscription`, `usage` and `credit_grants`: what older clients ask to show a balance.

A key sees itself: what it spent, and what its budget or its account's has left for it.
"""

import asyncio
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from posthouse.api.exchange import Exchange, Route
from posthouse.api.server import JSON, FrontDoor
from posthouse.billing.dashboard import Standing, credit_grants, dates_of, subscription, usage_of_key
from posthouse.billing.ledger import Ledger
from posthouse.billing.span import Span
from posthouse.billing.standings import standing
from posthouse.core.caller import Caller
from posthouse.core.errors import InvalidRequest
from posthouse.gateway.pricing import paid_in
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal

_BASES: Final = ("/dashboard/billing", "/v1/dashboard/billing")
_FIELDS: Final = 16
_WAIT_SECONDS: Final = 1.0  # where the database is slower, an older state is better than none


class Dashboard:
    """Its routes register themselves with `mount`."""

    def __init__(self, door: FrontDoor, database: Database, journal: Journal, ledger: Ledger) -> None:
        self._door = door
        self._database = database
        self._journal = journal
        self._ledger = ledger

    def mount(self) -> None:
        for base in _BASES:
            for name, handler in (
                ("subscription", self.subscription),
                ("usage", self.usage),
                ("credit_grants", self.credit_grants),
            ):
                self._door.add(f"{base}/{name}", {b"GET": Route("dashboard", handler)})

    async def subscription(self, exchange: Exchange) -> None:
        caller = exchange.caller
        assert caller is not None  # the routes are authenticated
        self._answer(exchange, subscription(await self._standing(caller), caller.expires_at))

    async def credit_grants(self, exchange: Exchange) -> None:
        caller = exchange.caller
        assert caller is not None
        self._answer(exchange, credit_grants(await self._standing(caller), caller.key_id, caller.expires_at))

    async def usage(self, exchange: Exchange) -> None:
        caller = exchange.caller
        assert caller is not None
        try:
            query = parse_qs(exchange.query.decode("latin-1"), keep_blank_values=True, max_num_fields=_FIELDS)
        except ValueError:
            raise InvalidRequest(f"The query has more than {_FIELDS} parameters.") from None
        span = dates_of(query)
        currency = paid_in(caller)
        self._answer(exchange, await asyncio.to_thread(self._usage, caller.key_id, span, currency))

    async def _standing(self, caller: Caller) -> Standing:
        now_ms = self._ledger.now_ms()

        def asked() -> Standing:
            self._journal.wait_applied(_WAIT_SECONDS)
            with self._database.snapshot() as connection:
                return standing(connection, caller, now_ms)

        self._journal.flush()
        return await asyncio.to_thread(asked)

    def _usage(self, key_id: str, span: Span, currency: str | None) -> dict[str, Any]:
        self._journal.wait_applied(_WAIT_SECONDS)
        with self._database.snapshot() as connection:
            return usage_of_key(connection, key_id, span, currency)

    def _answer(self, exchange: Exchange, body: dict[str, Any]) -> None:
        exchange.respond(200, JSON + self._door.common_head(exchange), msgspec.json.encode(body))
