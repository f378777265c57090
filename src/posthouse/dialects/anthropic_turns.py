"""Items to the system prompt and the messages of the Messages API.

That API wants turns: neighbours of one role are one message, and all results of the calls of one message stand at the
beginning of the next. So results are brought to their calls, and a result that nobody has is told to be missing.
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Raw

from posthouse.core.items import (
    CompactionItem,
    Item,
    Items,
    MessageItem,
    ReasoningItem,
    ToolCallItem,
    ToolResultItem,
)
from posthouse.core.parts import FilePart, ImagePart, Parts, RefusalPart, TextPart
from posthouse.dialects.anthropic_fields import Json
from posthouse.dialects.anthropic_parts import Losses, ToolIds, call_input, encode_parts, own_state
from posthouse.dialects.codec import Maker
from posthouse.dialects.pairing import BEGINNING, NO_RESULT, paired

_INSTRUCTIONS: Final = ("system", "developer")
NO_REASON: Final = "The tool failed and said nothing of why."


class _Turn:
    """One message on its way. `thinking`: how many blocks of thinking stand at its end."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.blocks: list[Any] = []
        self.calls = False
        self.answers = False
        self.thinks_first = False
        self.thinking = 0

    def said(self) -> list[Any]:
        """The API takes no message that ends with thinking."""
        return self.blocks[: len(self.blocks) - self.thinking]


class Conversation:
    """`own`: the request came in this dialect, so that state of an unknown maker is this API's, messages may have the
    role system, and what the client wrote is not mended."""

    def __init__(self, maker: Maker, own: bool, losses: Losses) -> None:
        self._maker = maker
        self._own = own
        self._losses = losses
        self._ids = ToolIds()
        self._turns: list[_Turn] = []
        self._answers: dict[int, tuple[int, ToolResultItem]] = {}
        self._open: list[tuple[int, str]] = []  # calls of the last message: their places, their ids on the wire
        self.system: list[Any] = []

    def add(self, items: Items) -> None:
        """All items of a request."""
        self._answers, orphans = paired(items)
        start = len(items)
        for place, item in enumerate(items):
            if not isinstance(item, MessageItem) or item.role not in _INSTRUCTIONS:
                start = place
                break
            self._told_name(item)
            self.system += encode_parts(item.parts, self._losses, texts_only=True)
        for place in range(start, len(items)):
            self._add(place, items[place], place in orphans)
        self._answer()
        if not self._own:
            self._mend()

    def messages(self) -> list[Json]:
        return [{"role": turn.role, "content": plain(turn.said())} for turn in self._turns if turn.said()]

    def lacks_thinking(self) -> bool:
        """Whether the last run of calls and results has a message that calls tools and does not begin with thinking:
        the API then refuses a budget for it."""
        inside = False
        for turn in reversed(self._turns):
            if turn.calls:
                if not turn.thinks_first:
                    return True
                inside = True
            elif inside and turn.role == "user" and not turn.answers:
                break
        return False

    def _add(self, place: int, item: Item, orphan: bool) -> None:
        match item:
            case MessageItem():
                self._add_message(item)
            case ReasoningItem(state=state):
                self._think(own_state(state, self._maker, self._own))
            case CompactionItem(state=state):
                block = own_state(state, self._maker, self._own)
                self._say("assistant", [] if block is None else [block])
            case ToolCallItem():
                name = self._ids.new(item.call_id)
                call = {"type": "tool_use", "id": name, "name": item.name, "input": call_input(item)}
                self._say("assistant", [call]).calls = True
                self._open.append((place, name))
            case ToolResultItem():
                self._answer()
                if orphan:  # its call was cut off the conversation
                    self._losses.add("role")
                    self._say("user", encode_parts(item.parts, self._losses))

    def _add_message(self, item: MessageItem) -> None:
        self._told_name(item)
        if item.role == "assistant":
            self._say("assistant", encode_parts(item.parts, self._losses, texts_only=True))
            return
        self._answer()
        if item.role == "user":
            self._say("user", encode_parts(item.parts, self._losses))
        elif item.role in _INSTRUCTIONS and self._own:
            self._say("system", encode_parts(item.parts, self._losses, texts_only=True))
        else:
            self._losses.add("role")
            parts = _reminder(item.parts) if item.role in _INSTRUCTIONS else item.parts
            self._say("user", encode_parts(parts, self._losses))

    def _think(self, block: Raw | None) -> None:
        if block is None:
            return
        thinking = self._last("assistant").thinking
        turn = self._say("assistant", [block])
        turn.thinking = thinking + 1
        turn.thinks_first = turn.thinks_first or len(turn.blocks) == 1

    def _told_name(self, item: MessageItem) -> None:
        if item.name is not None:
            self._losses.add("name")

    def _last(self, role: str) -> _Turn:
        """The last message where it has this role, else a new one that is not among them yet."""
        return self._turns[-1] if self._turns and self._turns[-1].role == role else _Turn(role)

    def _say(self, role: str, blocks: Sequence[Any]) -> _Turn:
        """No blocks make no message, and thinking alone makes none."""
        if blocks and self._turns and self._turns[-1].role != role and not self._turns[-1].said():
            self._turns.pop()
        turn = self._last(role)
        if blocks:
            if not turn.blocks:
                self._turns.append(turn)
            turn.blocks += blocks
            turn.thinking = 0
        return turn

    def _answer(self) -> None:
        """The assistant's message is over: the results of its calls, in the order in which they were given, and then
        what is missing."""
        waiting, self._open = self._open, []
        known = sorted((*self._answers[place], name) for place, name in waiting if place in self._answers)
        beside: list[Any] = []
        blocks = [self._result(item, name, beside) for _, item, name in known]
        for place, name in waiting:
            if place not in self._answers:
                blocks.append({"type": "tool_result", "tool_use_id": name, "content": NO_RESULT, "is_error": True})
        if blocks:
            self._say("user", [*blocks, *beside]).answers = True

    def _result(self, item: ToolResultItem, name: str, beside: list[Any]) -> Json:
        """The API takes no failure without words, nor with anything but words: pictures then stand `beside` it."""
        parts = item.parts
        block: Json = {"type": "tool_result", "tool_use_id": name}
        if item.failed and not self._own:
            parts = tuple(part for part in item.parts if not isinstance(part, ImagePart | FilePart))
            media = tuple(part for part in item.parts if isinstance(part, ImagePart | FilePart))
            beside += encode_parts(media, self._losses)
        content = plain(encode_parts(parts, self._losses))
        if item.failed:
            block["is_error"] = True
            content = content or ("" if self._own else NO_REASON)
        if content:
            block["content"] = content
        return block

    def _mend(self) -> None:
        """What other dialects allow and this API refuses: no message but instructions, the assistant first, a last
        word of the assistant that ends with blanks."""
        turns = self._turns
        if not turns and self.system:
            self._losses.add("role")
            self._say("user", [self.system.pop()])
        if not turns or turns[0].role != "user":
            turns.insert(0, _Turn("user"))
            turns[0].blocks.append({"type": "text", "text": BEGINNING})
        last = turns[-1].said()
        if turns[-1].role == "assistant" and last and isinstance(last[-1], dict) and "text" in last[-1]:
            last[-1]["text"] = last[-1]["text"].rstrip()


def plain(blocks: list[Any]) -> Any:
    """Content of one text as that text."""
    if len(blocks) == 1 and isinstance(blocks[0], dict) and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return blocks


def _reminder(parts: Parts) -> Parts:
    """Instructions in the middle of a conversation, in a form that every model of this API knows."""
    texts = [part.text for part in parts if isinstance(part, TextPart | RefusalPart)]
    others = tuple(part for part in parts if not isinstance(part, TextPart | RefusalPart))
    text = "\n\n".join(texts)
    if not text.strip():
        return others
    return (TextPart(f"<system-reminder>\n{text}\n</system-reminder>"), *others)
