"""Messages of chat.completions to and from items.

One assistant message holds what the inner form keeps apart: reasoning, then what is said, then the calls of tools. The
encoder joins such neighbours again, so that items -> messages -> items is the identity; a compaction and opaque state
have no place in this dialect and are left out, as on any switch of provider.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import (
    CompactionItem,
    Item,
    Items,
    MessageItem,
    ReasoningItem,
    ToolCallItem,
    ToolResultItem,
)
from posthouse.core.parts import AudioPart, FilePart, ImagePart, OpaquePart, Part, Parts, RefusalPart, TextPart

DIALECT: Final = "openai_chat"
Json = dict[str, Any]


def decode_messages(messages: list[Any]) -> Items:
    """InvalidRequest naming the message that does not fit."""
    items: list[Item] = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _invalid(f"{where}.role", "a message needs a role")
        items.extend(decode_message(message, where))
    return tuple(items)


def decode_message(message: Json, where: str = "message") -> list[Item]:
    """The items that one message holds, in the order in which the model made them."""
    role: str = message["role"]
    name = message.get("name")
    if role == "tool":
        call_id = message.get("tool_call_id")
        if not isinstance(call_id, str):
            raise _invalid(f"{where}.tool_call_id", "a tool message names the call that it answers")
        return [ToolResultItem(call_id, decode_parts(message.get("content"), f"{where}.content"))]
    items: list[Item] = []
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(reasoning, str):
        items.append(ReasoningItem(reasoning))
    parts = decode_parts(message.get("content"), f"{where}.content")
    if isinstance(refusal := message.get("refusal"), str):
        parts += (RefusalPart(refusal),)
    if isinstance(audio := message.get("audio"), dict):
        parts += (AudioPart(data=audio.get("data"), format=audio.get("format"), id=audio.get("id")),)
    calls = _decode_calls(message, where)
    if parts or isinstance(message.get("content"), str) or not (items or calls):
        items.append(MessageItem(role, parts, name if isinstance(name, str) else None))
    return items + calls


def _decode_calls(message: Json, where: str) -> list[Item]:
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise _invalid(f"{where}.tool_calls", "expected an array")
    items: list[Item] = []
    for index, call in enumerate(calls):
        try:
            if call.get("type") == "custom":
                custom = call["custom"]
                items.append(ToolCallItem(call["id"], custom["name"], custom.get("input") or "", "custom"))
            else:
                function = call["function"]
                items.append(ToolCallItem(call["id"], function["name"], function.get("arguments") or ""))
        except (KeyError, AttributeError, TypeError):
            raise _invalid(f"{where}.tool_calls[{index}]", "a call needs an id and a function with a name") from None
    return items


def decode_parts(content: Any, where: str) -> Parts:
    """Content as text, null, or a list of parts. A part that we do not know stays as it is."""
    if content is None or content == "":
        return ()
    if isinstance(content, str):
        return (TextPart(content),)
    if not isinstance(content, list):
        raise _invalid(where, "expected a string or an array of parts")
    parts: list[Part] = []
    for index, part in enumerate(content):
        if not isinstance(part, dict):
            raise _invalid(f"{where}[{index}]", "expected an object")
        parts.append(_decode_part(part))
    return tuple(parts)


class _Text(Struct, tag="text", forbid_unknown_fields=True):
    text: str


class _Refusal(Struct, tag="refusal", forbid_unknown_fields=True):
    refusal: str


class _ImageUrl(Struct, forbid_unknown_fields=True):
    url: str
    detail: str | None = None


class _Image(Struct, tag="image_url", forbid_unknown_fields=True):
    image_url: _ImageUrl


class _AudioData(Struct, forbid_unknown_fields=True):
    data: str
    format: str


class _Audio(Struct, tag="input_audio", forbid_unknown_fields=True):
    input_audio: _AudioData


class _FileRef(Struct, forbid_unknown_fields=True):
    file_id: str | None = None
    file_data: str | None = None
    filename: str | None = None


class _File(Struct, tag="file", forbid_unknown_fields=True):
    file: _FileRef


_KnownPart = _Text | _Refusal | _Image | _Audio | _File


def _decode_part(part: Json) -> Part:
    try:
        known: _KnownPart = msgspec.convert(part, type=_KnownPart)
    except msgspec.ValidationError:
        # Another kind of part, or a member that the inner form has no place for (a mark for a cache, say).
        return OpaquePart(DIALECT, msgspec.json.encode(part))
    match known:
        case _Text(text=text):
            return TextPart(text)
        case _Refusal(refusal=text):
            return RefusalPart(text)
        case _Image(image_url=image):
            return ImagePart(image.url, image.detail)
        case _Audio(input_audio=audio):
            return AudioPart(data=audio.data, format=audio.format)
        case _File(file=file):
            return FilePart(file.file_id, file.file_data, file.filename)


def encode_messages(items: Items) -> list[Json]:
    """Messages of chat.completions; neighbouring reasoning, assistant message and tool calls become one."""
    messages: list[Json] = []
    open_turn: Json | None = None  # the assistant message that may still grow
    for item in items:
        if isinstance(item, CompactionItem):
            continue
        if isinstance(item, ToolCallItem):
            if open_turn is None:
                messages.append(open_turn := {"role": "assistant", "content": None})
            open_turn.setdefault("tool_calls", []).append(encode_call(item))
            continue
        if isinstance(item, ReasoningItem):
            if not item.text:
                continue
            messages.append(open_turn := {"role": "assistant", "content": None, "reasoning_content": item.text})
            continue
        message = _encode_message(item)
        if message["role"] == "assistant" and open_turn is not None and _only_reasoned(open_turn):
            open_turn.update(message)
        else:
            messages.append(message)
            open_turn = message if message["role"] == "assistant" else None
    return messages


def _only_reasoned(turn: Json) -> bool:
    return turn["content"] is None and "tool_calls" not in turn


def _encode_message(item: MessageItem | ToolResultItem) -> Json:
    if isinstance(item, ToolResultItem):
        return {"role": "tool", "tool_call_id": item.call_id, "content": encode_parts(item.parts)}
    message: Json = {"role": item.role}
    if item.name is not None:
        message["name"] = item.name
    message["content"] = encode_parts(item.parts)
    for part in item.parts:
        if isinstance(part, AudioPart) and part.id is not None:
            message["audio"] = {"id": part.id}
    return message


def encode_call(item: ToolCallItem) -> Json:
    if item.kind == "custom":
        return {"id": item.call_id, "type": "custom", "custom": {"name": item.name, "input": item.arguments}}
    return {"id": item.call_id, "type": "function", "function": {"name": item.name, "arguments": item.arguments}}


def encode_parts(parts: Parts) -> Any:
    """Content: a string where it is one piece of text, else a list of parts."""
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], TextPart) and parts[0].text:
        return parts[0].text
    return [part for part in map(_encode_part, parts) if part is not None]


def _encode_part(part: Part) -> Any:  # noqa: PLR0911 (one for each member of the union)
    match part:
        case TextPart(text):
            return {"type": "text", "text": text}
        case RefusalPart(text):
            return {"type": "refusal", "refusal": text}
        case ImagePart(url, detail):
            return {
                "type": "image_url",
                "image_url": {"url": url} if detail is None else {"url": url, "detail": detail},
            }
        case FilePart(file_id, data, filename):
            members = (("file_id", file_id), ("file_data", data), ("filename", filename))
            return {"type": "file", "file": {name: value for name, value in members if value is not None}}
        case AudioPart(_, _, str()):
            return None  # spoken in an earlier answer: referred to beside the content
        case AudioPart(data, form, None):
            return {"type": "input_audio", "input_audio": {"data": data or "", "format": form or "wav"}}
        case OpaquePart(dialect, payload):
            return Raw(payload) if dialect == DIALECT else None


def _invalid(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {message}.", param=param, code="invalid_value")
