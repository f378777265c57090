"""The hot door of the Responses API: what it reads, what it refuses."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import InvalidRequest
from posthouse.core.requests import ModelRequest
from posthouse.dialects.openai_responses import decode_head, encode_input_tokens
from tests.dialects.published import approve


def _head(**members: Any) -> ModelRequest:
    return decode_head(json.dumps({"model": "m", "input": "hello", **members}).encode())


def _refused(**members: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        _head(**members)
    return caught.value


@pytest.mark.req("RESP-HEAD-001")
def test_a_request_is_read_as_far_as_the_spine_needs() -> None:
    body = (
        b'{"model":"m","input": [ {"role":"user","content":"a"} ],"stream":true,"max_output_tokens":9,"new":{"a": 1}}'
    )
    head = decode_head(body)
    assert (head.operation, head.dialect, head.model) == ("responses", "openai_responses", "m")
    assert (head.stream, head.max_output, head.choices, head.include_usage) == (True, 9, 1, False)
    assert head.body_size == len(body)
    assert bytes(head.fields["input"]) == b'[ {"role":"user","content":"a"} ]'
    assert bytes(head.fields["new"]) == b'{"a": 1}'


@pytest.mark.req("RESP-HEAD-002")
@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True}, "background"),
        ({"input": [{"role": "user", "content": "a"}, {"type": "item_reference", "id": "msg_1"}]}, "input[1]"),
        ({"input": [{"id": "msg_1"}]}, "input[0]"),
        ({"input": [{"id": "msg_1", "type": None}]}, "input[0]"),
    ],
)
def test_a_request_for_what_is_kept_is_refused_by_name(members: dict[str, Any], param: str) -> None:
    error = _refused(**members)
    assert (error.param, error.code) == (param, "unsupported_parameter")
    assert param in error.message


@pytest.mark.req("RESP-HEAD-002")
def test_what_asks_for_nothing_kept_passes() -> None:
    absent = dict.fromkeys(["previous_response_id", "conversation", "prompt", "background"])
    assert _head(**absent, store=True).model == "m"
    assert _head(background=False, store=False).model == "m"


@pytest.mark.req("RESP-HEAD-003")
@pytest.mark.parametrize(
    ("members", "param", "code"),
    [
        ({"model": None}, "model", "invalid_type"),
        ({"input": None}, "input", "invalid_type"),
        ({"input": 5}, "input", "invalid_type"),
        ({"input": []}, "input", "empty_array"),
        ({"input": ["a"]}, "input[0]", "invalid_type"),
        ({"input": [{}]}, "input[0].type", "missing_required_parameter"),
        ({"input": [{"type": 5}]}, "input[0].type", "invalid_type"),
        ({"input": [{"type": "message", "role": {}}]}, "input[0].role", "invalid_type"),
        ({"stream": 1}, "stream", "invalid_type"),
        ({"background": "yes"}, "background", "invalid_type"),
        ({"max_output_tokens": -1}, "max_output_tokens", "invalid_value"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"instructions": ["a"]}, "instructions", "invalid_type"),
        ({"tools": {}}, "tools", "invalid_type"),
        ({"text": "json"}, "text", "invalid_type"),
        ({"reasoning": "high"}, "reasoning", "invalid_type"),
        ({"safety_identifier": 5}, "safety_identifier", "invalid_type"),
    ],
)
def test_a_member_that_does_not_fit_is_named(members: dict[str, Any], param: str, code: str) -> None:
    error = _refused(**members)
    assert (error.param, error.code) == (param, code)


@pytest.mark.req("RESP-HEAD-003")
def test_a_request_needs_a_model_and_an_input() -> None:
    for body, param in ((b'{"input":"a"}', "model"), (b'{"model":"m"}', "input")):
        with pytest.raises(InvalidRequest) as caught:
            decode_head(body)
        assert (caught.value.param, caught.value.code) == (param, "missing_required_parameter")


@pytest.mark.req("RESP-HEAD-003")
@given(st.binary(max_size=30) | st.sampled_from([b"", b"[]", b"{", b'{"a":' * 9999, b'{"model":"m","input":"\xff"}']))
def test_bytes_that_are_no_request_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_head(body)


@pytest.mark.req("RESP-HEAD-004")
def test_a_count_of_tokens_is_told_as_the_api_tells_it() -> None:
    answer = json.loads(encode_input_tokens(12))
    assert answer == {"object": "response.input_tokens", "input_tokens": 12}
    approve(answer, "TokenCountsResource")
