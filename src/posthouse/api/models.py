"""The models that a caller may use, in the words of each dialect that has such a list.

Three dialects have theirs at the same address. What tells them apart is a header that only the clients of one send.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs, unquote

from msgspec import Struct

from posthouse.api.exchange import Exchange, Route
from posthouse.api.server import JSON, FrontDoor
from posthouse.core.errors import InvalidRequest, NotFound
from posthouse.dialects import anthropic_models, gemini, openai_models
from posthouse.dialects.openai_models import ModelCard
from posthouse.routing.catalog import Catalog

# Only clients of the Messages API send the one, and of generateContent the other.
VERSION: Final = b"anthropic-version"
KEY: Final = b"x-goog-api-key"
_LARGEST_PAGE: Final = 1000
_BASES: Final = ("/v1", "", "/openai/v1", "/anthropic/v1", "/v1beta", "/openai")


class ListForm(Struct, frozen=True, eq=False):
    """How a dialect writes one model, and a list of them. `paged`: the query says which part (`limit`, `after_id`,
    `before_id`), and `many` is told whether others follow."""

    one: Callable[[ModelCard], bytes]
    many: Callable[[Sequence[ModelCard], bool], bytes]
    paged: bool = False


def _openai(cards: Sequence[ModelCard], _more: bool) -> bytes:
    return openai_models.encode_models(list(cards))


def _engines(cards: Sequence[ModelCard], _more: bool) -> bytes:
    return openai_models.encode_engines(list(cards))


def _anthropic(cards: Sequence[ModelCard], more: bool) -> bytes:
    return anthropic_models.encode_models(cards, has_more=more)


def _gemini_one(card: ModelCard) -> bytes:
    return gemini.encode_model(gemini.GeminiModel(card.id))


def _gemini(cards: Sequence[ModelCard], _more: bool) -> bytes:
    return gemini.encode_models([gemini.GeminiModel(card.id) for card in cards])


_OPENAI: Final = ListForm(openai_models.encode_model, _openai)
_ENGINES: Final = ListForm(openai_models.encode_engine, _engines)
_ANTHROPIC: Final = ListForm(anthropic_models.encode_model, _anthropic, paged=True)
_GEMINI: Final = ListForm(_gemini_one, _gemini)


class ModelLists:
    """Its routes register themselves with `mount`."""

    def __init__(self, door: FrontDoor, catalog: Catalog) -> None:
        self._door = door
        self._catalog = catalog

    def mount(self) -> None:
        models, engines = Route("models", self.models), Route("models", self.engines)
        for base in _BASES:
            self._door.add(f"{base}/models", {b"GET": models})
            self._door.add_prefix(f"{base}/models/", {b"GET": models})
        for base in ("/v1", ""):
            self._door.add(f"{base}/engines", {b"GET": engines})
            self._door.add_prefix(f"{base}/engines/", {b"GET": engines})

    async def models(self, exchange: Exchange) -> None:
        self._show(exchange, exchange.path.partition("/models")[2], _form_for(exchange))

    async def engines(self, exchange: Exchange) -> None:
        self._show(exchange, exchange.path.partition("/engines")[2], _ENGINES)

    def _show(self, exchange: Exchange, rest: str, form: ListForm) -> None:
        """The whole list, or the one model that the path goes on with."""
        caller = exchange.caller
        assert caller is not None  # the routes are authenticated
        listed = self._catalog.listed()
        cards = [ModelCard(model.id, model.created, model.owned_by) for model in listed if caller.may_use(model.id)]
        if caller.wishes is not None and caller.wishes.aliases:
            cards = _with_aliases(cards, caller.wishes.aliases)
        if rest:
            name = unquote(rest.removeprefix("/"))
            body = next((form.one(card) for card in cards if card.id == name), None)
            if body is None:
                raise NotFound(f"The model {name[:200]!r} does not exist.", param="model", code="model_not_found")
        elif form.paged:
            body = form.many(*_page(exchange, cards))
        else:
            body = form.many(cards, False)
        exchange.respond(200, JSON + self._door.common_head(exchange), body)


def _with_aliases(cards: Sequence[ModelCard], aliases: Mapping[str, str]) -> list[ModelCard]:
    """With the names that this key has for models of its own, which hide models of the same name."""
    known = {card.id: card for card in cards}
    named = [ModelCard(name, known[model].created, "posthouse") for name, model in aliases.items() if model in known]
    return sorted([*(card for card in cards if card.id not in aliases), *named], key=lambda card: card.id)


def _form_for(exchange: Exchange) -> ListForm:
    headers = exchange.headers
    if VERSION in headers:
        return _ANTHROPIC
    if exchange.path.startswith("/v1beta") or KEY in headers:
        return _GEMINI
    return _OPENAI


def _page(exchange: Exchange, cards: Sequence[ModelCard]) -> tuple[Sequence[ModelCard], bool]:
    """The part of the list that the query asks for, and whether there is more of it beyond."""
    query = parse_qs(exchange.query.decode("latin-1"))
    ids = [card.id for card in cards]
    limit = _limit(query.get("limit", ["20"])[-1])
    start, end = 0, len(cards)
    if "after_id" in query:
        start = _place(ids, query["after_id"][-1], "after_id") + 1
    if "before_id" in query:
        end = _place(ids, query["before_id"][-1], "before_id")
        first = max(start, end - limit)
        return cards[first:end], first > start
    return cards[start : start + limit], start + limit < end


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= _LARGEST_PAGE:
        raise InvalidRequest(
            f"Invalid 'limit': expected an integer from 1 to {_LARGEST_PAGE}.", param="limit", code="invalid_value"
        )
    return int(text)


def _place(ids: Sequence[str], name: str, param: str) -> int:
    try:
        return ids.index(name)
    except ValueError:
        raise InvalidRequest(f"Invalid '{param}': there is no such model.", param=param, code="invalid_value") from None
