"""Objects of a gemini request, member by member: named as the dialect names them, each value still its bytes.

Proto JSON reads `inlineData` and `inline_data` alike, null as absent, and a whole number as `40`, `40.0` or `"40"`; so
does this. What a client owns (arguments, schemas, answers of tools) is never looked into.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.dialects.fields import Fields, kind_of, wrong_type

DIALECT: Final = "gemini"
Json = dict[str, Any]
NULL: Final = Raw(b"null")  # an absent member too, where one is kept as bytes
ERRORS: Final = (msgspec.DecodeError, UnicodeError, RecursionError)

_INT32: Final = 2**31
_decode_fields = Decoder(dict[str, Raw]).decode
_decode_list = Decoder(list[Raw]).decode
_decode_str = Decoder(str).decode
_decode_bool = Decoder(bool).decode
_decode_number = Decoder(float).decode
_decode_whole = Decoder(int | float | str).decode
_decode_strings = Decoder(list[str]).decode


def camel(name: str) -> str:
    """`inline_data` -> `inlineData`; any other name as it is."""
    if "_" not in name or name.startswith("_"):
        return name
    first, *rest = name.split("_")
    return first + "".join([word[:1].upper() + word[1:] for word in rest])


def invalid(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {message}.", param=param, code="invalid_value")


class Members:
    """One object. Every reader takes its member out, so that `rest` is what nobody read.

    `path` is where it stands (`contents[0].parts[1]`, empty for the body), for errors: InvalidRequest naming the member
    of a wrong type.
    """

    __slots__ = ("_fields", "path")

    def __init__(self, fields: Fields, path: str = "") -> None:
        self._fields = {camel(name): value for name, value in fields.items() if value != NULL}
        self.path = path

    @classmethod
    def of(cls, raw: Raw, path: str) -> "Members":
        """InvalidRequest where the value at `path` is no object."""
        try:
            return cls(_decode_fields(raw), path)
        except ERRORS:
            raise wrong_type(path, "an object", raw) from None

    def __bool__(self) -> bool:
        return bool(self._fields)

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def rest(self) -> Fields:
        return self._fields

    def raw(self, name: str) -> Raw | None:
        return self._fields.pop(name, None)

    def string(self, name: str) -> str | None:
        text: str | None = self._take(name, _decode_str, "a string")
        return text

    def boolean(self, name: str) -> bool | None:
        value: bool | None = self._take(name, _decode_bool, "a boolean")
        return value

    def number(self, name: str) -> float | None:
        number: float | None = self._take(name, _decode_number, "a number")
        return number

    def strings(self, name: str) -> list[str]:
        return self._take(name, _decode_strings, "an array of strings") or []

    def whole(self, name: str, least: int = -_INT32, most: int = _INT32 - 1) -> int | None:
        """An integer within these bounds."""
        raw = self._fields.pop(name, None)
        if raw is None:
            return None
        try:
            number = float(_decode_whole(raw))
        except (*ERRORS, ValueError, OverflowError):
            raise wrong_type(self.at(name), "an integer", raw) from None
        if not number.is_integer() or not least <= number <= most:
            raise invalid(self.at(name), f"expected an integer from {least} to {most}")
        return int(number)

    def object(self, name: str) -> "Members | None":
        raw = self._fields.pop(name, None)
        return None if raw is None else Members.of(raw, self.at(name))

    def objects(self, name: str) -> "list[Members] | None":
        """An array of objects; a single one counts as an array of one. None where it is absent."""
        raw = self._fields.pop(name, None)
        if raw is None:
            return None
        path = self.at(name)
        if kind_of(raw) == "an object":
            return [Members.of(raw, f"{path}[0]")]
        try:
            values = _decode_list(raw)
        except ERRORS:
            raise wrong_type(path, "an array of objects", raw) from None
        return [Members.of(value, f"{path}[{index}]") for index, value in enumerate(values)]

    def _take(self, name: str, decode: Any, expected: str) -> Any:
        raw = self._fields.pop(name, None)
        if raw is None:
            return None
        try:
            return decode(raw)
        except ERRORS:
            raise wrong_type(self.at(name), expected, raw) from None
