"""Reading members of a request of the Messages API, and naming those that do not fit as that API does:
`messages.0.content.1.text: Field required`."""

import re
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest

DIALECT: Final = "anthropic_messages"
Json = dict[str, Any]
T = TypeVar("T")

_AT: Final = re.compile(r" - at `\$([^`]*)`$")
_MISSING: Final = re.compile(r"Object missing required field `([^`]*)`")
_INDEX: Final = re.compile(r"\[(\d+|\.\.\.)\]")
_LONGEST: Final = 200  # characters of a reason


class _Typed(Struct):
    type: str


_decode_typed: Final = Decoder(_Typed)


def read(decoder: Decoder[T], raw: Raw | bytes, where: str) -> T:
    """The value of `raw`, which stands at the path `where`. InvalidRequest naming the member that does not fit."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _named(str(error), where) from None
    except (msgspec.DecodeError, UnicodeError):
        raise refusal(where, "Input should be valid JSON") from None
    except RecursionError:
        raise refusal(where, "Input is nested too deeply") from None


def type_at(raw: Raw, where: str) -> str:
    """The `type` of the object at `where`."""
    return read(_decode_typed, raw, where).type


def refusal(where: str, reason: str, code: str = "invalid_value") -> InvalidRequest:
    return InvalidRequest(f"{where}: {reason}", param=where or None, code=code)


def _named(said: str, where: str) -> InvalidRequest:
    """msgspec's words (`Expected `str`, got `int` - at `$.source[0].data``) as an error of this API."""
    at = _AT.search(said)
    path = where
    if at is not None:
        said = said[: at.start()]
        path += _INDEX.sub(lambda match: "" if match[1] == "..." else f".{match[1]}", at[1])
    missing = _MISSING.match(said)
    if missing is not None:
        return refusal(f"{path}.{missing[1]}".lstrip("."), "Field required", "missing_required_parameter")
    return refusal(path.lstrip("."), said.replace("`", "")[:_LONGEST], "invalid_type")
