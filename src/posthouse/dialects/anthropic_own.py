"""A request that passes to a provider of this dialect, and in it what the house itself had handed out.

Bytes pass, but sealed state means nothing to a provider: thinking that this one did goes back to it as it was, and what
is another's is left out, as the provider would refuse the whole request for it. Where calls of tools that are under way
have lost their thinking so, no budget for thinking can stand beside them: it is left out too.
"""

from typing import Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.dialects.anthropic_parts import own_state
from posthouse.dialects.codec import Maker
from posthouse.dialects.fields import Fields, kind_of
from posthouse.dialects.opaque import has_sealed, unseal

_ERRORS: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
_NULL: Final = Raw(b"null")
# An edit of the context that the API takes only beside thinking: "requires `thinking` to be enabled or adaptive".
_CLEARS_THINKING: Final = "clear_thinking_"
_THINKING: Final = ("thinking", "redacted_thinking")


class _Block(Struct, gc=False):
    type: str
    signature: str | None = None
    data: str | None = None


class _Kind(Struct, gc=False):
    type: str | None = None


class _Turn(Struct, gc=False):
    role: str
    content: str | list[_Kind]


_decode_kind: Final = Decoder(_Kind).decode
_decode_turns: Final = Decoder(list[_Turn]).decode
_decode_members: Final = Decoder(dict[str, Raw]).decode
_decode_messages: Final = Decoder(list[dict[str, Raw]]).decode
_decode_list: Final = Decoder(list[Raw]).decode
_decode_block: Final = Decoder(_Block).decode
_encode: Final = msgspec.json.Encoder().encode


def own_fields(fields: Fields, maker: Maker) -> None:
    """Makes the members of a request what goes to `maker`."""
    raw = fields.get("messages")
    if raw is None:
        return
    messages = fields["messages"] = own_messages(raw, maker)
    if messages is not raw and _has_budget(fields) and _lacks_thinking(messages):
        del fields["thinking"]
        _keep_thinking_uncleared(fields)


def _has_budget(fields: Fields) -> bool:
    try:
        return _decode_kind(fields.get("thinking", _NULL)).type == "enabled"
    except _ERRORS:
        return False


def _lacks_thinking(messages: Raw) -> bool:
    """As `anthropic_turns.Conversation.lacks_thinking`, of messages on the wire."""
    try:
        turns = _decode_turns(messages)
    except _ERRORS:
        return False
    inside = False
    for turn in reversed(turns):
        kinds = [] if isinstance(turn.content, str) else [block.type for block in turn.content]
        if "tool_use" in kinds:
            if kinds[0] not in _THINKING:
                return True
            inside = True
        elif inside and turn.role == "user" and "tool_result" not in kinds:
            break
    return False


def _keep_thinking_uncleared(fields: Fields) -> None:
    raw = fields.get("context_management", _NULL)
    try:
        management = _decode_members(raw)
        edits = [(edit, _decode_kind(edit).type or "") for edit in _decode_list(management["edits"])]
    except (*_ERRORS, KeyError):
        return
    kept = [edit for edit, kind in edits if not kind.startswith(_CLEARS_THINKING)]
    if len(kept) == len(edits):
        return
    if kept or len(management) > 1:
        fields["context_management"] = Raw(_encode({**management, "edits": kept}))
    else:
        del fields["context_management"]


def own_messages(raw: Raw, maker: Maker) -> Raw:
    """The member `messages` as it goes to `maker`; the same object where nothing in it is sealed, or where it is not
    what it should be, which the provider will say."""
    if not has_sealed(bytes(raw)):
        return raw
    try:
        messages = [_message(message, maker) for message in _decode_messages(raw)]
    except _ERRORS:
        return raw
    return Raw(_encode([message for message in messages if message is not None]))


def _message(message: dict[str, Raw], maker: Maker) -> dict[str, Raw] | None:
    """None where it held nothing else."""
    content = message.get("content", _NULL)
    if not has_sealed(bytes(content)) or kind_of(content) != "an array":
        return message
    blocks = [block for block in (_own(block, maker) for block in _decode_list(content)) if block is not None]
    return {**message, "content": Raw(_encode(blocks))} if blocks else None


def _own(block: Raw, maker: Maker) -> Raw | None:
    if not has_sealed(bytes(block)):
        return block
    try:
        found = _decode_block(block)
    except _ERRORS:
        return block
    token = {"thinking": found.signature, "redacted_thinking": found.data}.get(found.type)
    state = None if token is None else unseal(token)
    return block if state is None else own_state(state, maker, own=True)
