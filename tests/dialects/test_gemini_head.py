"""The hot door of generateContent, and counting tokens."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import MessageItem
from posthouse.core.parts import TextPart
from posthouse.dialects.gemini import count_in, decode_count, decode_head, encode_count
from tests.dialects.gemini_samples import RICH, contents, damaged


def _head(body: Any) -> Any:
    return decode_head(json.dumps(body).encode(), "my-model", False)


@pytest.mark.req("GEM-HEAD-001")
def test_a_request_is_read_as_far_as_the_spine_needs_and_keeps_its_bytes() -> None:
    body = b'{ "contents":[{"parts":[{"text":"a","new": 1.50}]}],"generationConfig":{"maxOutputTokens":5}, "x":null }'
    request = decode_head(body, "my-model", True)
    assert (request.operation, request.dialect, request.model, request.stream) == (
        "generate_content",
        "gemini",
        "my-model",
        True,
    )
    assert (request.max_output, request.choices, request.body_size) == (5, 1, len(body))
    assert {name: bytes(raw) for name, raw in request.fields.items()} == {
        "contents": b'[{"parts":[{"text":"a","new": 1.50}]}]',
        "generationConfig": b'{"maxOutputTokens":5}',
        "x": b"null",
    }


@pytest.mark.req("GEM-HEAD-001")
@pytest.mark.parametrize(
    ("config", "limit", "choices"),
    [
        (None, None, 1),
        ({}, None, 1),
        ({"max_output_tokens": "7", "candidate_count": 3}, 7, 3),
        ({"maxOutputTokens": None, "candidateCount": None}, None, 1),
    ],
)
def test_limits_are_read_in_either_spelling(config: Any, limit: int | None, choices: int) -> None:
    name = "generation_config" if config and "max_output_tokens" in config else "generationConfig"
    request = _head({**contents({"text": "a"}), name: config})
    assert (request.max_output, request.choices) == (limit, choices)


@pytest.mark.req("GEM-HEAD-002")
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": "hi"}, "contents"),
        ({"contents": None}, "contents"),
        ({"contents": [{}, 5]}, "contents[1]"),
        ({"contents": [{"role": 5}]}, "contents[0].role"),
        ({"contents": {"parts": "x"}}, "contents[0].parts"),
        ({"contents": [{"parts": [{}, 5]}]}, "contents[0].parts[1]"),
        ({**contents({"text": "a"}), "generationConfig": 5}, "generationConfig"),
        ({**contents({"text": "a"}), "generationConfig": {"maxOutputTokens": -1}}, "generationConfig.maxOutputTokens"),
        ({**contents({"text": "a"}), "generationConfig": {"candidateCount": 999}}, "generationConfig.candidateCount"),
    ],
)
def test_a_member_that_does_not_fit_is_named(body: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _head(body)
    assert caught.value.param == param


@pytest.mark.req("GEM-HEAD-002")
@pytest.mark.parametrize("model", ["", "a\nb", "x" * 300])
def test_a_model_that_cannot_be_a_name_is_refused(model: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_head(json.dumps(contents({"text": "a"})).encode(), model, False)
    assert caught.value.param == "model"


@pytest.mark.req("GEM-HEAD-002")
@given(damaged(RICH) | damaged({"generateContentRequest": RICH}) | st.binary(max_size=40))
def test_damaged_requests_are_refused_or_pass(body: bytes) -> None:
    for read in (lambda: decode_head(body, "m", False), lambda: decode_count(body, "m")):
        try:
            read()
        except InvalidRequest:
            pass


@pytest.mark.req("GEM-HEAD-003")
def test_tokens_are_counted_of_contents_or_of_a_whole_request() -> None:
    inner = {**contents({"text": "a"}), "model": "models/x", "systemInstruction": {"parts": [{"text": "s"}]}}
    items = (MessageItem("system", (TextPart("s"),)), MessageItem("user", (TextPart("a"),)))
    assert decode_count(json.dumps(contents({"text": "a"})).encode(), "m").items == items[1:]
    for name in ("generateContentRequest", "generate_content_request"):
        request = decode_count(json.dumps({name: inner}).encode(), "m")
        assert (request.model, request.items) == ("m", items)
    assert json.loads(encode_count(42)) == {"totalTokens": 42}


@pytest.mark.req("GEM-HEAD-003")
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "contents"),
        ({"generateContentRequest": {}}, "generateContentRequest.contents"),
        ({"generateContentRequest": 5}, "generateContentRequest"),
    ],
)
def test_what_cannot_be_counted_is_refused(body: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_count(json.dumps(body).encode(), "m")
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("body", "count"),
    [(b'{"totalTokens":7,"x":1}', 7), (b"{}", None), (b'{"totalTokens":"7"}', None), (b"[]", None), (b"", None)],
)
def test_a_providers_count_is_read(body: bytes, count: int | None) -> None:
    assert count_in(body) == count
