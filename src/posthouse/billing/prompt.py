"""Counting the input of a whole request with a vocabulary. Runs in a worker thread, never on the loop.

OpenAI's recipe (its cookbook, read in wire.md section 7): every message costs 3 tokens and those of its role and
content, one more beside a name, and 3 start the answer. Tools are counted as the JSON that they are, which is a little
more than the text that models get of them. Media count by their kind and size: nobody here decodes them.
"""

from typing import Any, Final, Protocol

import msgspec

from posthouse.core.requests import ModelRequest

_PER_MESSAGE: Final = 3
_PER_NAME: Final = 1
_PRIMING: Final = 3
_IMAGE: Final = 1_000  # what is charged, unlike what is reserved, is not meant to be too high
_MEDIA: Final = ("input_audio", "video_url", "file")
_MEDIA_BYTES: Final = 2_000  # of base64 for a token
_NOT_READ: Final = ("type", "id", "index")  # members of a part that are no text for the model
_MAX_DEPTH: Final = 8
_TEXT_FIELDS: Final = ("tools", "functions", "response_format")


class Counts(Protocol):
    def count(self, text: str) -> int: ...


def count_request(request: ModelRequest, vocabulary: Counts) -> int:
    """Tokens of input. Never raises for odd JSON: what is not understood is counted as text."""
    if request.operation == "embeddings":
        return _embedding_tokens(_decoded(request, "input"), vocabulary)
    messages = _decoded(request, "messages")
    total = _PRIMING
    for message in messages if isinstance(messages, list) else [messages]:
        total += _PER_MESSAGE + _message_tokens(message, vocabulary)
    for name in _TEXT_FIELDS:
        raw = request.fields.get(name)
        if raw is not None and bytes(raw) != b"null":
            total += vocabulary.count(bytes(raw).decode("utf-8", "replace"))
    return total


def _decoded(request: ModelRequest, name: str) -> Any:
    raw = request.fields.get(name)
    return None if raw is None else msgspec.json.decode(raw)


def _embedding_tokens(value: Any, vocabulary: Counts) -> int:
    match value:
        case str():
            return vocabulary.count(value)
        case list():
            if all(type(one) is int for one in value):
                return len(value)
            return sum(_embedding_tokens(one, vocabulary) for one in value)
        case _:
            return 0


def _message_tokens(message: Any, vocabulary: Counts) -> int:
    if not isinstance(message, dict):
        return _value_tokens(message, vocabulary, 0)
    total = 0
    for name, value in message.items():
        if name == "name":
            total += _PER_NAME
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
    total = 0
    for name, value in part.items():
        if name == "image_url":
            total += _IMAGE
        elif name in _MEDIA:
            total += _longest(value) // _MEDIA_BYTES
        elif name not in _NOT_READ:
            total += _value_tokens(value, vocabulary, depth + 1)
    return total


def _longest(value: Any) -> int:
    """The length of the longest string in an object, or of a string: what carries the medium."""
    strings = value.values() if isinstance(value, dict) else [value]
    return max((len(one) for one in strings if isinstance(one, str)), default=0)
