"""Members of a request that the inner form names too, taken out of those that it does not."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.dialects.codec import Addressed
from posthouse.dialects.fields import Fields, decode_fields

_decode: Final = Decoder(Any).decode
_encode: Final = msgspec.json.Encoder().encode


def with_address(body: bytes, addressed: Addressed) -> bytes:
    """The body with what the client said outside of it, where the body says nothing of that."""
    added: Fields = {"model": Raw(_encode(addressed.model))} if addressed.model else {}
    if addressed.stream:
        added["stream"] = Raw(b"true")
    if not added:
        return body
    fields = decode_fields(body)
    return body if added.keys() <= fields.keys() else _encode({**added, **fields})


def asking(fields: Fields, named: frozenset[str], idle: Mapping[str, tuple[bytes, ...]]) -> Fields:
    """The members that are not `named`, but for those that ask for nothing: null, or one of the values that `idle` has
    for it, without which the answer is the same."""
    return {
        name: raw
        for name, raw in fields.items()
        if name not in named and (value := bytes(raw)) != b"null" and value not in idle.get(name, ())
    }


def value_of(fields: Fields, name: str) -> Any:
    """The value of a member, None where it is absent. InvalidRequest where it cannot be read."""
    raw = fields.get(name)
    try:
        return None if raw is None else _decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise InvalidRequest(f"Invalid '{name}'.", param=name, code="invalid_value") from None


def take(extra: Fields, name: str, kind: type) -> Any:
    """Takes a member of this type out of `extra`; one of another type stays there, and None is returned. An integer is
    a number too."""
    value = value_of(extra, name)
    if type(value) is int and kind is float:
        try:
            value = float(value)
        except OverflowError:
            return None
    if type(value) is not kind:
        return None
    del extra[name]
    return value


def stops_in(fields: Fields) -> tuple[str, ...]:
    """The `stop` member, a string or an array of them."""
    stop = value_of(fields, "stop")
    if isinstance(stop, str):
        return (stop,)
    for text in stop or ():
        if not isinstance(text, str):
            raise InvalidRequest("Invalid 'stop': expected strings.", param="stop", code="invalid_type")
    return tuple(stop or ())
