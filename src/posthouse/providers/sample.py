"""The smallest value that satisfies a simple JSON schema, for a model that only pretends to follow one.

Above: the echo provider. Known: const, enum, default, type, properties, required, items, bounds of strings, numbers and
arrays, anyOf, oneOf, allOf, local $ref, the common formats. Not known: pattern, not, if. Every walk is bounded.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

_MAX_NODES: Final = 1_000
_MAX_DEPTH: Final = 24
_MAX_LENGTH: Final = 1_000
_FORMATS: Final = {
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "date-time": "2026-01-01T00:00:00Z",
    "duration": "PT0S",
    "email": "echo@example.com",
    "hostname": "example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


def sample(schema: object) -> Any:
    """A value for `schema` (a decoded JSON schema; true, {} and what cannot be followed give null or {})."""
    return _Walk(schema).value(schema, 0)


class _Walk(Struct):
    root: object
    nodes: int = 0

    def value(self, schema: object, depth: int) -> Any:
        self.nodes += 1
        if not isinstance(schema, Mapping) or self.nodes > _MAX_NODES or depth > _MAX_DEPTH:
            return None
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        options = schema.get("enum")
        if isinstance(options, list) and options:
            return options[0]
        other = self._other(schema)
        return self._typed(schema, depth) if other is None else self.value(other, depth + 1)

    def _other(self, schema: Mapping[str, Any]) -> object | None:
        """The schema that stands for this one: what it refers to, its first choice, or its parts in one."""
        if "$ref" in schema:
            return self._resolve(schema["$ref"])
        for key in ("anyOf", "oneOf"):
            choices = schema.get(key)
            if isinstance(choices, list) and choices:
                return _merge(schema, choices[:1], key)
        parts = schema.get("allOf")
        return _merge(schema, [self._followed(part) for part in parts], "allOf") if isinstance(parts, list) else None

    def _typed(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = _type_of(schema)
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            count = min(_whole(schema.get("minItems"), 0), 16)
            return [self.value(schema.get("items", {}), depth + 1) for _ in range(count)]
        if kind == "string":
            return _string(schema)
        if kind in ("integer", "number"):
            return _number(schema, whole=kind == "integer")
        return False if kind == "boolean" else None

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            return {}
        required = schema.get("required")
        wanted = required if isinstance(required, list) and required else list(properties)
        return {
            name: self.value(properties.get(name, {}), depth + 1)
            for name in wanted
            if isinstance(name, str) and self.nodes < _MAX_NODES
        }

    def _followed(self, schema: object) -> object:
        if isinstance(schema, Mapping) and "$ref" in schema:
            return self._resolve(schema["$ref"])
        return schema

    def _resolve(self, reference: object) -> object:
        """What a local reference (`#/$defs/x`, `#`) names; None where it names nothing."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        found = self.root
        for part in reference[1:].strip("/").split("/") if reference != "#" else []:
            if not isinstance(found, Mapping):
                return None
            found = found.get(part.replace("~1", "/").replace("~0", "~"))
        return found


def _merge(schema: Mapping[str, Any], parts: list[object], without: str) -> dict[str, Any]:
    merged = {key: value for key, value in schema.items() if key != without}
    for part in parts:
        if not isinstance(part, Mapping):
            continue
        for key, value in part.items():
            old = merged.get(key)
            if key == "properties" and isinstance(old, Mapping) and isinstance(value, Mapping):
                merged[key] = {**old, **value}
            elif key == "required" and isinstance(old, list) and isinstance(value, list):
                merged[key] = old + value
            else:
                merged[key] = value
    return merged


def _type_of(schema: Mapping[str, Any]) -> object:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if kind is None and "properties" in schema:
        return "object"
    if kind is None and "items" in schema:
        return "array"
    return kind


def _string(schema: Mapping[str, Any]) -> str:
    known = _FORMATS.get(str(schema.get("format")))
    if known is not None:
        return known
    length = min(_whole(schema.get("minLength"), 0), _MAX_LENGTH)
    return "echo".ljust(length, ".")[: max(length, _whole(schema.get("maxLength"), _MAX_LENGTH))]


def _number(schema: Mapping[str, Any], *, whole: bool) -> int | float:
    """The number nearest to zero within the bounds."""
    low, high = _bound(schema.get("minimum"), -math.inf), _bound(schema.get("maximum"), math.inf)
    above, below = _bound(schema.get("exclusiveMinimum"), -math.inf), _bound(schema.get("exclusiveMaximum"), math.inf)
    if above >= low and above > -math.inf:
        step = math.floor(above) + 1
        low = step if whole or step < min(high, below) else (above + min(high, below)) / 2
    if below <= high and below < math.inf:
        step = math.ceil(below) - 1
        high = step if whole or step >= low else (low + below) / 2
    found = min(max(0, low), high)
    multiple = _bound(schema.get("multipleOf"), 0)
    if multiple > 0:
        found = math.ceil(found / multiple) * multiple
    elif whole:
        found = math.ceil(found)
    return int(found) if found == int(found) else found


def _bound(value: object, otherwise: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**53:
        return otherwise
    return value


def _whole(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise
