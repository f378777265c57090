"""Requests for pictures, speech, moderation and reranking: what is kept, what is refused, what they may consume."""

import json
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import InvalidRequest
from posthouse.core.requests import ModelRequest
from posthouse.core.usage import Usage
from posthouse.dialects.openai_media_heads import (
    MAX_DOCUMENTS,
    decode_images,
    decode_moderation,
    decode_rerank,
    decode_speech,
    wants_events,
)

Decode = Callable[[bytes], ModelRequest]
ASKED: Final[dict[Decode, dict[str, Any]]] = {
    decode_images: {"model": "m", "prompt": "two cats"},
    decode_speech: {"model": "m", "input": "Hello.", "voice": "alloy"},
    decode_moderation: {"model": "m", "input": "Hello"},
    decode_rerank: {"model": "m", "query": "red", "documents": ["a", "b"]},
}
each = pytest.mark.parametrize("decode", ASKED, ids=lambda decode: decode.__name__)


def body(decode: Decode, **more: Any) -> bytes:
    return json.dumps({**ASKED[decode], **more}).encode()


def expected(decode: Decode, **more: Any) -> Usage:
    found = decode(body(decode, **more)).expected
    assert found is not None
    return found


@pytest.mark.req("MEDIA-001")
@each
def test_every_member_is_kept_as_it_came(decode: Decode) -> None:
    sent = body(decode, unknown={"b": [1.50, None]})
    request = decode(sent)
    assert b"{%b}" % b", ".join(b'"%b": %b' % (n.encode(), bytes(v)) for n, v in request.fields.items()) == sent
    assert (request.model, request.dialect, request.body_size) == ("m", "openai_media", len(sent))


@pytest.mark.req("MEDIA-001")
@each
def test_what_must_be_there_is_named_where_it_is_missing(decode: Decode) -> None:
    for name in {"model", "prompt", "input", "query", "documents"} & ASKED[decode].keys():
        for sent in ({n: v for n, v in ASKED[decode].items() if n != name}, {**ASKED[decode], name: 7}):
            with pytest.raises(InvalidRequest) as refused:
                decode(json.dumps(sent).encode())
            assert refused.value.param == name
    for name in {"prompt", "input", "documents"} & ASKED[decode].keys():
        with pytest.raises(InvalidRequest) as refused:
            decode(body(decode, **{name: type(ASKED[decode][name])()}))
        assert (refused.value.param, refused.value.code) == (name, "invalid_value")


WRONG: Final = [
    (decode_images, {"n": 0}),
    (decode_images, {"n": 129}),
    (decode_images, {"n": "two"}),
    (decode_images, {"n": 1.5}),
    (decode_images, {"size": 1024}),
    (decode_images, {"quality": ["high"]}),
    (decode_images, {"stream": "yes"}),
    (decode_images, {"partial_images": -1}),
    (decode_images, {"output_format": 1}),
    (decode_speech, {"voice": 7}),
    (decode_speech, {"voice": ["alloy"]}),
    (decode_speech, {"speed": "fast"}),
    (decode_speech, {"stream_format": True}),
    (decode_speech, {"instructions": {}}),
    (decode_speech, {"response_format": 3}),
    (decode_moderation, {"input": {"type": "text"}}),
    (decode_moderation, {"input": [1, 2]}),
    (decode_moderation, {"input": ["a", None]}),
    (decode_rerank, {"query": ["red"]}),
    (decode_rerank, {"documents": "a"}),
    (decode_rerank, {"documents": [["a"]]}),
    (decode_rerank, {"top_n": -1}),
    (decode_rerank, {"top_n": "2"}),
    (decode_rerank, {"return_documents": "no"}),
]


@pytest.mark.req("MEDIA-001")
@pytest.mark.parametrize(("decode", "wrong"), WRONG, ids=lambda value: str(getattr(value, "__name__", value)))
def test_a_member_of_a_wrong_type_is_named(decode: Decode, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode(body(decode, **wrong))
    (name,) = wrong
    assert refused.value.param == name
    assert f"'{name}'" in refused.value.message


@pytest.mark.req("MEDIA-001")
@pytest.mark.parametrize(
    ("decode", "fine"),
    [
        (decode_images, dict.fromkeys(("n", "size", "quality", "stream", "partial_images", "response_format"))),
        (decode_speech, {"voice": {"id": "voice_1"}, "speed": None, "instructions": None}),
        (decode_moderation, {"input": [{"type": "text", "text": "a"}]}),
        (decode_rerank, {"query": {"image": "https://example.com/a.png"}, "documents": [{"text": "a"}], "top_k": 3}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_vendors_know_besides_passes(decode: Decode, fine: dict[str, Any]) -> None:
    assert decode(body(decode, **fine)).expected is not None


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.req("MEDIA-001")
@given(data=st.data())
@each
def test_whatever_is_sent_is_read_or_refused(decode: Decode, data: st.DataObject) -> None:
    names = ["model", "prompt", "input", "query", "documents", "n", "size", "speed", "stream", "voice", "top_n"]
    sent = data.draw(st.dictionaries(st.sampled_from(names), _json, max_size=6))
    try:
        request = decode(json.dumps({**ASKED[decode], **sent}).encode("utf-8", "surrogatepass"))
    except InvalidRequest as refused:
        assert refused.message
    else:
        assert request.expected is not None


@pytest.mark.req("MEDIA-001")
@each
@pytest.mark.parametrize("sent", [b"", b"{", b"[]", b"\xff", b'{"model":"m","input":"\xff"}', b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(decode: Decode, sent: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode(sent)


# --- what may be consumed ---------------------------------------------------------------------------------------------


@pytest.mark.req("MEDIA-002")
def test_images_are_n_of_the_kind_that_is_asked_for_and_their_most_tokens() -> None:
    one = expected(decode_images, size="1024x1024", quality="high")
    assert (one.images, one.image_kind, one.image_output) == (1, "1024x1024/high", 7_024)
    three = expected(decode_images, size="1024x1024", quality="high", n=3)
    assert (three.images, three.image_output) == (3, 3 * 7_024)
    assert 0 < one.input < 10
    open_ = expected(decode_images)
    assert open_.image_kind == ""
    assert open_.image_output > one.image_output  # the dearest of what is left open


@pytest.mark.req("MEDIA-002")
def test_partial_images_take_a_hundred_tokens_each_where_they_come() -> None:
    without = expected(decode_images, n=2, stream=True).image_output
    assert expected(decode_images, n=2, stream=True, partial_images=3).image_output == without + 600
    assert expected(decode_images, n=2, partial_images=3).image_output == without
    request = decode_images(body(decode_images, n=2, stream=True))
    assert (request.stream, request.choices, request.operation) == (True, 2, "images.generations")


@pytest.mark.req("MEDIA-003")
def test_speech_is_its_characters_and_the_time_that_they_take() -> None:
    text = "It was the best of times, it was the worst of times."
    usage = expected(decode_speech, input=text)
    assert usage.characters == len(text) == 52
    assert 3_000 < usage.audio_ms < 6_000
    assert usage.audio_output == usage.audio_ms * 25 // 1000 + 1
    slow, fast = expected(decode_speech, input=text, speed=0.5), expected(decode_speech, input=text, speed=2)
    assert (slow.audio_ms, fast.audio_ms) == (2 * usage.audio_ms - 1, (usage.audio_ms + 1) // 2)
    for odd in (0, -1, None):
        assert expected(decode_speech, input=text, speed=odd).audio_ms == usage.audio_ms
    assert expected(decode_speech, input=text, speed=1e-9).audio_ms == 4 * (usage.audio_ms - 1) + 1


@pytest.mark.req("MEDIA-003")
def test_a_syllable_takes_longer_than_a_letter_and_instructions_are_read() -> None:
    assert expected(decode_speech, input="今天晴").audio_ms == 3 * 250 + 1
    assert expected(decode_speech, input="cat").audio_ms == 3 * 80 + 1
    assert expected(decode_speech, input="123").audio_ms == 3 * 250 + 1
    plain = expected(decode_speech).input
    assert expected(decode_speech, instructions="Speak as a pirate would.").input > plain


@pytest.mark.req("MEDIA-003")
def test_speech_is_a_stream_of_events_only_where_these_are_asked_for() -> None:
    for said, events in ({}, False), ({"stream_format": "sse"}, True), ({"stream_format": "audio"}, False):
        request = decode_speech(body(decode_speech, **said))
        assert (request.stream, wants_events(request)) == (True, events)


@pytest.mark.req("MEDIA-004")
def test_a_moderation_is_the_tokens_of_all_that_is_judged() -> None:
    one = expected(decode_moderation, input="Hello there").input
    assert expected(decode_moderation, input=["Hello there"] * 3).input == 3 * one
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    assert expected(decode_moderation, input=[picture, {"type": "text", "text": "a"}]).input < 1_100


@pytest.mark.req("MEDIA-004")
def test_a_rerank_reads_every_document_with_the_query() -> None:
    few = expected(decode_rerank, documents=["word " * 10] * 2)
    assert (few.searches, few.input) == (1, expected(decode_rerank, documents=["word " * 10]).input * 2)
    longer = expected(decode_rerank, query="red " * 100, documents=["word " * 10] * 2)
    assert longer.input - few.input == 2 * (402 * 2 // 5 + 1 - 3)


@pytest.mark.req("MEDIA-004")
def test_a_search_is_a_hundred_documents_and_a_long_document_is_several() -> None:
    assert expected(decode_rerank, documents=["a"] * 100).searches == 1
    assert expected(decode_rerank, documents=["a"] * 101).searches == 2
    assert expected(decode_rerank, documents=["word " * 1_000] * 50).searches == 3  # 2,000 tokens are 5 pieces


@pytest.mark.req("MEDIA-001")
def test_more_documents_than_anybody_ranks_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="at most") as refused:
        decode_rerank(body(decode_rerank, documents=["a"] * (MAX_DOCUMENTS + 1)))
    assert refused.value.param == "documents"
