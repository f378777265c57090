"""A client's request of the Messages API to the inner form."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import (
    CompactionItem,
    InnerRequest,
    Item,
    MessageItem,
    OpaqueState,
    OpaqueTool,
    OutputFormat,
    ReasoningItem,
    Thinking,
    Tool,
    ToolCallItem,
    ToolChoice,
    ToolResultItem,
)
from posthouse.core.parts import FilePart, ImagePart, OpaquePart, Part, TextPart
from posthouse.dialects.anthropic_messages import CODEC, decode_count_request
from posthouse.dialects.codec import Addressed
from posthouse.dialects.opaque import seal

_NOWHERE = Addressed("")
_DIALECT = "anthropic_messages"


def _decode(**members: Any) -> InnerRequest:
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}], **members}
    return CODEC.decode_request(json.dumps(body).encode(), _NOWHERE)


def _items(*blocks: Any, role: str = "user") -> tuple[Item, ...]:
    return _decode(messages=[{"role": role, "content": list(blocks)}]).items


def _parts(block: Any) -> tuple[Part, ...]:
    (item,) = _items(block)
    assert isinstance(item, MessageItem)
    return item.parts


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_words_are_told_from_instructions() -> None:
    request = _decode(
        system="be brief",
        messages=[
            {"role": "user", "content": "hi"},
            {"role": "system", "content": "be kind"},
            {"role": "assistant", "content": ""},
        ],
    )
    assert request.items == (
        MessageItem("system", (TextPart("be brief"),)),
        MessageItem("user", (TextPart("hi"),)),
        MessageItem("system", (TextPart("be kind"),)),
        MessageItem("assistant", ()),
    )


@pytest.mark.req("MSG-REQ-005")
def test_marks_for_a_cache_do_not_hide_text() -> None:
    block = {"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}, "citations": []}
    request = _decode(system=[block, {"type": "text", "text": "more"}])
    assert request.items[0] == MessageItem("system", (TextPart("long"), TextPart("more")))
    assert _parts(block) == (TextPart("long"),)


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ({"type": "base64", "media_type": "image/png", "data": "aGk="}, ImagePart("data:image/png;base64,aGk=")),
        ({"type": "url", "url": "https://example.com/a.png"}, ImagePart("https://example.com/a.png")),
    ],
)
def test_an_image_is_known_by_its_content_or_its_address(source: Any, part: Part) -> None:
    assert _parts({"type": "image", "source": source}) == (part,)


@pytest.mark.req("MSG-REQ-005")
@pytest.mark.parametrize(
    ("block", "parts"),
    [
        (
            {"source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}, "title": "t"},
            (FilePart(data="data:application/pdf;base64,aGk=", filename="t"),),
        ),
        ({"source": {"type": "file", "file_id": "f"}}, (FilePart(file_id="f"),)),
        ({"source": {"type": "text", "media_type": "text/plain", "data": "x"}}, (TextPart("x"),)),
        ({"source": {"type": "text", "media_type": "text/plain", "data": "x"}, "title": "t"}, (TextPart("t\n\nx"),)),
        ({"source": {"type": "content", "content": "x"}}, (TextPart("x"),)),
        (
            {"source": {"type": "content", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}},
            (TextPart("x"), TextPart("y")),
        ),
        (
            {
                "source": {
                    "type": "content",
                    "content": [{"type": "image", "source": {"type": "url", "url": "https://x"}}],
                },
                "title": "t",
            },
            (TextPart("t"), ImagePart("https://x")),
        ),
    ],
)
def test_a_document_becomes_a_file_or_text(block: Any, parts: tuple[Part, ...]) -> None:
    assert _parts({"type": "document", **block}) == parts


@pytest.mark.req("MSG-REQ-005")
def test_a_search_result_is_text_with_its_source() -> None:
    block = {"type": "search_result", "source": "https://x", "title": "t", "content": [{"type": "text", "text": "a"}]}
    assert _parts(block) == (TextPart("t\nhttps://x\n\na"),)


@pytest.mark.req("MSG-REQ-006")
@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}},
        {"type": "container_upload", "file_id": "f"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "from_the_future", "deep": {"er": [1.50]}},
    ],
)
def test_what_only_this_api_can_use_stays_as_it_is(block: Any) -> None:
    assert _parts(block) == (OpaquePart(_DIALECT, _json(block)),)


@pytest.mark.req("MSG-REQ-006")
@pytest.mark.parametrize("mark", [{"toolset_name": "browser"}, {"caller": {"type": "code_execution_20260521"}}])
def test_a_call_of_the_api_s_own_stays_with_its_result(mark: Any) -> None:
    call = {"type": "tool_use", "id": "c", "name": "click", "input": {}, **mark}
    result = {"type": "tool_result", "tool_use_id": "c", "content": "done"}
    request = _decode(messages=[{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}])
    assert request.items == (
        MessageItem("assistant", (OpaquePart(_DIALECT, _json(call)),)),
        MessageItem("user", (OpaquePart(_DIALECT, _json(result)),)),
    )


def test_an_assistant_s_message_falls_into_its_items_in_order() -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    assert _items(
        thinking,
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"x": 1.50}, "caller": {"type": "direct"}},
        {"type": "text", "text": "after"},
        role="assistant",
    ) == (
        ReasoningItem("hm", OpaqueState("", "", "", _json(thinking))),
        MessageItem("assistant", (TextPart("a"), TextPart("b"))),
        ToolCallItem("c", "f", '{"x": 1.5}'),
        MessageItem("assistant", (TextPart("after"),)),
    )


def test_a_result_may_be_text_blocks_nothing_or_an_error() -> None:
    assert _items(
        {"type": "tool_result", "tool_use_id": "a", "content": "x"},
        {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "y"}], "is_error": True},
        {"type": "tool_result", "tool_use_id": "c"},
        {"type": "text", "text": "go on"},
    ) == (
        ToolResultItem("a", (TextPart("x"),)),
        ToolResultItem("b", (TextPart("y"),), True),
        ToolResultItem("c", ()),
        MessageItem("user", (TextPart("go on"),)),
    )


@pytest.mark.req("MSG-STATE-002")
def test_sealed_state_is_opened_and_other_state_is_the_api_s_own() -> None:
    state = OpaqueState("p", "m", "a", b"\x00opaque")
    redacted = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
    assert _items(
        {"type": "thinking", "thinking": "hm", "signature": seal(state)},
        {"type": "redacted_thinking", "data": seal(state)},
        redacted,
        {"type": "thinking", "thinking": "bare", "signature": ""},
        role="assistant",
    ) == (
        ReasoningItem("hm", state),
        ReasoningItem("", state),
        ReasoningItem("", OpaqueState("", "", "", _json(redacted))),
        ReasoningItem("bare"),
    )


def test_a_compaction_keeps_its_block() -> None:
    block = {"type": "compaction", "content": "so far", "encrypted_content": "x"}
    assert _items(block, role="assistant") == (CompactionItem(OpaqueState("", "", "", _json(block))),)


@pytest.mark.req("MSG-REQ-006")
def test_tools_are_functions_or_the_api_s_own() -> None:
    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    server = {"type": "web_search_20260318", "name": "web_search", "max_uses": 3}
    request = _decode(
        tools=[
            {"name": "f", "input_schema": schema, "cache_control": {"type": "ephemeral"}},
            {"name": "g", "type": "custom", "description": "d", "input_schema": {"type": "object"}, "strict": True},
            server,
        ]
    )
    assert request.tools == (
        Tool("f", schema=_json(schema)),
        Tool("g", description="d", schema=b'{"type": "object"}', strict=True),
        OpaqueTool(_DIALECT, _json(server)),
    )


@pytest.mark.parametrize(
    ("wire", "choice", "parallel"),
    [
        ({"type": "auto"}, ToolChoice("auto"), None),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice("required"), False),
        ({"type": "tool", "name": "f", "disable_parallel_tool_use": False}, ToolChoice("named", "f"), True),
        ({"type": "none"}, ToolChoice("none"), None),
        (None, None, None),
    ],
)
def test_a_choice_of_tools(wire: Any, choice: ToolChoice | None, parallel: bool | None) -> None:
    request = _decode(tool_choice=wire)
    assert (request.tool_choice, request.parallel_tools, request.extra) == (choice, parallel, {})


@pytest.mark.parametrize(
    ("members", "thinking"),
    [
        ({}, Thinking()),
        ({"thinking": None}, Thinking()),
        ({"thinking": {"type": "adaptive"}}, Thinking()),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, Thinking(shown=False)),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, Thinking("max")),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048, "display": "summarized"}}, Thinking(None, 2048, True)),
        ({"thinking": {"type": "disabled"}}, Thinking("none")),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, Thinking("low", 0)),
    ],
)
def test_how_much_to_think(members: Any, thinking: Thinking) -> None:
    request = _decode(**members)
    assert (request.thinking, request.extra) == (thinking, {})


def test_a_format_of_the_answer_and_the_user_s_name() -> None:
    output = {"format": {"type": "json_schema", "schema": {"type": "object"}}, "effort": "low"}
    request = _decode(output_config=output, metadata={"user_id": "u"})
    assert request.output_format == OutputFormat("json_schema", schema=b'{"type": "object"}')
    assert (request.thinking.effort, request.user, request.extra) == ("low", "u", {})


def test_sampling() -> None:
    sampling = _decode(temperature=0.5, top_p=0.9, top_k=3, stop_sequences=["a", "b"]).sampling
    assert (sampling.max_output, sampling.temperature, sampling.top_p, sampling.top_k) == (5, 0.5, 0.9, 3)
    assert sampling.stop == ("a", "b")


def test_what_the_inner_form_cannot_say_is_kept() -> None:
    members = {
        "container": {"id": "x"},
        "thinking": {"type": "between_tools"},
        "tool_choice": {"type": "later"},
        "output_config": {"effort": "low", "task_budget": 5},
        "metadata": {"user_id": "u", "team": "t"},
        "service_tier": "auto",
    }
    request = _decode(**members)
    assert {name: json.loads(bytes(raw)) for name, raw in request.extra.items()} == members
    assert (request.thinking.effort, request.user) == ("low", "u")


def test_the_address_serves_where_the_body_says_nothing() -> None:
    body = b'{"max_tokens":1,"messages":[{"role":"user","content":"x"}]}'
    request = CODEC.decode_request(body, Addressed("from-the-path", True))
    assert (request.model, request.stream) == ("from-the-path", True)
    with pytest.raises(InvalidRequest):
        CODEC.decode_request(body, _NOWHERE)


@pytest.mark.req("MSG-REQ-002")
def test_a_request_to_count_has_the_same_items() -> None:
    body = b'{"model":"m","system":"s","messages":[{"role":"user","content":"x"}]}'
    request = decode_count_request(body, _NOWHERE)
    assert request.items == (MessageItem("system", (TextPart("s"),)), MessageItem("user", (TextPart("x"),)))
    assert request.sampling.max_output is None


@pytest.mark.req("MSG-REQ-001")
@pytest.mark.parametrize(
    ("block", "param"),
    [
        (5, ""),
        ({}, ".type"),
        ({"type": 5}, ".type"),
        ({"type": "text"}, ".text"),
        ({"type": "text", "text": 5}, ".text"),
        ({"type": "image"}, ".source"),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png"}}, ".source.data"),
        ({"type": "image", "source": {"type": "ftp"}}, ".source.type"),
        (
            {"type": "document", "source": {"type": "content", "content": [{"type": "document"}]}},
            ".source.content.0.type",
        ),
        ({"type": "search_result", "source": "x", "title": "t", "content": [{"text": 5}]}, ".content.0.text"),
        ({"type": "thinking"}, ".thinking"),
        ({"type": "redacted_thinking"}, ".data"),
        ({"type": "tool_use", "id": "c", "name": "f"}, ".input"),
        ({"type": "tool_use", "id": "c", "name": "f", "input": []}, ".input"),
        ({"type": "tool_use", "id": "c", "name": "f", "input": {}, "caller": 5}, ".caller"),
        ({"type": "tool_result"}, ".tool_use_id"),
        ({"type": "tool_result", "tool_use_id": "c", "content": 5}, ".content"),
        ({"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text"}]}, ".content.0.text"),
    ],
)
def test_a_block_that_does_not_fit_is_named(block: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _items({"type": "text", "text": "ok"}, block)
    assert caught.value.param == f"messages.0.content.1{param}"
    assert caught.value.message.startswith(f"messages.0.content.1{param}: ")


@pytest.mark.req("MSG-REQ-001")
@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"system": 5}, "system"),
        ({"system": [{"type": "text"}]}, "system.0.text"),
        ({"tools": {}}, "tools"),
        ({"tools": [5]}, "tools.0"),
        ({"tools": [{"name": "f"}]}, "tools.0.input_schema"),
        ({"tools": [{"name": "f", "input_schema": []}]}, "tools.0.input_schema"),
        ({"tools": [{"name": 5, "input_schema": {}}]}, "tools.0.name"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": -1}}, "thinking.budget_tokens"),
        ({"thinking": True}, "thinking"),
        ({"output_config": {"effort": 5}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"output_config": {"format": {"type": "json_schema", "schema": 5}}}, "output_config.format.schema"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_k": 1.5}, "top_k"),
        ({"stop_sequences": [1]}, "stop_sequences.0"),
    ],
)
def test_a_member_that_does_not_fit_is_named(members: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _decode(**members)
    assert caught.value.param == param


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "text",
                    "content",
                    "source",
                    "input",
                    "id",
                    "name",
                    "thinking",
                    "signature",
                    "data",
                    "caller",
                    "title",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
_TYPES = st.sampled_from(
    ["text", "image", "document", "search_result", "thinking", "redacted_thinking", "tool_use", "tool_result", "x"]
)
_BLOCKS = st.dictionaries(
    st.sampled_from(
        ["text", "content", "source", "input", "id", "name", "tool_use_id", "thinking", "signature", "title"]
    ),
    _VALUES,
).flatmap(lambda block: _TYPES.map(lambda kind: {**block, "type": kind}))
_MEMBERS = st.sampled_from(
    [
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "metadata",
        "temperature",
        "top_k",
        "stop_sequences",
    ]
)


@pytest.mark.req("MSG-REQ-003")
@given(st.lists(_BLOCKS | _VALUES, max_size=3), st.dictionaries(_MEMBERS, _VALUES, max_size=3))
def test_malformed_input_is_a_400_and_nothing_worse(blocks: list[Any], members: dict[str, Any]) -> None:
    try:
        request = _decode(messages=[{"role": "user", "content": blocks}], **members)
    except InvalidRequest as error:
        assert error.param
    else:
        assert all(isinstance(raw, Raw) for raw in request.extra.values())


@pytest.mark.req("MSG-REQ-003")
@pytest.mark.parametrize(
    "messages",
    [
        '[{"role":"user","content":' + "[" * 5000 + "]" * 5000 + "}]",
        '[{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":'
        + '{"a":' * 900
        + "1"
        + "}" * 900
        + "}]}]",
        '[{"role":"user","content":[{"type":"text","text":"\\ud800"}]}]',
        '[{"role":"user","content":[{"type":"text","text":' + "1" * 5000 + "}]}]",
    ],
)
def test_extremes_are_refused_or_read(messages: str) -> None:
    try:
        CODEC.decode_request(f'{{"model":"m","max_tokens":1,"messages":{messages}}}'.encode(), _NOWHERE)
    except InvalidRequest as error:
        assert error.status == 400


@pytest.mark.req("FACE-013")
@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}])
def test_a_thread_that_another_provider_cannot_keep_is_refused_as_the_api_refuses_it(thread: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        _decode(thread=thread)
    assert (refused.value.param, refused.value.code) == ("thread", "thread_unsupported_request")
    assert "thread" not in _decode(thread=None).extra
