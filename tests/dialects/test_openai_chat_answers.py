"""Whole answers through the inner form, and back."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from posthouse.core.items import Choice, InnerResponse, Item, MessageItem, ReasoningItem, ToolCallItem
from posthouse.core.parts import AudioPart, RefusalPart, TextPart
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Whole
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat import CODEC
from posthouse.dialects.openai_errors import StreamError
from tests.dialects.chunks import USAGE
from tests.dialects.inner import HEAD, MAKER, answers, model_turns
from tests.dialects.published import approve

_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_OBJECT = {"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
_CUSTOM = {"id": "c", "type": "custom", "custom": {"name": "f"}}


def decode(value: Any) -> InnerResponse:
    return CODEC.decode_response(value if isinstance(value, bytes) else json.dumps(value).encode(), MAKER)


def message(**members: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "hello", "refusal": None, **members}


def answer(*messages: dict[str, Any], finish: Any = "stop", **more: Any) -> dict[str, Any]:
    choices = [
        {"index": index, "message": one, "logprobs": None, "finish_reason": finish}
        for index, one in enumerate(messages)
    ]
    head = {"id": "chatcmpl-abc", "object": "chat.completion", "created": HEAD.created, "model": "m"}
    return {**head, "choices": choices, **more}


def said(value: dict[str, Any]) -> tuple[Item, ...]:
    """What the only choice of an answer says."""
    (choice,) = decode(answer(value)).choices
    return choice.items


@pytest.mark.req("CHAT-WHOLE-004", "CHAT-STATE-004")
@given(answers())
def test_an_answer_of_the_inner_form_survives_the_wire(response: InnerResponse) -> None:
    assert decode(CODEC.encode_response(response, HEAD)) == response


@pytest.mark.req("CHAT-WHOLE-005")
@given(answers(), st.none() | st.sampled_from(["stop", "pause_turn", "new", ""]))
def test_an_answer_is_what_the_published_schema_and_the_sdk_describe(response: InnerResponse, finish: str) -> None:
    other = InnerResponse("x", "x", 0, tuple(Choice(choice.items, finish) for choice in response.choices))
    for one in (response, other):
        body = CODEC.encode_response(one, HEAD)
        approve(json.loads(body), "CreateChatCompletionResponse")
        ChatCompletion.model_validate_json(body, strict=True)


@pytest.mark.req("CHAT-WHOLE-005")
def test_a_spoken_answer_is_what_the_published_schema_describes() -> None:
    spoken = MessageItem("assistant", (AudioPart("UklGRg==", id="audio_1", transcript="hello"),))
    response = InnerResponse("x", "m", 1, (Choice((spoken,), "stop"),))
    body = CODEC.encode_response(response, HEAD)
    approve(json.loads(body), "CreateChatCompletionResponse")
    assert decode(body).choices == response.choices


def test_an_answer_of_thoughts_alone_has_empty_content() -> None:
    response = InnerResponse("abc", "m", HEAD.created, (Choice((ReasoningItem("hm"),), "length"),))
    body = CODEC.encode_response(response, HEAD)
    assert json.loads(body)["choices"][0]["message"]["content"] == ""
    assert decode(body) == response


@pytest.mark.req("CHAT-WHOLE-004")
def test_an_answer_of_the_wire_says_the_same_afterwards() -> None:
    whole = answer(message(reasoning_content="hm", tool_calls=[_CALL]), finish="tool_calls")
    assert json.loads(CODEC.encode_response(decode(whole), HEAD)) == whole


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (message(content=None), (MessageItem("assistant", ()),)),
        (message(reasoning="hm"), (ReasoningItem("hm"), MessageItem("assistant", (TextPart("hello"),)))),
        (message(content=[{"type": "text", "text": "a"}]), (MessageItem("assistant", (TextPart("a"),)),)),
        (message(content="", refusal="no"), (MessageItem("assistant", (RefusalPart("no"),)),)),
        (message(content="", tool_calls=[_CALL]), (ToolCallItem("c", "f", "{}"),)),
        ({"content": "hello"}, (MessageItem("assistant", (TextPart("hello"),)),)),
        (message(content=None, tool_calls=[_OBJECT]), (ToolCallItem("c", "f", '{"a":1}'),)),
        (message(content=None, tool_calls=[_CUSTOM]), (ToolCallItem("c", "f", "", "custom"),)),
    ],
)
def test_vendors_ways_of_saying_it_are_understood(value: dict[str, Any], items: tuple[Item, ...]) -> None:
    assert said(value) == items


@pytest.mark.req("CHAT-WHOLE-006")
def test_a_call_without_an_id_gets_one_of_its_own() -> None:
    nameless = [{"function": {"name": "f", "arguments": "{}"}}, {"id": "", "function": {"name": "g"}}]
    calls = [item for item in said(message(tool_calls=nameless)) if isinstance(item, ToolCallItem)]
    assert len({call.call_id for call in calls}) == 2
    assert all(call.call_id.startswith("call_") and call.call_id.isascii() for call in calls)
    (old,) = said(message(function_call={"name": "f", "arguments": "{}"}))[1:]
    assert isinstance(old, ToolCallItem)
    assert old.call_id not in {call.call_id for call in calls}


@pytest.mark.parametrize(
    ("value", "called", "inner"),
    [
        ("stop", False, "stop"),
        ("stop", True, "tool_calls"),
        ("function_call", True, "tool_calls"),
        ("eos", False, "stop"),
        ("max_tokens", False, "length"),
        ("MAX_TOKENS", False, "length"),
        ("sensitive", False, "content_filter"),
        ("", False, None),
        (None, True, None),
        (5, False, None),
        ("new", False, "new"),
    ],
)
def test_the_reason_of_the_end_has_one_word(value: Any, called: bool, inner: str | None) -> None:
    calls = {"tool_calls": [_CALL]} if called else {}
    assert decode(answer(message(**calls), finish=value)).choices[0].finish == inner


def test_choices_come_in_the_order_of_their_numbers() -> None:
    whole = answer(message(content="a"), message(content="b"))
    whole["choices"].reverse()
    assert [choice.items for choice in decode(whole).choices] == [said(message(content=text)) for text in "ab"]


def test_what_an_answer_says_of_itself_may_be_missing() -> None:
    response = decode({"choices": [], "id": 5, "created": "today", "usage": None})
    assert response == InnerResponse("5", "", 0, ())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"choices":[1]}',
        b'{"choices":[{}]}',
        b'{"choices":[{"message":5}]}',
        b'{"choices":[{"message":{"content":5}}]}',
        b'{"choices":[{"message":{"tool_calls":[{}]}}]}',
        b'{"choices":' + b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_an_error_of_the_dialect(body: bytes) -> None:
    with pytest.raises(DialectError):
        decode(body)


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "id"]), inner),
    max_leaves=6,
)
_MEMBERS = ("role", "content", "refusal", "tool_calls", "function_call", "audio", "reasoning", "reasoning_details")


@pytest.mark.req("CHAT-WHOLE-007")
@given(
    st.dictionaries(st.sampled_from(_MEMBERS), _JUNK),
    st.dictionaries(st.sampled_from(["id", "created", "model", "usage", "choices"]), _JUNK),
    _JUNK,
)
def test_whatever_a_provider_sends_is_read_or_an_error_of_the_dialect(value: Any, head: Any, finish: Any) -> None:
    readers: tuple[Callable[[bytes], object], ...] = (decode, CODEC.read_whole)
    for whole in (answer({**message(), **value}, finish=finish), {**answer(message()), **head}, head):
        body = json.dumps(whole).encode()
        for read in readers:
            try:
                read(body)
            except DialectError:
                continue


@pytest.mark.req("CHAT-WHOLE-008")
def test_the_spine_reads_what_it_needs() -> None:
    counted = answer(message(tool_calls=[_CALL]), finish="function_call", usage=USAGE)
    assert CODEC.read_whole(json.dumps(counted).encode()) == Whole(
        Usage(input=5, output=3), "tool_calls", None, "chatcmpl-abc"
    )
    uncounted = answer(message(), message(content="b"))
    assert CODEC.read_whole(json.dumps(uncounted).encode()).text == "hellob"
    broken = CODEC.read_whole(b'{"error":{"message":"broke","code":5}}')
    assert broken.error == StreamError("broke", None, "5")


@given(model_turns())
def test_text_that_stands_in_several_messages_becomes_one(items: tuple[Item, ...]) -> None:
    twice = (*items, MessageItem("assistant", (TextPart("again"),)))
    (choice,) = decode(CODEC.encode_response(InnerResponse("x", "m", 1, (Choice(twice),)), HEAD)).choices
    (joined,) = _texts(choice.items)
    assert joined == "".join(_texts(twice))


def _texts(items: tuple[Item, ...]) -> list[str]:
    parts = [part for item in items if isinstance(item, MessageItem) for part in item.parts]
    return [part.text for part in parts if isinstance(part, TextPart)]


@pytest.mark.parametrize(
    "more",
    [
        {"refusal": ""},
        {"function_call": {}},
        {"function_call": {"name": None, "arguments": ""}},
        {"function_call": {"name": "", "arguments": None}},
        {"audio": {}},
        {"tool_calls": []},
    ],
)
def test_a_member_that_is_always_written_says_nothing_where_it_is_empty(more: dict[str, Any]) -> None:
    (choice,) = decode(answer(message(**more))).choices
    assert choice == Choice((MessageItem("assistant", (TextPart("hello"),)),), "stop")


def test_usage_inside_a_choice_is_read() -> None:
    told = answer(message())
    told["choices"][0]["usage"] = USAGE
    assert decode(told).usage == Usage(input=5, output=3)


def test_any_number_of_texts_is_one() -> None:
    parts = tuple(TextPart(f"{number};") for number in range(5_000))
    response = InnerResponse("x", "m", 1, (Choice((MessageItem("assistant", parts),), "stop"),))
    said = json.loads(CODEC.encode_response(response, HEAD))["choices"][0]["message"]
    assert said["content"] == "".join(part.text for part in parts)


@pytest.mark.parametrize("arguments", ["", None])
def test_a_function_that_is_called_with_nothing_is_called_with_an_empty_object(arguments: Any) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    (choice,) = decode(answer(message(content=None, tool_calls=[call]), finish="tool_calls")).choices
    assert choice.items == (ToolCallItem("c", "f", "{}"),)
