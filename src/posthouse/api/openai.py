"""The model routes in OpenAI's dialect: chat.completions, embeddings, models.

Each decodes just what the spine needs, calls `Gateway.run`, and writes what comes back. The bytes of an answer are not
looked at here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote

from posthouse.api.exchange import Exchange, Route
from posthouse.api.server import JSON, FrontDoor
from posthouse.core.errors import NotFound, PosthouseError
from posthouse.core.requests import ModelRequest
from posthouse.dialects import openai_chat_head, openai_embeddings
from posthouse.dialects.openai_errors import encode_error
from posthouse.dialects.openai_models import ModelCard, encode_model, encode_models
from posthouse.gateway.model import Answer, Call
from posthouse.gateway.service import Gateway
from posthouse.routing.catalog import Catalog

_EVENT_STREAM: Final = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
)


class OpenAIFace:
    """Its routes register themselves with `mount`, under /v1 and without."""

    def __init__(self, door: FrontDoor, gateway: Gateway, catalog: Catalog) -> None:
        self._door = door
        self._gateway = gateway
        self._catalog = catalog

    def mount(self) -> None:
        chat = Route("chat.completions", self._model_route(openai_chat_head.decode_head))
        embeddings = Route("embeddings", self._model_route(openai_embeddings.decode_head))
        models = Route("models", self.models)
        model = Route("models", self.model)
        for base in ("/v1", ""):
            self._door.add(f"{base}/chat/completions", {b"POST": chat})
            self._door.add(f"{base}/embeddings", {b"POST": embeddings})
            self._door.add(f"{base}/models", {b"GET": models})
            self._door.add_prefix(f"{base}/models/", {b"GET": model})

    def _model_route(self, decode: Callable[[bytes], ModelRequest]) -> Callable[[Exchange], Awaitable[None]]:
        async def handle(exchange: Exchange) -> None:
            request = decode(exchange.body)
            exchange.body = b""  # `request.fields` holds what is needed of it
            assert exchange.caller is not None  # the route is authenticated
            exchange.streaming = request.stream
            call = Call(exchange.caller, request, exchange.request_id, exchange.accepted)
            answer = await self._gateway.run(call)
            if answer.events is None:
                exchange.respond(200, self._head(exchange, JSON, answer), answer.body)
            else:
                await self._stream(exchange, answer)

        return handle

    async def _stream(self, exchange: Exchange, answer: Answer) -> None:
        loop = asyncio.get_running_loop()
        events = answer.events
        assert events is not None
        try:
            exchange.start(200, self._head(exchange, _EVENT_STREAM, answer), loop.time())
            async for block in events:
                exchange.write(block, loop.time())
                if exchange.write_paused:
                    await exchange.drained()
        except PosthouseError as error:
            # The gateway has settled already; all that is left is to say that this stream is not whole.
            exchange.end(b"data: " + encode_error(error) + b"\n\n")
            return
        finally:
            # The client may have left while we waited for it to read: the generator does not know of it until told.
            await events.aclose()
        exchange.end()

    def _head(self, exchange: Exchange, kind: bytes, answer: Answer) -> bytes:
        ms = int((asyncio.get_running_loop().time() - exchange.accepted) * 1000)
        return b"%b%b%bopenai-processing-ms: %d\r\n" % (kind, self._door.common_head(exchange), answer.headers, ms)

    async def models(self, exchange: Exchange) -> None:
        caller = exchange.caller
        assert caller is not None
        listed = [model for model in self._catalog.listed() if caller.may_use(model.id)]
        body = encode_models([ModelCard(model.id, model.created, model.owned_by) for model in listed])
        exchange.respond(200, JSON + self._door.common_head(exchange), body)

    async def model(self, exchange: Exchange) -> None:
        caller = exchange.caller
        assert caller is not None
        name = unquote(exchange.path.partition("/models/")[2])
        for model in self._catalog.listed():
            if model.id == name and caller.may_use(name):
                body = encode_model(ModelCard(model.id, model.created, model.owned_by))
                exchange.respond(200, JSON + self._door.common_head(exchange), body)
                return
        raise NotFound(f"The model {name[:200]!r} does not exist.", param="model", code="model_not_found")
