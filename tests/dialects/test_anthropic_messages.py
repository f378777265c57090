"""The codec as a whole: requests through the wire in both directions."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.items import (
    InnerRequest,
    Item,
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
from posthouse.core.parts import FilePart, ImagePart, OpaquePart, Part, TextPart
from posthouse.dialects.anthropic_messages import CODEC
from posthouse.dialects.codec import INNER_NAMES, Addressed, Dialect
from tests.dialects.inner import MAKER, NAMES, PDF, PIXEL
from tests.dialects.messages import SAID, THINKING, Json

_DIALECT: Dialect = "anthropic_messages"
_NOWHERE = Addressed("")
_SCHEMAS = st.sampled_from([b'{"type":"object"}', b'{ "type":"object","properties":{"b":{},"a":{"maximum":1.50}}}'])
_TEXTS = st.builds(TextPart, SAID)
_PARTS: st.SearchStrategy[Part] = st.one_of(
    _TEXTS,
    st.builds(ImagePart, st.sampled_from(["https://example.com/a.png", PIXEL])),
    st.builds(FilePart, data=st.just(PDF), filename=st.none() | SAID),
    st.builds(FilePart, file_id=SAID, filename=st.none() | SAID),
    st.just(OpaquePart(_DIALECT, b'{"type":"container_upload", "file_id":"f"}')),
)
_STATES = st.sampled_from(
    [
        ReasoningItem("hm", OpaqueState("", "", "", THINKING)),
        ReasoningItem("", OpaqueState("", "", "", b'{"type":"redacted_thinking","data":"ZGF0YQ=="}')),
    ]
)


def _some(part: st.SearchStrategy[Any], least: int = 1) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(part, min_size=least, max_size=3).map(tuple)


@st.composite
def _items(draw: st.DrawFn) -> tuple[Item, ...]:
    """Conversations as this dialect has them: turns by turns, thinking before what follows from it, results first."""
    items: list[Item] = [MessageItem("system", parts) for parts in draw(st.lists(_some(_TEXTS), max_size=1))]
    items.append(MessageItem("user", draw(_some(_PARTS))))
    for number in range(draw(st.integers(0, 3))):
        items += draw(st.lists(_STATES, max_size=2))
        items.append(MessageItem("assistant", draw(_some(_TEXTS))))
        calls = [f"toolu_{number}_{call}" for call in range(draw(st.integers(0, 2)))]
        for call in calls:
            items.append(ToolCallItem(call, draw(NAMES), draw(st.sampled_from(["{}", '{ "b": 1.50, "a":[null] }']))))
        for call in draw(st.permutations(calls)):
            items.append(ToolResultItem(call, draw(_some(_PARTS, 0)), draw(st.booleans())))
        if not calls or draw(st.booleans()):
            items.append(MessageItem("user", draw(_some(_PARTS))))
        if draw(st.booleans()):
            items.append(MessageItem("system", draw(_some(_TEXTS))))
    return tuple(items)


_TOOLS: st.SearchStrategy[Tool | OpaqueTool] = st.one_of(
    st.builds(Tool, NAMES, st.just("function"), st.none() | SAID, schema=_SCHEMAS, strict=st.none() | st.booleans()),
    st.just(OpaqueTool(_DIALECT, b'{"type":"web_search_20260318", "name":"web_search"}')),
)
_CHOICES = st.builds(ToolChoice, st.sampled_from(["auto", "required"])) | st.builds(ToolChoice, st.just("named"), NAMES)
_THINKING = st.one_of(
    st.just(Thinking()),
    st.just(Thinking("none")),
    st.builds(Thinking, st.sampled_from(["low", "max", "new"]), shown=st.none() | st.booleans()),
    st.builds(Thinking, st.sampled_from(["low", "high"]), st.just(0)),
    st.builds(Thinking, shown=st.booleans()),
)
_SAMPLING = st.builds(
    Sampling,
    max_output=st.integers(0, 10_000),
    temperature=st.none() | st.floats(0, 1),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(0, 500),
    stop=_some(SAID, 0),
)


@st.composite
def _requests(draw: st.DrawFn) -> InnerRequest:
    tools = tuple(draw(st.lists(_TOOLS, max_size=3)))
    choice = draw(st.none() | _CHOICES | st.just(ToolChoice("none"))) if tools else None
    free = choice is None or choice.mode == "none"
    return InnerRequest(
        dialect=_DIALECT,
        model="m",
        items=draw(_items()),
        tools=tools,
        tool_choice=choice,
        parallel_tools=None if free else draw(st.none() | st.booleans()),
        output_format=draw(st.none() | st.builds(OutputFormat, st.just("json_schema"), schema=_SCHEMAS)),
        thinking=draw(_THINKING),
        user=draw(st.none() | st.text(max_size=9)),
        sampling=draw(_SAMPLING),
        stream=draw(st.booleans()),
    )


@pytest.mark.req("MSG-REQ-004")
@given(_requests())
def test_a_request_of_the_inner_form_survives_the_wire(request: InnerRequest) -> None:
    encoded = CODEC.encode_request(request, MAKER)
    assert encoded.dropped == ()
    assert CODEC.decode_request(encoded.body, _NOWHERE) == request


@pytest.mark.req("MSG-REQ-004")
@given(st.integers(1024, 5000), st.none() | st.sampled_from(["low", "high"]), st.none() | st.booleans())
def test_a_budget_survives_the_wire(budget: int, effort: str | None, shown: bool | None) -> None:
    thinking = Thinking(effort, budget, shown)
    items = (MessageItem("user", (TextPart("hi"),)),)
    request = InnerRequest(_DIALECT, "m", items, thinking=thinking, sampling=Sampling(max_output=9000))
    assert CODEC.decode_request(CODEC.encode_request(request, MAKER).body, _NOWHERE) == request


_WIRE: Json = {
    "model": "claude-x",
    "max_tokens": 3000,
    "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                {"type": "document", "source": {"type": "file", "file_id": "file_1"}, "title": "report"},
                {"type": "image", "source": {"type": "file", "file_id": "file_2"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "ZGF0YQ=="},
                {"type": "text", "text": "I look"},
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"b": 1.5, "a": None}},
                {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "dark", "is_error": True},
                {"type": "tool_result", "tool_use_id": "toolu_1"},
                {"type": "text", "text": "well?"},
            ],
        },
        {"role": "system", "content": "Hurry."},
        {"role": "assistant", "content": "It is "},
    ],
    "tools": [
        {"name": "look", "description": "Looks.", "input_schema": {"type": "object", "b": 1, "a": 2}, "strict": False},
        {"type": "web_search_20260318", "name": "web_search", "max_uses": 3},
    ],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "summarized"},
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "stop_sequences": ["END"],
    "temperature": 1.0,
    "metadata": {"user_id": "u-1"},
    "stream": True,
    "service_tier": "auto",
    "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
}


@pytest.mark.req("MSG-REQ-004")
def test_a_request_of_the_wire_says_the_same_afterwards() -> None:
    request = CODEC.decode_request(json.dumps(_WIRE).encode(), _NOWHERE)
    encoded = CODEC.encode_request(request, MAKER)
    assert json.loads(encoded.body) == _WIRE
    assert encoded.dropped == ()
    again = CODEC.decode_request(encoded.body, _NOWHERE)
    assert [item for item in again.items if not isinstance(item, ReasoningItem)][:2] == list(request.items[:2])
    assert again.extra.keys() == request.extra.keys() == {"service_tier", "context_management"}


def test_names_of_the_inner_form_have_the_client_s_spelling() -> None:
    assert CODEC.name == _DIALECT
    assert CODEC.members.keys() <= set(INNER_NAMES)
    assert CODEC.members["user"] == "metadata.user_id"
