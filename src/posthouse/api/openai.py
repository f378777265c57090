"""The model routes in OpenAI's dialects: chat.completions, responses, embeddings, those of `media.py`; and the older
addresses of the same, which name the model in the path (engines, deployments).

Each decodes just what the spine needs and leaves the rest to `Asker`.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

from posthouse.api.asking import Asker
from posthouse.api.completions import Completions
from posthouse.api.exchange import Exchange, Handler, Route
from posthouse.api.forms import FormHandler, Forms
from posthouse.api.media import Media
from posthouse.api.server import JSON, FrontDoor
from posthouse.api.uploads import read_all
from posthouse.core.errors import NotFound
from posthouse.core.requests import ModelRequest
from posthouse.dialects import openai_chat_head, openai_embeddings, openai_responses
from posthouse.dialects.fields import name_model

Decode = Callable[[bytes], ModelRequest]

# Where the routes are: OpenAI's own base, none at all, and the newer and the older one of the cloud that hosts its
# models (its client puts those there whose address does not name a deployment).
BASES: Final = ("/v1", "", "/openai/v1", "/openai")
# Below these the path goes on with a model and a verb.
_NAMING: Final = ("/v1/engines/", "/engines/", "/openai/deployments/")


class Verb(Struct, frozen=True, eq=False):
    """A model route. `path` follows the base, or the model where the path names one; `name` is the operation's."""

    path: str
    name: str
    decode: Decode


VERBS: Final = (
    Verb("/chat/completions", "chat.completions", openai_chat_head.decode_head),
    Verb("/responses", "responses", openai_responses.decode_head),
    Verb("/embeddings", "embeddings", openai_embeddings.decode_head),
)


class OpenAIFace:
    """Its routes register themselves with `mount`."""

    def __init__(self, door: FrontDoor, asker: Asker) -> None:
        self._door = door
        self._asker = asker
        self._completions = Completions(asker)
        # The longer path first: the one ends with the other.
        self._named: dict[str, Handler] = {verb.path: self._handler(verb.decode) for verb in VERBS}
        self._named["/completions"] = self._completions.complete
        self._media = Media(asker)
        self._named |= {path: handler for path, (_, handler) in self._media.routes.items()}
        self._forms = Forms(asker, door.options.body_limit)

    def mount(self) -> None:
        for verb in VERBS:
            route = Route(verb.name, self._handler(verb.decode), once=True)
            for base in BASES:
                self._door.add(base + verb.path, {b"POST": route})
        for path, (operation, handler) in self._media.routes.items():
            for base in BASES:
                self._door.add(base + path, {b"POST": Route(operation, handler, once=True)})
        for path, (operation, form) in self._forms.routes.items():
            uploading = Route(operation, _unnamed(form), streams_body=True, once=True)
            for base in BASES:
                self._door.add(base + path, {b"POST": uploading})
        completions = Route("completions", self._completions.complete, once=True)
        tokens = Route("responses.input_tokens", self.input_tokens)
        for base in BASES:
            self._door.add(f"{base}/completions", {b"POST": completions})
            self._door.add(f"{base}/responses/input_tokens", {b"POST": tokens})
        for naming in _NAMING:
            self._door.add_prefix(naming, {b"POST": Route("named", self.named, streams_body=True, once=True)})

    def _handler(self, decode: Decode) -> Handler:
        ask = self._asker.ask

        # Not a coroutine of its own: one less to resume in every step of every request.
        def handle(exchange: Exchange) -> Awaitable[None]:
            return ask(exchange, decode(exchange.body))

        return handle

    async def input_tokens(self, exchange: Exchange) -> None:
        request = openai_responses.decode_head(exchange.body)
        body = openai_responses.encode_input_tokens(await self._asker.count(exchange, request))
        exchange.respond(200, JSON + self._door.common_head(exchange), body)

    async def named(self, exchange: Exchange) -> None:
        """A verb whose model stands before it in the path: that word holds, whatever the body says."""
        rest = next(exchange.path[len(base) :] for base in _NAMING if exchange.path.startswith(base))
        path = next((path for path in (*self._named, *self._forms.routes) if f"/{rest}".endswith(path)), None)
        if path is not None and (model := unquote(rest[: -len(path)])):
            if path in self._forms.routes:
                await self._forms.routes[path][1](exchange, model)
                return
            exchange.body = name_model(await read_all(exchange), model)
            await self._named[path](exchange)
            return
        raise NotFound(f"Unknown request URL: {exchange.path[:200]}. See GET / for what there is.", code="unknown_url")


def _unnamed(form: FormHandler) -> Handler:
    """Where the form names the model."""

    def handle(exchange: Exchange) -> Awaitable[None]:
        return form(exchange, "")

    return handle
