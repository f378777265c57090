"""A conversation as one prompt, for a model that only goes on writing.

One text of the user's is the prompt, as it stands. Anything more is written down as a play: who speaks, a colon, what
they say, and last whose turn it is. What is called and what came of it is told in the same way.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from posthouse.core.items import (
    CompactionItem,
    Items,
    MessageItem,
    ReasoningItem,
    ToolCallItem,
    ToolResultItem,
)
from posthouse.core.parts import AudioPart, FilePart, ImagePart, OpaquePart, Parts, RefusalPart, TextPart
from posthouse.dialects.openai_chat_parts import Dropped

SPEAKERS: Final[Mapping[str, str]] = {"user": "User", "assistant": "Assistant"}
CUE: Final = "Assistant:"
# Where the model would begin to speak for the other side.
STOP: Final = "\nUser:"


def is_plain(items: Items) -> bool:
    """Whether there is nothing but one message of the user's."""
    return len(items) == 1 and isinstance(items[0], MessageItem) and items[0].role == "user"


def prompt_for(items: Items, dropped: Dropped) -> str:
    """What cannot be written as text is left out and named in `dropped`."""
    match items:
        case (MessageItem(role="user", parts=parts, name=None),):
            return _text(parts, dropped)
        case _:
            return "\n\n".join([*_told(items, dropped), CUE])


def _told(items: Items, dropped: Dropped) -> Iterator[str]:
    for item in items:
        match item:
            case MessageItem():
                if item.name is not None:
                    dropped["name"] = None
                text = _text(item.parts, dropped)
                # Instructions are nobody's line.
                speaker = SPEAKERS.get(item.role)
                yield text if speaker is None else f"{speaker}: {text}"
            case ToolCallItem():
                yield f"Assistant calls {item.name} ({item.call_id}): {item.arguments}"
            case ToolResultItem():
                failed = "Failure" if item.failed else "Result"
                yield f"{failed} of {item.call_id}: {_text(item.parts, dropped)}"
            case ReasoningItem() | CompactionItem():
                pass


def _text(parts: Parts, dropped: Dropped) -> str:
    texts: list[str] = []
    for part in parts:
        match part:
            case TextPart(text=text) | RefusalPart(text=text):
                texts.append(text)
            case AudioPart(transcript=transcript):
                dropped["part.audio"] = None
                texts += [] if transcript is None else [transcript]
            case ImagePart():
                dropped["part.image"] = None
            case FilePart():
                dropped["part.file"] = None
            case OpaquePart():
                dropped["part.opaque"] = None
    return "\n".join(texts)
