"""The hot door of the Messages API."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import InvalidRequest
from posthouse.dialects.anthropic_messages import decode_count_head, decode_head, encode_count

_BODY: dict[str, Any] = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


def _body(**members: Any) -> bytes:
    return json.dumps({**_BODY, **members}).encode()


def test_a_request_is_read_as_far_as_the_spine_needs() -> None:
    body = _body(stream=True, metadata={"new": [1, 2]})
    request = decode_head(body)
    assert (request.operation, request.dialect) == ("messages", "anthropic_messages")
    assert (request.model, request.max_output, request.stream, request.choices) == ("m", 5, True, 1)
    assert request.body_size == len(body)
    assert {name: json.loads(bytes(raw)) for name, raw in request.fields.items()} == json.loads(body)


@pytest.mark.req("MSG-REQ-002")
def test_a_limit_of_nothing_only_warms_a_cache() -> None:
    assert decode_head(_body(max_tokens=0)).max_output == 0


@pytest.mark.req("MSG-REQ-001", "MSG-REQ-002")
@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [5]}, "messages.0"),
        ({"messages": [{"role": "user"}, {}]}, "messages.1.role"),
        ({"messages": [{"role": 5}]}, "messages.0.role"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 5.5}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_what_does_not_fit_is_named(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_head(_body(**members))
    assert caught.value.param == param


@pytest.mark.req("MSG-REQ-002")
@pytest.mark.parametrize("name", ["model", "messages", "max_tokens"])
def test_what_is_required_must_be_there(name: str) -> None:
    body = json.dumps({member: value for member, value in _BODY.items() if member != name}).encode()
    with pytest.raises(InvalidRequest) as caught:
        decode_head(body)
    assert (caught.value.param, caught.value.code) == (name, "missing_required_parameter")


@pytest.mark.req("MSG-REQ-002")
def test_counting_needs_no_limit_and_streams_nothing() -> None:
    request = decode_count_head(json.dumps({"model": "m", "messages": [{"role": "user"}], "stream": True}).encode())
    assert (request.max_output, request.stream) == (None, False)
    assert encode_count(12) == b'{"input_tokens":12}'


@pytest.mark.req("MSG-REQ-003")
@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_head(body)
