"""The hot door of the Responses API: a request body checked and read just as far as the spine needs.

No responses are kept here, so a request that continues from one, or is to be fetched later, is refused.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.core.requests import ModelRequest
from posthouse.dialects.fields import (
    ARRAY,
    BOOL,
    NUMBER,
    OBJECT,
    STRING,
    TOKENS,
    Check,
    Fields,
    check_fields,
    decode_fields,
    kind_of,
    missing,
    model_of,
    wrong_type,
)
from posthouse.dialects.openai_responses_items import DIALECT

_CHECKS: Final[dict[str, Check]] = {
    "stream": BOOL,
    "background": BOOL,
    "store": BOOL,
    "max_output_tokens": TOKENS,
    "temperature": NUMBER,
    "top_p": NUMBER,
    "instructions": STRING,
    "parallel_tool_calls": BOOL,
    "tools": ARRAY,
    "include": ARRAY,
    "text": OBJECT,
    "reasoning": OBJECT,
    "user": STRING,
    "safety_identifier": STRING,
}
# Members that mean state at the server, where they say anything.
STATEFUL: Final = ("previous_response_id", "conversation", "prompt", "background")


class _Item(Struct, gc=False):
    type: str | None = None
    role: str | None = None


_decode_items = Decoder(list[_Item]).decode
_decode_item = Decoder(_Item).decode
_decode_list = Decoder(list[Raw]).decode
_encode = msgspec.json.Encoder().encode


def decode_head(body: bytes) -> ModelRequest:
    """A request of which every member is kept as it came. InvalidRequest naming the field that does not fit."""
    return read_head(body)[0]


def read_head(body: bytes) -> tuple[ModelRequest, dict[str, Any]]:
    """The request, and the values of those members that were checked."""
    fields = decode_fields(body)
    model = model_of(fields)
    values = check_fields(fields, _CHECKS)
    for name in STATEFUL:
        raw = fields.get(name)
        if raw is not None and kind_of(raw) != "null" and values.get(name) is not False:
            raise _unsupported(name, "no responses, conversations or prompts are kept here")
    _check_input(fields)
    request = ModelRequest(
        operation="responses",
        dialect=DIALECT,
        model=model,
        fields=fields,
        body_size=len(body),
        stream=values.get("stream") is True,
        max_output=values.get("max_output_tokens"),
    )
    return request, values


def encode_input_tokens(tokens: int) -> bytes:
    """The answer to POST /v1/responses/input_tokens, whose request is one of this dialect."""
    return _encode({"object": "response.input_tokens", "input_tokens": tokens})


def _check_input(fields: Fields) -> None:
    raw = fields.get("input")
    if raw is None:
        raise missing("input")
    kind = kind_of(raw)
    if kind == "a string":
        return
    if kind != "an array":
        raise wrong_type("input", "a string or an array", raw)
    try:
        items = _decode_items(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise _wrong_item(raw) from None
    if not items:
        raise InvalidRequest(
            "Invalid 'input': empty array. Expected at least one item.", param="input", code="empty_array"
        )
    for index, item in enumerate(items):
        if item.type == "item_reference" or (item.type is None and item.role is None):
            raise _no_item(raw, index)


def _no_item(raw: Raw, index: int) -> InvalidRequest:
    """A reference to an item, which may lack its type, or no item at all."""
    members = msgspec.json.decode(_decode_list(raw)[index], type=dict[str, Raw])
    if "id" in members:
        return _unsupported(f"input[{index}]", "no items are kept here that could be referred to")
    return missing(f"input[{index}].type")


def _wrong_item(raw: Raw) -> InvalidRequest:
    """Names the first item that does not fit; only ever called for a body that is refused."""
    for index, item in enumerate(_decode_list(raw)):
        name = f"input[{index}]"
        if kind_of(item) != "an object":
            return wrong_type(name, "an object", item)
        try:
            _decode_item(item)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            members = msgspec.json.decode(item, type=dict[str, Raw])
            for member in ("type", "role"):
                if member in members and kind_of(members[member]) not in ("a string", "null"):
                    return wrong_type(f"{name}.{member}", "a string", members[member])
    return InvalidRequest("Invalid 'input'.", param="input", code="invalid_value")


def _unsupported(name: str, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"'{name}' is not supported: {why}. Send the whole conversation in 'input'.",
        param=name,
        code="unsupported_parameter",
    )
