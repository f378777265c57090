"""Counting the input of a whole request with a vocabulary. Runs in a worker thread, never on the loop.

OpenAI's recipe (its cookbook, read in wire.md section 7): every message costs 3 tokens and those of its role and
content, one more beside a name, and 3 start the answer. Tools are counted as the JSON that they are, which is a little
more than the text that models get of them. Media count by their kind and size: nobody here decodes them. The other
dialects are counted by the same recipe: an item of `input` or `contents` is a message, as is the system's text beside
them; opaque state is not counted.
"""

from typing import Any, Final

import msgspec

from posthouse.billing.prompt_inner import IMAGE, MEDIA_BYTES, PER_MESSAGE, PER_NAME, PRIMING, Counts, count_inner
from posthouse.core.requests import ModelRequest

_MEDIA: Final = ("input_audio", "video_url", "file", "file_data", "inlineData", "inline_data", "source")
# Members of a part that are no text for the model: what it is, and state that only its maker reads.
_NOT_READ: Final = frozenset(
    {
        "type",
        "id",
        "index",
        "call_id",
        "tool_use_id",
        "cache_control",
        "signature",
        "encrypted_content",
        "thoughtSignature",
        "thought_signature",
        "fileData",
        "file_id",
    }
)
_MAX_DEPTH: Final = 8
# Where each dialect keeps the conversation, and what it says to the model beside it.
_CONVERSATIONS: Final = ("messages", "input", "contents")
_SYSTEM_FIELDS: Final = ("system", "instructions", "systemInstruction", "system_instruction")
_TEXT_FIELDS: Final = ("tools", "functions", "response_format", "output_config", "text")


def count_request(request: ModelRequest, vocabulary: Counts) -> int:
    """Tokens of input. Never raises for odd JSON: what is not understood is counted as text."""
    if request.inner is not None and not request.fields:
        return count_inner(request.inner, vocabulary)
    if request.operation == "embeddings":
        return _plain_tokens(_decoded(request, "input"), vocabulary)
    if request.operation == "completions":
        texts = [_decoded(request, name) for name in ("prompt", "suffix")]
        return sum(_plain_tokens(text, vocabulary) for text in texts)
    total = PRIMING
    name = next((name for name in _CONVERSATIONS if name in request.fields), "messages")
    messages = _decoded(request, name)
    for message in messages if isinstance(messages, list) else [messages]:
        total += PER_MESSAGE + _message_tokens(message, vocabulary)
    for name in _SYSTEM_FIELDS:
        if name in request.fields:
            total += PER_MESSAGE + _value_tokens(_decoded(request, name), vocabulary, 0)
    for name in _TEXT_FIELDS:
        raw = request.fields.get(name)
        if raw is not None and bytes(raw) != b"null":
            total += vocabulary.count(bytes(raw).decode("utf-8", "replace"))
    return total


def _decoded(request: ModelRequest, name: str) -> Any:
    """The member as text where it is JSON that cannot be held: a number too large, half a surrogate, too deep."""
    raw = request.fields.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return bytes(raw).decode("utf-8", "replace")


def _plain_tokens(value: Any, vocabulary: Counts) -> int:
    match value:
        case str():
            return vocabulary.count(value)
        case list():
            if all(type(one) is int for one in value):
                return len(value)
            return sum(_plain_tokens(one, vocabulary) for one in value)
        case _:
            return 0


def _message_tokens(message: Any, vocabulary: Counts) -> int:
    if not isinstance(message, dict):
        return _value_tokens(message, vocabulary, 0)
    total = 0
    for name, value in message.items():
        if name in _NOT_READ:
            continue
        if name == "name":
            total += PER_NAME
        total += _value_tokens(value, vocabulary, 0)
    return total


def _value_tokens(value: Any, vocabulary: Counts, depth: int) -> int:
    """Tokens of the strings in a value, without the JSON around them; media by their kind."""
    match value:
        case str():
            return vocabulary.count(value)
        case list() if depth < _MAX_DEPTH:
            return sum(_value_tokens(one, vocabulary, depth + 1) for one in value)
        case dict() if depth < _MAX_DEPTH:
            return _part_tokens(value, vocabulary, depth)
        case _:
            return 0


def _part_tokens(part: dict[str, Any], vocabulary: Counts, depth: int) -> int:
    """A content part, a tool call, or whatever else stands there."""
    if part.get("type") == "image":
        return IMAGE
    total = 0
    for name, value in part.items():
        if name == "image_url":
            total += IMAGE
        elif name in _MEDIA and not (isinstance(value, dict) and value.get("type") in ("text", "content")):
            total += IMAGE if _is_image(value) else _longest(value) // MEDIA_BYTES
        elif name not in _NOT_READ:
            total += _value_tokens(value, vocabulary, depth + 1)
    return total


def _is_image(medium: Any) -> bool:
    """Whether a medium with its type beside it (a source, inline data) is an image."""
    if not isinstance(medium, dict):
        return False
    kind = medium.get("media_type") or medium.get("mimeType") or medium.get("mime_type")
    return isinstance(kind, str) and kind.startswith("image/")


def _longest(value: Any) -> int:
    """The length of the longest string in an object, or of a string: what carries the medium."""
    strings = value.values() if isinstance(value, dict) else [value]
    return max((len(one) for one in strings if isinstance(one, str)), default=0)
