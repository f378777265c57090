"""Opaque state in messages: on its way out, back, and past providers that cannot read it."""

import json
from typing import Any

import pytest
from hypothesis import given
from msgspec import Raw
from msgspec.structs import replace

from posthouse.core.items import (
    CompactionItem,
    MessageItem,
    OpaqueState,
    ReasoningItem,
    ToolCallItem,
)
from posthouse.core.parts import TextPart
from posthouse.dialects.opaque import seal
from posthouse.dialects.openai_chat import own_messages
from posthouse.dialects.openai_chat_details import MAX_RUN
from tests.dialects.chat import asked, decode, dropped, encode, messages, user
from tests.dialects.inner import MAKER, OTHER, states

STATE = OpaqueState(MAKER.provider, MAKER.model, MAKER.account, b"\x00secret")
SEALED = seal(STATE)


# --- state -------------------------------------------------------
def test_state_of_the_deployment_goes_back_beside_its_text() -> None:
    items = (ReasoningItem("hm", STATE), ReasoningItem("", STATE), ToolCallItem("c", "f", "{}"))
    (message,) = messages(*items)
    assert message["reasoning_content"] == "hm"
    assert message["reasoning_details"] == [
        {"type": "reasoning.text", "text": "hm", "format": "unknown", "index": 0},
        {"type": "reasoning.encrypted", "data": SEALED, "format": "unknown", "index": 1, "id": "c"},
        {"type": "reasoning.encrypted", "data": SEALED, "format": "unknown", "index": 2, "id": "c"},
    ]


@pytest.mark.req("CHAT-STATE-001")
def test_state_of_another_and_compactions_are_left_out_without_a_word() -> None:
    foreign = replace(STATE, model=OTHER.model)
    request = asked(CompactionItem(STATE), ReasoningItem("", foreign), ReasoningItem("hm", foreign), user())
    assert encode(request)["messages"] == [
        {"role": "assistant", "content": "", "reasoning_content": "hm"},
        {"role": "user", "content": "a"},
    ]
    assert dropped(request) == ()


def _sent_back(**message: Any) -> tuple[Any, ...]:
    return decode({"model": "m", "messages": [{"role": "assistant", **message}]}).items


def _sealed(index: int, **more: Any) -> dict[str, Any]:
    return {"type": "reasoning.encrypted", "data": SEALED, "format": "unknown", "index": index, **more}


_TEXT = {"type": "reasoning.text", "text": "hm", "format": "unknown", "index": 0}
_SUMMARY = {"type": "reasoning.summary", "summary": "hm"}
_THOUGHT = ReasoningItem("hm", STATE)
_SAID = MessageItem("assistant", (TextPart("a"),))


@pytest.mark.req("CHAT-STATE-002")
@pytest.mark.parametrize(
    ("message", "items"),
    [
        ({"content": "a", "reasoning_content": "hm", "reasoning_details": [_TEXT, _sealed(1)]}, (_THOUGHT, _SAID)),
        ({"content": "a", "reasoning": "hm", "reasoning_details": [_TEXT, _sealed(1)]}, (_THOUGHT, _SAID)),
        ({"content": "a", "reasoning_details": [_TEXT, _sealed(1)]}, (_THOUGHT, _SAID)),
        ({"content": "a", "reasoning_content": "hm", "reasoning_details": [_sealed(1)]}, (_THOUGHT, _SAID)),
        ({"content": "a", "reasoning_content": "other", "reasoning_details": [_TEXT, _sealed(1)]}, (_THOUGHT, _SAID)),
        (
            {"content": "a", "reasoning_content": "so hm then", "reasoning_details": [_TEXT, _sealed(1)]},
            (ReasoningItem("so "), _THOUGHT, ReasoningItem(" then"), _SAID),
        ),
        ({"content": "a", "reasoning_details": [_sealed(0)]}, (ReasoningItem("", STATE), _SAID)),
        ({"content": "a", "reasoning_details": [_sealed(0, id="unknown")]}, (ReasoningItem("", STATE), _SAID)),
        ({"content": "a", "reasoning_details": [{**_sealed(0), "data": "provider's own"}]}, (_SAID,)),
        ({"content": "a", "reasoning_details": [None, 5, {"type": 5}, {"data": SEALED}]}, (_SAID,)),
        ({"content": "a", "reasoning_details": "x"}, (_SAID,)),
        ({"content": "a", "reasoning_details": [_SUMMARY]}, (ReasoningItem("hm"), _SAID)),
    ],
)
def test_state_comes_back_however_a_client_keeps_it(message: dict[str, Any], items: tuple[Any, ...]) -> None:
    assert _sent_back(**message) == items


def test_state_keeps_its_place_before_a_call() -> None:
    calls = [{"id": name, "type": "function", "function": {"name": "f", "arguments": ""}} for name in ("c1", "c2")]
    details = [_sealed(0, id="c2")]
    assert _sent_back(content="a", tool_calls=calls, reasoning_details=details) == (
        _SAID,
        ToolCallItem("c1", "f", ""),
        ReasoningItem("", STATE),
        ToolCallItem("c2", "f", ""),
    )


@pytest.mark.req("CHAT-STATE-003")
def test_sealed_state_is_taken_out_of_what_passes() -> None:
    own = {"type": "reasoning.encrypted", "data": "provider's own"}
    said = [
        {"role": "user", "content": 'ph1. "ph1.'},
        {"role": "assistant", "content": "a", "reasoning_details": [_TEXT, _sealed(1), own, _sealed(2)]},
        {"role": "assistant", "content": "b", "reasoning_details": [_sealed(0)]},
    ]
    raw = Raw(json.dumps(said, separators=(",", ":")).encode())
    assert json.loads(bytes(own_messages(raw))) == [
        said[0],
        {"role": "assistant", "content": "a", "reasoning_details": [own]},
        {"role": "assistant", "content": "b"},
    ]


@pytest.mark.parametrize(
    "raw", [b'[{"role":"user"}]', b'["ph1."]', b'[{"reasoning_details":["ph1."]}]', b'[{"reasoning_details":"ph1."}]']
)
def test_what_passes_is_else_left_alone(raw: bytes) -> None:
    assert bytes(own_messages(Raw(raw))) == raw


@given(states())
def test_state_of_any_bytes_survives_a_client(state: OpaqueState) -> None:
    (item, _) = _sent_back(content="a", reasoning_details=[{**_sealed(0), "data": seal(state)}])
    assert item == ReasoningItem("", state)


def test_a_very_long_thought_is_not_said_twice() -> None:
    long = ReasoningItem("x" * (MAX_RUN + 1), STATE)
    (message,) = messages(long)
    assert [entry["index"] for entry in message["reasoning_details"]] == [1]
    del message["role"]
    assert _sent_back(**message) == (long,)
