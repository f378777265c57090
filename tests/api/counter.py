"""A till with its faces at a door, without sockets and without a gateway; and senders that sign what they say."""

import asyncio
import hmac
import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final

from posthouse.accounts.service import Directory, Means
from posthouse.api.exchange import Exchange
from posthouse.api.house import ProtocolOptions
from posthouse.api.joining import JoiningFace
from posthouse.api.peers import Peers
from posthouse.api.server import FrontDoor
from posthouse.api.webhooks import Webhooks
from posthouse.billing.till import Till
from posthouse.core.ids import IdMaker
from posthouse.settings import PointsSettings, Secret, TopupSettings
from posthouse.settings.model import HookSecret
from posthouse.storage.database import Database
from tests.api.doorway import Keys, Refusals

SECRET: Final = "a-secret-of-the-tests"
SETTINGS: Final = TopupSettings(generic_secret=HookSecret(Secret(SECRET)), stripe_secret=HookSecret(Secret(SECRET)))


class Line:
    """A connection that keeps what is written."""

    date = b""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.written = b""

    def send(self, data: bytes) -> None:
        self.written += data

    def release(self, exchange: Exchange) -> None:
        """Nobody waits for the connection."""

    async def drained(self) -> None:
        """It is read at once."""


class Counter:
    """`post` answers as the house would, in the status and the JSON of its answer."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float],
        settings: TopupSettings = SETTINGS,
        points: PointsSettings = PointsSettings(),  # noqa: B008  frozen
    ) -> None:
        self.clock = clock
        ids = IdMaker(clock)
        self.directory = Directory(database, means=Means(clock, ids.make, lambda: ids.make("secret")))
        self.refusals = Refusals()
        self.door = FrontDoor(ProtocolOptions(), Keys(), self.refusals, ids)
        self.till = Till(database, points, clock)
        Webhooks(self.door, self.till, self.directory, settings, clock).mount()
        JoiningFace(self.door, self.till, self.directory, Peers()).mount()

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str] | None = None, peer: str = "127.0.0.1"
    ) -> tuple[int, dict[str, Any]]:
        line = Line(peer)
        exchange = Exchange(line, 0.0)
        exchange.method, exchange.target, exchange.body = b"POST", path.encode(), body
        exchange.headers = {name.lower().encode(): value.encode() for name, value in (headers or {}).items()}
        self.door.admit(exchange)
        asyncio.run(self.door.answer(exchange))
        head, _, answer = line.written.partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), json.loads(answer)

    def topup(self, told: object, **odd: Any) -> tuple[int, dict[str, Any]]:
        """A signed top-up; `odd` as `generic_headers` takes it."""
        body = told if isinstance(told, bytes) else json.dumps(told).encode()
        return self.post("/webhooks/topup", body, generic_headers(body, self.clock(), **odd))

    def stripe(self, event: object, **odd: Any) -> tuple[int, dict[str, Any]]:
        """A signed event of Stripe's; `odd` as `stripe_headers` takes it."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        return self.post("/webhooks/stripe", body, stripe_headers(body, self.clock(), **odd))


def signature(body: bytes, now: float, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), b"%d." % int(now) + body, sha256).hexdigest()


def generic_headers(body: bytes, now: float, secret: str = SECRET) -> dict[str, str]:
    return {"X-Posthouse-Timestamp": str(int(now)), "X-Posthouse-Signature": f"v1={signature(body, now, secret)}"}


def stripe_headers(body: bytes, now: float, secret: str = SECRET) -> dict[str, str]:
    return {"Stripe-Signature": f"t={int(now)},v1={'0' * 64},v1={signature(body, now, secret)},v0={'1' * 64}"}


def checkout(event: str, intent: str, account: str, amount: int, currency: str = "usd", **more: Any) -> dict[str, Any]:
    """`amount` in the currency's smallest parts."""
    session = {
        "id": f"cs_{intent}",
        "object": "checkout.session",
        "mode": "payment",
        "payment_status": "paid",
        "payment_intent": intent,
        "client_reference_id": account,
        "amount_total": amount,
        "currency": currency,
        "metadata": {},
        **more,
    }
    return {"id": event, "object": "event", "type": "checkout.session.completed", "data": {"object": session}}


def refund(event: str, intent: str, refunded: int, currency: str = "usd") -> dict[str, Any]:
    """`refunded`: the sum so far."""
    charge = {
        "id": f"ch_{intent}",
        "object": "charge",
        "payment_intent": intent,
        "amount_refunded": refunded,
        "currency": currency,
    }
    return {"id": event, "object": "event", "type": "charge.refunded", "data": {"object": charge}}


def dispute(event: str, id: str, intent: str, amount: int, currency: str = "usd") -> dict[str, Any]:
    found = {
        "id": id,
        "object": "dispute",
        "charge": f"ch_{intent}",
        "payment_intent": intent,
        "amount": amount,
        "currency": currency,
    }
    return {"id": event, "object": "event", "type": "charge.dispute.created", "data": {"object": found}}
