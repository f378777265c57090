"""Strategies for what the inner form may legally hold, and what it means: for the properties of every codec and pair.

    conversations   items of a request: instructions, turns of both sides, calls that are answered
    requests        a whole request;  answers: a whole answer;  streams: the events of one
    meaning_of      what a stream says, however it was cut: two streams that mean the same are equal by it

Each takes what shall not occur (`without`), by the names below, for dialects that cannot say it.

Strategies are made once: most of the time that Hypothesis takes for an example goes into checking new ones.
"""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, Literal

from hypothesis import strategies as st
from msgspec.structs import replace

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
from posthouse.core.items import (
    Choice,
    InnerRequest,
    InnerResponse,
    Item,
    Items,
    MessageItem,
    OpaqueState,
    OutputFormat,
    ReasoningItem,
    Sampling,
    Thinking,
    Tool,
    ToolCallItem,
    ToolChoice,
    ToolKind,
    ToolResultItem,
)
from posthouse.core.parts import AudioPart, FilePart, ImagePart, Part, RefusalPart, TextPart
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Maker, ReplyHead

Name = Literal[
    "audio",  # parts and pieces of speech
    "choices",  # more than one
    "customs",  # tools with free text
    "developer",  # messages of that role
    "failures",  # results of tools that say so
    "files",
    "formats",  # of the output
    "images",
    "late_instructions",  # system messages after the first turn
    "names",  # of speakers
    "parallel",  # more than one call in a turn
    "reasoning",
    "refusals",
    "rich_results",  # results of tools that are more than text
    "sampling",
    "states",  # opaque, of thoughts
    "thinking",  # how much to think
    "tools",
    "usage",
]
Without = frozenset[Name]

MAKER: Final = Maker("house", "m", "main")
OTHER: Final = Maker("house", "other", "main")
HEAD: Final = ReplyHead("abc", "m", 1_700_000_000)
EVERYTHING: Final[Without] = frozenset()

WORDS: Final = st.text(min_size=1, max_size=8)
NAMES: Final = st.text("abcdefgh_", min_size=1, max_size=8)  # of tools and speakers: few dialects allow more
COUNTS: Final = st.integers(0, 10**6)
PIXEL: Final = "data:image/png;base64,iVBORw0KGgo="
PDF: Final = "data:application/pdf;base64,JVBERi0="
SCHEMAS: Final = st.sampled_from([b'{"type":"object"}', b'{"type":"object","properties":{"a":{"type":"string"}}}'])
ARGUMENTS: Final = st.dictionaries(NAMES, WORDS | st.integers(0, 9), max_size=2).map(
    lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False)
)


_TEXT: Final[st.SearchStrategy[Part]] = st.builds(TextPart, WORDS)
_REFUSAL: Final[st.SearchStrategy[Part]] = st.builds(RefusalPart, WORDS)
_ONE_TEXT: Final = _TEXT.map(lambda part: (part,))
_MAYBE_WORDS: Final = st.none() | WORDS
_MAYBE_NAME: Final = st.none() | NAMES
_MAYBE: Final = st.none() | st.booleans()
_SOME_WORDS: Final = st.lists(WORDS, min_size=1, max_size=3)


@cache
def states(maker: Maker = MAKER) -> st.SearchStrategy[OpaqueState]:
    return st.builds(
        OpaqueState, st.just(maker.provider), st.just(maker.model), st.just(maker.account), st.binary(max_size=9)
    )


# --- parts and items ---------------------------------------------
@cache
def user_parts(without: Without = EVERYTHING) -> st.SearchStrategy[Part]:
    kinds: list[st.SearchStrategy[Part]] = [_TEXT]
    if "images" not in without:
        kinds.append(st.builds(ImagePart, st.sampled_from(["https://a.example/b.png", PIXEL])))
    if "files" not in without:
        kinds.append(st.builds(FilePart, data=st.just(PDF), filename=st.just("a.pdf")))
    if "audio" not in without:
        kinds.append(st.builds(AudioPart, data=st.just("UklGRg=="), format=st.just("wav")))
    return st.one_of(kinds)


@cache
def _parts(kind: st.SearchStrategy[Part], least: int = 1) -> st.SearchStrategy[tuple[Part, ...]]:
    """Parts as no dialect would join them: no two texts side by side."""
    return st.lists(kind, min_size=least, max_size=3).map(_apart)


def _apart(parts: Sequence[Part]) -> tuple[Part, ...]:
    kept: list[Part] = []
    for part in parts:
        if not (kept and isinstance(part, TextPart) and isinstance(kept[-1], TextPart)):
            kept.append(part)
    return tuple(kept)


@cache
@st.composite
def reasoning(draw: st.DrawFn, without: Without = EVERYTHING, maker: Maker = MAKER) -> ReasoningItem:
    """Text with its state, or either alone."""
    state = draw(states(maker)) if "states" not in without and draw(st.booleans()) else None
    return ReasoningItem(draw(WORDS if state is None else _WORDS_OR_NONE), state)


_WORDS_OR_NONE: Final = st.just("") | WORDS
_AT_MOST_ONE_TEXT: Final = st.lists(_TEXT, max_size=1)
_AT_MOST_ONE_REFUSAL: Final = st.lists(_REFUSAL, max_size=1)


@cache
def _few_thoughts(without: Without, maker: Maker) -> st.SearchStrategy[list[ReasoningItem]]:
    return st.lists(reasoning(without, maker), max_size=2)


@cache
def _maybe_a_state(maker: Maker) -> st.SearchStrategy[list[OpaqueState]]:
    return st.lists(states(maker), max_size=1)


@cache
@st.composite
def model_turns(
    draw: st.DrawFn, without: Without = EVERYTHING, number: int = 0, maker: Maker = MAKER, least: int = 1
) -> Items:
    """What a model says at once: thoughts, then words, then calls, each perhaps after a state. Ids of calls hold
    `number`. `least` is 1 where it must say something."""
    items: list[Item] = []
    if "reasoning" not in without:
        items += _one_run(draw(_few_thoughts(without, maker)))
    said: list[Part] = list(draw(_AT_MOST_ONE_TEXT))
    if "refusals" not in without:
        said += draw(_AT_MOST_ONE_REFUSAL)
    calls = 0 if "tools" in without else draw(st.integers(0, 1 if "parallel" in without else 3))
    if not said and not calls and least:
        said.append(TextPart(draw(WORDS)))
    if said:
        items.append(MessageItem("assistant", tuple(said)))
    for call in range(calls):
        if {"reasoning", "states"}.isdisjoint(without) and not (items and isinstance(items[-1], ReasoningItem)):
            items += [ReasoningItem("", state) for state in draw(_maybe_a_state(maker))]
        items.append(draw(_calls(f"call_{number}_{call}", without)))
    return tuple(items)


def _one_run(thoughts: Sequence[ReasoningItem]) -> list[ReasoningItem]:
    """Thoughts as no dialect would join them: after text without a state comes no more text."""
    kept: list[ReasoningItem] = []
    for thought in thoughts:
        if not kept or kept[-1].state is not None:
            kept.append(thought)
    return kept


@st.composite
def _calls(draw: st.DrawFn, call_id: str, without: Without) -> ToolCallItem:
    if "customs" not in without and draw(st.booleans()):
        return ToolCallItem(call_id, draw(NAMES), draw(WORDS), "custom")
    return ToolCallItem(call_id, draw(NAMES), draw(ARGUMENTS))


@st.composite
def _results(draw: st.DrawFn, call: ToolCallItem, without: Without) -> ToolResultItem:
    kind = _TEXT if "rich_results" in without else user_parts(without | {"files", "audio"})
    failed = "failures" not in without and draw(st.booleans())
    return ToolResultItem(call.call_id, draw(_parts(kind)), failed)


@cache
@st.composite
def conversations(draw: st.DrawFn, without: Without = EVERYTHING, maker: Maker = MAKER) -> Items:
    """Ends with what the model is to answer: words of the user, or the results of all its calls."""
    items: list[Item] = []
    if draw(st.booleans()):
        role = "system" if "developer" in without or draw(st.booleans()) else "developer"
        items.append(MessageItem(role, draw(_ONE_TEXT)))
    for number in range(draw(st.integers(0, 2))):
        items.append(_asked(draw, without))
        turn = draw(model_turns(without, number, maker))
        items += turn
        items += [draw(_results(call, without)) for call in turn if isinstance(call, ToolCallItem)]
        if "late_instructions" not in without and isinstance(items[-1], ToolResultItem) and draw(st.booleans()):
            items.append(MessageItem("system", draw(_ONE_TEXT)))
    if not (items and isinstance(items[-1], ToolResultItem)) or draw(st.booleans()):
        items.append(_asked(draw, without))
    return tuple(items)


def _asked(draw: st.DrawFn, without: Without) -> MessageItem:
    name = None if "names" in without else draw(_MAYBE_NAME)
    return MessageItem("user", draw(_parts(user_parts(without))), name)


# --- requests and answers ----------------------------------------
_FEW_NAMES: Final = st.lists(NAMES, max_size=3, unique=True)
_CHOICES: Final = st.none() | st.builds(ToolChoice, st.sampled_from(["none", "auto", "required"]))
_EFFORTS: Final = st.none() | st.sampled_from(["none", "minimal", "low", "medium", "high"])
_VERBOSITY: Final = st.none() | st.just("low")


@cache
@st.composite
def _tools(draw: st.DrawFn, without: Without) -> tuple[Tool, ...]:
    names: list[str] = draw(_FEW_NAMES)
    made: list[Tool] = []
    for name in names:
        about = draw(_MAYBE_WORDS)
        if "customs" not in without and draw(st.booleans()):
            made.append(Tool(name, "custom", about))
        else:
            made.append(Tool(name, "function", about, schema=draw(SCHEMAS), strict=draw(_MAYBE)))
    return tuple(made)


@cache
@st.composite
def requests(
    draw: st.DrawFn, dialect: str = "openai_chat", without: Without = EVERYTHING, maker: Maker = MAKER
) -> InnerRequest:
    request = InnerRequest(
        dialect=dialect,
        model="m",
        items=draw(conversations(without, maker)),
        user=draw(_MAYBE_WORDS),
        stream=draw(st.booleans()),
    )
    if "tools" not in without:
        tools = draw(_tools(without))
        choice = draw(_CHOICES)
        if draw(st.booleans()) and tools:
            choice = ToolChoice("named", tools[0].name, tools[0].kind)
        if tools:
            parallel = None if "parallel" in without else draw(_MAYBE)
            request = replace(request, tools=tools, tool_choice=choice, parallel_tools=parallel)
    if "formats" not in without:
        request = replace(request, output_format=draw(_FORMATS))
    if "thinking" not in without:
        request = replace(request, thinking=Thinking(draw(_EFFORTS)), verbosity=draw(_VERBOSITY))
    if "sampling" not in without:
        request = replace(request, sampling=draw(_sampling(without)))
    return request


_FORMATS: Final = (
    st.none()
    | st.builds(OutputFormat, st.sampled_from(["text", "json_object"]))
    | st.builds(OutputFormat, st.just("json_schema"), NAMES, _MAYBE_WORDS, SCHEMAS, _MAYBE)
)


@cache
def _sampling(without: Without) -> st.SearchStrategy[Sampling]:
    penalties = st.none() | st.floats(-2, 2)
    return st.builds(
        Sampling,
        max_output=st.none() | st.integers(16, 1000),
        temperature=st.none() | st.floats(0, 1),
        top_p=st.none() | st.floats(0, 1),
        stop=st.lists(WORDS, max_size=4).map(tuple),
        choices=st.none() if "choices" in without else st.none() | st.integers(1, 4),
        seed=st.none() | st.integers(0, 2**31 - 1),
        presence_penalty=penalties,
        frequency_penalty=penalties,
    )


@cache
def usages() -> st.SearchStrategy[Usage]:
    """Classes that every dialect tells apart."""
    return st.builds(Usage, input=COUNTS, cache_read=COUNTS, output=COUNTS, reasoning=COUNTS)


@cache
@st.composite
def answers(draw: st.DrawFn, without: Without = EVERYTHING, maker: Maker = MAKER) -> InnerResponse:
    choices = []
    for number in range(1 if "choices" in without else draw(st.integers(1, 3))):
        items = draw(model_turns(without, number, maker))
        choices.append(Choice(items, draw(_reasons(any(isinstance(item, ToolCallItem) for item in items)))))
    usage = draw(usages()) if "usage" not in without and draw(st.booleans()) else None
    return InnerResponse(HEAD.id, HEAD.model, HEAD.created, tuple(choices), usage)


@cache
def _reasons(called: bool) -> st.SearchStrategy[str]:
    return st.just("tool_calls") if called else st.sampled_from(["stop", "length", "content_filter"])


# --- streams -----------------------------------------------------
@cache
@st.composite
def streams(draw: st.DrawFn, without: Without = EVERYTHING, maker: Maker = MAKER) -> list[Event]:
    """A legal stream (core/events.py) that ends well: choices by turns, calls of one choice by turns, words in
    pieces."""
    count = 1 if "choices" in without else draw(st.integers(1, 3))
    queues = [_of_choice(draw, index, without, maker) for index in range(count)]
    order = draw(st.permutations([index for index, queue in enumerate(queues) for _ in queue]))
    events = [queues[index].pop(0) for index in order]
    if "usage" not in without:
        events += [UsageReported(usage) for usage in draw(_USAGES)]
    return events


_USAGES: Final = st.lists(usages(), max_size=2)


@cache
def _few_of(kinds: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(kinds), max_size=5)


def _of_choice(draw: st.DrawFn, index: int, without: Without, maker: Maker) -> list[Event]:
    events: list[Event] = [Started(index)]
    called = 0
    kinds = ["text"]
    kinds += [] if "reasoning" in without else ["reasoning"]
    kinds += [] if "refusals" in without else ["refusal"]
    kinds += [] if "audio" in without else ["audio"]
    kinds += [] if {"reasoning", "states"} & without else ["state"]
    kinds += [] if "tools" in without else ["calls"]
    for kind in draw(_few_of(tuple(kinds))):
        match kind:
            case "text":
                events += [TextDelta(text, index) for text in draw(_SOME_WORDS)]
            case "reasoning":
                events += [ReasoningDelta(text, index) for text in draw(_SOME_WORDS)]
            case "refusal":
                events.append(RefusalDelta(draw(WORDS), index))
            case "audio":
                spoken = [AudioDelta(id="audio_1", choice=index), AudioDelta("UklGRg==", choice=index)]
                events += [*spoken, AudioDelta(transcript=draw(WORDS), choice=index)]
            case "state":
                events.append(ReasoningState(draw(states(maker)), index))
            case _:
                most = 1 if "parallel" in without else 3
                count = draw(st.integers(1, most)) if called == 0 or most > 1 else 0
                events += _of_calls(draw, index, range(called, called + count), without)
                called += count
    return [*events, Finished(draw(_reasons(called > 0)), index)]


def _of_calls(draw: st.DrawFn, choice: int, numbers: Iterable[int], without: Without) -> list[Event]:
    """Calls whose arguments come by turns."""
    events: list[Event] = []
    pieces: list[list[Event]] = []
    for number in numbers:
        kind: ToolKind = "custom" if "customs" not in without and draw(st.booleans()) else "function"
        text = draw(WORDS if kind == "custom" else ARGUMENTS)
        cut = draw(st.integers(0, len(text)))
        events.append(ToolCallStarted(f"call_{choice}_{number}", draw(NAMES), kind, number, choice))
        said = [ToolCallDelta(piece, kind, number, choice) for piece in (text[:cut], text[cut:]) if piece]
        pieces.append(list[Event](said))
    order = draw(st.permutations([place for place, queue in enumerate(pieces) for _ in queue]))
    return events + [pieces[place].pop(0) for place in order]


def meaning_of(events: Iterable[Event]) -> dict[Any, Any]:
    """By choice: role, what is said in its order with pieces of one kind joined, calls with all their arguments, and
    how it ended; and the last usage and the failure, if any."""
    choices: dict[Any, Any] = {}
    for event in events:
        if isinstance(event, UsageReported):
            choices["usage"] = event.usage
        elif isinstance(event, Failed):
            choices["failed"] = event
        else:
            _say(choices.setdefault(event.choice, {"said": [], "calls": {}}), event)
    return choices


def _say(choice: dict[str, Any], event: Event) -> None:
    said: list[list[Any]] = choice["said"]
    match event:
        case Started(role=role):
            assert "role" not in choice, "a choice begins once"
            choice["role"] = role
        case Finished(reason=reason):
            assert "finish" not in choice, "a choice ends once"
            choice["finish"] = reason
        case TextDelta(text=text) | RefusalDelta(text=text) | ReasoningDelta(text=text):
            assert "finish" not in choice, "nothing is said after the end"
            if said and said[-1][0] == type(event).__name__:
                said[-1][1] += text
            else:
                said.append([type(event).__name__, text])
        case ReasoningState(state=state):
            said.append(["state", state])
        case AudioDelta():
            if not said or said[-1][0] != "audio":
                said.append(["audio", event.id, "", ""])
            said[-1][1] = event.id or said[-1][1]
            said[-1][2] += event.data
            said[-1][3] += event.transcript
        case ToolCallStarted():
            assert event.call == len(choice["calls"]), "calls are counted from 0"
            choice["calls"][event.call] = call = ["call", event.call_id, event.name, event.kind, ""]
            said.append(call)
        case ToolCallDelta():
            assert choice["calls"][event.call][3] == event.kind
            choice["calls"][event.call][4] += event.arguments
        case _:
            raise AssertionError(event)
