"""Requests of gemini: to the inner form and from it."""

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
    Items,
    MessageItem,
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
from posthouse.dialects.codec import INNER_NAMES
from posthouse.dialects.gemini import CODEC
from tests.dialects.gemini_samples import (
    ADDRESSED,
    FOREIGN,
    MAKER,
    OBJECTS,
    RICH,
    WORD,
    asked,
    contents,
    damaged,
    dropped,
    read,
    sent,
    turns,
)
from tests.dialects.inner import requests

_MAYBE = st.none() | WORD
_NUMBER = st.none() | st.floats(-2, 2)
_SCHEMA = st.sampled_from(
    [b'{"type":"object"}', b'{ "type":"object","properties":{"a_b":{"type":["string","null"]}} }']
)
_TOOLS = st.lists(st.builds(Tool, WORD, st.just("function"), _MAYBE, st.none() | _SCHEMA), min_size=1, max_size=2)
_OPAQUE = st.lists(st.just(OpaqueTool("gemini", b'{"googleSearch":{"a_b": 1 }}')), max_size=1)
_CHOICES = st.one_of(
    st.none(),
    st.builds(ToolChoice, st.sampled_from(["none", "auto", "required"])),
    st.builds(ToolChoice, st.just("named"), WORD),
)
_FORMATS = st.one_of(
    st.none(),
    st.builds(OutputFormat, st.sampled_from(["text", "json_object"])),
    st.builds(OutputFormat, st.just("json_schema"), schema=_SCHEMA),
)
_THINKING = st.one_of(
    st.builds(Thinking, st.sampled_from([None, "minimal", "low", "medium", "high"]), shown=st.none() | st.booleans()),
    st.builds(Thinking, st.none(), st.integers(0, 9999), st.none() | st.booleans()),
)
_SAMPLING = st.builds(
    Sampling,
    max_output=st.none() | st.integers(0, 1000),
    temperature=_NUMBER,
    top_p=_NUMBER,
    top_k=st.none() | st.integers(1, 99),
    stop=st.lists(WORD, max_size=5).map(tuple),
    choices=st.none() | st.integers(1, 8),
    seed=st.none() | st.integers(-(2**31), 2**31 - 1),
    presence_penalty=_NUMBER,
    frequency_penalty=_NUMBER,
)


@pytest.mark.req("GEM-REQ-001")
@given(
    turns(),
    st.tuples(_TOOLS, _OPAQUE).map(lambda pair: (*pair[0], *pair[1])),
    _CHOICES,
    _FORMATS,
    st.tuples(_THINKING, _SAMPLING),
)
def test_a_request_of_the_inner_form_survives_the_wire(
    items: Items,
    tools: tuple[Tool | OpaqueTool, ...],
    choice: ToolChoice | None,
    output: OutputFormat | None,
    amounts: tuple[Thinking, Sampling],
) -> None:
    request = InnerRequest(
        dialect="gemini",
        model=ADDRESSED.model,
        items=_unsigned(items),
        tools=tools,
        tool_choice=choice,
        output_format=output,
        thinking=amounts[0],
        sampling=amounts[1],
    )
    encoded = CODEC.encode_request(request, MAKER)
    assert encoded.dropped == ()
    back = CODEC.decode_request(encoded.body, ADDRESSED)
    assert _without_signatures(back.items) == request.items
    assert (back.tools, back.tool_choice, back.output_format) == (tools, choice, output)
    assert (back.thinking, back.sampling, back.extra) == (*amounts, {})


def _unsigned(items: Items) -> Items:
    """State is another test's (test_gemini_signatures): here it would meet the signatures that are made up."""
    kept = [ReasoningItem(item.text) if isinstance(item, ReasoningItem) else item for item in items]
    return _joined([item for item in kept if item != ReasoningItem("")])


def _without_signatures(items: Items) -> Items:
    kept = [ReasoningItem(item.text) if isinstance(item, ReasoningItem) else item for item in items]
    return tuple(item for item in kept if item != ReasoningItem(""))


def _joined(items: list[Any]) -> Items:
    """What a removed state kept apart is one message on the wire."""
    joined: list[Any] = []
    for item in items:
        last = joined[-1] if joined else None
        if isinstance(item, MessageItem) and isinstance(last, MessageItem) and item.role == last.role == "assistant":
            joined[-1] = MessageItem(item.role, last.parts + item.parts)
        elif isinstance(item, MessageItem) and isinstance(last, MessageItem) and item.role == last.role == "user":
            joined[-1] = MessageItem(item.role, last.parts + item.parts)
        else:
            joined.append(item)
    return tuple(joined)


# --- what clients send -------------------------------------------
@pytest.mark.req("GEM-REQ-002")
def test_names_with_underscores_are_read_as_well() -> None:
    body = {
        "system_instruction": {"parts": [{"text": "s"}]},
        "contents": [
            {"parts": [{"inline_data": {"mime_type": "image/png", "data": "aGk="}}]},
            {"role": "model", "parts": [{"function_call": {"name": "f", "args": {"snake_case": 1}}}]},
            {"role": "user", "parts": [{"function_response": {"name": "f", "response": {"out_put": 1}}}]},
        ],
        "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": {"a_b": 1}}]}],
        "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["f"]}},
        "generation_config": {"max_output_tokens": 5, "thinking_config": {"include_thoughts": True}, "new_one": 1},
        "safety_settings": [],
    }
    request = read(body)
    assert request.items == (
        MessageItem("system", (TextPart("s"),)),
        MessageItem("user", (ImagePart("data:image/png;base64,aGk="),)),
        ToolCallItem("call_1", "f", '{"snake_case": 1}'),
        ToolResultItem("call_1", (TextPart('{"out_put": 1}'),)),
    )
    assert request.tools == (Tool("f", schema=b'{"a_b": 1}'),)
    assert request.tool_choice == ToolChoice("named", "f")
    assert (request.sampling.max_output, request.thinking.shown) == (5, True)
    assert request.extra.keys() == {"generationConfig.newOne", "safetySettings"}


@pytest.mark.req("GEM-REQ-003")
def test_an_object_may_stand_for_an_array_of_one_and_a_role_may_be_missing() -> None:
    assert read({"contents": {"parts": {"text": "hi"}}}).items == (MessageItem("user", (TextPart("hi"),)),)


@pytest.mark.req("GEM-REQ-003")
@pytest.mark.parametrize(
    "said", ["be brief", {"parts": [{"text": "be brief"}]}, {"role": "user", "parts": {"text": "be brief"}}]
)
def test_instructions_are_a_content_or_a_string(said: Any) -> None:
    request = read({**contents({"text": "hi"}), "systemInstruction": said})
    assert request.items[0] == MessageItem("system", (TextPart("be brief"),))


@pytest.mark.parametrize("said", [None, "", {}, {"parts": []}])
def test_empty_instructions_are_none(said: Any) -> None:
    assert len(read({**contents({"text": "hi"}), "systemInstruction": said}).items) == 1


@pytest.mark.parametrize("number", [40, 40.0, "40"])
def test_a_whole_number_may_be_written_as_proto_json_writes_it(number: Any) -> None:
    request = read({**contents({"text": "hi"}), "generationConfig": {"topK": number, "maxOutputTokens": number}})
    assert (request.sampling.top_k, request.sampling.max_output) == (40, 40)


@pytest.mark.req("GEM-REQ-004")
def test_parts_of_every_kind_are_read() -> None:
    executed = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}
    request = read(
        contents(
            {"text": "a"},
            {"inlineData": {"mimeType": "audio/mpeg", "data": "aGk="}},
            {"inlineData": {"mimeType": "application/pdf", "data": "a-_h", "displayName": "x.pdf"}},
            {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/x"}},
            {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/v1beta/files/abc"}},
            {"fileData": {"mimeType": "video/mp4", "fileUri": "https://example.com/x"}, "videoMetadata": {"fps": 1}},
            executed,
            {"text": ""},
        )
    )
    (message,) = request.items
    assert isinstance(message, MessageItem)
    assert message.parts[:4] == (
        TextPart("a"),
        AudioPart(data="aGk=", format="mp3"),
        FilePart(data="data:application/pdf;base64,a+/h", filename="x.pdf"),
        ImagePart("https://example.com/x"),
    )
    opaque = message.parts[4:]
    assert all(isinstance(part, OpaquePart) and part.dialect == "gemini" for part in opaque)
    assert [json.loads(part.payload) for part in opaque if isinstance(part, OpaquePart)] == [
        {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/v1beta/files/abc"}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://example.com/x"}, "videoMetadata": {"fps": 1}},
        executed,
    ]


@pytest.mark.req("GEM-REQ-005")
def test_calls_without_ids_pair_with_their_results_by_name_and_order() -> None:
    def call(name: str, **more: Any) -> dict[str, Any]:
        return {"functionCall": {"name": name, **more}}

    def result(name: str, **more: Any) -> dict[str, Any]:
        return {"functionResponse": {"name": name, "response": {}, **more}}

    body = {
        "contents": [
            {"role": "user", "parts": [{"text": "hi"}]},
            {"role": "model", "parts": [call("f"), call("g"), call("f", id="call_2"), call("f")]},
            {
                "role": "user",
                "parts": [result("g"), result("f"), result("f", id="call_2"), result("f", id="new"), result("h")],
            },
        ]
    }
    items = read(body).items
    assert [item.call_id for item in items if isinstance(item, ToolCallItem)] == [
        "call_1",
        "call_3",
        "call_2",
        "call_4",
    ]
    results = [item.call_id for item in items if isinstance(item, ToolResultItem)]
    assert results == ["call_3", "call_1", "call_2", "call_4", "call_5"]
    assert read(body).items == items


@pytest.mark.req("GEM-REQ-006")
@pytest.mark.parametrize(
    ("response", "text", "failed"),
    [
        ({"output": "x"}, "x", False),
        ({"result": "x"}, "x", False),
        ({"error": "x"}, "x", True),
        ({"error": {"code": 1}}, '{"code": 1}', True),
        ({"error": None}, '{"error": null}', False),
        ({"result": [1]}, "[1]", False),
        ({"temp": 1, "output": "x"}, '{"temp": 1, "output": "x"}', False),
    ],
)
def test_the_answer_of_a_function_is_read_by_convention(response: dict[str, Any], text: str, failed: bool) -> None:
    (item,) = read(contents({"functionResponse": {"id": "c", "name": "f", "response": response}})).items
    assert item == ToolResultItem("c", (TextPart(text),), failed)


@pytest.mark.req("GEM-REQ-007")
def test_contents_of_the_model_in_a_row_are_one_turn() -> None:
    model = [
        {"role": "model", "parts": [part]}
        for part in (
            {"text": "th", "thought": True},
            {"text": "ink", "thought": True},
            {"text": "Hel"},
            {"text": "lo"},
            {"functionCall": {"id": "c", "name": "f"}},
            {"text": ""},
        )
    ]
    items = read({"contents": [{"role": "user", "parts": [{"text": "hi"}]}, *model]}).items
    assert items[1:] == (
        ReasoningItem("think"),
        MessageItem("assistant", (TextPart("Hello"),)),
        ToolCallItem("c", "f", "{}"),
    )


@pytest.mark.req("GEM-REQ-008")
@pytest.mark.parametrize(
    ("config", "choice", "extra"),
    [
        ({"mode": "AUTO"}, ToolChoice("auto"), {}),
        ({"mode": "NONE"}, ToolChoice("none"), {}),
        ({"mode": "any"}, ToolChoice("required"), {}),
        ({"mode": "ANY", "allowedFunctionNames": ["f"]}, ToolChoice("named", "f"), {}),
        (
            {"mode": "ANY", "allowedFunctionNames": ["f", "g"]},
            ToolChoice("required"),
            {"allowedFunctionNames": ["f", "g"]},
        ),
        ({"mode": "VALIDATED"}, ToolChoice("auto"), {"mode": "VALIDATED"}),
        ({"mode": "NEWER"}, None, {"mode": "NEWER"}),
        ({"streamFunctionCallArguments": True}, ToolChoice("auto"), {"streamFunctionCallArguments": True}),
    ],
)
def test_a_choice_of_tools_is_read_and_what_it_cannot_say_is_kept(
    config: dict[str, Any], choice: ToolChoice | None, extra: dict[str, Any]
) -> None:
    tools = [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]
    request = read({**contents({"text": "hi"}), "tools": tools, "toolConfig": {"functionCallingConfig": config}})
    assert request.tool_choice == choice
    path = "toolConfig.functionCallingConfig."
    assert {name: json.loads(bytes(raw)) for name, raw in request.extra.items()} == {
        path + name: value for name, value in extra.items()
    }
    said = sent(request).get("toolConfig", {}).get("functionCallingConfig", {})
    assert {name: said.get(name) for name in config if name != "mode"} == {
        name: value for name, value in config.items() if name != "mode"
    }
    assert said.get("mode", "AUTO") == config.get("mode", "AUTO").upper()


@pytest.mark.req("GEM-REQ-009")
def test_what_only_this_dialect_knows_is_carried_back_and_reported_elsewhere() -> None:
    body = {
        **contents({"text": "hi"}),
        "model": "models/of-the-body",
        "safetySettings": [{"a_b": 1}],
        "cachedContent": "cachedContents/x",
        "toolConfig": {"retrievalConfig": {"languageCode": "de"}},
        "generationConfig": {
            "responseModalities": ["AUDIO"],
            "responseMimeType": "text/x.enum",
            "responseSchema": {"type": "STRING"},
            "thinkingConfig": {"thinkingBudget": -1, "new": 1},
        },
    }
    request = read(body)
    assert set(request.extra) == {
        "safetySettings",
        "cachedContent",
        "toolConfig.retrievalConfig",
        "generationConfig.responseModalities",
        "generationConfig.responseMimeType",
        "generationConfig.responseSchema",
        "generationConfig.thinkingConfig.thinkingBudget",
        "generationConfig.thinkingConfig.new",
    }
    del body["model"]
    assert sent(request) == body
    other = InnerRequest("other", "m", request.items, extra={"logit_bias": Raw(b"{}"), "a.b": Raw(b"1")})
    assert dropped(other) == ("logit_bias", "a.b")
    assert sent(other) == contents({"text": "hi"})


@pytest.mark.req("GEM-REQ-010")
def test_a_schema_of_the_openapi_subset_becomes_json_schema() -> None:
    schema = {
        "type": "OBJECT",
        "property_ordering": ["c", "gone", "a"],
        "properties": {
            "r": {"ref": "#/defs/x", "nullable": True},
            "a": {"type": "STRING", "nullable": True, "enum": ["x"], "minLength": "3"},
            "min_items": {"any_of": [{"type": "NUMBER"}], "nullable": True},
            "c": {"type": "ARRAY", "items": {"type": "INTEGER"}, "max_items": "2", "example": [1]},
        },
    }
    declared = [{"functionDeclarations": [{"name": "f", "parameters": schema}]}]
    (tool,) = read({**contents({"text": "hi"}), "tools": declared}).tools
    assert isinstance(tool, Tool) and tool.schema is not None
    assert list(json.loads(tool.schema)["properties"]) == ["c", "a", "r", "min_items"]
    assert json.loads(tool.schema) == {
        "type": "object",
        "properties": {
            "r": {"anyOf": [{"$ref": "#/$defs/x"}, {"type": "null"}]},
            "a": {"type": ["string", "null"], "enum": ["x", None], "minLength": 3},
            "min_items": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "c": {"type": "array", "items": {"type": "integer"}, "maxItems": 2, "examples": [[1]]},
        },
    }


def _converted(schema: dict[str, Any]) -> Any:
    declared = [{"functionDeclarations": [{"name": "f", "parameters": schema}]}]
    (tool,) = read({**contents({"text": "hi"}), "tools": declared}).tools
    assert isinstance(tool, Tool) and tool.schema is not None
    return json.loads(tool.schema)


@pytest.mark.req("GEM-REQ-010")
@pytest.mark.parametrize(
    ("schema", "converted"),
    [
        (
            {"type": "OBJECT", "properties": {"pet": {"ref": "#/defs/Pet"}}, "defs": {"Pet": {"type": "OBJECT"}}},
            {
                "type": "object",
                "properties": {"pet": {"$ref": "#/$defs/Pet"}},
                "$defs": {"Pet": {"type": "object"}},
            },
        ),
        ({"type": "STRING", "format": "enum", "enum": ["1", "A"]}, {"type": "string", "enum": ["1", "A"]}),
        ({"type": "INTEGER", "format": "enum", "enum": ["101", "2"]}, {"type": "integer", "enum": [101, 2]}),
        (
            {"type": "NUMBER", "nullable": True, "enum": ["1.5", "x", "true", "9" * 99]},
            {"type": ["number", "null"], "enum": [1.5, "x", "true", "9" * 99, None]},
        ),
        ({"type": "INTEGER", "format": "int64"}, {"type": "integer", "format": "int64"}),
    ],
)
def test_references_and_enumerations_of_the_subset_hold_in_json_schema(schema: Any, converted: Any) -> None:
    assert _converted(schema) == converted


@pytest.mark.req("GEM-REQ-010")
def test_json_schema_in_the_place_of_the_subset_keeps_its_bytes() -> None:
    body = b'{"contents":[{"parts":[{"text":"hi"}]}],"tools":[{"functionDeclarations":[{"name":"f","parameters":%b}]}]}'
    schema = b'{ "type":"object", "properties":{"type":{"const":1.50}} }'
    assert CODEC.decode_request(body % schema, ADDRESSED).tools == (Tool("f", schema=schema),)


# --- what providers get ------------------------------------------
@pytest.mark.req("GEM-OUT-001")
def test_leading_instructions_go_on_top_and_later_ones_become_reminders() -> None:
    request = asked(
        MessageItem("system", (TextPart("a"),)),
        MessageItem("developer", (TextPart("b"),)),
        MessageItem("user", (TextPart("hi"),)),
        MessageItem("system", (TextPart("c"),)),
    )
    body = sent(request)
    assert body["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "hi"}, {"text": "<system-reminder>\nc\n</system-reminder>"}]}
    ]
    assert dropped(request) == ("role",)


@pytest.mark.req("GEM-OUT-001")
def test_a_request_of_instructions_only_still_has_contents() -> None:
    request = asked(MessageItem("system", (TextPart("a"),)))
    assert sent(request) == {"contents": [{"role": "user", "parts": [{"text": "a"}]}]}
    assert dropped(request) == ("role",)
    assert sent(asked()) == {"contents": [{"role": "user", "parts": [{"text": " "}]}]}


@pytest.mark.req("GEM-OUT-002")
def test_results_of_parallel_calls_stand_in_one_content_and_carry_the_names_of_their_calls() -> None:
    request = asked(
        MessageItem("user", (TextPart("hi"),)),
        ToolCallItem("c1", "f", '{"a":1}'),
        ToolCallItem("c2", "g", ""),
        ToolResultItem("c2", (TextPart("two"),)),
        ToolResultItem("c1", (TextPart("no"), ImagePart("data:image/png;base64,aGk=")), failed=True),
    )
    _, model, results = sent(request)["contents"]
    assert [part["functionCall"] for part in model["parts"]] == [
        {"id": "c1", "name": "f", "args": {"a": 1}},
        {"id": "c2", "name": "g", "args": {}},
    ]
    assert [part["functionResponse"] for part in results["parts"]] == [
        {"id": "c2", "name": "g", "response": {"output": "two"}},
        {
            "id": "c1",
            "name": "f",
            "response": {"error": "no"},
            "parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}],
        },
    ]


@pytest.mark.req("GEM-OUT-003")
def test_an_answer_of_a_tool_travels_as_text_so_that_long_numbers_live() -> None:
    said = '{"id": 1234567890123456789}'
    call, result = ToolCallItem("c", "f", "{}"), ToolResultItem("c", (TextPart(said),))
    hello = MessageItem("user", (TextPart("hi"),))
    translated, native = asked(hello, call, result), asked(hello, call, result, dialect="gemini")
    assert sent(translated)["contents"][2]["parts"][0]["functionResponse"]["response"] == {"output": said}
    assert sent(native)["contents"][2]["parts"][0]["functionResponse"]["response"] == json.loads(said)


@pytest.mark.req("GEM-OUT-004")
@pytest.mark.parametrize(
    ("part", "wire"),
    [
        (
            ImagePart("https://example.com/a.jpg"),
            {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://example.com/a.jpg"}},
        ),
        (ImagePart("https://example.com/a"), {"fileData": {"fileUri": "https://example.com/a"}}),
        (ImagePart("data:image/png;base64,aGk=", "auto"), {"inlineData": {"mimeType": "image/png", "data": "aGk="}}),
        (AudioPart(data="aGk=", format="mp3"), {"inlineData": {"mimeType": "audio/mp3", "data": "aGk="}}),
        (FilePart(data="data:text/csv;base64,aGk="), {"inlineData": {"mimeType": "text/csv", "data": "aGk="}}),
        (RefusalPart("no"), {"text": "no"}),
        (OpaquePart("gemini", b'{"new":1}'), {"new": 1}),
    ],
)
def test_parts_are_written(part: Part, wire: dict[str, Any]) -> None:
    request = asked(MessageItem("user", (part,)))
    assert sent(request)["contents"][0]["parts"] == [wire]
    assert dropped(request) == ()


@pytest.mark.req("GEM-OUT-005")
@pytest.mark.parametrize(
    ("request_", "names"),
    [
        (asked(MessageItem("user", (ImagePart("data:image/png;base64,aGk=", "high"),))), ("part.detail",)),
        (asked(MessageItem("user", (ImagePart("ftp://x/a.png"),))), ("part.image",)),
        (asked(MessageItem("user", (FilePart(file_id="file-1"),))), ("part.file",)),
        (asked(MessageItem("user", (FilePart(data="data:a/b;base64,aGk=", filename="x"),))), ("part.filename",)),
        (asked(MessageItem("assistant", (AudioPart(id="a1", transcript="hi"),))), ("part.audio",)),
        (asked(MessageItem("user", (OpaquePart("other", b"{}"),))), ("part.opaque",)),
        (asked(MessageItem("system", (ImagePart("https://x/a.png"),)), MessageItem("user", ())), ("part.image",)),
        (asked(MessageItem("user", (TextPart("a"),), "bob")), ("name",)),
        (asked(MessageItem("critic", (TextPart("a"),))), ("role",)),
        (asked(user="u", verbosity="low"), ("user", "verbosity")),
        (asked(parallel_tools=False, tools=(Tool("f"),)), ("parallel_tools",)),
        (asked(parallel_tools=False), ()),
        (asked(parallel_tools=False, tools=(Tool("f"),), tool_choice=ToolChoice("none")), ()),
        (asked(tools=(OpaqueTool("other", b"{}"),)), ("tool.opaque",)),
        (asked(tools=(Tool("f", strict=True),)), ("tool.strict",)),
        (asked(tools=(Tool("f", "custom", format=b"{}"),)), ("tool.custom",)),
        (asked(tool_choice=ToolChoice("required")), ("tool_choice",)),
        (asked(tool_choice=ToolChoice("auto")), ()),
        (asked(thinking=Thinking("max")), ("effort",)),
        (asked(thinking=Thinking("low", 5)), ("effort",)),
        (asked(thinking=Thinking("new")), ("effort",)),
        (asked(sampling=Sampling(stop=("a",) * 6, seed=2**40)), ("seed", "stop")),
        (asked(parallel_tools=True, tools=(Tool("f", strict=False),)), ()),
        (asked(CompactionItem(FOREIGN), ReasoningItem("", FOREIGN)), ()),
    ],
)
def test_what_cannot_be_said_is_reported(request_: InnerRequest, names: tuple[str, ...]) -> None:
    assert dropped(request_) == names
    assert set(names) <= set(INNER_NAMES)


@pytest.mark.req("GEM-OUT-006")
@pytest.mark.parametrize(
    ("thinking", "config"),
    [
        (Thinking("minimal"), {"thinkingLevel": "MINIMAL"}),
        (Thinking("high", shown=True), {"thinkingLevel": "HIGH", "includeThoughts": True}),
        (Thinking("xhigh"), {"thinkingLevel": "HIGH"}),
        (Thinking("none"), {"thinkingBudget": 0}),
        (Thinking(budget=2000, shown=False), {"thinkingBudget": 2000, "includeThoughts": False}),
        (Thinking("low", 5), {"thinkingBudget": 5}),
    ],
)
def test_thinking_is_asked_for_by_level_or_budget(thinking: Thinking, config: dict[str, Any]) -> None:
    assert sent(asked(thinking=thinking))["generationConfig"] == {"thinkingConfig": config}


@pytest.mark.req("GEM-OUT-007")
def test_a_custom_tool_is_a_function_with_one_text() -> None:
    grammar = b'{"type":"grammar","syntax":"regex","definition":"a+"}'
    (declared,) = sent(asked(tools=(Tool("f", "custom", "d", format=grammar),)))["tools"][0]["functionDeclarations"]
    schema = declared.pop("parametersJsonSchema")
    assert declared == {"name": "f", "description": "d"}
    assert (schema["required"], schema["properties"]["input"]["type"]) == (["input"], "string")
    assert schema["properties"]["input"]["description"].endswith("(regex):\na+")


def test_a_level_that_only_this_dialect_knows_comes_back_as_it_was() -> None:
    config = {"thinkingConfig": {"thinkingLevel": "XHIGH", "thinkingBudget": 5}}
    body = {**contents({"text": "hi"}), "generationConfig": config}
    assert sent(read(body)) == body


@pytest.mark.req("GEM-OUT-007")
@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (ToolCallItem("c", "f", "free text", "custom"), {"input": "free text"}),
        (ToolCallItem("c", "f", '{"a":1}', "custom"), {"input": '{"a":1}'}),
        (ToolCallItem("c", "f", '{"a":'), {"arguments": '{"a":'}),
        (ToolCallItem("c", "f", "[1]"), {"arguments": "[1]"}),
        (ToolCallItem("c", "f", "[" * 100_000), {"arguments": "[" * 100_000}),
        (ToolCallItem("c", "f", " "), {}),
    ],
)
def test_arguments_that_are_no_object_are_wrapped_in_one(call: ToolCallItem, arguments: dict[str, Any]) -> None:
    request = asked(MessageItem("user", (TextPart("hi"),)), call)
    assert sent(request)["contents"][1]["parts"][0]["functionCall"]["args"] == arguments


@given(OBJECTS)
def test_arguments_and_schemas_keep_their_bytes(text: str) -> None:
    request = asked(ToolCallItem("c", "f", text), tools=(Tool("f", schema=text.encode()),))
    body = CODEC.encode_request(request, MAKER).body
    assert body.count(text.encode()) == 2


@pytest.mark.req("GEM-OUT-005")
@given(requests())
def test_any_request_can_be_asked_and_what_is_lost_has_a_name(request_: InnerRequest) -> None:
    encoded = CODEC.encode_request(request_, MAKER)
    assert set(encoded.dropped) <= set(INNER_NAMES)
    back = CODEC.decode_request(encoded.body, ADDRESSED)
    calls = [(item.call_id, item.name) for item in back.items if isinstance(item, ToolCallItem)]
    assert calls == [(item.call_id, item.name) for item in request_.items if isinstance(item, ToolCallItem)]
    results = [(item.call_id, item.failed) for item in back.items if isinstance(item, ToolResultItem)]
    assert results == [(item.call_id, item.failed) for item in request_.items if isinstance(item, ToolResultItem)]
    assert _texts(back.items) == _texts(request_.items)


def _texts(items: Items) -> str:
    """What was said, by whomever, in order and without what joins texts or marks a reminder."""
    said = "".join(
        part.text
        for item in items
        if isinstance(item, MessageItem | ToolResultItem)
        for part in item.parts
        if isinstance(part, TextPart | RefusalPart)
    )
    return said.replace("<system-reminder>\n", "").replace("\n</system-reminder>", "").replace("\n", "")


# --- what does not fit -------------------------------------------
@pytest.mark.req("GEM-REQ-011")
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": 5}, "contents"),
        ({"contents": ["x"]}, "contents[0]"),
        ({"contents": [{"role": "user"}]}, "contents[0].parts"),
        ({"contents": [{"role": "system", "parts": [{"text": "x"}]}]}, "contents[0].role"),
        ({"contents": [{"role": 5, "parts": [{"text": "x"}]}]}, "contents[0].role"),
        (contents({"text": "a"}, {}), "contents[0].parts[1]"),
        (contents({"text": 5}), "contents[0].parts[0].text"),
        (contents({"thought": "x"}), "contents[0].parts[0].thought"),
        (contents({"thoughtSignature": 5}), "contents[0].parts[0].thoughtSignature"),
        (contents({"inlineData": {"data": "x"}}), "contents[0].parts[0].inlineData.mimeType"),
        (contents({"inlineData": 5}), "contents[0].parts[0].inlineData"),
        (contents({"fileData": {}}), "contents[0].parts[0].fileData.fileUri"),
        (contents({"functionCall": {}}), "contents[0].parts[0].functionCall.name"),
        (contents({"functionCall": {"name": "f", "args": []}}), "contents[0].parts[0].functionCall.args"),
        (contents({"functionResponse": {"response": "x"}}), "contents[0].parts[0].functionResponse.response"),
        ({**contents({"text": "a"}), "systemInstruction": 5}, "systemInstruction"),
        ({**contents({"text": "a"}), "systemInstruction": {"parts": [{}]}}, "systemInstruction.parts[0]"),
        ({**contents({"text": "a"}), "tools": [5]}, "tools[0]"),
        (
            {**contents({"text": "a"}), "tools": [{"functionDeclarations": [{}]}]},
            "tools[0].functionDeclarations[0].name",
        ),
        (
            {**contents({"text": "a"}), "tools": [{"functionDeclarations": [{"name": "f", "parameters": 5}]}]},
            "tools[0].functionDeclarations[0].parameters",
        ),
        ({**contents({"text": "a"}), "toolConfig": []}, "toolConfig"),
        ({**contents({"text": "a"}), "generationConfig": {"topK": 1.5}}, "generationConfig.topK"),
        ({**contents({"text": "a"}), "generationConfig": {"temperature": "x"}}, "generationConfig.temperature"),
        ({**contents({"text": "a"}), "generationConfig": {"candidateCount": 0}}, "generationConfig.candidateCount"),
        ({**contents({"text": "a"}), "generationConfig": {"stopSequences": [1]}}, "generationConfig.stopSequences"),
    ],
)
def test_a_member_that_does_not_fit_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(body)
    assert caught.value.param == param


@pytest.mark.req("GEM-REQ-012")
@given(damaged(RICH) | st.binary(max_size=40))
def test_damaged_requests_are_refused_or_make_sense(body: bytes) -> None:
    try:
        request = CODEC.decode_request(body, ADDRESSED)
    except InvalidRequest:
        return
    for dialect in ("gemini", "openai_chat"):
        encoded = CODEC.encode_request(InnerRequest(dialect, "m", request.items, request.tools), MAKER)
        assert isinstance(json.loads(encoded.body)["contents"], list)
    CODEC.decode_request(CODEC.encode_request(request, MAKER).body, ADDRESSED)


@pytest.mark.req("GEM-REQ-012")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"contents":' + b"[" * 100_000,
        b'{"contents":[{"parts":[{"text":"\xff"}]}]}',
        b'{"contents":[{"parts":[{"text":"\\ud800"}]}]}',
        b'{"contents":[{"parts":[{"functionCall":{"name":"f","args":'
        + b'{"a":' * 100_000
        + b"1"
        + b"}" * 100_000
        + b"}}]}]}",
        b'{"contents":[{"parts":[{"text":"a"}]}],"tools":[{"functionDeclarations":[{"name":"f","parameters":'
        + b'{"items":' * 100_000
        + b"1"
        + b"}" * 100_000
        + b"}]}]}",
    ],
)
def test_bytes_that_are_no_request_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        CODEC.decode_request(body, ADDRESSED)
