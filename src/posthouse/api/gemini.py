"""generateContent and its family. The model and the verb stand in the path: `/v1beta/models/{model}:{verb}`."""

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qs, unquote

import msgspec

from posthouse.api.asking import Asker, Manner
from posthouse.api.exchange import Exchange, Route
from posthouse.api.models import KEY
from posthouse.api.server import JSON, FrontDoor
from posthouse.api.shapes import shape_of
from posthouse.core.errors import NotFound, UpstreamFailure
from posthouse.core.requests import ModelRequest
from posthouse.dialects import gemini, openai_embeddings
from posthouse.dialects.errors import DialectError

BASES: Final = ("/v1beta", "/v1")
_ARRAY: Final = Manner(kind=JSON, wrapping=gemini.ArrayForm, beats=False)
_NO_FIELDS: Final[dict[str, msgspec.Raw]] = {}


class GeminiFace:
    """Its routes register themselves with `mount`."""

    def __init__(self, door: FrontDoor, asker: Asker) -> None:
        self._door = door
        self._asker = asker
        self._verbs: dict[str, Callable[[Exchange, str], Awaitable[None]]] = {
            "generateContent": self._generate,
            "streamGenerateContent": self._stream,
            "countTokens": self._count,
            "embedContent": self._embed,
            "batchEmbedContents": self._batch_embed,
        }

    def mount(self) -> None:
        route = Route("generate_content", self.verb, once=True)
        for base in BASES:
            self._door.add_prefix(f"{base}/models/", {b"POST": route})
            self._door.take_key_from_query(f"{base}/models")
        shape = shape_of(gemini.CODEC)
        self._door.add_shape("/v1beta", shape)
        self._door.add_shape("/v1/models", shape, KEY)
        self._door.add_shape("/v1/models/", shape, method=b"POST")

    async def verb(self, exchange: Exchange) -> None:
        model, _, verb = exchange.path.partition("/models/")[2].rpartition(":")
        handler = self._verbs.get(verb)
        if handler is None or not model:
            verbs = ", ".join(self._verbs)
            raise NotFound(f"Unknown request URL. After models/MODEL: one of {verbs}.", code="unknown_url")
        await handler(exchange, unquote(model))

    async def _generate(self, exchange: Exchange, model: str) -> None:
        await self._asker.ask(exchange, gemini.decode_head(exchange.body, model, False))

    async def _stream(self, exchange: Exchange, model: str) -> None:
        request = gemini.decode_head(exchange.body, model, True)
        if parse_qs(exchange.query.decode("latin-1")).get("alt", [""])[-1] == "sse":
            exchange.heartbeat = gemini.HEARTBEAT
            await self._asker.ask(exchange, request)
        else:
            await self._asker.ask(exchange, request, _ARRAY)

    async def _count(self, exchange: Exchange, model: str) -> None:
        inner = gemini.decode_count(exchange.body, model)
        size = len(exchange.body)
        request = ModelRequest("generate_content", "gemini", model, _NO_FIELDS, size, inner=inner)
        body = gemini.encode_count(await self._asker.count(exchange, request))
        exchange.respond(200, JSON + self._door.common_head(exchange), body)

    async def _embed(self, exchange: Exchange, model: str) -> None:
        await self._vectors(exchange, model, gemini.decode_embed(exchange.body), _one)

    async def _batch_embed(self, exchange: Exchange, model: str) -> None:
        await self._vectors(exchange, model, gemini.decode_batch_embed(exchange.body), gemini.encode_embeddings)

    async def _vectors(
        self, exchange: Exchange, model: str, asked: gemini.Embedding, encode: Callable[[list[list[float]]], bytes]
    ) -> None:
        """By the one route for embeddings, whose requests are OpenAI's."""
        body = openai_embeddings.encode_request(model, asked.texts, asked.dimensions, asked.steering)
        request = openai_embeddings.decode_head(body)
        request.steering = tuple(asked.steering)
        answer = await self._asker.whole(exchange, request)
        try:
            out = encode(openai_embeddings.vectors(answer.body))
        except DialectError as error:
            raise UpstreamFailure("server", f"The provider's answer makes no sense: {error}.") from None
        exchange.respond(200, self._asker.head(exchange, JSON, answer), out)


def _one(vectors: list[list[float]]) -> bytes:
    return gemini.encode_embedding(vectors[0] if vectors else [])
