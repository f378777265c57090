"""Streams of the Responses API: inner events that make one, and a judge over what is made of them."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from hypothesis import strategies as st

from posthouse.core.events import (
    AudioDelta,
    Event,
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
from posthouse.dialects.codec import Maker, ReplyHead
from posthouse.dialects.opaque import unseal
from posthouse.dialects.openai_responses_events import LEGALITY
from posthouse.dialects.sse import data_of, split_events

MAKER: Final = Maker("house", "m", "main")
HEAD: Final = ReplyHead("abc", "m", 1_700_000_000)
WORD: Final = st.text(min_size=1, max_size=8)
STATES: Final = st.builds(OpaqueState, WORD, WORD, WORD, st.binary(min_size=1, max_size=9))


def event(value: dict[str, Any], named: bool = True) -> bytes:
    """An event as a provider sends it."""
    line = f"event: {value['type']}\n" if named else ""
    return f"{line}data: {json.dumps(value)}\n\n".encode()


def payloads(stream: bytes) -> list[dict[str, Any]]:
    """The data of a stream that ends with [DONE], which is taken off."""
    *data, done = [data_of(one) or b"" for one in split_events(stream)]
    assert done == b"[DONE]"
    return [json.loads(one) for one in data]


# --- inner events ------------------------------------------------
@st.composite
def _calls(draw: st.DrawFn, first: int) -> list[Event]:
    """Some calls, one after another or filled by turns."""
    pieces: list[list[Event]] = []
    begun: list[Event] = []
    kinds: list[ToolKind] = draw(st.lists(st.sampled_from(["function", "custom"]), min_size=1, max_size=3))
    by_turns = draw(st.booleans())
    for call, kind in enumerate(kinds, first):
        text = json.dumps(draw(st.dictionaries(WORD, WORD, max_size=2))) if by_turns else draw(st.text(max_size=9))
        begun.append(ToolCallStarted(f"call_{call}", draw(WORD), kind, call))
        cut = draw(st.integers(0, len(text)))
        pieces.append([ToolCallDelta(piece, kind, call) for piece in (text[:cut], text[cut:])])
    if by_turns:
        return begun + [one for turn in zip(*pieces, strict=True) for one in turn]
    return [one for start, rest in zip(begun, pieces, strict=True) for one in (start, *rest)]


@st.composite
def streams(draw: st.DrawFn) -> list[Event]:
    """A legal stream of one choice (core/events.py), whole, usage aside."""
    events: list[Event] = [Started()]
    calls = 0
    for kind in draw(st.lists(st.sampled_from("text refusal thought state calls sound".split()), max_size=6)):
        match kind:
            case "text":
                events += draw(st.lists(st.builds(TextDelta, st.text(max_size=5)), max_size=3))
            case "refusal":
                events.append(RefusalDelta(draw(WORD)))
            case "thought":
                events += draw(st.lists(st.builds(ReasoningDelta, WORD), min_size=1, max_size=2))
                events += draw(st.lists(st.builds(ReasoningState, STATES), max_size=1))
            case "state":
                events.append(ReasoningState(draw(STATES)))
            case "calls":
                more = draw(_calls(calls))
                calls += sum(isinstance(one, ToolCallStarted) for one in more)
                events += more
            case "sound":
                events += [AudioDelta("UklGRg=="), AudioDelta(transcript=draw(WORD))]
    reasons = ["length", "content_filter", "tool_calls" if calls else "stop"]
    events.append(Finished(draw(st.sampled_from(reasons))))
    return events


def told(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    """What events say, however it is cut into pieces: a call with all its arguments, a state without its wrapping."""
    said: list[tuple[Any, ...]] = []
    arguments: dict[int, str] = {}
    for one in events:
        match one:
            case TextDelta(text) | RefusalDelta(text) | ReasoningDelta(text):
                _append(said, type(one).__name__, text)
            case AudioDelta(data, transcript):
                _append(said, "data", data)
                _append(said, "transcript", transcript)
            case ReasoningState(state):
                inner = bare(state)
                if inner.payload:
                    said.append(("state", inner))
                else:
                    said.append(("end of thoughts",))
            case ToolCallStarted():
                said.append(("call", one.call_id, one.name, one.kind, one.call))
            case ToolCallDelta():
                arguments[one.call] = arguments.get(one.call, "") + one.arguments
            case UsageReported():
                pass
            case _:
                said.append((one,))
    return [
        (*each, arguments.get(each[4], "")) if each[0] == "call" else each
        for each in said
        if each != ("end of thoughts",)
    ]


def bare(state: OpaqueState) -> OpaqueState:
    """The state that an item of this dialect carries, where it is sealed in it."""
    try:
        inner = unseal(json.loads(state.payload)["encrypted_content"])
    except (ValueError, KeyError, TypeError):
        return state
    return inner or state


def _append(said: list[tuple[Any, ...]], kind: str, text: str) -> None:
    if text and said and said[-1][0] == kind:
        said[-1] = (kind, said[-1][1] + text)
    elif text:
        said.append((kind, text))


def usage_of_events(events: Iterable[Event]) -> Usage | None:
    return next((one.usage for one in events if isinstance(one, UsageReported)), None)


# --- the judge ---------------------------------------------------
_COUNTERS: Final = ("content_index", "summary_index")


class Judge:
    """Follows a stream by the table of openai_responses_events and by what is written above it."""

    def __init__(self) -> None:
        self.states: dict[tuple[Any, ...], str] = {("stream",): "absent"}
        self.kinds: dict[tuple[Any, ...], str] = {}
        self.texts: dict[tuple[Any, ...], str] = {}
        self.done_items: dict[int, dict[str, Any]] = {}
        self.count = 0

    def follow(self, stream: Sequence[dict[str, Any]]) -> None:
        for one in stream:
            self._step(one)
            assert one["sequence_number"] == self.count, one
            self.count += 1

    def _step(self, one: dict[str, Any]) -> None:
        step = LEGALITY[one["type"]]
        place = self._place(one, step.scope)
        before = self.states.get(place, "absent")
        assert before in step.before, (one, before)
        if before == "absent":
            self._begin(one, place)
        self.states[place] = step.after
        assert not step.kinds or self.kinds[place] in step.kinds, one
        if step.scope != "stream":
            assert self.states[("stream",)] == "open", one
        if step.scope == "part":
            assert self.states[place[:2]] == "open", one
            assert self._open(place[:2]) <= 1, one
        self._check_text(one, place)
        if one["type"] == "response.output_item.done":
            self._check_item(one, place, before)
        if one["type"] in ("response.completed", "response.incomplete"):
            assert all(state == "closed" for state in self.states.values()), one
            assert one["response"]["output"] == [self.done_items[index] for index in sorted(self.done_items)]
            assert one["type"] == f"response.{one['response']['status']}"

    def _place(self, one: dict[str, Any], scope: str) -> tuple[Any, ...]:
        if scope == "stream":
            return ("stream",)
        if scope == "sound":
            return ("sound", one["type"].rpartition(".")[0])
        item = ("item", one["output_index"])
        if scope == "item":
            return item
        return (*item, *((name, one[name]) for name in _COUNTERS if name in one))

    def _begin(self, one: dict[str, Any], place: tuple[Any, ...]) -> None:
        """Nothing is left out in counting."""
        if place[0] == "item" and len(place) == 2:
            assert place[1] == sum(len(known) == 2 for known in self.kinds), one
            self.kinds[place] = one["item"]["type"]
            assert one["item"].get("status") == "in_progress"
        elif place[0] == "item":
            assert place[2][1] == self._parts(place[:2]), one
            self.kinds[place] = one["part"]["type"]

    def _parts(self, item: tuple[Any, ...]) -> int:
        return sum(known[:2] == item and len(known) > 2 for known in self.kinds)

    def _open(self, item: tuple[Any, ...]) -> int:
        return sum(
            known[:2] == item and len(known) > 2 and state in ("open", "said") for known, state in self.states.items()
        )

    def _check_text(self, one: dict[str, Any], place: tuple[Any, ...]) -> None:
        """A text at its end is what its pieces were."""
        if one["type"].endswith(".delta") and place[0] == "item":
            self.texts[place] = self.texts.get(place, "") + one["delta"]
        for member in ("text", "refusal", "arguments", "input"):
            if member in one:
                assert one[member] == self.texts.get(place, ""), one
        if one["type"].endswith("_part.done"):
            assert self.texts[place] in one["part"].values()

    def _check_item(self, one: dict[str, Any], place: tuple[Any, ...], before: str) -> None:
        item = one["item"]
        assert before == ("said" if item["type"] in ("function_call", "custom_tool_call") else "open")
        assert self._open(place) == 0
        assert self._parts(place) == len(item.get("content", item.get("summary", [])))
        assert item["status"] in ("completed", "incomplete")
        self.done_items[place[1]] = item
