"""Messages, their parts and calls, to and from items."""

from typing import Any, Final

import pytest

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import (
    MessageItem,
    OpaqueState,
    ReasoningItem,
    Tool,
    ToolCallItem,
    ToolResultItem,
)
from posthouse.core.parts import AudioPart, FilePart, ImagePart, OpaquePart, Part, RefusalPart, TextPart
from posthouse.dialects.opaque import seal
from posthouse.dialects.openai_chat import CODEC
from posthouse.dialects.openai_chat_items import ELSEWHERE
from posthouse.dialects.openai_chat_parts import DIALECT, FAILED
from tests.dialects.chat import asked, decode, dropped, encode, messages, user
from tests.dialects.inner import MAKER, PDF, PIXEL


# --- what vendors' clients write ---------------------------------
def test_the_calls_of_2023_become_calls_with_ids() -> None:
    said = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "b"},
    ]
    items = decode({"model": "m", "messages": said}).items
    assert items[1:] == (
        ToolCallItem("function_call_1", "f", "{}"),
        ToolResultItem("function_call_1", (TextPart("b"),)),
    )


def test_marks_beside_what_we_know_do_not_hide_it() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    part = {"type": "text", "text": "a", **mark}
    tool = {"type": "function", "function": {"name": "f", **mark}, **mark}
    request = decode({"model": "m", "messages": [{"role": "user", "content": [part]}], "tools": [tool]})
    assert request.items == (user(),)
    assert request.tools == (Tool("f"),)


@pytest.mark.parametrize(
    ("part", "inner"),
    [
        ({"type": "image_url", "image_url": {"url": PIXEL}}, ImagePart(PIXEL)),
        ({"type": "image_url", "image_url": "https://a.example/b"}, ImagePart("https://a.example/b")),
        ({"type": "input_audio", "input_audio": {"data": "x", "format": "mp3"}}, AudioPart("x", "mp3")),
        ({"type": "file", "file": {"file_id": "f"}}, FilePart("f")),
        ({"type": "file", "file": {"file_data": "JVBERi0=", "filename": "a"}}, FilePart(None, PDF, "a")),
        ({"type": "file", "file": {"file_data": "aGk="}}, FilePart(data="data:application/octet-stream;base64,aGk=")),
        ({"type": "refusal", "refusal": "no"}, RefusalPart("no")),
        ({"type": "video_url", "video_url": 1}, OpaquePart(DIALECT, b'{"type": "video_url", "video_url": 1}')),
    ],
)
def test_a_part_has_an_inner_form(part: dict[str, Any], inner: Part) -> None:
    request = decode({"model": "m", "messages": [{"role": "user", "content": [part]}]})
    assert request.items == (MessageItem("user", (inner,)),)


def test_an_earlier_spoken_answer_is_referred_to() -> None:
    message = {"role": "assistant", "audio": {"id": "audio_1"}}
    request = decode({"model": "m", "messages": [message]})
    assert request.items == (MessageItem("assistant", (AudioPart(id="audio_1"),)),)
    assert encode(request)["messages"][0]["audio"] == {"id": "audio_1"}


def test_thoughts_among_the_parts_are_thoughts() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"}]
    request = decode({"model": "m", "messages": [{"role": "assistant", "content": parts}]})
    assert request.items == (ReasoningItem("hm"), MessageItem("assistant", (TextPart("a"),)))


# --- messages ----------------------------------------------------
def test_one_thought_belongs_to_one_message() -> None:
    said = MessageItem("assistant", (TextPart("a"),))
    items = (ReasoningItem("hm"), said, said, ReasoningItem("so"), ToolCallItem("c", "f", ""))
    assert len(messages(*items)) == 3
    assert decode(CODEC.encode_request(asked(*items), MAKER).body).items == items


@pytest.mark.req("CHAT-REQ-010")
def test_nothing_stands_between_calls_and_their_results() -> None:
    items = (
        ToolCallItem("c1", "f", "{}"),
        ReasoningItem("so"),
        MessageItem("assistant", (TextPart("a"),)),
        ToolCallItem("c2", "f", "{}"),
        MessageItem("assistant", (TextPart("b"), RefusalPart("c"))),
        ToolResultItem("c1", (TextPart("d"),)),
        ToolResultItem("c2", (TextPart("e"),)),
    )
    turn, *results = messages(*items)
    assert [result["role"] for result in results] == ["tool", "tool"]
    assert [call["id"] for call in turn["tool_calls"]] == ["c1", "c2"]
    assert turn["reasoning_content"] == "so"
    assert [part.get("text") or part["refusal"] for part in turn["content"]] == ["a", "b", "c"]


@pytest.mark.req("CHAT-REQ-011")
def test_images_in_results_follow_after_the_last_result() -> None:
    image = ImagePart(PIXEL)
    items = (
        ToolCallItem("c1", "f", "{}"),
        ToolCallItem("c2", "f", "{}"),
        ToolResultItem("c1", (TextPart("seen"), image)),
        ToolResultItem("c2", (image, FilePart(data=PDF))),
        user("and?"),
    )
    _, first, second, extra, last = messages(*items)
    assert first["content"] == "seen"
    assert second["content"] == ELSEWHERE
    assert extra["role"] == "user"
    assert [part["type"] for part in extra["content"]] == ["text", "image_url", "text", "image_url", "file"]
    assert "c1" in extra["content"][0]["text"]
    assert "c2" in extra["content"][2]["text"]
    assert last["content"] == "and?"
    assert messages(*items[:-1])[-1] == extra


@pytest.mark.req("CHAT-REQ-012")
@pytest.mark.parametrize(
    ("parts", "content"),
    [
        ((TextPart("no such file"),), f"{FAILED}\nno such file"),
        ((), FAILED),
        ((ImagePart(PIXEL),), FAILED),
        ((TextPart("a"), TextPart("b")), [{"type": "text", "text": text} for text in (FAILED, "a", "b")]),
    ],
)
def test_a_result_that_failed_says_so(parts: tuple[Part, ...], content: Any) -> None:
    assert messages(ToolResultItem("c", parts, failed=True))[0]["content"] == content


@pytest.mark.parametrize(
    ("role", "part", "content", "lost"),
    [
        ("user", RefusalPart("no"), "no", ()),
        ("system", ImagePart(PIXEL), "", ("part.image",)),
        ("assistant", ImagePart(PIXEL), "", ("part.image",)),
        ("assistant", FilePart("f"), "", ("part.file",)),
        ("assistant", AudioPart(data="x", transcript="hello"), "hello", ("part.audio",)),
        ("assistant", AudioPart(data="x"), "", ("part.audio",)),
        ("user", AudioPart(id="x"), "", ("part.audio",)),
        ("user", OpaquePart("gemini", b"{}"), "", ("part.opaque",)),
        ("new", ImagePart("u"), [{"type": "image_url", "image_url": {"url": "u"}}], ()),
    ],
)
def test_a_message_holds_what_its_role_allows(role: str, part: Part, content: Any, lost: tuple[str, ...]) -> None:
    request = asked(MessageItem(role, (part,)))
    assert encode(request)["messages"] == [{"role": role, "content": content}]
    assert dropped(request) == lost


def test_what_is_empty_is_joined_to_nothing() -> None:
    said, nothing = MessageItem("assistant", (TextPart("a"),)), MessageItem("assistant", ())
    (turn,) = messages(ToolCallItem("c", "f", ""), said, nothing)
    assert turn["content"] == "a"


MANY: Final = 2_000


def test_any_number_of_thoughts_is_one_text() -> None:
    thoughts = [ReasoningItem(f"{number};") for number in range(MANY)]
    (message,) = messages(*thoughts)
    assert message["reasoning_content"] == "".join(thought.text for thought in thoughts)
    first, second = messages(ReasoningItem("a"), MessageItem("assistant", (TextPart("b"),)), ReasoningItem("c"))
    assert (first["reasoning_content"], second["reasoning_content"]) == ("a", "c")


def test_any_number_of_words_beside_an_open_call_is_one_message() -> None:
    words = [MessageItem("assistant", (TextPart(str(number)),)) for number in range(MANY)]
    items = (ToolCallItem("c", "f", "{}"), *words, ToolResultItem("c", (TextPart("ok"),)), *words[:2])
    called, result, zero, one = messages(*items)
    assert [part["text"] for part in called["content"]] == [str(number) for number in range(MANY)]
    assert (result["role"], zero["content"], one["content"]) == ("tool", "0", "1")


def test_each_thought_finds_its_call_among_many() -> None:
    state = OpaqueState("p", "m", "a", b"x")
    sealed = [{"type": "reasoning.encrypted", "data": seal(state), "index": n, "id": f"c{n}"} for n in range(MANY)]
    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": f"c{n}", "type": "function", "function": function} for n in range(MANY)]
    said = {"role": "assistant", "content": None, "tool_calls": calls, "reasoning_details": sealed[::-1]}
    items = decode({"model": "m", "messages": [said]}).items
    assert items[::2] == (ReasoningItem("", state),) * MANY
    assert [item.call_id for item in items[1::2] if isinstance(item, ToolCallItem)] == [f"c{n}" for n in range(MANY)]


def test_an_old_call_needs_a_name() -> None:
    said = [{"role": "assistant", "content": None, "function_call": {"arguments": "{}"}}]
    with pytest.raises(InvalidRequest) as refused:
        decode({"model": "m", "messages": said})
    assert refused.value.param == "messages[0].function_call"
