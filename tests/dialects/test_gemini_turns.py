"""Calls and results on their way to and from gemini, which wants as many results as calls, directly behind them."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from posthouse.core.items import (
    Choice,
    InnerResponse,
    Item,
    MessageItem,
    OpaqueState,
    ReasoningItem,
    ToolCallItem,
    ToolResultItem,
)
from posthouse.core.parts import AudioPart, ImagePart, TextPart
from posthouse.dialects.codec import ReplyHead
from posthouse.dialects.gemini import CODEC
from posthouse.dialects.gemini_contents import ContentReader
from posthouse.dialects.gemini_fields import Members
from posthouse.dialects.gemini_parts import unsealed
from posthouse.dialects.pairing import BEGINNING, NO_RESULT
from tests.dialects.gemini_samples import asked, dropped, read, sent


def _user(text: str = "hi") -> MessageItem:
    return MessageItem("user", (TextPart(text),))


def _call(call_id: str, name: str = "f") -> ToolCallItem:
    return ToolCallItem(call_id, name, "{}")


def _result(call_id: str, text: str = "done") -> ToolResultItem:
    return ToolResultItem(call_id, (TextPart(text),))


def _said(*items: Item) -> list[tuple[str, list[Any]]]:
    """Each content's role, and its texts, calls' ids and results' ids with what they say."""
    told: list[tuple[str, list[Any]]] = []
    for content in sent(asked(*items))["contents"]:
        parts: list[Any] = []
        for part in content["parts"]:
            if (result := part.get("functionResponse")) is not None:
                parts.append((result["id"], result["name"], *result["response"].items()))
            else:
                parts.append(part["functionCall"]["id"] if "functionCall" in part else part["text"])
        told.append((content["role"], parts))
    return told


def test_a_call_without_a_result_is_told_to_have_none() -> None:
    items = (_user(), _call("a"), _call("b", "g"), _result("b"), _user("and?"))
    assert _said(*items) == [
        ("user", ["hi"]),
        ("model", ["a", "b"]),
        ("user", [("b", "g", ("output", "done")), ("a", "f", ("error", NO_RESULT)), "and?"]),
    ]
    assert dropped(asked(*items)) == ()


def test_results_stand_before_what_the_user_said_meanwhile() -> None:
    assert _said(_user(), _call("a"), _user("wait"), _result("a")) == [
        ("user", ["hi"]),
        ("model", ["a"]),
        ("user", [("a", "f", ("output", "done")), "wait"]),
    ]


def test_a_result_without_a_call_is_what_the_user_says() -> None:
    items = (_user(), _result("lost", "42"), _call("a"), _result("a"), _result("a", "again"))
    assert _said(*items) == [
        ("user", ["hi", "42"]),
        ("model", ["a"]),
        ("user", [("a", "f", ("output", "done")), "again"]),
    ]
    assert dropped(asked(*items)) == ("role",)


def test_a_conversation_that_begins_with_a_call_has_somebody_who_asked() -> None:
    assert _said(_call("a"), _result("a")) == [
        ("user", [BEGINNING]),
        ("model", ["a"]),
        ("user", [("a", "f", ("output", "done"))]),
    ]
    assert _said(MessageItem("assistant", (TextPart("hello"),)), _user())[0] == ("model", ["hello"])


def test_turns_of_calls_are_answered_one_by_one() -> None:
    items = (_user(), _call("x"), _result("x", "1"), _call("x"), _result("x", "2"), _call("x"), _result("x", "3"))
    results = [parts for role, parts in _said(*items)[1:] if role == "user"]
    assert results == [[("x", "f", ("output", text))] for text in "123"]


# --- from a client -----------------------------------------------
def _contents(*contents: tuple[str, list[Any]]) -> list[Item]:
    body = {"contents": [{"role": role, "parts": parts} for role, parts in contents]}
    return list(read(body).items)


def _ids(items: list[Item]) -> list[tuple[str, str]]:
    return [
        ("call" if isinstance(item, ToolCallItem) else "result", item.call_id)
        for item in items
        if isinstance(item, ToolCallItem | ToolResultItem)
    ]


_CALLS: dict[str, Any] = {"functionCall": {"name": "f"}}
_ANSWERS: dict[str, Any] = {"functionResponse": {"name": "f", "response": {}}}


def test_a_result_without_an_id_answers_the_last_turn_that_called_not_one_before() -> None:
    asked_for: dict[str, Any] = {"text": "hi"}
    items = _contents(
        ("user", [asked_for]), ("model", [_CALLS]), ("user", [asked_for]), ("model", [_CALLS]), ("user", [_ANSWERS])
    )
    assert _ids(items) == [("call", "call_1"), ("call", "call_2"), ("result", "call_2")]


def test_a_late_result_with_an_id_answers_its_call_wherever_it_was() -> None:
    asked_for: dict[str, Any] = {"text": "hi"}
    first: dict[str, Any] = {"functionCall": {"id": "one", "name": "f"}}
    late: dict[str, Any] = {"functionResponse": {"id": "one", "name": "f", "response": {}}}
    items = _contents(
        ("user", [asked_for]),
        ("model", [first]),
        ("user", [asked_for]),
        ("model", [_CALLS]),
        ("user", [late, _ANSWERS]),
    )
    assert _ids(items) == [("call", "one"), ("call", "call_1"), ("result", "one"), ("result", "call_1")]


def test_pieces_of_one_turn_are_one_turn_of_calls() -> None:
    items = _contents(
        ("user", [{"text": "hi"}]), ("model", [_CALLS]), ("model", [_CALLS]), ("user", [_ANSWERS]), ("user", [_ANSWERS])
    )
    assert _ids(items)[2:] == [("result", "call_1"), ("result", "call_2")]


def test_many_results_are_paired_without_looking_at_every_call() -> None:
    number = 3_000
    reader = ContentReader(unsealed)
    looked = _Counting()
    reader._open = looked
    for role, part in (("model", _CALLS), ("user", _ANSWERS)):
        body = json.dumps({"role": role, "parts": [part] * number}).encode()
        reader.read(Members.of(Raw(body), "contents[0]"))
    assert len(_ids(reader.items)) == 2 * number
    assert not reader._open
    assert looked.asked <= 2 * number


class _Counting(dict[str, int]):
    asked = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.asked += 1
        return super().get(key, default)


def test_pieces_that_a_chat_kept_as_they_streamed_are_one_message() -> None:
    picture: dict[str, Any] = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    items = _contents(
        ("model", [{"text": "a"}]),
        ("model", [{"text": "b"}, {"text": "c"}]),
        ("model", [{"text": "d"}, picture]),
        ("model", [{"text": "e"}]),
        ("user", [{"text": "f"}]),
        ("user", [{"text": "g"}]),
    )
    image = ImagePart("data:image/png;base64,aGk=")
    texts = (TextPart("ab"), TextPart("cd"), image, TextPart("e"))
    assert items == [MessageItem("assistant", texts), _user("f"), _user("g")]


def test_pieces_of_thoughts_are_one_up_to_their_state() -> None:
    thought: dict[str, Any] = {"text": "a", "thought": True}
    sign: dict[str, Any] = {"text": "", "thoughtSignature": "c2ln"}
    items = _contents(
        ("user", [{"text": "hi"}]),
        ("model", [thought]),
        ("model", [thought]),
        ("model", [sign]),
        ("model", [thought]),
        ("model", [thought, {"text": "b"}]),
        ("model", [{"text": "c"}]),
    )
    state = OpaqueState("", "", "", b"c2ln")
    said = MessageItem("assistant", (TextPart("bc"),))
    assert items == [_user(), ReasoningItem("aa", state), ReasoningItem("aa"), said]


@given(st.lists(st.lists(st.sampled_from(["text", "thought", "call", "image"]), min_size=1, max_size=3), max_size=5))
def test_however_a_turn_is_cut_it_means_the_same(pieces: list[list[str]]) -> None:
    parts: dict[str, dict[str, Any]] = {
        "text": {"text": "a"},
        "thought": {"text": "t", "thought": True},
        "call": _CALLS,
        "image": {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
    }
    cut = _contents(("user", [{"text": "hi"}]), *[("model", [parts[kind] for kind in piece]) for piece in pieces])
    whole = [("model", [parts[kind] for piece in pieces for kind in piece])] if pieces else []
    together = _contents(("user", [{"text": "hi"}]), *whole)
    assert _flat(cut) == _flat(together)


def _flat(items: list[Item]) -> list[Any]:
    """Texts and thoughts joined, as whoever reads them sees them."""
    told: list[Any] = []
    for item in items:
        pieces: list[Any] = [("thought", item.text)] if isinstance(item, ReasoningItem) else [item]
        if isinstance(item, MessageItem):
            pieces = [("text", part.text) if isinstance(part, TextPart) else part for part in item.parts]
        for piece in pieces:
            if isinstance(piece, tuple) and told and isinstance(told[-1], tuple) and told[-1][0] == piece[0]:
                told[-1] = (piece[0], told[-1][1] + piece[1])
            else:
                told.append(piece)
    return told


def test_what_sound_says_stands_beside_it_in_an_answer_too() -> None:
    spoken = MessageItem("assistant", (AudioPart("aGk=", "wav", None, "hello"),))
    answer = InnerResponse("id", "m", 0, (Choice((spoken,), "stop"),))
    body = json.loads(CODEC.encode_response(answer, ReplyHead("id", "m", 0)))
    text, sound = body["candidates"][0]["content"]["parts"]
    assert (text, sound["inlineData"]["data"]) == ({"text": "hello"}, "aGk=")
