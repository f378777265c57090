"""OpenAI's list of models: ours to clients, and that of an upstream to us."""

from typing import Any

import msgspec
from msgspec import Struct

from posthouse.dialects.errors import DialectError


class ModelCard(Struct, frozen=True):
    """One model as `/v1/models` shows it. `created` in seconds since the epoch, 0 where nobody knows."""

    id: str
    created: int = 0
    owned_by: str = "posthouse"


_encode = msgspec.json.Encoder().encode


def encode_model(card: ModelCard) -> bytes:
    return _encode(_object(card))


def encode_models(cards: list[ModelCard]) -> bytes:
    return _encode({"object": "list", "data": [_object(card) for card in cards]})


def encode_engine(card: ModelCard) -> bytes:
    """A model as the older clients ask for it, by the name of engine."""
    return _encode(_engine(card))


def encode_engines(cards: list[ModelCard]) -> bytes:
    return _encode({"object": "list", "data": [_engine(card) for card in cards]})


def decode_models(body: bytes) -> list[ModelCard]:
    """The models in an upstream's list, in its order and without repetitions; entries without an id are left out.

    The list may stand under `data`, under `models`, or alone; an id under `id`, `name` or `model`. DialectError where
    it stands nowhere.
    """
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise DialectError("the list of models is not JSON") from None
    items = value
    if isinstance(value, dict):
        items = value.get("data") if isinstance(value.get("data"), list) else value.get("models")
    if not isinstance(items, list):
        raise DialectError("the answer holds no list of models")
    cards: dict[str, ModelCard] = {}
    for item in items:
        card = _card(item)
        if card is not None:
            cards.setdefault(card.id, card)
    return list(cards.values())


def _card(item: Any) -> ModelCard | None:
    if isinstance(item, str):
        item = {"id": item}
    if not isinstance(item, dict):
        return None
    name = item.get("id") or item.get("name") or item.get("model")
    if not isinstance(name, str) or not name.isprintable():
        return None
    created, owner = item.get("created"), item.get("owned_by")
    return ModelCard(
        id=name,
        created=created if type(created) is int and created >= 0 else 0,
        owned_by=owner if isinstance(owner, str) else "",
    )


def _object(card: ModelCard) -> dict[str, Any]:
    return {"id": card.id, "object": "model", "created": card.created, "owned_by": card.owned_by}


def _engine(card: ModelCard) -> dict[str, Any]:
    return {"id": card.id, "object": "engine", "owner": card.owned_by, "ready": True, "created": card.created}
