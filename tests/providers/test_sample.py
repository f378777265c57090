"""A value for a schema, checked by a validator that others wrote."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from posthouse.providers.sample import sample

SCHEMAS: list[Any] = [
    {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]},
    {"type": "object", "properties": {"a": {"type": ["null", "number"]}}, "additionalProperties": False},
    {"properties": {"a": {"items": {"type": "string"}, "minItems": 2}}},
    {"type": "string", "minLength": 9, "maxLength": 12},
    {"type": "string", "maxLength": 2},
    {"type": "integer", "minimum": 3, "maximum": 5},
    {"type": "integer", "exclusiveMinimum": 3, "multipleOf": 4},
    {"type": "integer", "maximum": -3},
    {"type": "integer", "minimum": 2.5},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
    {"type": "number", "exclusiveMaximum": 0},
    {"type": "number", "exclusiveMinimum": 0.2, "maximum": 0.3},
    {"type": "boolean"},
    {"type": "null"},
    {"enum": ["red", "green"]},
    {"const": {"a": 1}},
    {"type": "string", "default": "x"},
    {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    {"oneOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]},
    {
        "allOf": [
            {"$ref": "#/$defs/named"},
            {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]},
        ],
        "$defs": {"named": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}},
    },
    {
        "type": "object",
        "properties": {"value": {"type": "string"}, "next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}},
        "required": ["value", "next"],
    },
    {"type": "object", "properties": {"when": {"type": "string", "format": "date-time"}}, "required": ["when"]},
    {"type": "array", "items": {"type": "integer"}, "minItems": 3},
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_sample_satisfies_its_schema(schema: dict[str, Any]) -> None:
    Draft202012Validator(schema).validate(sample(schema))


@pytest.mark.parametrize("schema", [None, True, [], "x", {"$ref": "#/gone"}, {"$ref": 7}, {"$ref": "https://x"}, {}])
def test_what_is_no_schema_that_can_be_followed_gives_nothing(schema: object) -> None:
    assert sample(schema) is None


def test_a_schema_that_never_ends_is_cut_off() -> None:
    endless = {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"]}
    assert isinstance(sample(endless), dict)
    assert sample({"$ref": "#"}) is None
    assert len(sample({"type": "array", "minItems": 10**9, "items": {"type": "null"}})) == 16
