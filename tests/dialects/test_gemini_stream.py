"""Streams of gemini: what a provider says, what a client is told, and that the one can be read as the other."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import PosthouseError, UpstreamFailure
from posthouse.core.events import (
    AudioDelta,
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
from posthouse.core.items import OpaqueState, ToolKind
from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.gemini import CODEC, HEARTBEAT, as_array
from posthouse.dialects.gemini_array import ArrayForm
from posthouse.dialects.gemini_parts import sealed, unsealed
from posthouse.dialects.gemini_stream import FOLLOWS, MAX_HELD, PARTS, Kind
from posthouse.dialects.sse import data_of, split_events
from tests.dialects.gemini_samples import FOREIGN, HEAD, MAKER, OBJECTS, OWN, STATES, WORD, damaged
from tests.dialects.inner import meaning_of, streams

_USAGE = Usage(input=7, cache_read=3, output=5, reasoning=4)
_STATE = OpaqueState(MAKER.provider, MAKER.model, MAKER.account, b"AbC=")


def _event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\r\n\r\n"


def _chunk(*parts: dict[str, Any], reason: str | None = None, index: int = 0, **more: Any) -> bytes:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": index}
    if reason is not None:
        candidate["finishReason"] = reason
    return _event({"candidates": [candidate], "modelVersion": "gem-3", "responseId": "r9", **more})


def _call(name: str, call_id: str | None = None, **more: Any) -> dict[str, Any]:
    call = {"name": name, "args": {"q": 1}}
    return {"functionCall": call if call_id is None else {"id": call_id, **call}, **more}


def _counted(**counts: int) -> dict[str, Any]:
    return {"usageMetadata": {f"{name}TokenCount": count for name, count in counts.items()}}


def _decoded(*events: bytes) -> list[Event]:
    decoder = CODEC.decoder(MAKER)
    decoded = [one for event in events for one in decoder.decode(event)]
    assert not decoder.done
    return [*decoded, *decoder.finish()]


# --- a provider's stream -----------------------------------------
@pytest.mark.req("GEM-STREAM-001")
def test_thoughts_text_and_signed_parallel_calls_are_read() -> None:
    events = [
        _chunk({"text": "**Plan**\n", "thought": True}, **_counted(prompt=10, thoughts=5, total=15)),
        _chunk({"text": "I look ", "thought": True}),
        _chunk({"text": "Let me see."}),
        _chunk(_call("weather", "fc1", thoughtSignature="AbC=")),
        _chunk(_call("weather", "fc2")),
        _chunk({"text": ""}, reason="STOP", **_counted(prompt=10, candidates=20, thoughts=9, total=39)),
    ]
    assert _decoded(*events) == [
        Started(0),
        ReasoningDelta("**Plan**\n"),
        UsageReported(Usage(input=10, reasoning=5)),
        ReasoningDelta("I look "),
        TextDelta("Let me see."),
        ReasoningState(_STATE),
        ToolCallStarted("fc1", "weather", call=0),
        ToolCallDelta('{"q": 1}', call=0),
        ToolCallStarted("fc2", "weather", call=1),
        ToolCallDelta('{"q": 1}', call=1),
        Finished("tool_calls"),
        UsageReported(Usage(input=10, output=20, reasoning=9)),
    ]


@pytest.mark.req("GEM-STREAM-001")
def test_a_signature_at_the_end_speech_and_parts_without_an_event_are_read() -> None:
    events = [
        _chunk(
            {"text": "hi"}, {"executableCode": {"code": "1"}}, {"inlineData": {"mimeType": "image/png", "data": "a"}}
        ),
        _chunk({"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "aGk="}}),
        _chunk({"text": "", "thoughtSignature": "AbC="}, reason="MAX_TOKENS"),
        _event({"usageMetadata": {"promptTokenCount": 1}}),
        _event({"somethingNew": 1}),
    ]
    assert _decoded(*events) == [
        Started(0),
        TextDelta("hi"),
        AudioDelta("aGk="),
        ReasoningState(_STATE),
        Finished("length"),
        UsageReported(Usage(input=1)),
    ]


@pytest.mark.req("GEM-STREAM-002")
def test_a_reason_on_every_chunk_ends_nothing_before_the_body_does() -> None:
    decoder = CODEC.decoder(MAKER)
    first = decoder.decode(_chunk({"text": "a"}, reason="STOP"))
    second = decoder.decode(_chunk(_call("f", "c"), reason="STOP"))
    assert [one for one in (*first, *second) if isinstance(one, Finished)] == [Finished("stop")]
    assert decoder.finish() == [Finished("tool_calls")]
    assert decoder.finish() == []


@pytest.mark.req("GEM-STREAM-002")
def test_a_stream_that_breaks_off_is_not_finished() -> None:
    assert _decoded(_chunk({"text": "a"})) == [Started(0), TextDelta("a")]


@pytest.mark.req("GEM-STREAM-003")
def test_a_refused_prompt_is_an_empty_answer_that_a_filter_ended() -> None:
    refused = _event({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **_counted(prompt=4, total=4)})
    assert _decoded(refused) == [Started(0), Finished("content_filter"), UsageReported(Usage(input=4))]


@pytest.mark.req("GEM-STREAM-004")
def test_candidates_are_kept_apart_and_calls_without_ids_get_some() -> None:
    events = _decoded(_chunk(_call("f"), _call("f")), _chunk(_call("f"), index=1), _chunk(reason="STOP", index=1))
    started = [one for one in events if isinstance(one, ToolCallStarted)]
    assert [(one.choice, one.call) for one in started] == [(0, 0), (0, 1), (1, 0)]
    assert len({one.call_id for one in started}) == 3
    assert events[-1] == Finished("tool_calls", 1)


@pytest.mark.req("GEM-STREAM-005")
@pytest.mark.parametrize(
    "event",
    [
        b'data: {"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}\n\n',
        b'data: [{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}]\n\n',
        b'{\n  "error": {"code": 503,\n "message": "busy", "status": "UNAVAILABLE"}\n}\n\n',
    ],
)
def test_an_error_in_a_stream_is_told_however_it_is_wrapped(event: bytes) -> None:
    assert _decoded(event) == [Failed("busy", "UNAVAILABLE", "503")]


@pytest.mark.parametrize(
    "event", [HEARTBEAT, b": hello\n\n", b"event: x\n\n", b"data: [DONE]\n\n", b"data: \n\n", b"data: {}\n\n"]
)
def test_what_says_nothing_gives_nothing(event: bytes) -> None:
    assert _decoded(event) == []


@pytest.mark.req("GEM-STREAM-006")
@pytest.mark.parametrize(
    "data", [b"x", b"5", b"[]", b'{"candidates":5}', b"\xff", b'{"candidates":[{"index":-1}]}', b"[" * 100_000]
)
def test_an_event_that_is_no_answer_is_an_error_of_the_dialect(data: bytes) -> None:
    with pytest.raises(DialectError):
        CODEC.decoder(MAKER).decode(b"data: " + data + b"\n\n")


_RICH = json.loads(
    data_of(
        _chunk(
            {"text": "a", "thought": True},
            _call("f", thoughtSignature="x"),
            {"text": "b"},
            reason="STOP",
            **_counted(prompt=1),
        )
    )
    or b""
)


@pytest.mark.req("GEM-STREAM-006")
@given(st.lists(damaged(_RICH) | st.binary(max_size=20), max_size=3))
def test_damaged_events_make_sense_or_are_an_error_of_the_dialect(bodies: list[bytes]) -> None:
    decoder = CODEC.decoder(MAKER)
    encoder = CODEC.encoder(HEAD)
    for body in bodies:
        try:
            for event in decoder.decode(b"data: " + body.replace(b"\n", b" ") + b"\n\n"):
                encoder.encode(event)
        except DialectError:
            pass
    decoder.finish()
    encoder.close(_USAGE)


def test_candidates_are_bounded() -> None:
    decoder = CODEC.decoder(MAKER)
    with pytest.raises(DialectError):
        for index in range(1000):
            decoder.decode(_chunk({"text": "a"}, index=index))


# --- a client's stream -------------------------------------------
def _said(events: Iterable[Event], usage: Usage = _USAGE) -> bytes:
    encoder = CODEC.encoder(HEAD)
    return b"".join([encoder.encode(event) for event in events]) + encoder.close(usage)


def _bodies(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(data_of(event) or b"") for event in split_events(stream)]


def _parts(stream: bytes) -> list[dict[str, Any]]:
    return [part for body in _bodies(stream) for one in body["candidates"] for part in one["content"]["parts"]]


def _assert_legal(stream: bytes) -> None:
    """By the tables of the module."""
    before: Kind = "begin"
    for event in split_events(stream):
        assert event.startswith(b"data: {") and event.endswith(b"}\n\n") and event.count(b"\n") == 2
        body = json.loads(event[6:])
        kind: Kind = "error" if "error" in body else "last" if "usageMetadata" in body else "content"
        assert kind in FOLLOWS[before]
        before = kind
        if kind == "error":
            assert list(body) == ["error"]
            continue
        assert (body["modelVersion"], body["responseId"]) == (HEAD.model, HEAD.id)
        assert body["candidates"]
        for candidate in body["candidates"]:
            assert ("finishReason" in candidate) is (kind == "last")
            assert candidate["content"]["role"] == "model"
            assert candidate["content"]["parts"]
            for part in candidate["content"]["parts"]:
                assert frozenset(part) - {"thoughtSignature"} in PARTS
                if "functionCall" in part:
                    assert isinstance(part["functionCall"]["args"], dict)
    assert not FOLLOWS[before]


_TEXTS = st.text(max_size=6)
_ARGUMENTS = OBJECTS | st.sampled_from(["", "{", "[1]", "free text"])


@st.composite
def _streams(draw: st.DrawFn) -> list[Event]:
    """Legal events of one or two choices, mixed."""
    choices = [_one_choice(draw, index) for index in range(draw(st.integers(1, 2)))]
    mixed: list[Event] = []
    while any(choices):
        open_ = [choice for choice in choices if choice]
        mixed.append(draw(st.sampled_from(open_)).pop(0))
        if draw(st.integers(0, 9)) == 0:
            mixed.append(UsageReported(_USAGE))
    return mixed


def _one_choice(draw: st.DrawFn, index: int) -> list[Event]:
    events: list[Event] = [Started(index)]
    calls = 0
    for kind in draw(st.lists(st.sampled_from(["text", "refusal", "thought", "state", "call", "audio"]), max_size=8)):
        match kind:
            case "text":
                events.append(TextDelta(draw(_TEXTS), index))
            case "refusal":
                events.append(RefusalDelta(draw(_TEXTS), index))
            case "thought":
                events.append(ReasoningDelta(draw(_TEXTS), index))
            case "state":
                events.append(ReasoningState(draw(STATES), index))
            case "audio":
                events.append(AudioDelta(draw(st.sampled_from(["", "aGk="])), draw(_TEXTS), None, index))
            case _:
                function: ToolKind = draw(st.sampled_from(["function", "custom"]))
                events.append(ToolCallStarted(f"id{calls}", draw(WORD), function, calls, index))
                arguments = draw(_ARGUMENTS)
                cut = draw(st.integers(0, len(arguments)))
                pieces = (arguments[:cut], arguments[cut:])
                events += [ToolCallDelta(piece, function, calls, index) for piece in pieces]
                calls += 1
    return [*events, Finished(draw(st.sampled_from(["stop", "tool_calls", "length", "content_filter"])), index)]


def _told(events: Iterable[Event], *, client: bool) -> dict[int, list[tuple[Any, ...]]]:
    """What each choice says, in this dialect's words: runs of text joined, calls whole, state as it is sealed."""
    told: dict[int, list[tuple[Any, ...]]] = {}
    for event in events:
        if not isinstance(event, UsageReported | Failed):
            _tell(told.setdefault(event.choice, []), event, client)
    for said in told.values():
        said[:] = [_as_function(one) for one in said]
        *rest, (kind, finish) = said
        assert kind == "end"
        if finish in ("stop", "tool_calls"):
            said[-1] = ("end", "tool_calls" if any(one[0] == "call" for one in rest) else "stop")
    return told


def _tell(said: list[tuple[Any, ...]], event: Event, client: bool) -> None:
    match event:
        case TextDelta(text) | RefusalDelta(text):
            _say(said, "text", text)
        case ReasoningDelta(text):
            _say(said, "thought", text)
        case ReasoningState(state):
            said.append(("state", unsealed(state.payload.decode()) if client else unsealed(sealed(state))))
        case AudioDelta(data, transcript):
            _say(said, "text", transcript)
            said += [("audio", data)] if data else []
        case ToolCallStarted(call_id, name, kind):
            said.append(("call", call_id, name, kind, ""))
        case ToolCallDelta(arguments):
            place = [place for place, one in enumerate(said) if one[0] == "call"][event.call]
            said[place] = (*said[place][:4], said[place][4] + arguments)
        case Finished(reason):
            said.append(("end", reason))
        case _:
            pass


def _say(said: list[tuple[Any, ...]], kind: str, text: str) -> None:
    if text and said and said[-1][0] == kind:
        said[-1] = (kind, said[-1][1] + text)
    elif text:
        said.append((kind, text))


def _as_function(one: tuple[Any, ...]) -> tuple[Any, ...]:
    if one[0] != "call":
        return one
    _, call_id, name, kind, text = one
    if kind == "custom":
        return ("call", call_id, name, {"input": text})
    try:
        arguments = json.loads(text) if text else {}
    except ValueError:
        arguments = None
    return ("call", call_id, name, arguments if isinstance(arguments, dict) else {"arguments": text})


@pytest.mark.req("GEM-STREAM-007")
@given(_streams() | streams())
def test_whatever_legal_events_come_the_stream_is_legal_and_says_the_same(events: list[Event]) -> None:
    stream = _said(events)
    _assert_legal(stream)
    back = _decoded(*split_events(stream))
    assert _told(back, client=True) == _told(events, client=False)
    assert [one for one in back if isinstance(one, UsageReported)] == [UsageReported(_USAGE)]
    meaning_of(back)  # holds that what comes back is legal


@pytest.mark.req("GEM-STREAM-007")
@given(_streams(), st.integers(0, 40))
def test_a_stream_that_breaks_is_legal_and_ends_with_the_error(events: list[Event], cut: int) -> None:
    encoder = CODEC.encoder(HEAD)
    stream = b"".join([encoder.encode(event) for event in events[:cut]])
    stream += encoder.fail(UpstreamFailure("overloaded", "broke"))
    _assert_legal(stream)
    assert _bodies(stream)[-1] == {"error": {"code": 503, "message": "broke", "status": "UNAVAILABLE"}}


@pytest.mark.req("GEM-STREAM-008")
def test_a_call_is_told_once_it_is_whole_and_bears_the_state_before_it() -> None:
    encoder = CODEC.encoder(HEAD)
    events = (
        Started(),
        ReasoningDelta("hm"),
        ReasoningState(FOREIGN),
        ToolCallStarted("c1", "f"),
        ToolCallDelta('{"a"'),
        ToolCallDelta(":1}"),
        ToolCallStarted("c2", "g", call=1),
        ToolCallDelta("{}", call=1),
    )
    assert [bool(encoder.encode(event)) for event in events] == [False, True, *[False] * 6]
    calls = [
        {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": sealed(FOREIGN)},
        {"functionCall": {"id": "c2", "name": "g", "args": {}}},
    ]
    stream = encoder.encode(Finished("tool_calls")) + encoder.close(_USAGE)
    assert _bodies(stream)[-1]["candidates"] == [
        {"content": {"parts": calls, "role": "model"}, "finishReason": "STOP", "index": 0}
    ]
    parts = _parts(_said([*events, Finished("tool_calls")]))
    assert parts == [{"text": "hm", "thought": True}, *calls]


@pytest.mark.req("GEM-STREAM-008")
def test_a_call_that_something_follows_is_told_before_it() -> None:
    parts = _parts(_said([ToolCallStarted("c1", "f"), ToolCallDelta("{}"), TextDelta("so"), Finished("stop")]))
    assert parts == [{"functionCall": {"id": "c1", "name": "f", "args": {}}}, {"text": "so"}, {"text": ""}]


@pytest.mark.req("GEM-STREAM-008")
def test_state_that_nothing_follows_stands_on_an_empty_text() -> None:
    events: list[Event] = [Started(), TextDelta("a"), ReasoningState(FOREIGN), ReasoningState(OWN), Finished("stop")]
    assert _parts(_said(events)) == [
        {"text": "a"},
        {"text": "", "thoughtSignature": sealed(FOREIGN)},
        {"text": "", "thoughtSignature": sealed(OWN)},
    ]


@pytest.mark.req("GEM-STREAM-008")
def test_the_last_chunk_has_every_reason_and_the_usage_that_is_charged() -> None:
    said: list[Event] = [Started(0), Started(1), TextDelta("b", 1), TextDelta("a", 0)]
    last = _bodies(_said([*said, Finished("length", 1), Finished("stop", 0)]))[-1]
    assert [(one["index"], one["finishReason"]) for one in last["candidates"]] == [(0, "STOP"), (1, "MAX_TOKENS")]
    assert last["usageMetadata"]["promptTokenCount"] == 10
    assert last["usageMetadata"]["totalTokenCount"] == 19


@pytest.mark.req("GEM-STREAM-009")
@pytest.mark.parametrize("piece", ["x" * (1 << 20), ""])
def test_what_is_held_back_of_calls_is_bounded(piece: str) -> None:
    encoder = CODEC.encoder(HEAD)
    with pytest.raises(DialectError):
        for number in range(MAX_HELD):
            encoder.encode(ToolCallStarted("", "", call=number))
            encoder.encode(ToolCallDelta(piece, call=number))


# --- as one array ------------------------------------------------
@pytest.mark.req("GEM-STREAM-010")
@given(_streams())
def test_the_array_holds_what_the_events_hold(events: Sequence[Event]) -> None:
    encoder = as_array(CODEC.encoder(HEAD))
    pieces = [encoder.encode(event) for event in events]
    whole = b"".join(pieces) + encoder.close(_USAGE)
    assert json.loads(whole) == _bodies(_said(events))


@pytest.mark.req("GEM-STREAM-010")
def test_an_array_that_breaks_ends_with_the_error() -> None:
    encoder = as_array(CODEC.encoder(HEAD))
    whole = encoder.encode(TextDelta("a")) + encoder.fail(PosthouseError("broke"))
    assert json.loads(whole)[1] == {"error": {"code": 500, "message": "broke", "status": "INTERNAL"}}


@pytest.mark.req("GEM-STREAM-010")
def test_events_that_pass_become_elements_too() -> None:
    form = ArrayForm()
    blocks = (b": hello\n\n" + _chunk({"text": "a"}), b"\n\n", _chunk({"text": "b"}) + b'{\n"error": {}}\n\n')
    whole = b"".join([form.feed(block) for block in blocks]) + form.end()
    assert [list(one) for one in json.loads(whole)] == [["candidates", "modelVersion", "responseId"]] * 2 + [["error"]]
    assert json.loads(ArrayForm().end()) == []
