"""Requests of the inner form as bodies of the Messages API."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

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
from posthouse.dialects.anthropic_messages import CODEC, DEFAULT_MAX_TOKENS
from tests.dialects.inner import MAKER, OTHER, conversations, requests
from tests.dialects.messages import THINKING, Json, judge_body, own

_DIALECT = "anthropic_messages"
_HELLO = MessageItem("user", (TextPart("hi"),))
_WORLD = MessageItem("assistant", (TextPart("hello"),))
_TOOL = Tool("f", schema=b'{"type":"object"}')


def _encode(*items: Item, own: bool = False, **members: Any) -> tuple[Json, tuple[str, ...]]:
    request = InnerRequest(_DIALECT if own else "openai_chat", "claude", items or (_HELLO,), **members)
    encoded = CODEC.encode_request(request, MAKER)
    body: Json = json.loads(encoded.body)
    return body, encoded.dropped


def _messages(*items: Item, own: bool = False) -> list[Json]:
    messages: list[Json] = _encode(*items, own=own)[0]["messages"]
    return messages


def _said(role: str, text: str) -> MessageItem:
    return MessageItem(role, (TextPart(text),))


def test_little_is_said_where_little_is_asked() -> None:
    assert _encode() == (
        {"model": "claude", "max_tokens": DEFAULT_MAX_TOKENS, "messages": [{"role": "user", "content": "hi"}]},
        (),
    )


@pytest.mark.req("MSG-ENC-001")
def test_leading_instructions_are_blocks_of_their_own() -> None:
    body, dropped = _encode(_said("system", "a"), _said("developer", "b"), _HELLO)
    assert body["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert dropped == ()
    assert _encode(_said("system", "a"), _HELLO)[0]["system"] == "a"


@pytest.mark.req("MSG-ENC-001")
def test_later_instructions_are_a_reminder() -> None:
    body, dropped = _encode(_HELLO, _WORLD, _said("developer", "be kind"), _said("user", "more"))
    assert body["messages"][2:] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>\nbe kind\n</system-reminder>"},
                {"type": "text", "text": "more"},
            ],
        }
    ]
    assert dropped == ("role",)


@pytest.mark.req("MSG-ENC-001")
def test_later_instructions_of_this_dialect_keep_their_role() -> None:
    body, dropped = _encode(_HELLO, _said("system", "be kind"), own=True)
    assert body["messages"] == [{"role": "user", "content": "hi"}, {"role": "system", "content": "be kind"}]
    assert dropped == ()


@pytest.mark.req("MSG-ENC-001")
def test_instructions_alone_are_what_the_user_says() -> None:
    body, dropped = _encode(_said("system", "a"), _said("system", "write a poem"))
    assert (body["system"], body["messages"]) == ("a", [{"role": "user", "content": "write a poem"}])
    assert dropped == ("role",)


def test_a_conversation_that_the_assistant_begins_gets_a_beginning() -> None:
    assert [message["role"] for message in _messages(_WORLD, _HELLO)] == ["user", "assistant", "user"]
    assert [message["role"] for message in _messages(_WORLD, _HELLO, own=True)] == ["assistant", "user"]


@pytest.mark.req("MSG-ENC-002")
def test_neighbours_are_one_message() -> None:
    assert _messages(_HELLO, _said("user", "again"), _WORLD, _WORLD) == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "again"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "hello"}, {"type": "text", "text": "hello"}]},
    ]


@pytest.mark.req("MSG-ENC-002")
def test_results_are_brought_to_their_calls_and_what_is_missing_is_said() -> None:
    messages = _messages(
        _HELLO,
        ToolCallItem("a", "f", "{}"),
        ToolCallItem("b", "f", "{}"),
        ToolCallItem("c", "f", "{}"),
        _said("user", "hurry"),
        ToolResultItem("c", (TextPart("three"),), failed=True),
        _WORLD,
        ToolResultItem("a", ()),
    )
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant"]
    assert messages[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c", "content": "three", "is_error": True},
        {"type": "tool_result", "tool_use_id": "a"},
        {
            "type": "tool_result",
            "tool_use_id": "b",
            "content": "The tool was not run: there is no result.",
            "is_error": True,
        },
        {"type": "text", "text": "hurry"},
    ]


@pytest.mark.req("MSG-ENC-002")
def test_a_call_without_a_result_at_the_end_is_answered_too() -> None:
    assert _messages(_HELLO, ToolCallItem("a", "f", "{}"))[2]["content"][0]["is_error"] is True


@pytest.mark.req("MSG-ENC-002")
def test_a_result_whose_call_is_gone_is_what_the_user_says() -> None:
    body, dropped = _encode(ToolResultItem("gone", (TextPart("42"),)), _HELLO)
    assert body["messages"][0]["content"] == [{"type": "text", "text": "42"}, {"type": "text", "text": "hi"}]
    assert dropped == ("role",)


@pytest.mark.req("MSG-ENC-003")
def test_ids_are_plain_unique_and_the_same_on_both_sides() -> None:
    messages = _messages(
        _HELLO,
        ToolCallItem("f:0", "f", "{}"),
        ToolCallItem("f.0", "f", "{}"),
        ToolResultItem("f.0", (TextPart("second"),)),
        ToolResultItem("f:0", (TextPart("first"),)),
        ToolCallItem("f:0", "f", "{}"),
        ToolResultItem("f:0", (TextPart("third"),)),
        ToolCallItem("", "f", "{}"),
        ToolResultItem("", (TextPart("fourth"),)),
    )
    assert [block["id"] for block in messages[1]["content"]] == ["f_0", "f_0_2"]
    assert [(block["tool_use_id"], block["content"]) for block in messages[2]["content"]] == [
        ("f_0_2", "second"),
        ("f_0", "first"),
    ]
    assert messages[3]["content"][0]["id"] == "f_0_3" == messages[4]["content"][0]["tool_use_id"]
    assert messages[5]["content"][0]["id"] == "call" == messages[6]["content"][0]["tool_use_id"]


@pytest.mark.req("MSG-ENC-003")
def test_calls_of_one_id_are_answered_in_order_and_an_abandoned_one_not_by_another_s_result() -> None:
    twins = _messages(
        _HELLO,
        ToolCallItem("", "f", "{}"),
        ToolCallItem("", "g", "{}"),
        ToolResultItem("", (TextPart("f"),)),
        ToolResultItem("", (TextPart("g"),)),
    )
    assert [block["content"] for block in twins[2]["content"]] == ["f", "g"]
    abandoned = _messages(
        _HELLO,
        ToolCallItem("0", "f", "{}"),
        _said("user", "stop"),
        ToolCallItem("0", "g", "{}"),
        ToolResultItem("0", (TextPart("g"),)),
    )
    assert abandoned[2]["content"][0]["is_error"] is True
    assert abandoned[4]["content"][0]["content"] == "g"


@pytest.mark.req("MSG-ENC-004")
@pytest.mark.parametrize(
    ("call", "wire"),
    [
        (ToolCallItem("c", "f", '{ "b": 1.50, "a":[1 ,2]}'), b'"input":{ "b": 1.50, "a":[1 ,2]}'),
        (ToolCallItem("c", "f", ""), b'"input":{}'),
        (ToolCallItem("c", "f", "[1]"), b'"input":{"_raw":"[1]"}'),
        (ToolCallItem("c", "f", '{"a":'), b'"input":{"_raw":"{\\"a\\":"}'),
        (ToolCallItem("c", "f", "run it", "custom"), b'"input":{"input":"run it"}'),
    ],
)
def test_input_is_an_object(call: ToolCallItem, wire: bytes) -> None:
    request = InnerRequest("openai_chat", "m", (_HELLO, call))
    assert wire in CODEC.encode_request(request, MAKER).body


@pytest.mark.req("MSG-STATE-001")
def test_thinking_goes_back_byte_for_byte_to_who_did_it() -> None:
    payload = b'{"type":"thinking", "thinking":"hm","signature":"c2ln"}'
    turn = (_HELLO, ReasoningItem("hm", own(payload)), _WORLD, _HELLO)
    request = InnerRequest("openai_chat", "m", turn)
    assert payload in CODEC.encode_request(request, MAKER).body
    assert b"thinking" not in CODEC.encode_request(request, OTHER).body
    assert CODEC.encode_request(request, OTHER).dropped == ()


@pytest.mark.req("MSG-STATE-001")
def test_thinking_of_an_unknown_maker_goes_back_in_its_own_dialect_only() -> None:
    turn = (_HELLO, ReasoningItem("hm", OpaqueState("", "", "", THINKING)), _WORLD, _HELLO)
    assert json.loads(THINKING) in _messages(*turn, own=True)[1]["content"]
    assert _messages(*turn)[1] == {"role": "assistant", "content": "hello"}


@pytest.mark.req("MSG-STATE-003")
@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b'{"type":"text","text":"x"}', THINKING + b',{"a":1}', b'x"}],"model":"dear"', b"\xff", b"[" * 9999],
)
def test_state_that_a_client_wrote_puts_nothing_else_into_the_body(payload: bytes) -> None:
    assert _messages(_HELLO, ReasoningItem("hm", own(payload)), _WORLD, _HELLO)[1]["content"] == "hello"


def test_a_message_never_ends_with_thinking() -> None:
    thought = ReasoningItem("hm", own(THINKING))
    assert _messages(_HELLO, thought, _said("user", ""), _HELLO) == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "hi"}]}
    ]
    assert _messages(_HELLO, thought) == [{"role": "user", "content": "hi"}]
    assert _messages(_HELLO, _WORLD, thought, thought)[1]["content"] == "hello"


def test_a_compaction_of_its_maker_stays() -> None:
    block = b'{"type":"compaction","content":"so far"}'
    assert _messages(_HELLO, CompactionItem(own(block)), _HELLO)[1]["content"] == [json.loads(block)]


def test_no_one_may_say_blanks() -> None:
    assert _messages(_HELLO, _said("assistant", " \n"), _said("user", ""), _said("assistant", "end \n")) == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "end"},
    ]


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            ImagePart("data:image/JPG;base64,aGk="),
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "aGk="}},
        ),
        (ImagePart("https://x/a", "auto"), {"type": "image", "source": {"type": "url", "url": "https://x/a"}}),
        (
            FilePart(data="data:application/pdf;base64,aGk=", filename="t"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                "title": "t",
            },
        ),
        (
            FilePart(data="data:text/csv;charset=utf-8;base64,w6Q="),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "ä"}},
        ),
        (FilePart(file_id="f"), {"type": "document", "source": {"type": "file", "file_id": "f"}}),
        (
            FilePart(data="data:image/png;base64,aGk="),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        ),
        (RefusalPart("no"), {"type": "text", "text": "no"}),
        (OpaquePart(_DIALECT, b'{"type":"container_upload"}'), {"type": "container_upload"}),
    ],
)
def test_a_part_has_its_block(part: Part, block: Json) -> None:
    body, dropped = _encode(MessageItem("user", (part, TextPart("x"))))
    assert body["messages"][0]["content"] == [block, {"type": "text", "text": "x"}]
    assert dropped == ()


@pytest.mark.req("MSG-ENC-006")
@pytest.mark.parametrize(
    ("part", "name"),
    [
        (ImagePart("data:image/tiff;base64,aGk="), "part.image"),
        (ImagePart("gs://bucket/a.png"), "part.image"),
        (FilePart(data="data:audio/ogg;base64,aGk="), "part.file"),
        (FilePart(data="data:text/plain;base64,!"), "part.file"),
        (FilePart(data="data:text/plain;base64,/w=="), "part.file"),
        (FilePart(data="aGk="), "part.file"),
        (FilePart(filename="x"), "part.file"),
        (AudioPart(data="x", format="wav"), "part.audio"),
        (OpaquePart("other", b"{}"), "part.opaque"),
    ],
)
def test_a_part_that_cannot_be_said_is_named(part: Part, name: str) -> None:
    body, dropped = _encode(MessageItem("user", (part, TextPart("x"))))
    assert (body["messages"][0]["content"], dropped) == ("x", (name,))


@pytest.mark.req("MSG-ENC-006")
def test_an_image_has_no_title() -> None:
    part = FilePart(data="data:image/png;base64,aGk=", filename="a.png")
    assert _encode(MessageItem("user", (part,)))[1] == ("part.filename",)


def test_what_was_spoken_is_told_as_text() -> None:
    body, dropped = _encode(_HELLO, MessageItem("assistant", (AudioPart(id="a", transcript="hello"),)), _HELLO)
    assert (body["messages"][1]["content"], dropped) == ("hello", ("part.audio",))


@pytest.mark.req("MSG-ENC-006")
def test_the_assistant_and_instructions_have_text_only() -> None:
    image, file = ImagePart("https://x/a"), FilePart(file_id="f")
    body, dropped = _encode(
        MessageItem("system", (TextPart("s"), image)), _HELLO, MessageItem("assistant", (TextPart("a"), file)), _HELLO
    )
    assert (body["system"], body["messages"][1]["content"]) == ("s", "a")
    assert dropped == ("part.image", "part.file")


@pytest.mark.req("MSG-ENC-006")
def test_what_has_no_word_is_named_once_and_in_order() -> None:
    extra = {"logit_bias": Raw(b"{}"), "seed": Raw(b"1")}
    _, dropped = _encode(
        MessageItem("user", (ImagePart("https://x", "high"), TextPart("x")), "ann"),
        MessageItem("critic", (ImagePart("https://x", "low"),)),
        tools=(OpaqueTool("other", b"{}"), Tool("c", "custom"), Tool("d", "custom")),
        verbosity="low",
        user="someone@example.com",
        sampling=Sampling(choices=2, seed=1, presence_penalty=0.5, frequency_penalty=-1, stop=("\n", "x")),
        extra=extra,
    )
    assert dropped == (
        "name",
        "part.detail",
        "role",
        "tool.opaque",
        "tool.custom",
        "stop",
        "user",
        "verbosity",
        "choices",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
    )


@pytest.mark.req("MSG-ENC-006")
def test_what_is_everyone_s_default_is_not_missed() -> None:
    sampling = Sampling(choices=1, presence_penalty=0, frequency_penalty=0, temperature=0.5, top_p=1)
    body, dropped = _encode(sampling=sampling, output_format=OutputFormat("text"), tool_choice=ToolChoice("auto"))
    assert dropped == ()
    assert body["temperature"] == 0.5 and "top_p" not in body


def test_members_of_this_dialect_come_out_as_they_went_in() -> None:
    body, dropped = _encode(own=True, extra={"service_tier": Raw(b'"auto"'), "container": Raw(b'{"id": "x"}')})
    assert (body["service_tier"], body["container"], dropped) == ("auto", {"id": "x"}, ())


@pytest.mark.req("MSG-ENC-006")
@pytest.mark.parametrize(
    ("sampling", "thinking", "said", "dropped"),
    [
        (Sampling(temperature=1.5), Thinking(), {"temperature": 1.0}, ("temperature",)),
        (Sampling(temperature=0.5, top_p=0.9), Thinking(), {"temperature": 0.5}, ("top_p",)),
        (Sampling(top_p=0.9, top_k=5), Thinking(), {"top_p": 0.9, "top_k": 5}, ()),
        (Sampling(temperature=0.5, top_k=5), Thinking("low"), {}, ("temperature", "top_k")),
        (Sampling(temperature=1, top_p=1), Thinking("low"), {"temperature": 1.0}, ()),
        (Sampling(top_p=0.9), Thinking("low"), {}, ("top_p",)),
        (Sampling(top_p=0.97), Thinking("low"), {"top_p": 0.97}, ()),
        (Sampling(temperature=0.5), Thinking("none"), {"temperature": 0.5}, ()),
    ],
)
def test_sampling_is_kept_to_what_the_api_takes(
    sampling: Sampling, thinking: Thinking, said: Json, dropped: tuple[str, ...]
) -> None:
    body, lost = _encode(sampling=sampling, thinking=thinking)
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == said
    assert lost == dropped


@pytest.mark.req("MSG-ENC-005")
@pytest.mark.parametrize(
    ("thinking", "limit", "wire", "max_tokens", "dropped"),
    [
        (Thinking("none"), None, {"type": "disabled"}, DEFAULT_MAX_TOKENS, ()),
        (Thinking(budget=0), 100, {"type": "disabled"}, 100, ()),
        (Thinking("high"), 100, {"type": "adaptive"}, 100, ()),
        (Thinking("minimal", shown=False), 100, {"type": "adaptive", "display": "omitted"}, 100, ()),
        (Thinking("unheard"), 100, None, 100, ("effort",)),
        (Thinking(shown=True), 100, {"type": "adaptive", "display": "summarized"}, 100, ()),
        (Thinking(budget=2000), 3000, {"type": "enabled", "budget_tokens": 2000}, 3000, ()),
        (
            Thinking(budget=20_000),
            None,
            {"type": "enabled", "budget_tokens": 20_000},
            DEFAULT_MAX_TOKENS + 20_000,
            (),
        ),
        (Thinking(budget=5), 3000, {"type": "enabled", "budget_tokens": 1024}, 3000, ("thinking_budget",)),
        (Thinking(budget=9000), 3000, {"type": "enabled", "budget_tokens": 2999}, 3000, ("thinking_budget",)),
        (Thinking(budget=2000), 1024, None, 1024, ("thinking_budget",)),
        (Thinking(budget=2000), 0, None, 0, ("thinking_budget",)),
    ],
)
def test_how_much_to_think_fits_into_the_limit(
    thinking: Thinking, limit: int | None, wire: Json | None, max_tokens: int, dropped: tuple[str, ...]
) -> None:
    body, lost = _encode(thinking=thinking, sampling=Sampling(max_output=limit))
    assert (body.get("thinking"), body["max_tokens"], lost) == (wire, max_tokens, dropped)


def test_an_effort_is_a_word_of_the_output() -> None:
    assert _encode(thinking=Thinking("minimal"))[0]["output_config"] == {"effort": "low"}
    assert _encode(thinking=Thinking("xhigh", 2000))[0]["output_config"] == {"effort": "xhigh"}
    assert "output_config" not in _encode(thinking=Thinking("none"))[0]
    assert _encode(thinking=Thinking("later"), own=True)[0]["output_config"] == {"effort": "later"}


@pytest.mark.req("MSG-ENC-005")
@pytest.mark.parametrize("mode", ["required", "named"])
def test_a_budget_does_not_go_with_a_forced_choice_but_an_effort_does(mode: Any) -> None:
    choice = ToolChoice(mode, "f" if mode == "named" else None)
    body, dropped = _encode(tools=(_TOOL,), tool_choice=choice, thinking=Thinking(budget=2000))
    assert ("thinking" in body, dropped) == (False, ("thinking_budget",))
    body, dropped = _encode(tools=(_TOOL,), tool_choice=choice, thinking=Thinking("high"))
    assert (body["thinking"], dropped) == ({"type": "adaptive"}, ())


_THOUGHT = ReasoningItem("hm", OpaqueState(MAKER.provider, MAKER.model, MAKER.account, THINKING))
_CALL = (ToolCallItem("c", "f", "{}"), ToolResultItem("c", (TextPart("x"),)))


@pytest.mark.req("MSG-ENC-005")
@pytest.mark.parametrize(
    ("items", "thinks"),
    [
        ((_HELLO, _THOUGHT, *_CALL), True),
        ((_HELLO, *_CALL), False),
        ((_HELLO, _WORLD, _THOUGHT, *_CALL), False),
        ((_HELLO, *_CALL, _THOUGHT, *_CALL), False),
        ((_HELLO, _THOUGHT, *_CALL, _THOUGHT, *_CALL), True),
        ((_HELLO, *_CALL, _WORLD, _HELLO, _THOUGHT, *_CALL), True),
        ((_HELLO, _WORLD, _HELLO), True),
    ],
)
def test_a_budget_needs_the_thinking_of_the_calls_that_are_under_way(items: tuple[Item, ...], thinks: bool) -> None:
    body, dropped = _encode(*items, thinking=Thinking(budget=2000))
    assert (body.get("thinking", {}).get("type") == "enabled") is thinks
    assert dropped == (() if thinks else ("thinking_budget",))
    assert _encode(*items, thinking=Thinking("low"))[0]["thinking"] == {"type": "adaptive"}


@pytest.mark.parametrize(
    ("choice", "parallel", "wire"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("none"), False, {"type": "none"}),
        (ToolChoice("required"), True, {"type": "any", "disable_parallel_tool_use": False}),
        (ToolChoice("named", "f"), None, {"type": "tool", "name": "f"}),
    ],
)
def test_a_choice_of_tools(choice: ToolChoice | None, parallel: bool | None, wire: Json | None) -> None:
    body, dropped = _encode(tools=(_TOOL,), tool_choice=choice, parallel_tools=parallel)
    assert (body.get("tool_choice"), dropped) == (wire, ())


@pytest.mark.req("MSG-ENC-006")
def test_without_tools_nothing_is_chosen() -> None:
    body, dropped = _encode(tool_choice=ToolChoice("required"), parallel_tools=False)
    assert ("tool_choice" in body, dropped) == (False, ("tool_choice",))


@pytest.mark.req("MSG-ENC-006")
def test_a_custom_tool_is_a_function_with_one_text() -> None:
    tool = Tool("sql", "custom", "Runs SQL.", format=b'{"type":"grammar","syntax":"lark","definition":"start: /a+/"}')
    body, dropped = _encode(tools=(tool,))
    (said,) = body["tools"]
    member = said["input_schema"]["properties"]["input"]
    assert (said["name"], said["description"], said["input_schema"]["required"]) == ("sql", "Runs SQL.", ["input"])
    assert (member["type"], member["description"].rpartition("\n")[2]) == ("string", "start: /a+/")
    assert dropped == ("tool.custom",)


@pytest.mark.parametrize(
    ("schema", "wire"),
    [
        (None, {"type": "object"}),
        (b"{}", {"type": "object"}),
        (b'{"properties":{"a":{}}}', {"type": "object", "properties": {"a": {}}}),
        (b"[]", {"type": "object"}),
        (b"nonsense", {"type": "object"}),
        (b'{"type":"object","anyOf":[]}', {"type": "object", "anyOf": []}),
    ],
)
def test_a_function_takes_an_object(schema: bytes | None, wire: Json) -> None:
    assert _encode(tools=(Tool("f", schema=schema),))[0]["tools"] == [{"name": "f", "input_schema": wire}]


@pytest.mark.req("MSG-ENC-007")
def test_a_strict_function_has_a_schema_that_binds() -> None:
    schema = b'{"type":"object","properties":{"n":{"type":"integer","minimum":1}}}'
    body, dropped = _encode(tools=(Tool("f", schema=schema, strict=True),))
    assert body["tools"] == [
        {
            "name": "f",
            "input_schema": {
                "type": "object",
                "properties": {"n": {"type": "integer", "description": '{"minimum":1}'}},
                "additionalProperties": False,
            },
            "strict": True,
        }
    ]
    assert dropped == ("tool.strict",)


@pytest.mark.req("MSG-ENC-007")
def test_a_format_binds_by_its_schema() -> None:
    output = OutputFormat("json_schema", "answer", "words", b'{"type":"object","properties":{}}', True)
    body, dropped = _encode(output_format=output)
    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {"type": "object", "properties": {}, "additionalProperties": False},
    }
    assert dropped == ()
    loose = OutputFormat("json_schema", schema=b'{"type":"string","pattern":"a+"}')
    assert _encode(output_format=loose)[1] == ("output_format",)
    body, _ = _encode(output_format=output, own=True)
    assert body["output_config"]["format"]["schema"] == {"type": "object", "properties": {}}


@pytest.mark.req("MSG-ENC-006")
@pytest.mark.parametrize(
    "output", [OutputFormat("json_object"), OutputFormat("json_schema"), OutputFormat("json_schema", schema=b"5")]
)
def test_a_wish_for_json_is_an_instruction(output: OutputFormat) -> None:
    body, dropped = _encode(output_format=output)
    assert "JSON object" in body["system"]
    assert ("output_config" in body, dropped) == (False, ("output_format",))


@pytest.mark.parametrize(
    ("user", "said"),
    [("u-42", True), ("a@example.com", False), ("+44 20 7946 0958", False), ("x" * 257, False)],
)
def test_a_user_is_named_unless_personally(user: str, said: bool) -> None:
    body, dropped = _encode(user=user)
    assert ("metadata" in body, dropped) == (said, () if said else ("user",))


def _signed(item: Item) -> Item:
    """Thinking with state as this dialect has it."""
    return replace(item, state=own(THINKING)) if isinstance(item, ReasoningItem) and item.state is not None else item


@pytest.mark.req("MSG-ENC-002", "MSG-ENC-003", "MSG-ENC-005")
@given(requests(), st.sampled_from([MAKER, OTHER]), st.none() | st.integers(0, 50_000))
def test_whatever_is_asked_the_api_would_not_refuse_it(request: InnerRequest, maker: Any, budget: int | None) -> None:
    items = tuple(map(_signed, request.items))
    asked = replace(request, items=items, thinking=replace(request.thinking, budget=budget))
    encoded = CODEC.encode_request(asked, maker)
    judge_body(json.loads(encoded.body))
    assert len(set(encoded.dropped)) == len(encoded.dropped)


@pytest.mark.req("MSG-ENC-002", "MSG-ENC-003")
@given(st.permutations(range(8)), conversations())
def test_items_in_any_order_become_a_lawful_conversation(order: list[int], items: tuple[Item, ...]) -> None:
    shuffled = tuple(_signed(items[place]) for place in order if place < len(items))
    judge_body(_encode(*shuffled, _HELLO)[0])
