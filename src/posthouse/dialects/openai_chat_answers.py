"""chat.completions, whole answers: to and from the inner form."""

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import Choice, InnerResponse, Items, MessageItem, ReasoningItem, ToolCallItem
from posthouse.core.parts import AudioPart, RefusalPart, TextPart
from posthouse.dialects.codec import ReplyHead, Whole
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_details import Runs, StatedRun, entries
from posthouse.dialects.openai_chat_items import decode_answer, encode_call
from posthouse.dialects.openai_chat_parts import Json
from posthouse.dialects.openai_chat_whole import whole_text, whole_usage
from posthouse.dialects.openai_finish import meant, written
from posthouse.dialects.openai_sequence import made_id
from posthouse.dialects.openai_usage import NO_USAGE, at_tier, usage_in, usage_payload

ID_PREFIX: Final = "chatcmpl-"
# All that the published document knows; strict clients fail on any other.
REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter"})


class _Choice(Struct):
    message: Raw
    index: int | None = None
    finish_reason: Any = None
    usage: Raw = NO_USAGE


class _Answer(Struct):
    choices: list[_Choice]
    id: Any = None
    model: Any = None
    created: Any = None
    usage: Raw = NO_USAGE
    service_tier: Any = None


_decode_answer: Final = Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


def decode_response(body: bytes) -> InnerResponse:
    """DialectError where the body is no chat completion."""
    try:
        answer = _decode_answer(body)
        choices = tuple(_choice(choice) for choice in sorted(answer.choices, key=_index))
        told = [usage_in(raw) for raw in (answer.usage, *(choice.usage for choice in answer.choices))]
    except (msgspec.DecodeError, UnicodeError, RecursionError, InvalidRequest):
        raise DialectError("the answer is not a chat completion") from None
    return InnerResponse(
        id=str(answer.id).removeprefix(ID_PREFIX) if isinstance(answer.id, str | int) else "",
        model=answer.model if isinstance(answer.model, str) else "",
        created=answer.created if type(answer.created) is int else 0,
        choices=choices,
        usage=at_tier(next((usage for usage in told if usage is not None), None), answer.service_tier),
    )


def _index(choice: _Choice) -> int:
    return choice.index or 0


def _choice(choice: _Choice) -> Choice:
    message = bytes(choice.message)
    items = tuple(decode_answer(choice.message, made_id(message, _index(choice), 0) if b"_call" in message else ""))
    called = any(isinstance(item, ToolCallItem) for item in items)
    return Choice(items, meant(choice.finish_reason, called))


def encode_response(response: InnerResponse, head: ReplyHead) -> bytes:
    body: Json = {
        "id": ID_PREFIX + head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [
            {
                "index": index,
                "message": _message(choice.items, head.created),
                "logprobs": None,
                "finish_reason": written(choice.finish, REASONS),
            }
            for index, choice in enumerate(response.choices)
        ],
    }
    if response.usage is not None:
        body["usage"] = usage_payload(response.usage)
    return _encode(body)


def _message(items: Items, created: int) -> Json:
    """One message out of all that a choice holds; its text is joined, as this dialect has one place for it."""
    message: Json = {"role": "assistant", "content": None, "refusal": None}
    said: dict[str, list[str]] = {"content": [], "refusal": []}
    calls: list[Json] = []
    reasoning: list[str] = []
    runs = Runs()
    stated: list[StatedRun] = []
    for item in items:
        if isinstance(item, ReasoningItem):
            reasoning.append(item.text)
            runs.think(item.text)
            if item.state is not None:
                runs.close(item.state)
            continue
        stated += runs.settle(item.call_id if isinstance(item, ToolCallItem) else None)
        if isinstance(item, ToolCallItem):
            calls.append(encode_call(item))
        elif isinstance(item, MessageItem):
            _say(message, said, item, created)
    stated += runs.settle()
    message.update({member: "".join(pieces) for member, pieces in said.items() if pieces})
    if any(reasoning):
        message["reasoning_content"] = "".join(reasoning)
    if stated:
        message["reasoning_details"] = entries(stated)
    if calls:
        message["tool_calls"] = calls
    elif message["content"] is None and message["refusal"] is None and "audio" not in message:
        message["content"] = ""
    return message


def _say(message: Json, said: dict[str, list[str]], item: MessageItem, created: int) -> None:
    for part in item.parts:
        if isinstance(part, TextPart):
            said["content"].append(part.text)
        elif isinstance(part, RefusalPart):
            said["refusal"].append(part.text)
        elif isinstance(part, AudioPart):
            # Nobody here can be asked for it again: it has expired when it is made.
            spoken = {"id": part.id or "", "data": part.data or "", "transcript": part.transcript or ""}
            message["audio"] = {**spoken, "expires_at": created}


def read_whole(body: bytes) -> Whole:
    """What the spine needs of an answer. DialectError where the body is none of this dialect."""
    whole = whole_usage(body)
    text = whole_text(body).text if whole.usage is None else ""
    return Whole(whole.usage, meant(whole.finish_reason), whole.error, whole.id, text)
