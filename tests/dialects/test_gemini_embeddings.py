"""Vectors in gemini's words."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import InvalidRequest
from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.fields import decode_fields
from posthouse.dialects.gemini import (
    Embedded,
    Embedding,
    decode_batch,
    decode_batch_embed,
    decode_embed,
    encode_batch,
    encode_embedding,
    encode_embeddings,
)
from posthouse.dialects.openai_embeddings import encode_request
from tests.dialects.gemini_samples import damaged


def _request(*texts: str, **more: Any) -> dict[str, Any]:
    return {"model": "models/e", "content": {"parts": [{"text": text} for text in texts]}, **more}


def _bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.req("GEM-EMBED-001")
def test_a_text_to_embed_is_read() -> None:
    assert decode_embed(_bytes(_request("a", "b"))) == Embedding(("a\nb",))
    steered = _request("a", outputDimensionality=5, taskType="RETRIEVAL_QUERY", title="t")
    assert decode_embed(_bytes(steered)) == Embedding(("a",), 5, {"taskType": "RETRIEVAL_QUERY", "title": "t"})
    newer = _request("a", embed_content_config={"output_dimensionality": 6, "task_type": "X"})
    assert decode_embed(_bytes(newer)) == Embedding(("a",), 6, {"taskType": "X"})


@pytest.mark.req("GEM-EMBED-001")
def test_a_batch_of_texts_is_read() -> None:
    batch = {"requests": [_request("a", outputDimensionality=5), _request("b", outputDimensionality=5, title="t")]}
    assert decode_batch_embed(_bytes(batch)) == Embedding(("a", "b"), 5, {"title": [None, "t"]})
    batch = {"requests": [_request("a", taskType="X", title="1"), _request("b", task_type="X", title="2")]}
    assert decode_batch_embed(_bytes(batch)).steering == {"taskType": "X", "title": ["1", "2"]}


@pytest.mark.req("GEM-EMBED-004")
def test_what_texts_are_embedded_for_reaches_a_provider_of_this_dialect() -> None:
    first, second = _request("a", taskType="X", title="1"), _request("b", taskType="X")
    asked = decode_batch_embed(_bytes({"requests": [first, second]}))
    body = encode_request("e", asked.texts, asked.dimensions, asked.steering)
    assert json.loads(encode_batch(decode_fields(body), "e")) == {"requests": [first, second]}
    alone = decode_fields(b'{"input":["a","b"],"task_type":"X"}')
    assert [one["taskType"] for one in json.loads(encode_batch(alone, "e"))["requests"]] == ["X", "X"]


@pytest.mark.req("GEM-EMBED-002")
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "requests"),
        ({"requests": []}, "requests"),
        ({"requests": [{}]}, "requests[0].content"),
        ({"requests": [_request()]}, "requests[0].content.parts"),
        ({"requests": [_request("")]}, "requests[0].content.parts"),
        ({"requests": [{"content": {"parts": [{"inlineData": {}}]}}]}, "requests[0].content.parts[0]"),
        ({"requests": [_request("a", outputDimensionality=0)]}, "requests[0].outputDimensionality"),
        ({"requests": [_request("a"), _request("b", outputDimensionality=2)]}, "requests[1].outputDimensionality"),
    ],
)
def test_a_member_that_does_not_fit_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_batch_embed(_bytes(body))
    assert caught.value.param == param


@pytest.mark.req("GEM-EMBED-003")
def test_vectors_are_told() -> None:
    assert json.loads(encode_embedding([0.5, 1.0])) == {"embedding": {"values": [0.5, 1.0]}}
    assert json.loads(encode_embeddings([[0.5], [1.0]])) == {"embeddings": [{"values": [0.5]}, {"values": [1.0]}]}


@pytest.mark.req("GEM-EMBED-004")
@pytest.mark.parametrize("model", ["e", "models/e"])
def test_a_request_in_the_other_form_becomes_a_batch(model: str) -> None:
    fields = decode_fields(b'{"model":"x","input":["a","b"],"dimensions":5,"encoding_format":"base64"}')
    body = encode_batch(fields, model)
    assert json.loads(body) == {
        "requests": [_request("a", outputDimensionality=5), _request("b", outputDimensionality=5)]
    }
    assert decode_batch_embed(body) == Embedding(("a", "b"), 5)
    assert json.loads(encode_batch(decode_fields(b'{"input":"a"}'), model)) == {"requests": [_request("a")]}


@pytest.mark.req("GEM-EMBED-004")
@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{}", "input"),
        (b'{"input":5}', "input"),
        (b'{"input":[]}', "input"),
        (b'{"input":[1,2]}', "input"),
        (b'{"input":[[1]]}', "input"),
        (b'{"input":"a","dimensions":"x"}', "dimensions"),
        (b'{"input":"a","taskType":5}', "taskType"),
        (b'{"input":"a","title":["b","c"]}', "title"),
    ],
)
def test_what_no_text_model_can_be_asked_is_refused(body: bytes, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        encode_batch(decode_fields(body), "e")
    assert caught.value.param == param


@pytest.mark.req("GEM-EMBED-005")
def test_vectors_of_a_provider_are_read() -> None:
    assert decode_batch(encode_embeddings([[0.5], [1.0]])) == Embedded([[0.5], [1.0]])
    counted = {"embeddings": [{"values": [1, 2.5]}], "usageMetadata": {"promptTokenCount": 3}}
    assert decode_batch(_bytes(counted)) == Embedded([[1.0, 2.5]], Usage(input=3))
    for body in (b"", b"[]", b"{}", b'{"embeddings":[{}]}', b'{"embeddings":[{"values":["x"]}]}'):
        with pytest.raises(DialectError):
            decode_batch(body)


@pytest.mark.req("GEM-EMBED-002")
@given(damaged(_request("a", outputDimensionality=5)) | damaged({"requests": [_request("a")]}) | st.binary(max_size=30))
def test_damaged_requests_are_refused_or_make_sense(body: bytes) -> None:
    for read in (decode_embed, decode_batch_embed):
        try:
            assert all(read(body).texts)
        except InvalidRequest:
            pass
