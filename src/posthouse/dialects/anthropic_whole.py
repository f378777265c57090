"""Whole answers of the Messages API: to and from the inner form, and what the spine reads of one."""

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import Choice, InnerResponse, Items, MessageItem, ReasoningItem, ToolCallItem
from posthouse.core.parts import AudioPart, OpaquePart, Part, RefusalPart, TextPart
from posthouse.dialects.anthropic_blocks import NO_STATE, BlockReader
from posthouse.dialects.anthropic_errors import decode_error
from posthouse.dialects.anthropic_fields import DIALECT, Json
from posthouse.dialects.anthropic_parts import ToolIds, call_input
from posthouse.dialects.anthropic_usage import finish_of, stop_reason_of, usage_object, usage_of, usage_payload
from posthouse.dialects.codec import Maker, ReplyHead, Whole
from posthouse.dialects.errors import DialectError
from posthouse.dialects.opaque import seal
from posthouse.dialects.openai_chat_text import text_of

_NULL: Final = Raw(b"null")


class _Answer(Struct, gc=False):
    """Content is skipped, not decoded."""

    id: str | None = None
    model: str | None = None
    content: Raw = _NULL
    stop_reason: str | None = None
    usage: Raw = _NULL
    error: Any = None


class _Block(Struct, gc=False):
    """What costs tokens in a block of an answer."""

    text: Any = None
    thinking: Any = None
    name: Any = None
    input: Raw = _NULL


_decode_answer: Final = Decoder(_Answer).decode
_decode_blocks: Final = Decoder(list[_Block]).decode
_encode: Final = msgspec.json.Encoder().encode


def read_whole(body: bytes) -> Whole:
    """Usage, finish and error of a provider's answer. DialectError where it is none."""
    answer = _answer_of(body)
    if answer.error is not None:
        return Whole(None, None, decode_error(answer.error), answer.id)
    usage = usage_of(usage_object(answer.usage))
    return Whole(
        usage=usage,
        finish_reason=None if answer.stop_reason is None else finish_of(answer.stop_reason),
        id=answer.id,
        text="" if usage is not None else _text_of(answer.content),
    )


def _answer_of(body: bytes) -> _Answer:
    try:
        answer = _decode_answer(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise DialectError("the answer is not a message") from None
    if answer.error is None and not bytes(answer.content).startswith(b"["):
        raise DialectError("the answer is not a message")
    return answer


def _text_of(content: Raw) -> str:
    try:
        blocks = _decode_blocks(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
    texts: list[str] = []
    for block in blocks:
        texts += map(text_of, (block.thinking, block.text, block.name))
        if block.input != _NULL:
            texts.append(bytes(block.input).decode("utf-8", "replace"))
    return "".join(texts)


def decode_response(body: bytes, maker: Maker) -> InnerResponse:
    """DialectError where the body is no answer of this dialect, or an error."""
    answer = _answer_of(body)
    if answer.error is not None:
        raise DialectError("the answer is an error")
    try:
        items = BlockReader(maker).items("assistant", answer.content, "content")
    except (InvalidRequest, UnicodeError):
        raise DialectError("the content of the answer is not of this dialect") from None
    finish = None if answer.stop_reason is None else finish_of(answer.stop_reason)
    return InnerResponse(
        id=answer.id or "",
        model=answer.model or "",
        created=0,
        choices=(Choice(tuple(items), finish),),
        usage=usage_of(usage_object(answer.usage)),
    )


def encode_response(response: InnerResponse, head: ReplyHead) -> bytes:
    """Of several choices the first; the others have no place here."""
    choice = response.choices[0] if response.choices else Choice(())
    content = _encode_items(choice.items)
    called = any(isinstance(item, ToolCallItem) for item in choice.items)
    refused = any(
        isinstance(part, RefusalPart) for item in choice.items if isinstance(item, MessageItem) for part in item.parts
    )
    stop = None if choice.finish is None else stop_reason_of(choice.finish, called=called, refused=refused)
    return _encode({**message(head), "content": content, "stop_reason": stop, "usage": usage_payload(response.usage)})


def message(head: ReplyHead) -> Json:
    """An answer in which nothing is said yet."""
    return {
        "id": f"msg_{head.id}",
        "type": "message",
        "role": "assistant",
        "model": head.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_payload(None),
    }


def _encode_items(items: Items) -> list[Any]:
    ids = ToolIds()
    blocks: list[Any] = []
    for item in items:
        match item:
            case MessageItem(parts=parts):
                blocks += [block for block in map(_encode_part, parts) if block is not None]
            case ReasoningItem():
                blocks += encode_reasoning(item)
            case ToolCallItem():
                blocks.append(
                    {"type": "tool_use", "id": ids.new(item.call_id), "name": item.name, "input": call_input(item)}
                )
            case _:
                pass  # nothing that an answer of this dialect holds
    return blocks


def _encode_part(part: Part) -> Any:
    match part:
        case TextPart(text) | RefusalPart(text):
            return {"type": "text", "text": text} if text else None
        case AudioPart(transcript=str() as text):
            return {"type": "text", "text": text}
        case OpaquePart(dialect, payload) if dialect == DIALECT:
            return Raw(payload)
        case _:
            return None


def encode_reasoning(item: ReasoningItem) -> list[Json]:
    """Thoughts and the state to go on from them, sealed, so that it comes back here and is known by its maker."""
    if item.text:
        return [{"type": "thinking", "thinking": item.text, "signature": seal(item.state or NO_STATE)}]
    return [] if item.state is None else [{"type": "redacted_thinking", "data": seal(item.state)}]
