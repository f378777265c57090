"""Inner events as a Responses stream: legal by the table, by the SDK's types, by the published document, and whole."""

import json
from collections.abc import Iterable
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from openai import OpenAI

from posthouse.core.errors import InvalidRequest, PosthouseError, RateLimited, UpstreamFailure
from posthouse.core.events import (
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    ReasoningState,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from posthouse.core.items import Choice, InnerRequest, InnerResponse, MessageItem, OpaqueState, ReasoningItem, Tool
from posthouse.core.items import ToolCallItem as Call
from posthouse.core.parts import TextPart
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Addressed, ReplyHead
from posthouse.dialects.errors import DialectError
from posthouse.dialects.opaque import seal, unseal
from posthouse.dialects.openai_responses import CODEC
from posthouse.dialects.openai_responses_encoder import MAX_ANSWER, ResponsesEncoder
from posthouse.dialects.openai_responses_events import FORMS, LEGALITY
from posthouse.dialects.sse import data_of, split_events
from tests.dialects.published import approve, parse_event
from tests.dialects.responses import HEAD, MAKER, Judge, event, payloads, streams, told, usage_of_events

_USAGE = Usage(input=3, output=4)


def _encoded(events: Iterable[Event], usage: Usage = _USAGE) -> bytes:
    encoder = CODEC.encoder(HEAD)
    return b"".join([encoder.encode(one) for one in events]) + encoder.close(usage)


def _decoded(stream: bytes) -> list[Event]:
    decoder = CODEC.decoder(MAKER)
    return [inner for one in split_events(stream) for inner in decoder.decode(one)]


# --- whatever comes ----------------------------------------------
@pytest.mark.req("RESP-ENC-001")
@given(streams())
def test_every_stream_is_legal(events: list[Event]) -> None:
    judge = Judge()
    judge.follow(payloads(_encoded(events)))
    assert judge.states[("stream",)] == "closed"


@pytest.mark.req("RESP-ENC-001")
@given(streams(), st.integers(0, 20))
def test_a_stream_that_breaks_anywhere_is_legal_to_its_end(events: list[Event], after: int) -> None:
    encoder = CODEC.encoder(HEAD)
    sent = b"".join([encoder.encode(one) for one in events[:after]])
    stream = payloads(sent + encoder.fail(UpstreamFailure("server", "No.")))
    judge = Judge()
    judge.follow(stream)
    assert [one["type"] for one in stream[-2:]] == ["error", "response.failed"]
    for one in stream[-2:]:
        parse_event(json.dumps(one).encode())


@pytest.mark.req("RESP-ENC-002")
@given(streams())
def test_every_event_is_one_by_the_types_of_the_sdk_and_is_named(events: list[Event]) -> None:
    for one in split_events(_encoded(events))[:-1]:
        data = data_of(one) or b""
        parsed = parse_event(data)
        assert one == b"event: %b\ndata: %b\n\n" % (parsed.type.encode(), data)


@pytest.mark.req("RESP-ENC-002")
@settings(max_examples=15)
@given(streams())
def test_every_event_satisfies_the_published_schema(events: list[Event]) -> None:
    for one in payloads(_encoded(events)):
        if one["type"].startswith("response.audio"):
            one["response_id"] = "resp_abc"  # the document asks for a member that it does not describe
        approve(one, _schema_of(one["type"]))


def _schema_of(name: str) -> str:
    """`response.output_item.added` is `ResponseOutputItemAddedEvent`."""
    short = name.replace("output_text", "text").replace("response.", "response_").replace(".", "_")
    return "".join(word.capitalize() for word in short.split("_")) + "Event"


@pytest.mark.req("RESP-ENC-003")
@given(streams())
def test_a_stream_read_back_says_the_same(events: list[Event]) -> None:
    again = _decoded(_encoded(events))
    assert told(again) == told(events)
    assert usage_of_events(again) == _USAGE


@pytest.mark.req("RESP-ENC-003")
@given(streams())
def test_the_last_event_holds_what_the_same_answer_is_as_a_whole(events: list[Event]) -> None:
    last = payloads(_encoded(events))[-1]["response"]
    again = _decoded(event({"type": f"response.{last['status']}", "response": last}))
    assert [one for one in told(again) if one[0] not in ("data", "transcript")] == _merged(
        [one for one in told(events) if one[0] not in ("data", "transcript")]
    )


def _merged(said: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Texts that only sound stood between."""
    merged: list[tuple[Any, ...]] = []
    for one in said:
        if merged and len(one) == 2 and one[0] == merged[-1][0] != "state":
            merged[-1] = (one[0], merged[-1][1] + one[1])
        else:
            merged.append(one)
    return merged


def test_the_table_names_every_event_that_a_form_is_written_with() -> None:
    named = {name for form in FORMS.values() for name in (form.added, form.delta, form.said, form.closed) if name}
    assert named <= LEGALITY.keys()
    assert {step.scope for step in LEGALITY.values()} == {"stream", "sound", "item", "part"}


# --- what stands where -------------------------------------------
def _types(stream: bytes) -> list[str]:
    return [one["type"].removeprefix("response.") for one in payloads(stream)]


@pytest.mark.req("RESP-ENC-004")
def test_a_text_begins_and_ends_in_order() -> None:
    assert _types(_encoded([Started(), TextDelta("a"), TextDelta("b"), Finished("stop")])) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


@pytest.mark.req("RESP-ENC-005")
def test_a_call_that_is_whole_ends_before_the_next_item_begins() -> None:
    events: list[Event] = [
        ToolCallStarted("a", "f"),
        ToolCallDelta("{}"),
        ToolCallStarted("b", "g", call=1),
        ToolCallDelta("{", call=1),
        TextDelta("x"),
        ToolCallDelta("}", call=1),
        Finished("tool_calls"),
    ]
    stream = payloads(_encoded(events))
    steps = [(one["type"].rpartition(".")[2], one["output_index"]) for one in stream if "output_item" in one["type"]]
    assert steps == [("added", 0), ("done", 0), ("added", 1), ("added", 2), ("done", 1), ("done", 2)]
    assert [item.get("arguments") for item in stream[-1]["response"]["output"]] == ["{}", "{}", None]


@pytest.mark.req("RESP-ENC-006")
def test_foreign_state_travels_sealed_and_comes_back_as_it_was() -> None:
    state = OpaqueState("house", "claude", "main", b"signature")
    stream = payloads(_encoded([ReasoningDelta("hm"), ReasoningState(state), TextDelta("a"), Finished("stop")]))
    item = stream[-1]["response"]["output"][0]
    assert item["encrypted_content"] == seal(state)
    back = {"model": "m", "input": [item]}
    request = CODEC.decode_request(json.dumps(back).encode(), Addressed(""))
    assert request.items == (ReasoningItem("hm", state),)


@pytest.mark.req("RESP-ENC-006")
def test_thoughts_without_state_are_marked_as_ours() -> None:
    item = payloads(_encoded([ReasoningDelta("hm"), Finished("stop")]))[-1]["response"]["output"][0]
    sealed = unseal(item["encrypted_content"])
    assert sealed is not None
    assert sealed.payload == b""
    request = CODEC.decode_request(json.dumps({"model": "m", "input": [item]}).encode(), Addressed(""))
    assert request.items == (ReasoningItem("hm"),)


@pytest.mark.req("RESP-ENC-007")
@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
        ("stop", "completed", None),
        ("something_new", "completed", None),
    ],
)
def test_a_stream_ends_as_the_answer_did(reason: str, status: str, details: Any) -> None:
    last = payloads(_encoded([Started(), ReasoningDelta("hm"), TextDelta("a"), Finished(reason)]))[-1]
    assert last["type"] == f"response.{status}"
    assert last["response"]["incomplete_details"] == details
    assert [item["status"] for item in last["response"]["output"]] == ["completed", status]
    assert last["response"]["usage"]["total_tokens"] == 7


def test_a_stream_without_a_word_is_whole() -> None:
    assert _types(_encoded([])) == ["created", "in_progress", "completed"]


def test_only_the_first_choice_is_told() -> None:
    events: list[Event] = [Started(), TextDelta("a"), Started(1), TextDelta("b", 1), Finished("length", 1)]
    assert payloads(_encoded([*events, Finished("stop")])) == payloads(_encoded([*events[:2], Finished("stop")]))


def test_usage_and_failures_are_told_at_the_end_only() -> None:
    encoder = CODEC.encoder(HEAD)
    assert encoder.encode(UsageReported(_USAGE)) == b""
    assert encoder.encode(Failed("No.")) == b""


def test_pieces_of_a_call_that_nobody_began_are_left_out() -> None:
    assert _types(_encoded([Started(), ToolCallDelta("{}"), Finished("stop")])) == [
        "created",
        "in_progress",
        "completed",
    ]


def test_an_answer_repeats_what_was_asked_from_its_beginning() -> None:
    asked = InnerRequest("openai_responses", "m", (), (Tool("f"),), extra={"metadata": Raw(b'{"k":"v"}')})
    encoder = CODEC.encoder(ReplyHead("abc", "m", 7, request=asked))
    for one in payloads(encoder.encode(Started()) + encoder.close(_USAGE)):
        assert [tool["name"] for tool in one["response"]["tools"]] == ["f"]
        assert one["response"]["metadata"] == {"k": "v"}


@pytest.mark.req("RESP-ENC-008")
def test_an_answer_that_never_ends_is_bounded() -> None:
    encoder = ResponsesEncoder(HEAD)
    encoder.encode(TextDelta("a"))
    with pytest.raises(DialectError):
        encoder.encode(TextDelta("a" * MAX_ANSWER))
    encoder = ResponsesEncoder(HEAD)
    with pytest.raises(DialectError):
        for call in range(MAX_ANSWER // 4096 + 1):
            encoder.encode(ToolCallStarted("c", "f", call=call))


# --- failures ----------------------------------------------------
@pytest.mark.req("RESP-ENC-009")
@pytest.mark.parametrize(
    ("error", "code", "failed_code"),
    [
        (UpstreamFailure("server", "No."), "upstream_error", "server_error"),
        (RateLimited("No.", dimension="tokens", retry_after=1), "rate_limit_exceeded", "rate_limit_exceeded"),
        (InvalidRequest("No.", param="input[0]", code="invalid_value"), "invalid_value", "invalid_prompt"),
        (UpstreamFailure("server", "No.", code="server_error"), "server_error", "server_error"),
    ],
)
def test_what_broke_is_told_twice(error: PosthouseError, code: str, failed_code: str) -> None:
    encoder = CODEC.encoder(HEAD)
    sent = encoder.encode(TextDelta("half")) + encoder.encode(ToolCallStarted("c", "f"))
    *_, told_error, failed = payloads(sent + encoder.fail(error))
    assert told_error == {
        "type": "error",
        "sequence_number": told_error["sequence_number"],
        "code": code,
        "message": "No.",
        "param": error.param,
    }
    response = failed["response"]
    assert (response["status"], response["error"]) == ("failed", {"code": failed_code, "message": "No."})
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]
    assert response["output"][0]["content"][0]["text"] == "half"
    approve(failed, "ResponseFailedEvent")
    approve(told_error, "ResponseErrorEvent")


@pytest.mark.req("RESP-ENC-009")
def test_a_failure_of_an_answer_that_passed_is_two_events_under_the_id_of_the_answer() -> None:
    error, failed = payloads(CODEC.encoder(ReplyHead("resp_up", "m", 7)).fail(UpstreamFailure("connect", "No.")))
    assert (error["type"], failed["type"], failed["response"]["id"]) == ("error", "response.failed", "resp_up")


@pytest.mark.req("RESP-ENC-010")
def test_an_error_response_has_the_one_shape() -> None:
    body = json.loads(CODEC.encode_error(InvalidRequest("No.", param="input"), "req_1"))
    assert body == {"error": {"message": "No.", "type": "invalid_request_error", "param": "input", "code": None}}
    approve(body, "ErrorResponse")


# --- the SDK -----------------------------------------------------
def _client(body: bytes, kind: str) -> OpenAI:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=body, headers={"content-type": kind})

    transport = httpx2.MockTransport(answer)
    return OpenAI(api_key="made-up", base_url="http://house/v1", http_client=httpx2.Client(transport=transport))


@pytest.mark.req("RESP-ENC-011")
@settings(max_examples=30)
@given(streams())
def test_the_sdk_gathers_a_stream_into_the_answer(events: list[Event]) -> None:
    events = [one for one in events if not isinstance(one, Finished)]
    stream = _encoded([*events, Finished("stop")])
    with _client(stream, "text/event-stream") as client, client.responses.stream(model="m", input="a") as gathered:
        final = gathered.get_final_response()
    assert final.output_text == "".join(one.text for one in events if isinstance(one, TextDelta))
    calls = [item for item in final.output if item.type in ("function_call", "custom_tool_call")]
    assert len(calls) == sum(isinstance(one, ToolCallStarted) for one in events)


@pytest.mark.req("RESP-ENC-011")
def test_the_sdk_reads_a_whole_answer() -> None:
    said = (ReasoningItem("hm"), MessageItem("assistant", (TextPart("a"),)), Call("c", "f", "{}"))
    body = CODEC.encode_response(InnerResponse("x", "m", 0, (Choice(said, "tool_calls"),), _USAGE), HEAD)
    with _client(body, "application/json") as client:
        response = client.responses.create(model="m", input="a")
    assert (response.output_text, response.status) == ("a", "completed")
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
    assert response.usage is not None
    assert response.usage.total_tokens == 7


def test_refusals_and_texts_are_parts_of_one_message() -> None:
    last = payloads(_encoded([TextDelta("a"), RefusalDelta("b"), TextDelta("c"), Finished("stop")]))[-1]
    (message,) = last["response"]["output"]
    assert [part["type"] for part in message["content"]] == ["output_text", "refusal", "output_text"]
