"""What tests of the Messages API have in common: its rules for bodies and streams, and more tangled events."""

import json
import re
from typing import Any, Final

from hypothesis import strategies as st

from posthouse.core.events import Event, Finished, ReasoningDelta, ReasoningState, Started, TextDelta
from posthouse.core.events import ToolCallDelta as Arguments
from posthouse.core.events import ToolCallStarted as Call
from posthouse.core.items import OpaqueState
from posthouse.dialects.anthropic_encoder import DELTAS, FOLLOWS
from tests.dialects.inner import ARGUMENTS, MAKER, NAMES, states

Json = dict[str, Any]

THINKING: Final = b'{"type":"thinking","thinking":"hm","signature":"c2lnbmF0dXJl"}'
# Text that says something, which the API demands of every block.
SAID: Final = st.text(min_size=1, max_size=8).filter(lambda text: bool(text.strip()))
_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")


def own(payload: bytes) -> OpaqueState:
    """State that MAKER made."""
    return OpaqueState(MAKER.provider, MAKER.model, MAKER.account, payload)


@st.composite
def tangled(draw: st.DrawFn) -> list[Event]:
    """A stream whose calls get arguments while other things are said, as some vendors do."""
    events: list[Event] = [Started()]
    calls: list[list[str]] = []
    for _ in range(draw(st.integers(0, 10))):
        match draw(st.sampled_from(["text", "thought", "state", "call", "more", "more"])):
            case "text":
                events.append(TextDelta(draw(st.text(max_size=4))))
            case "thought":
                events.append(ReasoningDelta(draw(st.text(max_size=4))))
            case "state":
                events.append(ReasoningState(draw(states())))
            case "call":
                text = draw(ARGUMENTS)
                events.append(Call(f"c{len(calls)}", draw(NAMES), call=len(calls)))
                calls.append([text[place : place + 3] for place in range(0, len(text), 3)])
            case _:
                waiting = [number for number, rest in enumerate(calls) if rest]
                if waiting:
                    number = draw(st.sampled_from(waiting))
                    events.append(Arguments(calls[number].pop(0), call=number))
    for number, rest in enumerate(calls):
        events += [Arguments(piece, call=number) for piece in rest]
    return [*events, Finished("tool_calls" if calls else "stop")]


def sse(*values: Json) -> list[bytes]:
    """Events as the API writes them."""
    return [f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode() for value in values]


def told(stream: bytes) -> list[Json]:
    """The data of a stream's events, each of which has the name that it calls itself."""
    found: list[Json] = []
    for event in stream.decode().split("\n\n")[:-1]:
        name, data = event.split("\n")
        value = json.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        found.append(value)
    return found


def judge_stream(stream: bytes) -> None:
    """Holds a whole stream against the table: events in order, indices by one, deltas that fit their block."""
    at, index, kind, signed = "", -1, "", False
    for value in told(stream):
        name = value["type"]
        assert name in FOLLOWS[at], (at, name)
        at = name
        if name == "content_block_start":
            index, kind, signed = index + 1, value["content_block"]["type"], False
        if name.startswith("content_block"):
            assert value["index"] == index
        if name == "content_block_delta":
            delta = value["delta"]
            assert delta.keys() == {"type", DELTAS[kind][delta["type"]]}
            assert not signed, "a signature is the last of its block"
            signed = delta["type"] == "signature_delta"
    assert at == "message_stop"


def judge_body(body: Json) -> None:
    """Holds a request against what the API refuses."""
    assert isinstance(body["max_tokens"], int)
    turns = [(message["role"], _blocks(message["content"])) for message in body["messages"]]
    assert turns[0][0] == "user"
    ids: set[str] = set()
    for place, (role, blocks) in enumerate(turns):
        assert blocks, "a message says something"
        assert role != (turns[place - 1][0] if place else ""), "roles take turns"
        assert all(block["text"].strip() for block in blocks if block["type"] == "text")
        if role == "assistant":
            assert not blocks[-1]["type"].endswith("thinking")
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        assert all(_ID.fullmatch(call) for call in calls)
        assert ids.isdisjoint(calls) and len(set(calls)) == len(calls)
        ids.update(calls)
        before = [block["id"] for block in turns[place - 1][1] if block["type"] == "tool_use"] if place else []
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        assert sorted(results) == sorted(before)
        assert all(block["type"] == "tool_result" for block in blocks[: len(results)]), "results come first"
    assert turns[-1][0] == "user" or not any(block["type"] == "tool_use" for block in turns[-1][1])
    thinking = body.get("thinking", {})
    if thinking.get("type") == "enabled":
        assert 1024 <= thinking["budget_tokens"] < body["max_tokens"]
    assert 0 <= body.get("temperature", 1) <= 1
    assert ("tools" in body) or ("tool_choice" not in body)


def _blocks(content: Any) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
