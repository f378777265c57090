"""Whole answers of gemini."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.items import (
    Choice,
    InnerResponse,
    Item,
    MessageItem,
    OpaqueState,
    ReasoningItem,
    ToolCallItem,
)
from posthouse.core.parts import AudioPart, ImagePart, RefusalPart, TextPart
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Whole
from posthouse.dialects.errors import DialectError
from posthouse.dialects.gemini import CODEC
from posthouse.dialects.openai_errors import StreamError
from tests.dialects.gemini_samples import CALL, HEAD, MAKER, NOBODYS, damaged, model_items

_USAGE = {"promptTokenCount": 8, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 13}


def _candidate(*parts: dict[str, Any], reason: str | None = "STOP", **more: Any) -> dict[str, Any]:
    return {"content": {"parts": list(parts), "role": "model"}, "finishReason": reason, "index": 0, **more}


def _answer(*candidates: dict[str, Any], **more: Any) -> bytes:
    body = {"candidates": list(candidates), "modelVersion": "gem-3-001", "responseId": "abc", "usageMetadata": _USAGE}
    return json.dumps({**body, **more}).encode()


def _decoded(body: bytes) -> InnerResponse:
    return CODEC.decode_response(body, MAKER)


def _encoded(*choices: Choice, usage: Usage | None = None) -> dict[str, Any]:
    body = json.loads(CODEC.encode_response(InnerResponse("up", "up", 0, choices, usage), HEAD))
    assert isinstance(body, dict)
    return body


@pytest.mark.req("GEM-RES-001")
@given(
    st.lists(
        st.tuples(
            model_items(states=st.just(NOBODYS)), st.sampled_from([None, "stop", "length", "content_filter", "other"])
        ),
        min_size=1,
        max_size=3,
    )
)
def test_an_answer_of_the_inner_form_survives_the_wire(choices: list[tuple[list[Item], str | None]]) -> None:
    response = InnerResponse("up", "up", 0, tuple(Choice(tuple(items), finish) for items, finish in choices))
    back = _decoded(CODEC.encode_response(response, HEAD))
    assert (back.id, back.model, len(back.choices)) == (HEAD.id, HEAD.model, len(choices))
    for choice, (items, finish) in zip(back.choices, choices, strict=True):
        called = finish == "stop" and any(isinstance(item, ToolCallItem) for item in items)
        assert choice.finish == ("tool_calls" if called else finish)
        # The state is this provider's, once it has said it.
        assert list(choice.items) == [_made_by_maker(item) for item in items]


def _made_by_maker(item: Item) -> Item:
    if isinstance(item, ReasoningItem) and item.state is not None:
        state = OpaqueState(MAKER.provider, MAKER.model, MAKER.account, item.state.payload)
        return ReasoningItem(item.text, state)
    return item


@pytest.mark.req("GEM-RES-002")
def test_an_answer_is_read() -> None:
    body = _answer(
        _candidate(
            {"text": "hm", "thought": True},
            {"text": "look", "thoughtSignature": "AbC="},
            {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
            {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "aGk="}},
            CALL,
            avgLogprobs=-0.1,
            groundingMetadata={},
        )
    )
    state = OpaqueState("vendor", "gem-3", "main", b"AbC=")
    assert _decoded(body) == InnerResponse(
        "abc",
        "gem-3-001",
        0,
        (
            Choice(
                (
                    ReasoningItem("hm", state),
                    MessageItem(
                        "assistant",
                        (
                            TextPart("look"),
                            ImagePart("data:image/png;base64,aGk="),
                            AudioPart("aGk=", "L16;rate=24000"),
                        ),
                    ),
                    ReasoningItem("", state),
                    ToolCallItem("c1", "f", '{"a": 1}'),
                ),
                "tool_calls",
            ),
        ),
        Usage(input=8, output=3, reasoning=2),
    )


@pytest.mark.req("GEM-RES-003")
@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("CONTINUATION", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "malformed_function_call"),
        ("BRAND_NEW", "brand_new"),
        ("FINISH_REASON_UNSPECIFIED", None),
        (None, None),
    ],
)
def test_how_an_answer_ended_is_read(reason: str | None, finish: str | None) -> None:
    body = _answer(_candidate({"text": "a"}, reason=reason))
    assert _decoded(body).choices[0].finish == finish
    assert CODEC.read_whole(body).finish_reason == finish


@pytest.mark.req("GEM-RES-003")
@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "STOP"),
        ("tool_calls", "STOP"),
        ("length", "MAX_TOKENS"),
        ("content_filter", "SAFETY"),
        ("malformed_function_call", "MALFORMED_FUNCTION_CALL"),
        ("pause_turn", "OTHER"),
    ],
)
def test_how_an_answer_ended_is_told(finish: str, reason: str) -> None:
    message = MessageItem("assistant", (TextPart("a"),))
    assert _encoded(Choice((message,), finish))["candidates"] == [
        {"content": {"parts": [{"text": "a"}], "role": "model"}, "finishReason": reason, "index": 0}
    ]


@pytest.mark.req("GEM-RES-004")
def test_a_refused_prompt_is_an_answer_that_a_filter_ended() -> None:
    body = json.dumps({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}}).encode()
    assert _decoded(body).choices == (Choice((), "content_filter"),)
    assert CODEC.read_whole(body) == Whole(Usage(input=4), "content_filter")
    assert _encoded(Choice((), "content_filter"))["candidates"] == [{"finishReason": "SAFETY", "index": 0}]


def test_an_empty_answer_still_has_a_part() -> None:
    assert _encoded(Choice((), "stop"))["candidates"][0]["content"] == {"parts": [{"text": ""}], "role": "model"}


def test_a_refusal_and_a_custom_call_are_said_with_what_there_is() -> None:
    items = (MessageItem("assistant", (RefusalPart("no"),)), ToolCallItem("c", "f", "free", "custom"))
    parts = _encoded(Choice(items, "stop"))["candidates"][0]["content"]["parts"]
    assert parts == [{"text": "no"}, {"functionCall": {"id": "c", "name": "f", "args": {"input": "free"}}}]


def test_usage_goes_along_where_there_is_one() -> None:
    assert "usageMetadata" not in _encoded(Choice((), "stop"))
    assert _encoded(Choice((), "stop"), usage=Usage(input=3, output=2))["usageMetadata"]["totalTokenCount"] == 5


@pytest.mark.req("GEM-RES-005")
def test_calls_without_ids_are_given_some_that_differ_between_answers_and_candidates() -> None:
    def ids(body: bytes) -> list[str]:
        items = [item for choice in _decoded(body).choices for item in choice.items]
        return [item.call_id for item in items if isinstance(item, ToolCallItem)]

    call = {"functionCall": {"name": "f"}}
    body = _answer(_candidate(call, call), _candidate(call))
    assert len(set(ids(body))) == 3
    assert ids(body) == ids(body)
    assert not set(ids(body)) & set(ids(_answer(_candidate(call, call), responseId="other")))
    assert not set(ids(_answer(_candidate(call), responseId=None))) & set(
        ids(_answer(responseId=None, candidates=[_candidate(call, CALL)]))
    )


@pytest.mark.req("GEM-RES-006")
def test_the_spine_reads_usage_end_and_text_without_decoding_all() -> None:
    body = _answer(_candidate({"text": "hi"}, {"functionCall": {"name": "f", "args": {"a": 1}}}))
    assert CODEC.read_whole(body) == Whole(Usage(input=8, output=3, reasoning=2), "tool_calls", None, "abc")
    assert CODEC.read_whole(_answer(_candidate({"text": "hi"}, CALL), usageMetadata=None)) == Whole(
        None, "tool_calls", None, "abc", 'hif{"a": 1}'
    )


@pytest.mark.req("GEM-RES-007")
@pytest.mark.parametrize("wrap", ["%b", "[%b]"])
def test_an_error_under_a_status_of_success_is_told(wrap: str) -> None:
    error = b'{"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED","details":[]}}'
    body = wrap.encode() % error
    assert CODEC.read_whole(body).error == StreamError("slow", "RESOURCE_EXHAUSTED", "429")
    with pytest.raises(DialectError):
        _decoded(body)


@pytest.mark.req("GEM-RES-008")
@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"choices":[]}', b'{"candidates":5}', b"\xff", b"[" * 100_000])
def test_what_is_no_answer_is_an_error_of_the_dialect(body: bytes) -> None:
    with pytest.raises(DialectError):
        _decoded(body)
    with pytest.raises(DialectError):
        CODEC.read_whole(body)


_RICH = json.loads(
    _answer(_candidate({"text": "a", "thought": True}, CALL, {"text": "b"}), promptFeedback={"blockReason": "X"})
)


@pytest.mark.req("GEM-RES-008")
@given(damaged(_RICH) | st.binary(max_size=40))
def test_damaged_answers_make_sense_or_are_an_error_of_the_dialect(body: bytes) -> None:
    try:
        CODEC.encode_response(_decoded(body), HEAD)
    except DialectError:
        pass
    try:
        CODEC.read_whole(body)
    except DialectError:
        pass
