"""Embeddings: what may be asked, and how vectors are written."""

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import InvalidRequest
from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat import encode_body
from posthouse.dialects.openai_embeddings import decode_head, to_base64, wants_base64, whole_usage

_USAGE = {"prompt_tokens": 4, "total_tokens": 4}


def _body(**members: Any) -> bytes:
    return json.dumps({"model": "m", "input": "hello", **members}).encode()


def _answer(*embeddings: Any) -> bytes:
    data = [{"object": "embedding", "index": n, "embedding": vector, "x": 1} for n, vector in enumerate(embeddings)]
    return json.dumps({"object": "list", "data": data, "model": "m", "usage": _USAGE}).encode()


@pytest.mark.req("EMBED-001")
@pytest.mark.parametrize("text", ["a", ["a", "b"], [1, 2, 3], [[1, 2], [3]], [""]])
def test_every_form_of_input_passes(text: Any) -> None:
    body = _body(input=text, future=None, dimensions=3)
    request = decode_head(body)
    assert (request.operation, request.model, request.stream) == ("embeddings", "m", False)
    assert json.loads(encode_body(request.fields)) == json.loads(body)


@pytest.mark.req("EMBED-001")
@pytest.mark.parametrize("text", ["", [], None, {}, 5, True, [1, "a"], [-1], [1.5], [[1], "a"], [None], [[["a"]]]])
def test_input_that_does_not_fit_is_refused(text: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_head(_body(input=text))
    assert caught.value.param == "input"


@pytest.mark.req("EMBED-001")
def test_missing_input_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_head(b'{"model":"m"}')
    assert caught.value.param == "input"


@pytest.mark.parametrize(
    ("name", "value"), [("model", None), ("dimensions", 0), ("dimensions", "3"), ("encoding_format", 1)]
)
def test_other_members_of_a_wrong_type_are_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_head(_body(**{name: value}))
    assert caught.value.param == name


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_but_a_refusal(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_head(body)


def test_whether_base64_is_wanted_is_known() -> None:
    assert wants_base64(decode_head(_body(encoding_format="base64")))
    assert not wants_base64(decode_head(_body(encoding_format="float")))
    assert not wants_base64(decode_head(_body()))


@pytest.mark.req("EMBED-002")
def test_usage_is_input_alone() -> None:
    reply = whole_usage(_answer([0.5]))
    assert (reply.usage, reply.error) == (Usage(input=4), None)


@pytest.mark.req("EMBED-002")
def test_an_error_and_an_absent_usage_are_read() -> None:
    reply = whole_usage(b'{"error":{"message":"broke"}}')
    assert reply.usage is None
    assert reply.error is not None


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"<html>", b'{"data":5}', b'{"data":[{}]}', b'{"data":[{"embedding":["a"]}]}']
)
def test_what_holds_no_embeddings_is_an_error_of_the_dialect(body: bytes) -> None:
    with pytest.raises(DialectError):
        to_base64(body)


@pytest.mark.req("EMBED-003")
@given(st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=8), max_size=4))
def test_floats_become_base64_of_little_endian_floats(vectors: list[list[float]]) -> None:
    whole = json.loads(to_base64(_answer(*vectors)))
    for item, vector in zip(whole["data"], vectors, strict=True):
        assert list(struct.unpack(f"<{len(vector)}f", base64.b64decode(item["embedding"]))) == vector
        assert (item["object"], item["x"]) == ("embedding", 1)
    assert (whole["model"], whole["usage"]) == ("m", _USAGE)


@pytest.mark.req("EMBED-003")
def test_what_is_base64_already_stays() -> None:
    assert json.loads(to_base64(_answer("AAAAPw=="))) == json.loads(_answer("AAAAPw=="))
