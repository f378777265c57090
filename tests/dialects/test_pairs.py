"""Any dialect in, any dialect out: what one side means reaches the other, and what does not is told."""

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from posthouse.core.items import Item, Items, MessageItem, ToolCallItem, ToolResultItem
from posthouse.core.parts import RefusalPart, TextPart
from posthouse.core.requests import Operation
from posthouse.dialects.codec import INNER_NAMES
from posthouse.dialects.codecs import codec_of
from posthouse.dialects.custom import customs_of
from tests.dialects.inner import MAKER
from tests.dialects.pairs import (
    ADDRESSED,
    ALWAYS,
    EXAMPLES,
    KEPT,
    PAIRS,
    SAME_EFFORT,
    TELLS_THOUGHTS,
    WHOLE,
    asked,
    bare,
    carried,
    conversation,
    is_blank_instruction,
    thoughts,
    wishes,
)


def _goes_without_saying(provider: Operation, name: str, wish: Any) -> bool:
    """What belongs to something that is lost as a whole, which is told once; and that no tool shall be called where
    there are none."""
    whole = WHOLE.get(name)
    return (whole is not None and whole not in KEPT[provider]) or (
        name == "tool_choice" and wish[0] == "none" and "tools" not in KEPT[provider]
    )


every_pair = pytest.mark.parametrize(("client", "provider"), PAIRS)


# --- requests ----------------------------------------------------
@pytest.mark.req("XLATE-013")
@every_pair
@settings(max_examples=EXAMPLES)
@given(st.data())
def test_a_request_keeps_all_that_both_can_say_and_tells_the_rest(
    client: Operation, provider: Operation, data: st.DataObject
) -> None:
    request = data.draw(asked(client))
    codec = codec_of(provider)
    encoded = codec.encode_request(request, MAKER)
    assume(b'"prompt":""' not in encoded.body)  # nothing of it can be said in words
    again = codec.decode_request(encoded.body, ADDRESSED)
    dropped = set(encoded.dropped)
    assert len(dropped) == len(encoded.dropped)
    before, after = wishes(request), wishes(again, customs_of(request))
    if request.tools and "tools" not in KEPT[provider]:
        before["tools"] = request.tools
    before = {name: wish for name, wish in before.items() if not _goes_without_saying(provider, name, wish)}
    if effort := SAME_EFFORT.get(provider, {}).get(before.get("effort", "")):
        before["effort"] = effort
    for name, wish in before.items():
        kept = client == provider or KEPT[provider].get(name)
        assert (after.get(name) == wish) != (name in dropped), (name, wish, after.get(name))
        assert name not in dropped or (kept is not ALWAYS and client != provider), name
        assert name in dropped or kept, name
    for name in request.extra:
        assert (name in dropped) != (name in carried(request, again)), name
    assert dropped <= {*before, *request.extra, "role"}
    assert dropped - request.extra.keys() <= set(INNER_NAMES)


@pytest.mark.req("XLATE-014")
@every_pair
@settings(max_examples=EXAMPLES)
@given(st.data())
def test_a_conversation_reaches_the_other_side_in_its_order(
    client: Operation, provider: Operation, data: st.DataObject
) -> None:
    request = data.draw(asked(client))
    codec = codec_of(provider)
    encoded = codec.encode_request(request, MAKER)
    assume(b'"prompt":""' not in encoded.body)
    if provider == "completions":
        _holds_in_order(bare(json.loads(encoded.body)["prompt"]), request.items)
        return
    again = codec.decode_request(encoded.body, ADDRESSED)
    assert conversation(again.items) == conversation(request.items)
    if not any(is_blank_instruction(item) for item in request.items):
        as_it_stood = conversation(again.items, exact=True) == conversation(request.items, exact=True)
        assert as_it_stood != ("role" in encoded.dropped)
    if provider in TELLS_THOUGHTS or client == provider:
        assert thoughts(again.items) == thoughts(request.items)


def _holds_in_order(prompt: str, items: Items) -> None:
    """Whether a prompt holds all that is said, in this order."""
    at = 0
    for item in items:
        for text in _words(item):
            at = prompt.index(bare(text), at) + len(bare(text))


def _words(item: Item) -> list[str]:
    match item:
        case ToolCallItem(call_id, name, arguments):
            return [name, call_id, arguments]
        case MessageItem(_, parts) | ToolResultItem(_, parts):
            return [part.text for part in parts if isinstance(part, TextPart | RefusalPart)]
        case _:
            return []
