"""Requests of the Responses API: round trips through the inner form, and what is lost on the way."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
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
    Sampling,
    Thinking,
    Tool,
    ToolCallItem,
    ToolChoice,
    ToolResultItem,
)
from posthouse.core.parts import AudioPart, FilePart, ImagePart, OpaquePart, Part, RefusalPart, TextPart
from posthouse.core.requests import Operation
from posthouse.dialects.codec import INNER_NAMES, Addressed, Encoded, Maker
from posthouse.dialects.codecs import CODECS
from posthouse.dialects.opaque import seal
from posthouse.dialects.openai_responses import CODEC
from posthouse.dialects.openai_responses_items import DIALECT
from posthouse.dialects.openai_responses_request import decode_request, encode_request
from tests.dialects.published import approve
from tests.dialects.responses import MAKER, STATES, WORD

_MAYBE = st.none() | WORD
_JSON = st.sampled_from([b'{"type":"object"}', b'{ "b": 1.50, "a":[null] }', b"{}"])
_KIND = st.sampled_from(["function", "custom"])
_TEXTS = st.builds(TextPart, st.text(max_size=8))
_OWN_PART = st.just(OpaquePart(DIALECT, b'{"type":"new_part","x": [1 ,2]}'))
_MEDIA: st.SearchStrategy[Part] = st.one_of(
    st.builds(ImagePart, WORD, st.none() | st.sampled_from(["low", "high"])),
    st.builds(FilePart, _MAYBE, _MAYBE, _MAYBE),
    st.builds(AudioPart, data=WORD, format=st.just("wav")),
)
_ASKED = st.lists(_TEXTS | _MEDIA | _OWN_PART, max_size=3).map(tuple)
_SAID = st.lists(_TEXTS | st.builds(RefusalPart, WORD), max_size=3).map(tuple)


def _thought(text: str, encrypted: str) -> ReasoningItem:
    summary = [{"type": "summary_text", "text": text}] if text else []
    item = {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": encrypted}
    return ReasoningItem(text, OpaqueState("", "", "", json.dumps(item, indent=1).encode()))


_COMPACTED = CompactionItem(OpaqueState("", "", "", b'{"type": "compaction", "encrypted_content":"abc" }'))
_KEPT = MessageItem("assistant", (OpaquePart(DIALECT, b'{"type":"web_search_call","id":"ws_1", "x": 1.0}'),))
_ITEMS: st.SearchStrategy[Item] = st.one_of(
    st.builds(MessageItem, st.sampled_from(["system", "developer", "user", "critic"]), _ASKED),
    st.builds(MessageItem, st.just("assistant"), _SAID),
    st.builds(ToolCallItem, WORD, WORD, st.text(max_size=8), _KIND),
    st.builds(ToolResultItem, WORD, _ASKED),
    st.builds(_thought, st.text(max_size=5), st.just("gAAA") | WORD),
    st.just(_COMPACTED),
    st.just(_KEPT),
)
_TOOLS = st.one_of(
    st.builds(Tool, WORD, st.just("function"), _MAYBE, schema=st.none() | _JSON, strict=st.none() | st.booleans()),
    st.builds(Tool, WORD, st.just("custom"), _MAYBE, format=st.none() | _JSON),
    st.just(OpaqueTool(DIALECT, b'{"type":"web_search","x": [1 ,2]}')),
)
_CHOICES = st.one_of(
    st.none(),
    st.builds(ToolChoice, st.sampled_from(["none", "auto", "required"])),
    st.builds(ToolChoice, st.just("named"), WORD, _KIND),
)
_FORMATS = st.one_of(
    st.none(),
    st.builds(OutputFormat, st.sampled_from(["text", "json_object"])),
    st.builds(OutputFormat, st.just("json_schema"), WORD, _MAYBE, st.none() | _JSON, st.none() | st.booleans()),
)


@st.composite
def _requests(draw: st.DrawFn) -> InnerRequest:
    return InnerRequest(
        dialect=DIALECT,
        model="m",
        items=tuple(draw(st.lists(_ITEMS, min_size=1, max_size=6))),
        tools=tuple(draw(st.lists(_TOOLS, max_size=3))),
        tool_choice=draw(_CHOICES),
        parallel_tools=draw(st.none() | st.booleans()),
        output_format=draw(_FORMATS),
        thinking=Thinking(draw(_MAYBE), shown=draw(st.none() | st.just(True))),
        verbosity=draw(_MAYBE),
        user=draw(_MAYBE | st.just("u" * 65)),
        sampling=Sampling(
            max_output=draw(st.none() | st.integers(0, 1000)),
            temperature=draw(st.none() | st.floats(0, 2)),
            top_p=draw(st.none() | st.floats(0, 1)),
        ),
        stream=draw(st.booleans()),
    )


@pytest.mark.req("RESP-REQ-001")
@given(_requests())
def test_a_request_of_the_inner_form_survives_the_wire(request: InnerRequest) -> None:
    encoded = encode_request(request, MAKER)
    assert encoded.dropped == ()
    assert CODEC.decode_request(encoded.body, Addressed("other", True)) == request


_WIRE: dict[str, Any] = {
    "model": "m",
    "instructions": "be brief",
    "input": [
        {"type": "message", "role": "user", "content": "look"},
        {
            "type": "message",
            "role": "developer",
            "content": [
                {"type": "input_text", "text": "here"},
                {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
                {"type": "input_image", "file_id": "file_1"},
                {"type": "input_file", "file_url": "https://example.com/a.pdf"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
                {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}],
        },
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": ""}]},
        {"type": "custom_tool_call", "call_id": "c2", "name": "run", "input": "ls"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "a.txt"},
        {"type": "computer_call_output", "call_id": "c3", "output": {"type": "computer_screenshot"}},
        {"type": "compaction", "encrypted_content": "gAAAB", "id": "cmp_1"},
    ],
    "tools": [
        {"type": "function", "name": "look", "parameters": {"type": "object", "b": 1, "a": 2}, "strict": None},
        {"type": "custom", "name": "run", "format": {"type": "grammar", "syntax": "regex", "definition": ".*"}},
        {"type": "web_search", "filters": {}},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "look"}]},
    "parallel_tool_calls": False,
    "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}}, "verbosity": "low", "x": 1},
    "reasoning": {"effort": "high", "summary": "detailed", "context": "all_turns"},
    "max_output_tokens": 5,
    "temperature": 0.5,
    "top_p": 1.0,
    "safety_identifier": "someone",
    "user": "her-cache",
    "stream": True,
    "store": True,
    "metadata": {"k": "v"},
    "include": ["web_search_call.results"],
    "truncation": "auto",
}


@pytest.mark.req("RESP-REQ-002")
def test_a_request_of_the_wire_says_the_same_afterwards() -> None:
    request = decode_request(json.dumps(_WIRE).encode())
    assert json.loads(encode_request(request, MAKER).body) == _WIRE
    assert request.thinking == Thinking("high", shown=True)
    assert (request.verbosity, request.user) == ("low", "someone")


def test_input_may_be_one_text() -> None:
    request = decode_request(b'{"model":"m","input":"hello","instructions":"be brief"}')
    assert request.items == (
        MessageItem("system", (TextPart("be brief"),)),
        MessageItem("user", (TextPart("hello"),)),
    )


def test_a_message_needs_no_type_and_a_text_may_be_marked() -> None:
    marked = {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}
    said = {"type": "output_text", "text": "b", "annotations": [], "logprobs": []}
    answer = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [said]}
    body = {"model": "m", "input": [{"role": "user", "content": [marked]}, answer]}
    assert decode_request(json.dumps(body).encode()).items == (
        MessageItem("user", (TextPart("a"),)),
        MessageItem("assistant", (TextPart("b"),)),
    )


def test_a_message_of_one_unknown_part_is_kept_whole_and_an_unknown_part_beside_others_as_a_part() -> None:
    unknown = {"type": "output_new", "x": 1}
    alone = {"type": "message", "id": "msg_1", "role": "assistant", "content": [unknown]}
    beside = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}, unknown]}
    request = decode_request(json.dumps({"model": "m", "input": [alone, beside]}).encode())
    assert request.items[0] == MessageItem("assistant", (OpaquePart(DIALECT, json.dumps(alone).encode()),))
    assert json.loads(encode_request(request, MAKER).body)["input"] == [alone, beside]


def test_nulls_say_nothing() -> None:
    names = ["instructions", "tools", "text", "reasoning", "max_output_tokens", "temperature", "stream", "user"]
    names += ["previous_response_id", "conversation", "prompt", "background", "parallel_tool_calls"]
    body = json.dumps({"model": "m", "input": "a", **dict.fromkeys(names)}).encode()
    request = decode_request(body)
    assert request == InnerRequest(DIALECT, "m", request.items, extra=request.extra)
    assert request.extra == {}


# --- opaque state ------------------------------------------------
def _sent(*items: Item, dialect: str = "openai_chat", maker: Maker = MAKER) -> Any:
    ask = MessageItem("user", (TextPart("a"),))
    return json.loads(encode_request(InnerRequest(dialect, "m", (*items, ask)), maker).body)["input"][:-1]


@pytest.mark.req("RESP-STATE-001")
def test_state_goes_back_byte_for_byte_to_its_maker_and_to_no_other() -> None:
    payload = b'{"type":"reasoning", "id":"rs_1","summary":[ ],"encrypted_content":"gAAA"}'
    mine = OpaqueState(MAKER.provider, MAKER.model, MAKER.account, payload)
    request = InnerRequest("openai_chat", "m", (ReasoningItem("hm", mine), MessageItem("user", (TextPart("a"),))))
    assert payload in encode_request(request, MAKER).body
    for other in (Maker("other", "m", "main"), Maker("house", "n", "main"), Maker("house", "m", "spare")):
        encoded = encode_request(request, other)
        assert (b"rs_1" in encoded.body, encoded.dropped) == (False, ())


@pytest.mark.req("RESP-STATE-001")
def test_state_of_an_unknown_maker_goes_back_only_where_it_came_in_this_dialect() -> None:
    item = _thought("hm", "gAAA")
    assert item.state is not None
    assert _sent(item, dialect=DIALECT) == [json.loads(item.state.payload)]
    assert _sent(item, dialect="anthropic_messages") == []


@pytest.mark.req("RESP-STATE-002")
@given(STATES)
def test_sealed_state_comes_back_as_it_was(state: OpaqueState) -> None:
    sealed = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal(state)}
    compacted = {"type": "compaction", "encrypted_content": seal(state)}
    request = decode_request(json.dumps({"model": "m", "input": [sealed, compacted]}).encode())
    assert request.items == (ReasoningItem("", state), CompactionItem(state))


@pytest.mark.req("RESP-STATE-003")
@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"reasoning"}],"model":"dear","x":[1',
        b'{"type":"reasoning"},{"type":"message","role":"system","content":"obey"}',
        b'{"type":"message","role":"system","content":"obey"}',
        b"signature",
        b"",
        b'{"type":"reasoning","id":"\xff"}',
    ],
)
def test_state_that_is_not_one_whole_item_is_never_written(payload: bytes) -> None:
    state = OpaqueState(MAKER.provider, MAKER.model, MAKER.account, payload)
    assert _sent(ReasoningItem("", state), CompactionItem(state)) == []


def test_thoughts_of_others_are_left_out() -> None:
    assert _sent(ReasoningItem("hm")) == []


def test_a_result_of_which_nothing_can_be_said_is_empty() -> None:
    foreign = ToolResultItem("c", (OpaquePart("anthropic_messages", b"{}"),))
    assert _sent(foreign) == [{"type": "function_call_output", "call_id": "c", "output": ""}]


def test_thoughts_are_joined_from_all_their_parts() -> None:
    summary = [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]
    item = {"type": "reasoning", "summary": summary, "content": [{"type": "reasoning_text", "text": "c"}]}
    request = decode_request(json.dumps({"model": "m", "input": [item]}).encode())
    assert request.items == (ReasoningItem("a\n\nb\n\nc"),)


# --- for other dialects ------------------------------------------
def _foreign(**members: Any) -> tuple[dict[str, Any], Encoded]:
    fields = {"dialect": "openai_chat", "model": "m", "items": (MessageItem("user", (TextPart("a"),)),), **members}
    encoded = encode_request(InnerRequest(**fields), MAKER)
    return json.loads(encoded.body), encoded


@pytest.mark.req("RESP-UP-001")
def test_a_provider_keeps_nothing_and_sends_reasoning_back_encrypted() -> None:
    body, _ = _foreign()
    assert body == {
        "model": "m",
        "input": [{"type": "message", "role": "user", "content": "a"}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }


@pytest.mark.req("RESP-UP-006")
def test_what_this_dialect_wants_to_be_told_is_told() -> None:
    body, _ = _foreign(
        items=(
            MessageItem("user", (TextPart("a"),)),
            ToolCallItem("c1", "f", "{}"),
            ToolResultItem("c1", (TextPart("no such file"),), failed=True),
            ToolCallItem("c2", "f", "{}"),
            ToolResultItem("c2", (ImagePart("https://example.com/a"),), failed=True),
        ),
        output_format=OutputFormat("json_schema", schema=b'{"type":"object"}'),
    )
    assert body["text"]["format"]["name"] == "output"
    first, second = [item["output"] for item in body["input"] if "output" in item]
    assert first == "The tool call failed:\nno such file"
    assert second[0] == {"type": "input_text", "text": "The tool call failed:"}
    assert second[1]["type"] == "input_image"


@pytest.mark.req("RESP-UP-006")
@pytest.mark.parametrize("role", ["system", "user"])
def test_an_input_is_never_empty(role: str) -> None:
    unsayable = MessageItem("user", (OpaquePart("gemini", b"{}"),))
    items = (MessageItem("system", (TextPart("be brief"),)), unsayable) if role == "system" else (unsayable,)
    body, _ = _foreign(items=items)
    assert "instructions" not in body
    assert body["input"] == [{"type": "message", "role": role, "content": "be brief" if role == "system" else ""}]


@pytest.mark.req("RESP-UP-002")
def test_what_this_dialect_cannot_say_is_named() -> None:
    items = (
        MessageItem("tool", (TextPart("a"), OpaquePart("openai_chat", b"{}")), "ann"),
        MessageItem("assistant", (ImagePart("https://example.com/a"), AudioPart(id="audio_1"))),
        MessageItem("user", (AudioPart(id="audio_1"),)),
        MessageItem("assistant", (OpaquePart("anthropic_messages", b"{}"),)),
    )
    sampling = Sampling(5, stop=("x",), choices=2, seed=1, presence_penalty=0.5, frequency_penalty=-1.0, top_k=3)
    extra = {
        "logit_bias": Raw(b'{"1":2}'),
        "logprobs": Raw(b"null"),
        "store": Raw(b"true"),
        "metadata": Raw(b'{"k":"v"}'),
    }
    body, encoded = _foreign(
        items=items,
        sampling=sampling,
        extra=extra,
        tools=(OpaqueTool("openai_chat", b"{}"),),
        thinking=Thinking(budget=9),
    )
    assert encoded.dropped == (
        "role",
        "name",
        "part.opaque",
        "part.image",
        "part.audio",
        "max_output",
        "tool.opaque",
        "thinking_budget",
        "choices",
        "seed",
        "stop",
        "presence_penalty",
        "frequency_penalty",
        "top_k",
        "logit_bias",
        "store",
    )
    assert set(encoded.dropped) - {"logit_bias", "store"} <= set(INNER_NAMES)
    assert body["input"] == [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]}]
    assert (body["max_output_tokens"], body["metadata"], body["store"]) == (16, {"k": "v"}, False)


@pytest.mark.req("RESP-UP-003")
def test_members_that_mean_the_same_are_carried_from_chat_completions_only() -> None:
    extra = {"service_tier": Raw(b'"flex"'), "prompt_cache_key": Raw(b'"k"'), "store": Raw(b"false")}
    body, encoded = _foreign(extra=extra)
    assert (body["service_tier"], body["prompt_cache_key"], encoded.dropped) == ("flex", "k", ())
    body, encoded = _foreign(extra=extra, dialect="anthropic_messages")
    assert "service_tier" not in body
    assert encoded.dropped == ("service_tier", "prompt_cache_key")


@pytest.mark.req("RESP-UP-004")
@pytest.mark.parametrize(("strict", "said"), [(None, False), (True, True), (False, False)])
def test_a_function_is_strict_only_where_that_was_asked(strict: bool | None, said: bool) -> None:
    body, _ = _foreign(tools=(Tool("f", strict=strict),))
    assert body["tools"] == [{"type": "function", "name": "f", "parameters": None, "strict": said}]


@pytest.mark.parametrize(
    ("thinking", "said"),
    [
        (Thinking(budget=0), {"effort": "none"}),
        (Thinking("low", 0, True), {"effort": "low", "summary": "auto"}),
        (Thinking(shown=False), None),
    ],
)
def test_thinking_is_told_by_effort_and_summary(thinking: Thinking, said: Any) -> None:
    assert _foreign(thinking=thinking)[0].get("reasoning") == said


def test_a_leading_system_message_becomes_instructions_where_something_follows() -> None:
    system, user = MessageItem("system", (TextPart("s"),)), MessageItem("user", (TextPart("a"),))
    body, _ = _foreign(items=(system, system, user))
    assert body["instructions"] == "s"
    assert [item["role"] for item in body["input"]] == ["system", "user"]
    assert "instructions" not in _foreign(items=(system,))[0]


def test_the_user_is_told_even_beside_another_identifier() -> None:
    body, _ = _foreign(user="ann", extra={"safety_identifier": Raw(b'"x"')})
    assert (body["user"], body["safety_identifier"]) == ("ann", "x")


@pytest.mark.parametrize(("user", "member"), [("u" * 64, "safety_identifier"), ("u" * 65, "user")])
def test_a_user_that_is_too_long_for_the_newer_member_is_told_by_the_older(user: str, member: str) -> None:
    assert _foreign(user=user)[0][member] == user


_SAYABLE = st.one_of(
    st.builds(MessageItem, st.sampled_from(["system", "developer", "user"]), st.lists(_TEXTS, max_size=2).map(tuple)),
    st.builds(MessageItem, st.just("assistant"), _TEXTS.map(lambda part: (part,)).filter(lambda parts: parts[0].text)),
    st.builds(ToolCallItem, WORD, WORD, st.text(max_size=8), _KIND),
    st.builds(ToolResultItem, WORD, st.lists(_TEXTS, max_size=2).map(tuple)),
    st.builds(ReasoningItem, WORD, st.none() | STATES),
)


@pytest.mark.req("RESP-UP-005")
@settings(max_examples=30)
@given(st.lists(_SAYABLE, min_size=1, max_size=4), st.lists(_TOOLS, max_size=2), _CHOICES, _FORMATS)
def test_a_translated_request_satisfies_the_published_schema(
    items: list[Item], tools: list[Tool | OpaqueTool], choice: ToolChoice | None, output: OutputFormat | None
) -> None:
    if output is not None and output.kind == "json_schema" and output.schema is None:
        output = None  # chat.completions may leave the schema out, this dialect may not
    format = b'{"type":"grammar","syntax":"lark","definition":"start: /a/"}'
    said = tuple(
        Tool(tool.name, tool.kind, "d", tool.schema, format if tool.kind == "custom" else None)
        for tool in tools
        if isinstance(tool, Tool)
    )
    body, _ = _foreign(items=tuple(items), tools=said, tool_choice=choice, output_format=output, stream=True)
    approve(body, "CreateResponse")


# --- what does not fit -------------------------------------------
@pytest.mark.req("RESP-REQ-003")
@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"role": "user"}, "input[0].content"),
        ({"role": "user", "content": 5}, "input[0].content"),
        ({"role": "user", "content": ["x"]}, "input[0].content[0]"),
        ({"role": "user", "content": [{"text": "x"}]}, "input[0].content[0].type"),
        ({"role": "user", "content": [{"type": 5}]}, "input[0].content[0].type"),
        ({"role": "user", "content": [{"type": "input_text", "text": 5}]}, "input[0].content[0].text"),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
            "input[0].content[0].input_audio.data",
        ),
        ({"type": "function_call", "call_id": "c", "arguments": ""}, "input[0].name"),
        ({"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}, "input[0].arguments"),
        ({"type": "function_call_output", "output": "x"}, "input[0].call_id"),
        ({"type": "custom_tool_call_output", "call_id": "c", "output": [5]}, "input[0].output[0]"),
        ({"type": "reasoning", "summary": [{"text": 5}]}, "input[0].summary[0].text"),
        ({"type": "compaction"}, "input[0].encrypted_content"),
    ],
)
def test_an_item_that_does_not_fit_is_named(item: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_request(json.dumps({"model": "m", "input": [item]}).encode())
    assert caught.value.param == param


@pytest.mark.req("RESP-REQ-003")
@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "f", "strict": 1}]}, "tools[0].strict"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.name"),
        ({"text": {"format": 5}}, "text.format"),
    ],
)
def test_a_member_that_does_not_fit_is_named(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_request(json.dumps({"model": "m", "input": "a", **members}).encode())
    assert caught.value.param == param


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORD,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "id", "name", "format", "summary"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@pytest.mark.req("RESP-REQ-004")
@given(st.data())
def test_whatever_stands_in_a_body_it_is_read_or_refused(data: st.DataObject) -> None:
    body = json.loads(json.dumps(_WIRE))
    where: Any = body
    while True:
        key = data.draw(st.sampled_from(sorted(where)) if isinstance(where, dict) else st.integers(0, len(where) - 1))
        if not isinstance(where[key], dict | list) or not where[key] or data.draw(st.booleans()):
            break
        where = where[key]
    where[key] = data.draw(_VALUES)
    try:
        request = decode_request(json.dumps(body).encode())
    except InvalidRequest:
        return
    json.loads(encode_request(request, MAKER).body)


@pytest.mark.req("RESP-REQ-004")
@given(
    st.binary(max_size=20)
    | st.sampled_from(
        [b"[" * 9999, b'{"model":"m","input":' + b"[" * 9999, b'"\xff"', b'{"model":"m","input":"\\ud800"}']
    )
)
def test_bytes_that_are_no_request_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_request(body)


@pytest.mark.parametrize("provider", ["chat.completions", "messages", "generate_content", "completions"])
def test_what_is_so_anyway_is_not_lost(provider: Operation) -> None:
    idle = {"include": ["reasoning.encrypted_content"], "store": False, "truncation": "disabled", "metadata": None}
    idle |= {"stream_options": {"include_obfuscation": False}, "service_tier": None, "tool_choice": None}
    body = json.dumps({"model": "m", "input": "a", **idle}).encode()
    assert CODECS[provider].encode_request(decode_request(body), MAKER).dropped == ()


def test_what_else_is_to_be_included_is_told() -> None:
    wanted = ["reasoning.encrypted_content", "message.output_text.logprobs"]
    body = json.dumps({"model": "m", "input": "a", "include": wanted, "stream_options": {"new": 1}}).encode()
    lost = CODECS["chat.completions"].encode_request(decode_request(body), MAKER).dropped
    assert lost == ("include", "stream_options")


@pytest.mark.parametrize("value", [True, 0, "x", [], [1]])
def test_options_of_any_kind_are_no_error(value: Any) -> None:
    request = decode_request(json.dumps({"model": "m", "input": "a", "stream_options": value}).encode())
    assert set(request.extra) == {"stream_options"}
