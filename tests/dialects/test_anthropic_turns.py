"""Calls and their results on their way to the Messages API, which wants each beside the other."""

import json
from typing import Any

import pytest

from posthouse.core.items import InnerRequest, Item, MessageItem, ToolCallItem, ToolResultItem
from posthouse.core.parts import ImagePart, Part, TextPart
from posthouse.dialects.anthropic_messages import CODEC
from posthouse.dialects.anthropic_parts import ToolIds
from posthouse.dialects.pairing import paired
from tests.dialects.inner import MAKER
from tests.dialects.messages import Json

_HELLO = MessageItem("user", (TextPart("hi"),))


def _messages(*items: Item, dialect: str = "openai_chat") -> list[Json]:
    encoded = CODEC.encode_request(InnerRequest(dialect, "claude", items), MAKER)
    messages: list[Json] = json.loads(encoded.body)["messages"]
    return messages


def _result(*parts: Part, dialect: str = "gemini") -> Any:
    call, result = ToolCallItem("a", "f", "{}"), ToolResultItem("a", parts, failed=True)
    return _messages(_HELLO, call, result, dialect=dialect)[-1]["content"]


@pytest.mark.parametrize("parts", [(), (TextPart(""),), (TextPart(" \n"),)])
def test_a_failure_without_words_is_given_some(parts: tuple[Part, ...]) -> None:
    [block] = _result(*parts)
    assert block["is_error"] is True
    assert block["content"].strip()


def test_a_picture_of_a_failure_stands_beside_it() -> None:
    picture = ImagePart("https://example.com/a.png")
    result, image = _result(TextPart("broke"), picture)
    assert result == {"type": "tool_result", "tool_use_id": "a", "content": "broke", "is_error": True}
    assert image["type"] == "image"
    result, image = _result(picture)
    assert (result["content"] != "", image["type"]) == (True, "image")


def test_pictures_of_failures_stand_after_all_results() -> None:
    calls = ToolCallItem("a", "f", "{}"), ToolCallItem("b", "f", "{}")
    failed = ToolResultItem("a", (ImagePart("https://example.com/a.png"),), failed=True)
    blocks = _messages(_HELLO, *calls, failed, ToolResultItem("b", (TextPart("fine"),)))[-1]["content"]
    assert [block["type"] for block in blocks] == ["tool_result", "tool_result", "image"]


def test_what_a_client_of_this_dialect_wrote_of_a_failure_stays() -> None:
    picture = ImagePart("https://example.com/a.png")
    [block] = _result(picture, dialect="anthropic_messages")
    assert block["content"][0]["type"] == "image"
    assert "content" not in _result(dialect="anthropic_messages")[0]


def test_ids_that_stand_for_many_calls_are_numbered_in_one_step_each() -> None:
    ids = ToolIds()
    looked = _Counting()
    ids._taken = looked
    names = [ids.new("x") for _ in range(400)]
    assert names[:3] == ["x", "x_2", "x_3"]
    assert len(set(names)) == 400
    assert looked.asked < 400 * 6


class _Counting(dict[str, int]):
    asked = 0

    def __contains__(self, key: object) -> bool:
        self.asked += 1
        return super().__contains__(key)


def test_an_id_that_looks_numbered_already_is_given_once_too() -> None:
    ids = ToolIds()
    names = [ids.new(name) for name in ("x", "x_2", "x", "x_2", "x", "", "?", "")]
    assert names == ["x", "x_2", "x_3", "x_2_2", "x_4", "call", "_", "call_2"]


def test_results_go_to_the_first_open_call_of_the_latest_message() -> None:
    calls = [ToolCallItem("x", "f", json.dumps({"n": n})) for n in range(4)]
    results = [ToolResultItem("x", (TextPart(str(n)),)) for n in range(5)]
    items: list[Item] = [*calls[:2], _HELLO, *calls[2:], *results]
    answers, orphans = paired(tuple(items))
    assert {place: found[0] for place, found in answers.items()} == {3: 5, 4: 6, 0: 7, 1: 8}
    assert orphans == {9}
