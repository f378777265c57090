"""The Messages API: messages, count_tokens, and the list of models in its words (see `models.py`)."""

from typing import Final

from posthouse.api.asking import Asker, Manner
from posthouse.api.exchange import Exchange, Route
from posthouse.api.models import VERSION
from posthouse.api.server import JSON, FrontDoor
from posthouse.api.shapes import shape_of
from posthouse.core.requests import ModelRequest
from posthouse.dialects import anthropic_messages

BASES: Final = ("/v1", "", "/anthropic/v1")
# They change what the API does, so they go along to a provider that speaks it.
_PASSED: Final = (VERSION, b"anthropic-beta")


def _lines(request_id: str) -> bytes:
    return b"request-id: %b\r\n" % request_id.encode()


_MANNER: Final = Manner(lines=_lines)
SHAPE: Final = shape_of(anthropic_messages.CODEC, _lines)


class AnthropicFace:
    """Its routes register themselves with `mount`."""

    def __init__(self, door: FrontDoor, asker: Asker) -> None:
        self._door = door
        self._asker = asker

    def mount(self) -> None:
        messages = Route("messages", self.messages, once=True)
        count = Route("messages.count_tokens", self.count_tokens)
        for base in BASES:
            self._door.add(f"{base}/messages", {b"POST": messages})
            self._door.add(f"{base}/messages/count_tokens", {b"POST": count})
            self._door.add_shape(f"{base}/messages", SHAPE)
            self._door.add_shape(f"{base}/models", SHAPE, VERSION)
        self._door.add_shape("/anthropic/", SHAPE)

    async def messages(self, exchange: Exchange) -> None:
        request = self._asker.heeded(exchange, anthropic_messages.decode_open_head(exchange.body))
        anthropic_messages.check_limit(request)  # the key's own limit counts as the client's
        request = _with_headers(exchange, request)
        await self._asker.ask(exchange, request, _MANNER)

    async def count_tokens(self, exchange: Exchange) -> None:
        request = anthropic_messages.decode_count_head(exchange.body)
        body = anthropic_messages.encode_count(await self._asker.count(exchange, request))
        exchange.respond(200, JSON + self._door.common_head(exchange) + _lines(exchange.request_id), body)


def _with_headers(exchange: Exchange, request: ModelRequest) -> ModelRequest:
    headers = exchange.headers
    request.headers = tuple((name, headers[name]) for name in _PASSED if name in headers)
    return request
