"""Whole answers of the Responses API: round trips, what the spine reads, and what others say of their form."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from posthouse.core.items import (
    Choice,
    CompactionItem,
    InnerRequest,
    InnerResponse,
    Item,
    Items,
    MessageItem,
    OpaqueState,
    OpaqueTool,
    OutputFormat,
    ReasoningItem,
    Sampling,
    Thinking,
    Tool,
    ToolCallItem,
    ToolChoice,
    ToolResultItem,
)
from posthouse.core.parts import AudioPart, ImagePart, OpaquePart, Part, RefusalPart, TextPart
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Addressed, ReplyHead
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_errors import StreamError
from posthouse.dialects.openai_responses import CODEC
from posthouse.dialects.openai_responses_items import DIALECT
from posthouse.dialects.openai_responses_whole import encode_usage, usage_in
from tests.dialects.published import approve, parse_response
from tests.dialects.responses import HEAD, MAKER, STATES, WORD, bare

_COUNT = st.integers(0, 99)
_USAGE = st.builds(
    Usage,
    input=_COUNT,
    cache_read=_COUNT,
    cache_write=_COUNT,
    output=_COUNT,
    reasoning=_COUNT,
    audio_input=_COUNT,
    audio_output=_COUNT,
    image_input=_COUNT,
    image_output=_COUNT,
)
_PARTS: st.SearchStrategy[Part] = st.builds(TextPart, st.text(max_size=5)) | st.builds(RefusalPart, WORD)
_SEARCH = b'{"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search","query":"a"}}'
_SAID: st.SearchStrategy[Item] = st.one_of(
    st.builds(MessageItem, st.just("assistant"), st.lists(_PARTS, max_size=2).map(tuple)),
    st.builds(ToolCallItem, WORD, WORD, st.text(max_size=8), st.sampled_from(["function", "custom"])),
    st.builds(ReasoningItem, st.text(max_size=5), st.none() | STATES),
    st.builds(CompactionItem, STATES),
    st.just(MessageItem("assistant", (OpaquePart(DIALECT, _SEARCH),))),
)


@st.composite
def _answers(draw: st.DrawFn) -> InnerResponse:
    items = tuple(draw(st.lists(_SAID, max_size=5)))
    whole = "tool_calls" if any(isinstance(item, ToolCallItem) for item in items) else "stop"
    finish = draw(st.sampled_from([whole, "length", "content_filter", None]))
    return InnerResponse("resp_abc", "m", HEAD.created, (Choice(items, finish),), draw(st.none() | _USAGE))


def _bared(items: Items) -> Items:
    """Items without the wrapping that state travels in."""
    said: list[Item] = []
    for item in items:
        if isinstance(item, ReasoningItem) and item.state is not None:
            inner = bare(item.state)
            item = ReasoningItem(item.text, inner if inner.payload else None)
        elif isinstance(item, CompactionItem):
            item = CompactionItem(bare(item.state))
        said.append(item)
    return tuple(said)


@pytest.mark.req("RESP-WHOLE-001")
@given(_answers())
def test_an_answer_of_the_inner_form_survives_the_wire(answer: InnerResponse) -> None:
    again = CODEC.decode_response(CODEC.encode_response(answer, HEAD), MAKER)
    (choice,) = again.choices
    assert Choice(_bared(choice.items), choice.finish) == answer.choices[0]
    assert (again.id, again.model, again.created) == ("resp_abc", "m", HEAD.created)
    assert (None if again.usage is None else replace(again.usage, web_searches=0)) == answer.usage


@pytest.mark.req("RESP-WHOLE-002")
@given(_answers())
def test_an_answer_is_a_response_by_the_types_of_the_sdk(answer: InnerResponse) -> None:
    response = parse_response(CODEC.encode_response(answer, HEAD))
    parts = [part for item in answer.choices[0].items if isinstance(item, MessageItem) for part in item.parts]
    assert response.output_text == "".join(part.text for part in parts if isinstance(part, TextPart))


@pytest.mark.req("RESP-WHOLE-002")
@settings(max_examples=30)
@given(_answers())
def test_an_answer_satisfies_the_published_schema(answer: InnerResponse) -> None:
    approve(json.loads(CODEC.encode_response(answer, HEAD)), "Response")


_ASKED = InnerRequest(
    dialect=DIALECT,
    model="m",
    items=(MessageItem("system", (TextPart("be brief"),)), MessageItem("user", (TextPart("a"),))),
    tools=(
        Tool("f", schema=b'{"type": "object"}', strict=True),
        Tool("g", "custom", "runs"),
        OpaqueTool(DIALECT, b'{"type":"web_search"}'),
    ),
    tool_choice=ToolChoice("named", "f"),
    parallel_tools=False,
    output_format=OutputFormat("json_object"),
    verbosity="low",
    thinking=Thinking("high", shown=True),
    user="someone",
    sampling=Sampling(20, 0.5, 1.0),
    extra={"metadata": Raw(b'{"k":"v"}'), "truncation": Raw(b'"auto"'), "store": Raw(b"true"), "include": Raw(b"[]")},
)


@pytest.mark.req("RESP-WHOLE-003")
def test_an_answer_repeats_what_was_asked() -> None:
    body = CODEC.encode_response(InnerResponse("x", "m", 0, (Choice((), "stop"),)), _head(_ASKED))
    parse_response(body)
    answer = json.loads(body)
    approve(answer, "Response")
    assert answer == {
        **json.loads(CODEC.encode_response(InnerResponse("x", "m", 0, (Choice((), "stop"),)), HEAD)),
        "instructions": "be brief",
        "tools": [
            {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True},
            {"type": "custom", "name": "g", "description": "runs"},
            {"type": "web_search"},
        ],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "reasoning": {"effort": "high", "summary": "auto"},
        "max_output_tokens": 20,
        "temperature": 0.5,
        "top_p": 1.0,
        "safety_identifier": "someone",
        "metadata": {"k": "v"},
        "truncation": "auto",
    }


@pytest.mark.req("RESP-WHOLE-003")
def test_what_the_inner_form_cannot_say_is_repeated_as_it_came() -> None:
    body = {
        "model": "m",
        "input": "a",
        "tool_choice": {"type": "web_search_preview"},
        "reasoning": {"effort": "low", "summary": "detailed"},
    }
    request = CODEC.decode_request(json.dumps(body).encode(), Addressed(""))
    answer = json.loads(CODEC.encode_response(InnerResponse("x", "m", 0, (Choice((), "stop"),)), _head(request)))
    assert answer["tool_choice"] == body["tool_choice"]
    assert answer["reasoning"] == body["reasoning"]


def _head(request: InnerRequest) -> ReplyHead:
    return ReplyHead(HEAD.id, HEAD.model, HEAD.created, request=request)


def _encoded(*items: Item, finish: str | None = "stop") -> Any:
    return json.loads(CODEC.encode_response(InnerResponse("x", "m", 0, (Choice(items, finish),)), HEAD))


@pytest.mark.req("RESP-WHOLE-004")
@pytest.mark.parametrize(
    ("finish", "status", "details"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("something_new", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
        (None, "incomplete", None),
    ],
)
def test_why_an_answer_ended_is_told_by_its_status(finish: str | None, status: str, details: Any) -> None:
    said = MessageItem("assistant", (TextPart("a"),))
    answer = _encoded(ReasoningItem("hm"), said, finish=finish)
    assert (answer["status"], answer["incomplete_details"]) == (status, details)
    assert [item["status"] for item in answer["output"]] == ["completed", status]


def test_what_this_dialect_has_no_place_for_is_left_out() -> None:
    foreign = MessageItem("assistant", (OpaquePart("anthropic_messages", b"{}"),))
    picture = MessageItem("assistant", (TextPart("a"), ImagePart("https://example.com/a")))
    answer = _encoded(foreign, ToolResultItem("c", ()), picture)
    assert [item["type"] for item in answer["output"]] == ["message"]
    assert [part["text"] for part in answer["output"][0]["content"]] == ["a"]


def test_an_answer_without_a_choice_says_nothing() -> None:
    assert json.loads(CODEC.encode_response(InnerResponse("x", "m", 0, ()), HEAD))["output"] == []


# --- a provider's answer -----------------------------------------
_SUMMARY = '[{"type": "summary_text", "text": "hm"}]'
_REASONING = f'{{"type": "reasoning", "id": "rs_1", "summary": {_SUMMARY}, "encrypted_content": "gAAA"}}'
_USAGE_SAID = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 30},
    "total_tokens": 150,
}


def _answer(*output: Any, **members: Any) -> bytes:
    head = {"id": "resp_1", "object": "response", "created_at": 1.9e9, "model": "gpt", "status": "completed"}
    return json.dumps({**head, "output": list(output), **members}).encode()


@pytest.mark.req("RESP-WHOLE-005")
def test_an_answer_of_a_provider_is_read() -> None:
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "c1",
        "name": "f",
        "arguments": "{}",
        "status": "completed",
    }
    said = {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}
    search = {"type": "web_search_call", "id": "ws_1"}
    body = _answer("@", said, search, call, usage=_USAGE_SAID).replace(b'"@"', _REASONING.encode())
    answer = CODEC.decode_response(body, MAKER)
    assert (answer.id, answer.model, answer.created) == ("resp_1", "gpt", 1_900_000_000)
    assert answer.usage == Usage(input=30, cache_read=60, cache_write=10, output=20, reasoning=30, web_searches=1)
    assert answer.choices == (
        Choice(
            (
                ReasoningItem("hm", OpaqueState(MAKER.provider, MAKER.model, MAKER.account, _REASONING.encode())),
                MessageItem("assistant", (TextPart("a"),)),
                MessageItem("assistant", (OpaquePart(DIALECT, json.dumps(search).encode()),)),
                ToolCallItem("c1", "f", "{}"),
            ),
            "tool_calls",
        ),
    )


@pytest.mark.req("RESP-WHOLE-005")
def test_thoughts_without_id_and_encryption_have_no_state() -> None:
    thought = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    (choice,) = CODEC.decode_response(_answer(thought), MAKER).choices
    assert choice.items == (ReasoningItem("hm"),)


@pytest.mark.req("RESP-WHOLE-006")
@pytest.mark.parametrize(
    ("members", "finish"),
    [
        ({}, "stop"),
        ({"status": None}, "stop"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "steered"}}, "steered"),
        ({"status": "incomplete"}, None),
        ({"status": "in_progress"}, None),
        ({"output": [{"type": "custom_tool_call", "call_id": "c", "name": "f", "input": ""}]}, "tool_calls"),
    ],
)
def test_both_readers_of_an_answer_see_the_same_end(members: dict[str, Any], finish: str | None) -> None:
    body = _answer(**members)
    assert CODEC.read_whole(body).finish_reason == finish
    assert CODEC.decode_response(body, MAKER).choices[0].finish == finish


@pytest.mark.req("RESP-WHOLE-006")
def test_usage_of_an_answer_is_read_and_its_text_where_there_is_none() -> None:
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ab"}]}
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
    whole = CODEC.read_whole(_answer(thought, said, call, usage=_USAGE_SAID))
    assert (whole.id, whole.text, whole.error) == ("resp_1", "", None)
    assert whole.usage == Usage(input=30, cache_read=60, cache_write=10, output=20, reasoning=30)
    assert CODEC.read_whole(_answer(thought, said, call)).text == "hmabf{}"


@pytest.mark.req("RESP-WHOLE-007")
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            _answer(status="failed", error={"code": "server_error", "message": "No."}),
            StreamError("No.", None, "server_error"),
        ),
        (_answer(status="failed"), StreamError("the upstream ended the answer with an error")),
        (b'{"error":{"message":"No.","type":"x","code":7}}', StreamError("No.", "x", "7")),
    ],
)
def test_an_error_under_a_status_of_success_is_seen(body: bytes, error: StreamError) -> None:
    whole = CODEC.read_whole(body)
    assert (whole.error, whole.finish_reason) == (error, None)


@pytest.mark.req("RESP-WHOLE-008")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"output":5}',
        b'{"output":[5]}',
        b'{"id":1,"output":',
        b'{"output":' + b"[" * 9999,
        b'"\xff"',
    ],
)
def test_what_is_no_answer_is_an_error_of_the_dialect(body: bytes) -> None:
    with pytest.raises(DialectError):
        CODEC.decode_response(body, MAKER)
    with pytest.raises(DialectError):
        CODEC.read_whole(body)


_ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORD,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "reason", "text"]), inner),
    max_leaves=5,
)
_TYPES = st.sampled_from(["message", "function_call", "reasoning", "compaction", "new"])


@pytest.mark.req("RESP-WHOLE-008")
@given(
    st.sampled_from(["id", "status", "created_at", "model", "error", "incomplete_details", "usage", "output"]),
    _ODD,
    st.lists(st.dictionaries(st.sampled_from(["content", "summary", "name", "id"]), _ODD), max_size=2),
    _TYPES,
)
def test_whatever_a_provider_answers_it_is_read_or_an_error_of_the_dialect(
    name: str, value: Any, items: list[dict[str, Any]], kind: str
) -> None:
    body = json.loads(_answer(*({"type": kind, **item} for item in items)))
    body[name] = value
    for read in (lambda b: CODEC.decode_response(b, MAKER), CODEC.read_whole):
        try:
            read(json.dumps(body).encode())
        except DialectError:
            pass


@pytest.mark.req("RESP-WHOLE-009")
@given(_USAGE)
def test_usage_survives_the_wire(usage: Usage) -> None:
    said = encode_usage(usage)
    assert usage_in(said) == usage
    assert said["total_tokens"] == usage.total
    approve(said, "ResponseUsage")


@pytest.mark.req("RESP-WHOLE-009")
@pytest.mark.parametrize("payload", [None, 5, {}, {"input_tokens": -1}, {"input_tokens": 1, "output_tokens": "2"}])
def test_usage_that_makes_no_sense_is_none(payload: Any) -> None:
    assert usage_in(payload) is None


def test_sound_is_what_it_says() -> None:
    parts = (AudioPart("AAAA", "wav", "audio_1", "spoken"), AudioPart("AAAA"))
    response = InnerResponse("x", "m", 1, (Choice((MessageItem("assistant", parts),), "stop"),))
    (item,) = json.loads(CODEC.encode_response(response, HEAD))["output"]
    assert [part["text"] for part in item["content"]] == ["spoken"]
