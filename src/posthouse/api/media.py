"""The routes of pictures, speech, moderation and reranking: OpenAI's, and for reranking the one that all others have.

Above: `openai.py`, which puts them at their addresses. Each decodes just what the spine needs and leaves the rest to
`Asker`; sound goes out as it comes in, whatever it is.
"""

from collections.abc import Awaitable, Mapping
from typing import Final

import msgspec

from posthouse.api.asking import PLAIN, Asker, Manner
from posthouse.api.exchange import Exchange, Handler
from posthouse.core.errors import InvalidRequest
from posthouse.core.requests import Operation
from posthouse.dialects import openai_media_heads as heads
from posthouse.dialects.fields import decode_fields, name_model

# Bare sound: nothing else can be said in it.
_SOUND: Final = Manner(beats=False)
_NULL: Final = msgspec.Raw(b"null")
# What OpenAI's API takes where a moderation names no model; the word that names of such models have elsewhere.
_USUAL: Final = "omni-moderation-latest"
_WORD: Final = "moderation"


class Media:
    """`routes`: path below a base -> the operation, and what answers there."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self.routes: Mapping[str, tuple[Operation, Handler]] = {
            "/images/generations": ("images.generations", self.draw),
            "/audio/speech": ("audio.speech", self.speak),
            "/moderations": ("moderations", self.judge),
            "/rerank": ("rerank", self.rank),
        }

    def draw(self, exchange: Exchange) -> Awaitable[None]:
        return self._asker.ask(exchange, heads.decode_images(exchange.body))

    def speak(self, exchange: Exchange) -> Awaitable[None]:
        request = heads.decode_speech(exchange.body)
        return self._asker.ask(exchange, request, PLAIN if heads.wants_events(request) else _SOUND)

    def judge(self, exchange: Exchange) -> Awaitable[None]:
        body = exchange.body
        if body and decode_fields(body).get("model", _NULL) == _NULL:
            body = name_model(body, self._judge_of(exchange))
        return self._asker.ask(exchange, heads.decode_moderation(body))

    def rank(self, exchange: Exchange) -> Awaitable[None]:
        return self._asker.ask(exchange, heads.decode_rerank(exchange.body))

    def _judge_of(self, exchange: Exchange) -> str:
        """The model for a moderation that names none: the usual one, else the first that is called after it."""
        assert exchange.caller is not None  # the route is authenticated
        known = [name for name in self._asker.gateway.offering("moderations") if exchange.caller.may_use(name)]
        found = [name for name in known if name == _USUAL] or [name for name in known if _WORD in name]
        if not found:
            raise InvalidRequest(
                f"you must provide a model parameter: no model here has {_WORD!r} in its name, so that none is taken "
                "by itself. GET /v1/models lists what there is.",
                param="model",
                code="missing_required_parameter",
            )
        return found[0]
