"""The model of a request that names none, on the routes where OpenAI's API takes one by itself.

Above: `media.py` and `forms.py`. Below: `asking` (which models there are, and for whom).

Source: the defaults of `model` in OpenAI's published OpenAPI document. Checked: 2026-11-21.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from posthouse.api.asking import Asker
from posthouse.api.exchange import Exchange
from posthouse.core.errors import InvalidRequest
from posthouse.core.requests import Operation
from posthouse.dialects.fields import decode_fields, name_model

_NULL: Final = msgspec.Raw(b"null")


class Usual(Struct, frozen=True):
    """`name` is what OpenAI's API takes. Where that is not here, the first model with `word` in its name is taken; no
    other where it is empty, since others may cost more."""

    name: str
    word: str = ""


USUAL: Final[Mapping[Operation, Usual]] = {
    "images.generations": Usual("dall-e-2"),
    "images.edits": Usual("gpt-image-1.5"),
    "images.variations": Usual("dall-e-2"),
    "moderations": Usual("omni-moderation-latest", "moderation"),
}


def usual_model(asker: Asker, exchange: Exchange, operation: Operation) -> str:
    """The model's name. InvalidRequest (param: model) where this caller may use none such."""
    assert exchange.caller is not None  # the route is authenticated
    name, word = USUAL[operation].name, USUAL[operation].word
    known = [other for other in asker.gateway.offering(operation) if exchange.caller.may_use(other)]
    if name in known:
        return name
    named = next((other for other in known if word and word in other), None)
    if named is None:
        why = f"no model here has {word!r} in its name" if word else f"{name!r}, which OpenAI takes, is not here"
        raise InvalidRequest(
            f"you must provide a model parameter: {why}, so that none is taken by itself. "
            "GET /v1/models lists what there is.",
            param="model",
            code="missing_required_parameter",
        )
    return named


def with_model(asker: Asker, exchange: Exchange, operation: Operation, body: bytes) -> bytes:
    """A body of JSON that names a model: its own, else the usual one."""
    if body and decode_fields(body).get("model", _NULL) == _NULL:
        return name_model(body, usual_model(asker, exchange, operation))
    return body
