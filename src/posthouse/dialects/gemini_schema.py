"""The OpenAPI subset in which gemini's `parameters` and `responseSchema` are written, as JSON schema.

`type` in capitals, `nullable`, counts and the values of any enumeration as text, names with underscores, an order of
properties beside them, references to `#/defs/`. JSON schema that stands in the same place (as many clients put it
there) stays as it is.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw

from posthouse.dialects.gemini_fields import ERRORS, Json, camel, invalid

_TYPES: Final = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"}
_COUNTS: Final = {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
# Members that the two ways of writing a schema spell differently; other names with underscores are nobody's.
_SPELLED: Final = {
    *_COUNTS,
    "additionalProperties",
    "anyOf",
    "defs",
    "oneOf",
    "prefixItems",
    "propertyOrdering",
    "ref",
}
# Members that hold schemas.
_SCHEMA: Final = {"items", "additionalProperties", "not"}
_SCHEMAS: Final = {"anyOf", "oneOf", "allOf", "prefixItems"}
_SCHEMAS_BY_NAME: Final = {"properties", "$defs", "defs"}
_NUMBERS: Final = ("integer", "number")
_LONGEST: Final = 40  # characters of a number
_RENAMED: Final = {"defs": "$defs", "ref": "$ref", "example": "examples"}


def json_schema(raw: Raw, where: str) -> bytes:
    """The same bytes where there is nothing to change. InvalidRequest naming `where` if it is no object."""
    try:
        schema = msgspec.json.decode(raw)
        if isinstance(schema, dict):
            converted = _schema(schema)
            return bytes(raw) if converted == schema else msgspec.json.encode(converted)
    except ERRORS:
        pass
    raise invalid(where, "expected a schema")


def _schema(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    out: Json = {}
    for name, value in schema.items():
        spelled = camel(name) if camel(name) in _SPELLED else name
        out[_RENAMED.get(spelled, spelled)] = _member(spelled, value)
    kind = out.get("type")
    if kind == "TYPE_UNSPECIFIED":
        del out["type"]
    if out.get("format") == "enum":
        del out["format"]
    if kind in _NUMBERS and isinstance(out.get("enum"), list):
        out["enum"] = [_number(value) for value in out["enum"]]
    if out.pop("nullable", None) is True:
        if isinstance(kind, str):
            out["type"] = [kind, "null"]
        elif isinstance(out.get("anyOf"), list):
            out["anyOf"] = [*out["anyOf"], {"type": "null"}]
        elif "$ref" in out:
            out["anyOf"] = [{"$ref": out.pop("$ref")}, {"type": "null"}]
        if isinstance(out.get("enum"), list) and None not in out["enum"]:
            out["enum"] = [*out["enum"], None]
    return _ordered(out)


def _number(value: Any) -> Any:
    """A value of an enumeration of numbers, which stand there as text."""
    if not isinstance(value, str) or len(value) > _LONGEST:
        return value
    try:
        number = msgspec.json.decode(value)
    except ERRORS:
        return value
    return number if isinstance(number, int | float) and not isinstance(number, bool) else value


def _ordered(schema: Json) -> Json:
    """Other models write properties in the order in which they stand."""
    names, properties = schema.get("propertyOrdering"), schema.get("properties")
    if not isinstance(names, list) or not isinstance(properties, dict):
        return schema
    del schema["propertyOrdering"]
    first = {name: properties[name] for name in names if isinstance(name, str) and name in properties}
    schema["properties"] = {**first, **properties}
    return schema


def _word(name: str, value: str) -> Any:
    if name == "type" and value in _TYPES:
        return value.lower()
    if name == "ref" and value.startswith("#/defs/"):
        return "#/$defs/" + value.removeprefix("#/defs/")
    return int(value[:18]) if name in _COUNTS and value.isascii() and value.isdigit() else value


def _member(name: str, value: Any) -> Any:
    if name == "example":
        return [value]
    if isinstance(value, str):
        return _word(name, value)
    if name in _SCHEMAS_BY_NAME and isinstance(value, dict):
        return {key: _schema(inner) for key, inner in value.items()}
    if name in _SCHEMAS and isinstance(value, list):
        return [_schema(inner) for inner in value]
    return _schema(value) if name in _SCHEMA else value
