"""The door of chat.completions: what passes, and what is refused with which words."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import InvalidRequest
from posthouse.dialects.openai_chat import decode_head, encode_body

_HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def _body(**members: Any) -> bytes:
    return json.dumps({**_HELLO, **members}).encode()


def _refusal(body: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode_head(body)
    assert caught.value.status == 400
    return caught.value


def test_what_the_spine_needs_is_read() -> None:
    body = _body(stream=True, stream_options={"include_usage": True}, max_completion_tokens=7, n=3)
    request = decode_head(body)
    assert (request.operation, request.dialect, request.model) == ("chat.completions", "openai_chat", "m")
    assert (request.stream, request.include_usage, request.max_output, request.choices) == (True, True, 7, 3)
    assert request.body_size == len(body)
    assert list(request.fields) == list(json.loads(body))


def test_what_is_absent_has_the_api_s_defaults() -> None:
    request = decode_head(_body())
    assert (request.stream, request.include_usage, request.max_output, request.choices) == (False, False, None, 1)


@pytest.mark.req("CHAT-REQ-001")
def test_values_keep_their_bytes_whatever_they_are() -> None:
    nested = b'{ "z":1.50, "a" : [1e2,  null, "\\u00e9\xc3\xa9"], "z":2}'
    body = b'{"model":"m","messages":[{"role":"new-role","content":null,"odd": 1}],"metadata":' + nested
    body += b',"future":null}'
    encoded = encode_body(decode_head(body).fields)
    assert nested in encoded
    assert encoded.endswith(b',"future":null}')
    assert b'{"role":"new-role","content":null,"odd": 1}' in encoded


@pytest.mark.req("CHAT-REQ-001")
@given(st.dictionaries(st.text(), _JSON, max_size=6))
def test_unknown_members_pass(extra: dict[str, Any]) -> None:
    members = {**{f"x_{name}": value for name, value in extra.items()}, **_HELLO}
    body = json.dumps(members).encode()
    encoded = encode_body(decode_head(body).fields)
    assert json.loads(encoded) == members
    assert list(json.loads(encoded)) == list(members)


@pytest.mark.req("CHAT-REQ-001")
def test_explicit_nulls_pass() -> None:
    optional = [
        "stream",
        "stream_options",
        "n",
        "max_tokens",
        "temperature",
        "top_p",
        "tools",
        "response_format",
        "stop",
    ]
    nulls = dict.fromkeys(optional)
    body = _body(**nulls)
    request = decode_head(body)
    assert (request.stream, request.choices, request.max_output) == (False, 1, None)
    assert json.loads(encode_body(request.fields)) == json.loads(body)


@pytest.mark.req("CHAT-REQ-002")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b'{"model":"m"',
        b'{"model":"m"}x',
        b"{'model':'m'}",
        b'{"model":"m","messages":[{"role":"user"}],"temperature":NaN}',
        b'{"model":"m","messages":[{"role":"user"}],"logit_bias":{"1":Infinity}}',
        b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"m","messages":' + b"[" * 200_000,
        b'{"model":"m","messages":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"model":"m","messages":[{"role":"user"}],"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b"\xef\xbb\xbf{}",
        b"\x00",
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    assert _refusal(body).param is None


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_refusal(body: bytes) -> None:
    assert _refusal(body).message


@given(
    _JSON, st.sampled_from(["model", "messages", "stream", "stream_options", "n", "max_tokens", "temperature", "stop"])
)
def test_no_value_raises_anything_but_a_refusal(value: Any, name: str) -> None:
    try:
        decode_head(_body(**{name: value}))
    except InvalidRequest as refusal:
        assert refusal.param is not None
        assert refusal.param.split("[")[0].split(".")[0] == name


@pytest.mark.req("CHAT-REQ-002")
def test_the_refusal_says_where_the_json_is_wrong() -> None:
    assert "byte 4" in _refusal(b'{"a"!1}').message


@pytest.mark.req("CHAT-REQ-003")
@pytest.mark.parametrize("model", [None, "", 5, [], {"id": "m"}, "a\x00b", "x" * 257, "a\nb"])
def test_a_model_that_names_nothing_is_refused(model: Any) -> None:
    assert _refusal(_body(model=model)).param == "model"


@pytest.mark.req("CHAT-REQ-003")
def test_a_missing_model_is_refused_in_the_words_of_the_api() -> None:
    refusal = _refusal(b'{"messages":[{"role":"user","content":"x"}]}')
    assert (refusal.message, refusal.param) == ("you must provide a model parameter", "model")


@pytest.mark.req("CHAT-REQ-004")
@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ([], "messages"),
        ("hello", "messages"),
        ({}, "messages"),
        ([1], "messages[0]"),
        ([None], "messages[0]"),
        ([{}], "messages[0].role"),
        ([{"role": None}], "messages[0].role"),
        ([{"role": "user"}, {"role": 1}], "messages[1].role"),
        ([{"role": "user"}, []], "messages[1]"),
    ],
)
def test_messages_that_do_not_fit_are_named(messages: Any, param: str) -> None:
    assert _refusal(_body(messages=messages)).param == param


@pytest.mark.req("CHAT-REQ-004")
def test_missing_messages_are_refused() -> None:
    refusal = _refusal(b'{"model":"m"}')
    assert (refusal.message, refusal.param) == ("Missing required parameter: 'messages'.", "messages")


@pytest.mark.req("CHAT-REQ-005")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stream", "yes"),
        ("stream", 1),
        ("stream_options", True),
        ("n", 0),
        ("n", -1),
        ("n", 1.5),
        ("n", "2"),
        ("n", True),
        ("n", 10**40),
        ("max_tokens", -1),
        ("max_tokens", "many"),
        ("max_tokens", 2**31),
        ("max_completion_tokens", 1.5),
        ("temperature", "hot"),
        ("temperature", True),
        ("top_p", []),
        ("tools", {}),
        ("tools", "x"),
        ("response_format", "json"),
        ("stop", 5),
        ("stop", {}),
    ],
)
def test_a_member_of_a_wrong_type_is_named(name: str, value: Any) -> None:
    refusal = _refusal(_body(**{name: value}))
    assert refusal.param == name
    assert f"'{name}'" in refusal.message


@pytest.mark.req("CHAT-REQ-005")
def test_a_wrong_type_inside_stream_options_is_named_by_its_path() -> None:
    assert _refusal(_body(stream_options={"include_usage": 1})).param == "stream_options.include_usage"


@pytest.mark.req("CHAT-REQ-005")
def test_the_refusal_says_what_was_expected_and_what_came() -> None:
    message = _refusal(_body(stream="yes")).message
    assert message == "Invalid type for 'stream': expected a boolean, but got a string instead."


@pytest.mark.req("CHAT-REQ-006")
def test_of_a_repeated_member_the_last_counts() -> None:
    body = b'{"model":"a","messages":[],"model":"b","messages":[{"role":"x","role":"user"}],"stream":1,"stream":true}'
    request = decode_head(body)
    assert (request.model, request.stream) == ("b", True)
    assert msgspec.json.decode(encode_body(request.fields))["model"] == "b"


@pytest.mark.req("CHAT-REQ-007")
@pytest.mark.parametrize(
    ("members", "limit"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 0}, 0),
        ({"max_tokens": 5, "max_completion_tokens": 9}, 9),
        ({"max_tokens": 9, "max_completion_tokens": 5}, 9),
        ({"max_tokens": 9, "max_completion_tokens": None}, 9),
    ],
)
def test_the_larger_of_the_two_caps_counts(members: dict[str, Any], limit: int) -> None:
    assert decode_head(_body(**members)).max_output == limit
