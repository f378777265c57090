"""Counting the input of a request in the inner form, for who has no other: by the recipe of prompt.py."""

from typing import Final, Protocol

from posthouse.core.items import (
    CompactionItem,
    InnerRequest,
    Item,
    MessageItem,
    OpaqueTool,
    ReasoningItem,
    Tool,
    ToolCallItem,
    ToolResultItem,
)
from posthouse.core.parts import AudioPart, FilePart, ImagePart, OpaquePart, Parts, RefusalPart, TextPart

PER_MESSAGE: Final = 3
PER_NAME: Final = 1
PRIMING: Final = 3
IMAGE: Final = 1_000  # what is charged, unlike what is reserved, is not meant to be too high
MEDIA_BYTES: Final = 2_000  # of base64 for a token


class Counts(Protocol):
    def count(self, text: str) -> int: ...


def count_inner(request: InnerRequest, vocabulary: Counts) -> int:
    """Tokens of input."""
    total = PRIMING + sum(_item_tokens(item, vocabulary) for item in request.items)
    total += sum(_tool_tokens(tool, vocabulary) for tool in request.tools)
    output = request.output_format
    if output is not None and output.schema is not None:
        total += vocabulary.count(output.schema.decode("utf-8", "replace"))
    return total


def _item_tokens(item: Item, vocabulary: Counts) -> int:
    match item:
        case MessageItem(role=role, parts=parts, name=name):
            named = 0 if name is None else PER_NAME + vocabulary.count(name)
            return PER_MESSAGE + vocabulary.count(role) + named + _part_tokens(parts, vocabulary)
        case ToolCallItem(name=name, arguments=arguments):
            return PER_MESSAGE + vocabulary.count(name) + vocabulary.count(arguments)
        case ToolResultItem(parts=parts):
            return PER_MESSAGE + _part_tokens(parts, vocabulary)
        case ReasoningItem(text=text):
            return vocabulary.count(text)
        case CompactionItem():
            return 0  # only its maker knows


def _part_tokens(parts: Parts, vocabulary: Counts) -> int:
    total = 0
    for part in parts:
        match part:
            case TextPart(text=text) | RefusalPart(text=text):
                total += vocabulary.count(text)
            case ImagePart():
                total += IMAGE
            case FilePart(data=data) | AudioPart(data=data):
                total += len(data or "") // MEDIA_BYTES
            case OpaquePart():
                pass
    return total


def _tool_tokens(tool: Tool | OpaqueTool, vocabulary: Counts) -> int:
    if isinstance(tool, OpaqueTool):
        return vocabulary.count(tool.payload.decode("utf-8", "replace"))
    texts = [tool.name, tool.description or ""]
    texts += [raw.decode("utf-8", "replace") for raw in (tool.schema, tool.format) if raw is not None]
    return sum(vocabulary.count(text) for text in texts)
