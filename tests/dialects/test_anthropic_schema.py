"""JSON schemas, brought to what the Messages API binds models to."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.dialects.anthropic_schema import Fitted


def _fit(schema: Any) -> tuple[Any, bool]:
    fitted = Fitted(json.dumps(schema).encode())
    return fitted.schema, fitted.weakened


@pytest.mark.req("MSG-ENC-007")
def test_objects_are_closed_wherever_they_stand() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "string"}}}
    closed = {**inner, "additionalProperties": False}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {"d": inner},
        "type": "object",
        "properties": {"x": {"anyOf": [inner, {"type": "null"}]}, "y": {"type": "array", "items": inner}},
        "required": ["x"],
        "additionalProperties": True,
    }
    assert _fit(schema) == (
        {
            "$defs": {"d": closed},
            "type": "object",
            "properties": {"x": {"anyOf": [closed, {"type": "null"}]}, "y": {"type": "array", "items": closed}},
            "required": ["x"],
            "additionalProperties": False,
        },
        False,
    )


@pytest.mark.req("MSG-ENC-007")
@pytest.mark.parametrize(
    ("schema", "fitted", "weakened"),
    [
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}, False),
        ({"type": "string", "format": "regex"}, {"type": "string", "description": '{"format":"regex"}'}, True),
        ({"minItems": 1}, {"minItems": 1}, False),
        ({"minItems": 2, "description": "d"}, {"description": 'd\n\n{"minItems":2}'}, True),
        ({"oneOf": [{"const": 1}]}, {"anyOf": [{"const": 1}]}, False),
        (
            {"type": ["string", "null"], "maxLength": 3},
            {"type": ["string", "null"], "description": '{"maxLength":3}'},
            True,
        ),
        ({"items": True}, {"items": True}, False),
        (
            {"type": "object", "additionalProperties": {"type": "number"}},
            {
                "type": "object",
                "additionalProperties": False,
                "description": '{"additionalProperties":{"type":"number"}}',
            },
            True,
        ),
        ({"type": ["object", "null"]}, {"type": ["object", "null"], "additionalProperties": False}, False),
        (
            {"anyOf": [{"const": 1}], "oneOf": [{"const": 2}]},
            {"anyOf": [{"const": 1}], "description": '{"oneOf":[{"const":2}]}'},
            True,
        ),
    ],
)
def test_what_does_not_bind_is_told_in_words(schema: Any, fitted: Any, weakened: bool) -> None:
    assert _fit(schema) == (fitted, weakened)


@pytest.mark.parametrize("payload", [None, b"", b"[]", b"5", b"junk", b'{"a":' * 5000])
def test_what_is_no_schema_is_none(payload: bytes | None) -> None:
    assert Fitted(payload).schema is None


def test_however_deep_a_schema_is_nothing_breaks() -> None:
    for depth in (100, 300, 450, 900):
        payload = b'{"items":' * depth + b"{}" + b"}" * depth
        fitted = Fitted(payload)
        assert fitted.schema is None or json.loads(json.dumps(fitted.schema))


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["type", "properties", "items", "anyOf", "format", "minItems", "description"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=9,
    )
)
def test_whatever_it_says_it_is_fitted_or_none(schema: Any) -> None:
    fitted, _ = _fit(schema)
    assert (fitted is None) != isinstance(schema, dict)
