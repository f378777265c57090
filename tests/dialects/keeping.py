"""What must hold of every request on its way from a client of one dialect to a provider of another."""

import json
from typing import Any, Final

from posthouse.core.items import InnerRequest, Item, Items, MessageItem, ToolCallItem, ToolResultItem
from posthouse.core.parts import RefusalPart, TextPart
from posthouse.core.requests import Operation
from posthouse.dialects.codec import INNER_NAMES, Addressed, Encoded
from posthouse.dialects.codecs import codec_of
from posthouse.dialects.custom import customs_of
from tests.dialects.inner import MAKER
from tests.dialects.pairs import (
    ADDRESSED,
    ALWAYS,
    KEPT,
    SAME_EFFORT,
    TELLS_THOUGHTS,
    WHOLE,
    bare,
    carried,
    conversation,
    is_blank_instruction,
    thoughts,
    wishes,
)


def sent(request: InnerRequest, provider: Operation) -> Encoded | None:
    """None where nothing of it can be said in the words of a prompt."""
    encoded = codec_of(provider).encode_request(request, MAKER)
    return None if b'"prompt":""' in encoded.body else encoded


def _goes_without_saying(provider: Operation, name: str, wish: Any) -> bool:
    """What belongs to something that is lost as a whole, which is told once; and that no tool shall be called where
    there are none."""
    whole = WHOLE.get(name)
    return (whole is not None and whole not in KEPT[provider]) or (
        name == "tool_choice" and wish[0] == "none" and "tools" not in KEPT[provider]
    )


def keeps_what_both_can_say(client: Operation, provider: Operation, request: InnerRequest, encoded: Encoded) -> None:
    """All that is asked for is there on the other side, or told to be lost, and only where the table allows it."""
    # Generate content says in its address that it is to be streamed.
    addressed = Addressed("m", request.stream) if provider == "generate_content" else ADDRESSED
    again = codec_of(provider).decode_request(encoded.body, addressed)
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


def holds_the_conversation(client: Operation, provider: Operation, request: InnerRequest, encoded: Encoded) -> None:
    if provider == "completions":
        _holds_in_order(bare(json.loads(encoded.body)["prompt"]), request.items)
        return
    again = codec_of(provider).decode_request(encoded.body, ADDRESSED)
    items = _answered_once(request.items) if provider in _ANSWERED_ONCE else request.items
    assert conversation(again.items) == conversation(items)
    if not any(is_blank_instruction(item) for item in request.items):
        as_it_stood = conversation(again.items, exact=True) == conversation(request.items, exact=True)
        assert as_it_stood != ("role" in encoded.dropped)
    if provider in TELLS_THOUGHTS or client == provider:
        assert thoughts(again.items) == thoughts(request.items)


_ANSWERED_ONCE: Final[frozenset[Operation]] = frozenset({"messages", "generate_content"})


def _answered_once(items: Items) -> Items:
    """What answers no call that waits for it are the user's words: these APIs take a result but once."""
    told: list[Item] = []
    waiting: set[str] = set()
    for item in items:
        if isinstance(item, ToolCallItem):
            waiting.add(item.call_id)
        if isinstance(item, ToolResultItem):
            told.append(item if item.call_id in waiting else MessageItem("user", item.parts))
            waiting.discard(item.call_id)
        else:
            told.append(item)
    return tuple(told)


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
