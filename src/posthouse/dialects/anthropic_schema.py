"""JSON schemas for the Messages API, which binds a model to a part of JSON Schema only.

What that part lacks is told in the description instead, as the API's own SDKs do, and every object is closed.
"""

from typing import Any, Final

import msgspec

from posthouse.dialects.anthropic_fields import Json

_KEPT: Final = frozenset(
    {"$ref", "const", "default", "description", "enum", "minItems", "required", "title", "type", "format"}
)
_MAPS: Final = frozenset({"$defs", "definitions", "properties"})
_LISTS: Final = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}
_SILENT: Final = frozenset({"$schema", "$id", "$comment"})
_OPEN: Final = "additionalProperties"
_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
_encode: Final = msgspec.json.Encoder().encode


class Fitted:
    """`schema` as the API takes it; `weakened`: some of it is only told in words. None: it is no object at all."""

    def __init__(self, payload: bytes | None) -> None:
        self.weakened = False
        self.schema: Json | None = None
        try:
            self.schema = self._fit(_decode(payload or b""))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            pass

    def _fit(self, schema: Any) -> Any:
        if not isinstance(schema, dict):
            return schema
        fitted: Json = {}
        told: Json = {}
        for name, value in schema.items():
            if name in _MAPS and isinstance(value, dict):
                fitted[name] = {key: self._fit(inner) for key, inner in value.items()}
            elif name in _LISTS and isinstance(value, list) and _LISTS[name] not in fitted:
                fitted[_LISTS[name]] = [self._fit(inner) for inner in value]
            elif name == "items":
                fitted[name] = self._fit(value)
            elif name == _OPEN:
                if isinstance(value, dict) and value:  # the members of a map: closed, it would hold none
                    told[name] = value
            elif name not in _KEPT or not _is_known(name, value):
                if name not in _SILENT:
                    told[name] = value
            else:
                fitted[name] = value
        if _is_object(fitted.get("type")) or "properties" in fitted:
            fitted[_OPEN] = False
        if told:
            self.weakened = True
            fitted["description"] = "\n\n".join(filter(None, (_text(schema), _encode(told).decode())))
        return fitted


def _is_known(name: str, value: Any) -> bool:
    if name == "format":
        return isinstance(value, str) and value in _FORMATS
    return name != "minItems" or value in (0, 1)


def _is_object(kind: Any) -> bool:
    return kind == "object" or (isinstance(kind, list) and "object" in kind)


def _text(schema: Json) -> str:
    description = schema.get("description")
    return description if isinstance(description, str) else ""
