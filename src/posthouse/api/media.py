"""The routes of pictures, speech, moderation and reranking: OpenAI's, and for reranking the one that all others have.

Above: `openai.py`, which puts them at their addresses. Each decodes just what the spine needs and leaves the rest to
`Asker`; sound goes out as it comes in, whatever it is.
"""

from collections.abc import Awaitable, Mapping
from typing import Final

from posthouse.api.asking import PLAIN, Asker, Manner
from posthouse.api.exchange import Exchange, Handler
from posthouse.api.usual import with_model
from posthouse.core.requests import Operation
from posthouse.dialects import openai_media_heads as heads

# Bare sound: nothing else can be said in it.
_SOUND: Final = Manner(beats=False)


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
        body = with_model(self._asker, exchange, "images.generations", exchange.body)
        return self._asker.ask(exchange, heads.decode_images(body))

    def speak(self, exchange: Exchange) -> Awaitable[None]:
        request = heads.decode_speech(exchange.body)
        return self._asker.ask(exchange, request, PLAIN if heads.wants_events(request) else _SOUND)

    def judge(self, exchange: Exchange) -> Awaitable[None]:
        body = with_model(self._asker, exchange, "moderations", exchange.body)
        return self._asker.ask(exchange, heads.decode_moderation(body))

    def rank(self, exchange: Exchange) -> Awaitable[None]:
        return self._asker.ask(exchange, heads.decode_rerank(exchange.body))
