"""An ASGI application behind an exchange: how the control plane, an ordinary FastAPI application, hangs in the house.

The request's body is whole (the server has bounded it); the response goes out as the application sends it.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from posthouse.api.exchange import Exchange

Message = MutableMapping[str, Any]
Application = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class Bridge:
    """One call of an ASGI application. `head` is put before the application's own headers."""

    def __init__(self, exchange: Exchange, head: bytes) -> None:
        self._exchange = exchange
        self._head = head
        self._sent_body = False
        self._start: Message | None = None

    async def run(self, application: Application) -> None:
        exchange = self._exchange
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": exchange.method.decode("ascii"),
            "scheme": "http",
            "path": unquote(exchange.path),
            "raw_path": exchange.path.encode("ascii"),
            "query_string": exchange.query,
            "root_path": "",
            "headers": exchange.raw_headers,
            "server": None,
            "client": None,
            "state": {"request_id": exchange.request_id},
        }
        await application(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if not self._sent_body:
            self._sent_body = True
            return {"type": "http.request", "body": self._exchange.body, "more_body": False}
        # A disconnect cancels the task, so that there is nothing to tell: wait for that.
        await asyncio.get_running_loop().create_future()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        exchange = self._exchange
        if message["type"] == "http.response.start":
            self._start = message
            return
        body = bytes(message.get("body", b""))
        more = message.get("more_body", False)
        if not exchange.started:
            assert self._start is not None
            lines = [b"%b: %b\r\n" % pair for pair in self._start.get("headers", []) if pair[0] != b"content-length"]
            head = self._head + b"".join(lines)
            if not more:
                exchange.respond(self._start["status"], head, body)
                return
            exchange.opaque = True
            exchange.start(self._start["status"], head, asyncio.get_running_loop().time())
        if not more:
            exchange.end(body)
        elif body:
            exchange.write(body, asyncio.get_running_loop().time())
            if exchange.write_paused:
                await exchange.drained()
