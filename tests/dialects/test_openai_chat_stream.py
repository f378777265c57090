"""The observer of a chat stream: what it forwards, what it takes out, what it reads."""

import json
from typing import Any

import pytest

from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_stream import ChatStream, usage_chunk
from posthouse.dialects.openai_usage import usage_of
from posthouse.dialects.sse import data_of, split_events
from tests.dialects.chunks import DONE, HEAD, ROLE, STOP, USAGE, chunk, event, text, usage_event

_FIVE_THREE = Usage(input=5, output=3)


def _observed(stream: bytes, *, include_usage: bool = False) -> tuple[bytes, ChatStream]:
    observer = ChatStream(include_usage=include_usage)
    out = observer.feed(stream)
    return out + observer.finish(), observer


def _long(count: int = 40) -> bytes:
    """Calm events, more than the observer decodes one by one."""
    return b"".join(text(f"word {number} ") for number in range(count))


# --- what passes -------------------------------------------------
def test_a_stream_passes_as_it_came_but_for_its_end() -> None:
    out, observer = _observed(ROLE + _long() + STOP + usage_event() + DONE)
    assert out == ROLE + _long() + STOP
    assert observer.done
    assert (observer.finish_reason, observer.usage, observer.error, observer.id) == (
        "stop",
        _FIVE_THREE,
        None,
        "chatcmpl-1",
    )
    assert observer.end(_FIVE_THREE, estimated=False) == DONE


@pytest.mark.req("CHAT-STREAM-003")
def test_the_usage_chunk_stays_for_a_client_that_asked() -> None:
    out, observer = _observed(ROLE + text("a") + STOP + usage_event() + DONE, include_usage=True)
    assert out == ROLE + text("a") + STOP + usage_event()
    assert observer.usage == _FIVE_THREE


@pytest.mark.req("CHAT-STREAM-003")
@pytest.mark.parametrize("extra", [{"choices": []}, {"choices": None}, {}])
def test_the_usage_chunk_is_taken_out_in_every_shape(extra: dict[str, Any]) -> None:
    last = event({"id": "x", "usage": USAGE, **extra})
    out, observer = _observed(_long() + STOP + last + DONE)
    assert out == _long() + STOP
    assert observer.usage == _FIVE_THREE


@pytest.mark.req("CHAT-STREAM-004")
@pytest.mark.parametrize("usage", [{}, {"usage": None}])
def test_a_first_chunk_without_choices_is_forwarded(usage: dict[str, Any]) -> None:
    first = event({"id": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}], **usage})
    out, observer = _observed(first + text("a") + STOP + DONE)
    assert out == first + text("a") + STOP
    assert observer.usage is None


@pytest.mark.req("CHAT-STREAM-005")
@pytest.mark.parametrize("include_usage", [True, False])
def test_usage_on_the_chunk_that_finishes_is_read_and_forwarded(include_usage: bool) -> None:
    last = event(chunk(finish="stop", usage=USAGE))
    out, observer = _observed(_long() + last + DONE, include_usage=include_usage)
    assert out == _long() + last
    assert (observer.usage, observer.finish_reason) == (_FIVE_THREE, "stop")


@pytest.mark.req("CHAT-STREAM-005")
def test_usage_inside_a_choice_is_read() -> None:
    last = event({**HEAD, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]})
    out, observer = _observed(_long() + last + DONE)
    assert out == _long() + last
    assert observer.usage == _FIVE_THREE


@pytest.mark.req("CHAT-USAGE-002")
def test_of_two_reports_the_last_wins_and_an_absurd_one_counts_for_nothing() -> None:
    absurd = {"prompt_tokens": -1, "completion_tokens": 2**50}
    stream = usage_event({"prompt_tokens": 1, "completion_tokens": 1}) + usage_event() + usage_event(absurd)
    out, observer = _observed(text("a") + STOP + stream + DONE)
    assert out == text("a") + STOP
    assert observer.usage == _FIVE_THREE


@pytest.mark.req("CHAT-USAGE-002")
@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Usage()),
        ({"prompt_tokens": -1, "completion_tokens": 1}, None),
        ({}, None),
    ],
)
def test_usage_that_is_zero_is_zero_and_absurd_usage_is_none(usage: Any, expected: Usage | None) -> None:
    out, observer = _observed(text("a") + STOP + usage_event(usage) + DONE)
    assert out == text("a") + STOP
    assert observer.usage == expected


def test_usage_on_every_chunk_leaves_all_chunks_and_the_last_count() -> None:
    chunks = [event(chunk({"content": "x"}, usage={"prompt_tokens": 5, "completion_tokens": n})) for n in range(30)]
    out, observer = _observed(b"".join(chunks) + STOP + DONE)
    assert out == b"".join(chunks) + STOP
    assert observer.usage == Usage(input=5, output=29)


@pytest.mark.parametrize("null", ["finish_reason", "usage", "error"])
def test_nulls_are_nothing(null: str) -> None:
    plain = event({**HEAD, "choices": [{"delta": {"content": "a"}}], null: None}) * 30
    out, observer = _observed(plain)
    assert out == plain
    assert (observer.finish_reason, observer.usage, observer.error) == (None, None, None)


def test_names_inside_text_are_text() -> None:
    words = text('say "error": {"usage":{"prompt_tokens":9}} and "finish_reason":"stop" [DONE] event: error') * 20
    out, observer = _observed(words + STOP)
    assert out == words + STOP
    assert (observer.error, observer.usage, observer.done, observer.finish_reason) == (None, None, False, "stop")


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (",\t", " :\t"), (" ,  ", "  :  ")])
def test_every_spacing_of_json_is_read(separators: tuple[str, str]) -> None:
    values = [chunk({"content": "word"})] * 40 + [chunk(finish="length"), {**HEAD, "choices": [], "usage": USAGE}]
    stream = b"".join(b"data: " + _spaced(value, separators) + b"\n\n" for value in values)
    out, observer = _observed(stream + DONE)
    assert (observer.finish_reason, observer.usage) == ("length", _FIVE_THREE)
    assert stream.startswith(out)
    assert len(split_events(out)) == 41


def _spaced(value: Any, separators: tuple[str, str]) -> bytes:
    return json.dumps(value, separators=separators).encode()


def test_what_is_no_chunk_passes() -> None:
    odd = (
        b'data: not json\n\ndata: [1]\n\ndata: "text"\n\n'
        + event({"choices": {"0": 1}})
        + event({"choices": [{"delta": "x"}]})
    )
    assert _observed(odd + text("a") + STOP)[0] == odd + text("a") + STOP


def test_keep_alives_pass() -> None:
    stream = b": ping\n\n" + text("a") + b": OPEN\n\n\n" + b"event: chunk\nid: 7\n" + text("b") + STOP
    assert _observed(stream)[0] == stream


def test_obfuscation_passes() -> None:
    padded = event(chunk({"content": "a"}, obfuscation="xYz")) * 20
    assert _observed(padded)[0] == padded


# --- how it ends -------------------------------------------------
@pytest.mark.req("CHAT-STREAM-006")
@pytest.mark.parametrize("done", [b"data: [DONE]\n\n", b"data:[DONE]\n\n", b"data:   [DONE] \r\n\r\n", b"data: [DONE]"])
def test_done_is_read_and_not_forwarded(done: bytes) -> None:
    for calm in (text("a"), _long()):
        out, observer = _observed(calm + STOP + done)
        assert out == calm + STOP
        assert observer.done


@pytest.mark.req("CHAT-STREAM-006")
def test_nothing_after_done_is_forwarded() -> None:
    observer = ChatStream(include_usage=False)
    assert observer.feed(_long() + STOP + DONE + text("late")) == _long() + STOP
    assert observer.feed(text("later")) == b""
    assert observer.finish() == b""


@pytest.mark.parametrize("marked", [STOP, usage_event(), event(chunk(finish="stop", usage=USAGE))])
@pytest.mark.parametrize("place", [0, 1, 20, 40])
def test_what_matters_is_found_wherever_it_stands_in_a_block(marked: bytes, place: int) -> None:
    observer = ChatStream(include_usage=True)
    observer.feed(text("a"))
    assert observer.feed(_long(place) + marked + _long(40 - place)) == _long(place) + marked + _long(40 - place)
    assert observer.finish_reason == ("stop" if b"stop" in marked else None)
    assert observer.usage == (_FIVE_THREE if b"usage" in marked else None)


def test_a_missing_done_is_seen() -> None:
    out, observer = _observed(_long() + STOP)
    assert (out, observer.done, observer.finish_reason) == (_long() + STOP, False, "stop")


def test_a_stream_without_a_finish_reason_is_seen() -> None:
    assert _observed(_long() + DONE)[1].finish_reason is None


@pytest.mark.req("CHAT-STREAM-009")
@pytest.mark.parametrize("newline", [b"", b"\n", b"\r\n", b"\r"])
def test_a_last_event_that_lacks_its_blank_line_is_completed(newline: bytes) -> None:
    out, observer = _observed(text("a") + STOP.rstrip() + newline)
    assert out == text("a") + STOP
    assert observer.finish_reason == "stop"


@pytest.mark.req("CHAT-STREAM-009")
def test_half_an_event_is_not_forwarded() -> None:
    for end in range(1, len(STOP) - 3):
        out, observer = _observed(text("a") + STOP[:end])
        assert out == text("a")
        assert observer.finish_reason is None


@pytest.mark.req("CHAT-STREAM-010")
def test_an_event_beyond_the_bound_fails_the_stream() -> None:
    observer = ChatStream(include_usage=False)
    observer.feed(text("a"))
    with pytest.raises(DialectError):
        observer.feed(b"data: " + b"x" * (1 << 20))


# --- errors ------------------------------------------------------
@pytest.mark.req("CHAT-STREAM-007")
@pytest.mark.parametrize(
    ("failure", "message", "code"),
    [
        (event({"error": {"message": "broke", "type": "server_error", "code": 502}}), "broke", "502"),
        (event({"error": "broke"}), "broke", None),
        (event({"error": {"msg": "broke"}}), "broke", None),
        (event({**HEAD, "choices": [], "error": {"message": "broke", "code": "x"}}), "broke", "x"),
        (event({"choices": "odd", "error": {"message": "broke"}}), "broke", None),
        (b"event: error\n" + event({"message": "broke", "code": "y"}), "broke", "y"),
        (b"event: error\n" + event({"error": {"message": "broke"}}), "broke", None),
        (b"event: error\ndata: oh\n\n", "the upstream reported an error", None),
        (
            event(
                {**HEAD, "choices": [{"delta": {}, "finish_reason": "error", "error": {"message": "broke", "code": 1}}]}
            ),
            "broke",
            "1",
        ),
        (event(chunk(finish="error")), "the upstream ended the answer with an error", None),
    ],
)
def test_an_error_ends_what_is_forwarded(failure: bytes, message: str, code: str | None) -> None:
    for calm in (b"", text("a"), _long()):
        observer = ChatStream(include_usage=True)
        assert observer.feed(calm + failure + text("late")) == calm
        assert observer.error is not None
        assert (observer.error.message, observer.error.code) == (message, code)
        assert observer.feed(text("later") + DONE) == b""
        assert observer.finish() == b""
        assert observer.finish_reason is None


@pytest.mark.req("CHAT-STREAM-007")
@pytest.mark.parametrize("nothing", [None, "", {}, False, 0])
def test_a_falsy_error_is_no_error(nothing: Any) -> None:
    stream = event(chunk({"content": "a"}, error=nothing)) * 20
    out, observer = _observed(stream)
    assert (out, observer.error) == (stream, None)


# --- the commit point --------------------------------------------
@pytest.mark.req("CHAT-STREAM-008")
@pytest.mark.parametrize(
    "delta",
    [
        {"content": "a"},
        {"content": [{"type": "thinking", "thinking": "hm"}]},
        {"refusal": "no"},
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"reasoning_details": [{"text": "hm"}]},
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]},
        {"function_call": {"name": "f"}},
        {"audio": {"id": "a"}},
    ],
)
def test_the_first_content_commits(delta: dict[str, Any]) -> None:
    observer = ChatStream(include_usage=False)
    observer.feed(ROLE + b": ping\n\n" + event({**HEAD, "choices": []}))
    assert not observer.committed
    observer.feed(event(chunk(delta)))
    assert observer.committed


@pytest.mark.req("CHAT-STREAM-008")
def test_a_finish_reason_commits_and_emptiness_does_not() -> None:
    observer = ChatStream(include_usage=False)
    empty: dict[str, Any] = {
        "content": "",
        "refusal": None,
        "reasoning_content": "",
        "tool_calls": [],
        "role": "assistant",
    }
    observer.feed(event(chunk(empty)) + event(chunk(None)) + event({**HEAD, "choices": [{"delta": None}]}))
    assert not observer.committed
    observer.feed(STOP)
    assert observer.committed


def test_each_choice_may_finish_for_itself() -> None:
    choices: list[Any] = [
        {"index": n, "delta": {}, "finish_reason": reason} for n, reason in enumerate(["stop", None, "length"])
    ]
    assert _observed(event({**HEAD, "choices": choices}))[1].finish_reason == "length"


# --- text --------------------------------------------------------
@pytest.mark.req("CHAT-STREAM-011")
def test_everything_shown_is_known() -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "find", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": '{"q":1}'}}
    deltas: list[dict[str, Any]] = [
        {"reasoning_content": "think "},
        {"content": "say "},
        {"refusal": "no "},
        {"tool_calls": [call]},
        {"tool_calls": [more]},
    ]
    stream = b"".join(event(chunk(delta)) for delta in deltas)
    for calm in (b"", _long()):
        expected = "think say no find" + '{"q":1}' + "".join(f"word {n} " for n in range(40 if calm else 0))
        assert _observed(stream + calm + STOP + usage_event() + DONE)[1].emitted().text == expected


# --- repair ------------------------------------------------------
def _renamed(value: dict[str, Any]) -> dict[str, Any] | None:
    if "x_vendor" not in value:
        return None
    value["usage"] = value.pop("x_vendor")["usage"]
    return value


@pytest.mark.req("CHAT-STREAM-015")
@pytest.mark.parametrize("marker", [b"", b'"x_vendor"'])
def test_what_a_row_repairs_is_repaired_and_the_rest_keeps_its_bytes(marker: bytes) -> None:
    observer = ChatStream(include_usage=True, repair=_renamed, repair_marker=marker)
    spaced = b'data: {"choices": [ {"delta":{"content":"a"}} ]}\n\n'
    last = event(chunk(finish="stop", x_vendor={"usage": USAGE}))
    out = observer.feed(spaced * 30 + last + DONE)
    assert out == spaced * 30 + event(chunk(finish="stop", usage=USAGE))
    assert observer.usage == _FIVE_THREE


@pytest.mark.req("CHAT-STREAM-015")
def test_a_repair_may_find_an_error() -> None:
    observer = ChatStream(
        include_usage=True, repair=lambda value: {"error": value["base"]} if "base" in value else None
    )
    assert observer.feed(text("a") + event({"base": "broke"}) + text("b")) == text("a")
    assert observer.error is not None


# --- a usage chunk of our own ------------------------------------


@pytest.mark.req("CHAT-STREAM-013")
def test_our_own_usage_chunk_is_one_chunk_without_choices() -> None:
    usage = Usage(input=3, cache_read=2, output=1, reasoning=4)
    [only] = split_events(usage_chunk(usage, "chatcmpl-9", "m", 17))
    value = json.loads(data_of(only) or b"")
    assert (value["id"], value["object"], value["created"], value["model"]) == (
        "chatcmpl-9",
        "chat.completion.chunk",
        17,
        "m",
    )
    assert value["choices"] == []
    assert usage_of(value["usage"]) == usage
