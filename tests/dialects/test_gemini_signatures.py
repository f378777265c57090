"""Opaque state of gemini: signatures on parts, to the model that made them and to nobody else."""

import json
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
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
from posthouse.core.parts import TextPart
from posthouse.dialects.codec import Maker
from posthouse.dialects.gemini import CODEC, own_contents
from posthouse.dialects.gemini_contents import NOBODYS_SIGNATURE
from posthouse.dialects.gemini_parts import sealed, unsealed
from posthouse.dialects.opaque import seal
from tests.dialects.gemini_samples import (
    FOREIGN,
    HEAD,
    MAKER,
    NOBODYS,
    OWN,
    STATES,
    asked,
    dropped,
    model_items,
    read,
    sent,
)

_HI = MessageItem("user", (TextPart("hi"),))
_SAID = MessageItem("assistant", (TextPart("so"),))
_CALL = ToolCallItem("c1", "f", "{}")
_RESULT = ToolResultItem("c1", (TextPart("x"),))


def _model_parts(*items: Item, dialect: str = "other", maker: Maker = MAKER) -> list[dict[str, Any]]:
    body = sent(asked(_HI, *items, dialect=dialect), maker)
    return [part for content in body["contents"] if content["role"] == "model" for part in content["parts"]]


# --- from a client -----------------------------------------------
@pytest.mark.req("GEM-STATE-001")
def test_a_signature_is_state_before_the_item_whose_part_bears_it() -> None:
    parts = [
        {"text": "a", "thoughtSignature": "AbC="},
        {"text": "hm", "thought": True},
        {"functionCall": {"id": "c", "name": "f"}, "thoughtSignature": "cGgx"},
        {"text": "", "thoughtSignature": "zzz"},
    ]
    items = read({"contents": [{"role": "model", "parts": parts}]}).items

    def nobodys(signature: bytes) -> OpaqueState:
        return OpaqueState("", "", "", signature)

    assert items == (
        ReasoningItem("", nobodys(b"AbC=")),
        MessageItem("assistant", (TextPart("a"),)),
        ReasoningItem("hm", nobodys(b"cGgx")),
        ToolCallItem("c", "f", "{}"),
        ReasoningItem("", nobodys(b"zzz")),
    )
    assert _model_parts(*items, dialect="gemini") == [
        parts[0],
        parts[1],
        {"functionCall": {"id": "c", "name": "f", "args": {}}, "thoughtSignature": "cGgx"},
        parts[3],
    ]


@pytest.mark.req("GEM-STATE-002")
@given(model_items())
def test_state_of_any_maker_comes_back_from_the_client_that_it_was_given_to(items: list[Item]) -> None:
    answer = json.loads(CODEC.encode_response(InnerResponse("", "", 0, (Choice(tuple(items), "stop"),)), HEAD))
    content = answer["candidates"][0]["content"]
    assert _parsed(read({"contents": [content]}).items) == _parsed(items)
    # google-genai 3.4 decodes the field and writes it in the other alphabet.
    for part in content["parts"]:
        if "thoughtSignature" in part:
            raw = b64decode(part["thoughtSignature"].translate(str.maketrans("-_", "+/")), validate=True)
            if raw.startswith(b"ph1."):
                part["thoughtSignature"] = urlsafe_b64encode(raw).decode()
    assert _parsed(read({"contents": [content]}).items) == _parsed(items)


def _parsed(items: Iterable[Item]) -> list[Any]:
    return [(item.name, json.loads(item.arguments)) if isinstance(item, ToolCallItem) else item for item in items]


@given(STATES)
def test_a_sealed_signature_is_base64_and_opens_again(state: OpaqueState) -> None:
    signature = sealed(state)
    assert unsealed(signature) == state
    if state != NOBODYS:
        assert b64decode(signature, validate=True) == seal(state).encode()


@pytest.mark.parametrize("signature", ["cGgxLg==", "cGgx*", "cGgxLmFiYw", "ph1.abc", "é"])
def test_what_is_damaged_or_only_looks_sealed_is_the_dialects_own(signature: str) -> None:
    assert unsealed(signature) == OpaqueState("", "", "", signature.encode())


# --- to a provider -----------------------------------------------
@pytest.mark.req("GEM-STATE-003")
@pytest.mark.parametrize("dialect", ["gemini", "other"])
def test_state_goes_back_to_its_maker_on_the_part_that_follows(dialect: str) -> None:
    items = (ReasoningItem("hm", OWN), _SAID, ReasoningItem("", OWN), _CALL, ReasoningItem("", OWN))
    assert _model_parts(*items, dialect=dialect) == [
        {"text": "hm", "thought": True},
        {"text": "so", "thoughtSignature": "b3du"},
        {"functionCall": {"id": "c1", "name": "f", "args": {}}, "thoughtSignature": "b3du"},
        {"text": "", "thoughtSignature": "b3du"},
    ]


@pytest.mark.req("GEM-STATE-003")
@pytest.mark.parametrize(
    "maker", [Maker("vendor", "gem-3", "else"), Maker("vendor", "gem-4", "main"), Maker("else", "gem-3", "main")]
)
def test_state_of_another_model_or_account_is_left_out_without_a_word(maker: Maker) -> None:
    request = asked(_HI, ReasoningItem("hm", OWN), _SAID)
    assert "thoughtSignature" not in json.dumps(sent(request, maker))
    assert dropped(asked(_HI, ReasoningItem("", FOREIGN), _SAID)) == ()


@pytest.mark.req("GEM-STATE-003")
def test_state_of_unknown_maker_goes_back_only_where_the_client_speaks_this_dialect() -> None:
    items = (ReasoningItem("", NOBODYS), _SAID)
    assert _model_parts(*items, dialect="gemini")[0]["thoughtSignature"] == NOBODYS.payload.decode()
    assert "thoughtSignature" not in _model_parts(*items, dialect="other")[0]


@pytest.mark.req("GEM-STATE-003")
def test_thoughts_of_others_are_left_out_like_their_state() -> None:
    thoughts = (ReasoningItem("hm"), ReasoningItem("so", FOREIGN), ReasoningItem("my", OWN))
    assert _model_parts(*thoughts, _SAID, dialect="other") == [
        {"text": "my", "thought": True},
        {"text": "so", "thoughtSignature": "b3du"},
    ]
    assert [part["text"] for part in _model_parts(*thoughts, _SAID, dialect="gemini")] == ["hm", "so", "my", "so"]


@pytest.mark.req("GEM-STATE-003")
def test_state_at_the_end_of_a_turn_closes_it_before_the_next_begins() -> None:
    body = sent(asked(_HI, _SAID, ReasoningItem("", OWN), _HI))
    assert [content["role"] for content in body["contents"]] == ["user", "model", "user"]
    assert body["contents"][1]["parts"] == [{"text": "so"}, {"text": "", "thoughtSignature": "b3du"}]


@pytest.mark.req("GEM-STATE-004")
def test_the_first_call_of_every_step_of_the_current_turn_bears_a_signature() -> None:
    items = (
        ToolCallItem("c0", "f", "{}"),
        ToolResultItem("c0", (TextPart("x"),)),
        _SAID,
        _HI,  # the current turn begins
        _SAID,
        _CALL,
        ToolCallItem("c2", "f", "{}"),
        _RESULT,
        ReasoningItem("", OWN),
        ToolCallItem("c3", "f", "{}"),
        ToolResultItem("c3", (TextPart("x"),)),
        ReasoningItem("", FOREIGN),
        ToolCallItem("c4", "f", "{}"),
        ToolResultItem("c4", (TextPart("x"),)),
    )
    calls = {
        part["functionCall"]["id"]: part.get("thoughtSignature")
        for part in _model_parts(*items)
        if "functionCall" in part
    }
    assert calls == {"c0": None, "c1": NOBODYS_SIGNATURE, "c2": None, "c3": "b3du", "c4": NOBODYS_SIGNATURE}


# --- where bytes pass --------------------------------------------
def _passed(contents: Any, maker: Maker = MAKER) -> Any:
    return json.loads(bytes(own_contents(Raw(json.dumps(contents).encode()), maker)))


@pytest.mark.req("GEM-STATE-005")
def test_contents_without_sealed_state_pass_as_they_are() -> None:
    for body in (
        b'[ {"parts":[{"text":"a","thoughtSignature":"AbC="}]} ]',
        b'["cGgx',
        b'{"cGgx":1}',
        b'[{"parts":"cGgx"}]',
    ):
        raw = Raw(body)
        assert own_contents(raw, MAKER) is raw


@pytest.mark.req("GEM-STATE-005")
def test_a_content_or_a_part_that_stands_alone_is_opened_too() -> None:
    part = {"text": "a", "thoughtSignature": sealed(OWN)}
    opened = [{"role": "model", "parts": [{"text": "a", "thoughtSignature": "b3du"}]}]
    assert _passed({"role": "model", "parts": [part]}) == opened
    assert _passed([{"role": "model", "parts": part}]) == opened


@pytest.mark.req("GEM-STATE-005")
@pytest.mark.parametrize("name", ["thoughtSignature", "thought_signature"])
def test_sealed_state_is_opened_for_its_maker_and_taken_out_for_others(name: str) -> None:
    contents = [
        {"role": "user", "parts": [{"text": "hi", "new": 1.50}]},
        {
            "role": "model",
            "parts": [
                {"text": "a", name: sealed(OWN)},
                {"text": "", name: sealed(FOREIGN)},
                {"functionCall": {"name": "f"}, name: sealed(FOREIGN)},
                {"text": "b", name: "AbC="},
            ],
        },
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
    ]
    assert _passed(contents)[1]["parts"] == [
        {"text": "a", name: "b3du"},
        {"functionCall": {"name": "f"}, "thoughtSignature": NOBODYS_SIGNATURE},
        {"text": "b", name: "AbC="},
    ]
    assert _passed(contents)[::2] == contents[::2]
    assert _passed(contents, Maker("x", "y", "z"))[1]["parts"][0] == {"text": "a"}
    assert _passed([{"role": "model", "parts": [{"text": "", name: sealed(FOREIGN)}]}])[0]["parts"] == [{"text": ""}]
