"""What an answer says, in a form in which two dialects can be compared, and the judges over streams of every dialect.

`SAYS` is the table of what an answer of each dialect has words for.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from posthouse.core.events import (
    AudioDelta,
    Event,
    Failed,
    ReasoningDelta,
    ReasoningState,
    RefusalDelta,
    TextDelta,
    ToolCallStarted,
    UsageReported,
)
from posthouse.core.items import OpaqueState
from posthouse.core.requests import Operation
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Codec, ReplyHead
from posthouse.dialects.gemini_parts import unsealed
from posthouse.dialects.gemini_stream import FOLLOWS, PARTS, Kind
from posthouse.dialects.opaque import unseal
from posthouse.dialects.openai_chat_encoder import CHOICE, STREAM, ChoiceState, StreamState
from posthouse.dialects.sse import data_of, split_events
from tests.dialects import completions, messages, responses
from tests.dialects.inner import HEAD, meaning_of

CUSTOM: Final = "custom_"  # what names of custom tools begin with
ASKED: Final[ReplyHead] = replace(HEAD, include_usage=True)


class Says(NamedTuple):
    """`choices`: more than one. `audio`: `all`, `data` (what is said with it is text), `text`, or nothing at all."""

    choices: bool
    thoughts: bool = True
    calls: bool = True
    customs: bool = True
    refusals: bool = True
    audio: str = "all"


SAYS: Final[dict[Operation, Says]] = {
    "chat.completions": Says(choices=True),
    "responses": Says(choices=False),
    "messages": Says(choices=False, customs=False, refusals=False, audio="text"),
    "generate_content": Says(choices=True, customs=False, refusals=False, audio="data"),
    "completions": Says(True, thoughts=False, calls=False, customs=False, refusals=False, audio="text"),
}
# Where a refusal is text, and the reason of the end says that it was one.
_REFUSES_BY_REASON: Final[frozenset[Operation]] = frozenset({"messages"})


class Told(NamedTuple):
    """By choice what is said in its order, and how it ended; and the usage."""

    said: dict[int, list[tuple[Any, ...]]]
    finish: dict[int, str | None]
    usage: Usage | None


def told(events: Sequence[Event]) -> Told:
    """Holds that the events are legal, too."""
    meaning = meaning_of(events)
    assert "failed" not in meaning
    usage = meaning.pop("usage", None)
    said: dict[int, list[tuple[Any, ...]]] = {choice: [] for choice in meaning}
    for event in events:
        if not isinstance(event, UsageReported | Failed):
            said[event.choice] += _entries(event, meaning[event.choice]["calls"])
    finish = {choice: one.get("finish") for choice, one in meaning.items()}
    return Told({choice: _merged(entries) for choice, entries in said.items()}, finish, usage)


def _entries(event: Event, calls: dict[int, list[str]]) -> list[tuple[Any, ...]]:
    match event:
        case ReasoningState(state=state):
            inner = opened(state)
            return [("state", inner)] if inner.payload else []  # else it says that there is none
        case ToolCallStarted(call_id, name, tool, call):
            text = calls[call][4]
            arguments = {"input": text} if tool == "custom" else json.loads(text or "{}")
            return [("call", call_id, name, tool, json.dumps(arguments))]
        case AudioDelta(data, transcript):
            return [("data", data), ("transcript", transcript)]
        case TextDelta(text) | RefusalDelta(text) | ReasoningDelta(text):
            return [(type(event).__name__, text)]
        case _:
            return []


def _merged(said: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for one in said:
        if len(one) == 2 and not one[1]:
            continue
        if found and len(one) == 2 and one[0] != "state" and found[-1][0] == one[0]:
            found[-1] = (one[0], found[-1][1] + one[1])
        else:
            found.append(one)
    return found


_SEALED: Final = re.compile(rb"ph1\.[\w=-]+")


def opened(state: OpaqueState) -> OpaqueState:
    """The state inside of all seals: what stands in for a provider writes what a client gets, so that there are two."""
    found = _SEALED.search(state.payload)
    inner = unseal(found[0].decode()) if found is not None else None
    if inner is None and state.payload.startswith(b"cGgx"):
        inner = unsealed(state.payload.decode())
    return state if inner is None or inner == state else opened(inner)


def through(what: Told, dialect: Operation, *, customs: bool = False) -> Told:
    """What is left of an answer once this dialect has said it. `customs`: calls that are of functions in it are turned
    back."""
    says = SAYS[dialect]
    says = says._replace(customs=says.customs or customs)
    said, finish = {}, {}
    for choice, entries in what.said.items():
        if choice and not says.choices:
            continue
        said[choice] = _merged(new for one in entries if (new := _said(one, says)) is not None)
        reason = what.finish[choice]
        refused = any(one[0] == "RefusalDelta" for one in entries)
        if refused and reason == "stop" and dialect in _REFUSES_BY_REASON:
            reason = "content_filter"
        finish[choice] = "stop" if reason == "tool_calls" and not says.calls else reason
    return Told(said, finish, what.usage)


def _said(one: tuple[Any, ...], says: Says) -> tuple[Any, ...] | None:
    kind = one[0]
    match kind:
        case "RefusalDelta":
            return one if says.refusals else ("TextDelta", one[1])
        case "ReasoningDelta" | "state":
            return one if says.thoughts else None
        case "call":
            named = (*one[:3], one[3] if says.customs else "function", one[4])
            return named if says.calls else None
        case "data":
            return one if says.audio in ("all", "data") else None
        case "transcript":
            return one if says.audio == "all" else ("TextDelta", one[1])
        case _:
            return one


def loosely(what: Told) -> dict[int, dict[str, Any]]:
    """The same without the order of what is not of one kind, which whole answers of some dialects do not keep."""
    found: dict[int, dict[str, Any]] = {}
    for choice, entries in what.said.items():
        kinds = found[choice] = {"finish": what.finish[choice], "usage": what.usage}
        for kind, *rest in entries:
            if kind in ("state", "call"):
                kinds.setdefault(kind, []).append(tuple(rest))
            else:
                kinds[kind] = kinds.get(kind, "") + rest[0]
    return found


# --- events ------------------------------------------------------
def renamed(events: Sequence[Event]) -> list[Event]:
    """Custom tools by names of their own, as in a request no two tools have the same."""
    return [
        replace(event, name=CUSTOM + event.name)
        if isinstance(event, ToolCallStarted) and event.kind == "custom"
        else event
        for event in events
    ]


def customs_in(events: Iterable[Event], provider: Operation) -> frozenset[str]:
    """Those that are functions for this provider."""
    if SAYS[provider].customs:
        return frozenset()
    return frozenset(event.name for event in events if isinstance(event, ToolCallStarted) and event.kind == "custom")


def encoded(codec: Codec, events: Iterable[Event], usage: Usage) -> bytes:
    """A whole stream, as a client of this dialect gets it and as a provider sends it."""
    encoder = codec.encoder(ASKED)
    return b"".join([*(encoder.encode(event) for event in events), encoder.close(usage)])


def decoded(codec: Codec, stream: bytes, maker: Any) -> list[Event]:
    decoder = codec.decoder(maker)
    events = [one for event in split_events(stream) for one in decoder.decode(event)]
    return [*events, *decoder.finish()]


# --- judges ------------------------------------------------------
def judge(dialect: Operation, stream: bytes) -> None:
    """Holds a whole stream against the dialect's own table; it ends once."""
    _JUDGES[dialect](stream)


def _judge_chat(stream: bytes) -> None:
    whole: StreamState = "choices"
    choices: dict[int, ChoiceState] = {}
    for event in split_events(stream):
        data = data_of(event) or b""
        if data == b"[DONE]":
            whole = STREAM[whole]["done"]
            continue
        chunk = json.loads(data)
        if not chunk["choices"]:
            whole = STREAM[whole]["usage"]
            continue
        whole = STREAM[whole]["choice"]
        (choice,) = chunk["choices"]
        kind = "role" if "role" in choice["delta"] else "delta"
        kind = "finish" if choice["finish_reason"] is not None else kind
        choices[choice["index"]] = CHOICE[choices.get(choice["index"], "new")][kind]
    assert (whole, set(choices.values())) == ("over", {"ended"})


def _judge_responses(stream: bytes) -> None:
    judging = responses.Judge()
    judging.follow(responses.payloads(stream))
    assert judging.states[("stream",)] == "closed"


def _judge_gemini(stream: bytes) -> None:
    before: Kind = "begin"
    for event in split_events(stream):
        body = json.loads(data_of(event) or b"")
        kind: Kind = "last" if "usageMetadata" in body else "content"
        assert kind in FOLLOWS[before]
        before = kind
        for candidate in body["candidates"]:
            assert ("finishReason" in candidate) is (kind == "last")
            assert candidate["content"]["parts"]
            assert all(frozenset(part) - {"thoughtSignature"} in PARTS for part in candidate["content"]["parts"])
    assert not FOLLOWS[before]


def _judge_completions(stream: bytes) -> None:
    whole, choices = completions.follow(stream)
    assert (whole, choices) == ("over", {"ended"})


_JUDGES: Final[dict[Operation, Callable[[bytes], None]]] = {
    "chat.completions": _judge_chat,
    "responses": _judge_responses,
    "messages": messages.judge_stream,
    "generate_content": _judge_gemini,
    "completions": _judge_completions,
}
