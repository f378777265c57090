"""The text that a stream has shown so far."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.dialects.openai_chat_text import MAX_TEXT, EmittedText, text_of
from tests.dialects.chunks import chunk, event, text


def _of(*pieces: bytes | str) -> str:
    gathered = EmittedText()
    for piece in pieces:
        gathered.add(piece)
    return gathered.get().text


@pytest.mark.req("CHAT-STREAM-011")
@given(st.lists(st.text(max_size=20), max_size=40), st.integers(1, 10))
def test_the_text_of_blocks_is_what_their_events_say(words: list[str], size: int) -> None:
    events = [text(word) for word in words]
    blocks = [b"".join(events[start : start + size]) for start in range(0, len(events), size)]
    assert _of(*blocks) == "".join(words)


def test_blocks_and_text_stay_in_order() -> None:
    assert _of("a", text("b") + text("c"), "d", text("e")) == "abcde"


def test_asking_twice_gives_the_same_and_more_may_follow() -> None:
    gathered = EmittedText()
    gathered.add(text("a"))
    assert gathered.get() == gathered.get()
    gathered.add("b")
    assert gathered.get().text == "ab"


@pytest.mark.parametrize(
    "between", [b": ping\n\n", b"event: x\n\n", b"data: junk\n\n", b"data: {\n\n", b"\n", b'data: {"choices":null}\n\n']
)
def test_what_says_nothing_is_skipped(between: bytes) -> None:
    assert _of(text("a") + between + text("b")) == "ab"


def test_events_with_other_newlines_are_read() -> None:
    assert _of(event(chunk({"content": "a"}), b"\r\n") * 3 + text("b")) == "aaab"


def test_all_choices_count() -> None:
    choices = [{"index": n, "delta": {"content": word}} for n, word in enumerate(["a", "b"])]
    assert _of(event({"choices": choices})) == "ab"


@pytest.mark.req("CHAT-STREAM-011")
def test_no_more_than_the_bound_is_kept() -> None:
    gathered = EmittedText()
    block = text("x" * 100_000)
    for _ in range(MAX_TEXT // 100_000 + 2):
        gathered.add(block)
    emitted = gathered.get()
    assert (len(emitted.text), emitted.truncated) == (MAX_TEXT, True)
    gathered.add(block)
    assert len(gathered.get().text) == MAX_TEXT


def test_reasoning_that_is_sent_twice_counts_once() -> None:
    delta = {"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}
    assert _of(event(chunk(delta))) == "hm"
    assert _of(event(chunk({"reasoning_details": delta["reasoning_details"]}))) == "hm"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([{"type": "text", "text": "a"}, {"type": "thinking", "thinking": [{"type": "text", "text": "b"}]}], "ab"),
        ([{"id": "c", "function": {"name": "f", "arguments": "{}"}}], "f{}"),
        ([{"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}], "fx"),
        ({"id": "a", "data": "QUFB", "transcript": "said"}, "said"),
        (5, ""),
    ],
)
def test_text_is_found_inside_parts_and_calls(value: Any, expected: str) -> None:
    assert text_of(json.loads(json.dumps(value))) == expected


def test_nesting_without_end_is_left_alone() -> None:
    value: Any = "deep"
    for _ in range(100):
        value = [value]
    assert text_of(value) == ""
