"""Messages of chat.completions to and from items.

One assistant message holds what the inner form keeps apart: reasoning, then what is said, then the calls of tools. The
encoder joins such neighbours, and whatever the model said beside calls that have no result yet, since nothing but their
results may follow them. So items -> messages -> items is the identity where a turn is in that order; state keeps its
place before a call (openai_chat_details).

Results of tools are text here. A result that failed says so in a first line; images, files and speech of results follow
in a message of the user's, after the last result of the turn.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.items import (
    CompactionItem,
    Item,
    Items,
    MessageItem,
    ReasoningItem,
    ToolCallItem,
    ToolResultItem,
)
from posthouse.core.parts import AudioPart, FilePart, ImagePart, Part, Parts, RefusalPart, TextPart
from posthouse.dialects.codec import Maker
from posthouse.dialects.openai_chat_details import Runs, StatedRun, entries, thoughts_of
from posthouse.dialects.openai_chat_parts import (
    Dropped,
    Json,
    as_failed,
    decode_content,
    encode_parts,
    fitting,
    invalid,
)
from posthouse.dialects.openai_sequence import NO_ARGUMENTS

ELSEWHERE: Final = "The result is in the next message of the user."
_NULL: Final = Raw(b"null")

_decode_messages = Decoder(list[Raw]).decode


class _Function(Struct):
    name: str
    arguments: Any = None


class _OldCall(Struct):
    name: str | None = None
    arguments: Any = None


class _Custom(Struct):
    name: str
    input: str | None = None


class _Call(Struct):
    id: str | None = None
    function: _Function | None = None
    custom: _Custom | None = None


class _Audio(Struct):
    id: str | None = None
    data: str | None = None
    transcript: str | None = None


class _Message(Struct):
    """A message of a request or an answer."""

    role: str = "assistant"
    content: Raw = _NULL
    name: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    audio: _Audio | None = None
    tool_calls: list[Raw] | None = None
    function_call: _OldCall | None = None
    tool_call_id: Any = None


_decode_message = Decoder(_Message).decode
_decode_call = Decoder(_Call).decode
_decode_members = Decoder(dict[str, Raw]).decode


def decode_messages(raw: Raw) -> Items:
    """InvalidRequest naming the message that does not fit."""
    items: list[Item] = []
    old_call: str | None = None
    for index, one in enumerate(_decode_messages(raw)):
        where = f"messages[{index}]"
        message = _read(one, where)
        if message.role == "function" and old_call is not None:
            # The form of 2023, which has no ids: a function's message answers the call before it.
            message.role, message.tool_call_id, old_call = "tool", old_call, None
        items += decode_message(message, where, unnamed=f"function_call_{index}")
        if message.function_call is not None:
            old_call = f"function_call_{index}"
    return tuple(items)


def decode_answer(raw: Raw, unnamed: str) -> list[Item]:
    """The message of an answer. A call that has no id is called `unnamed` and its number. InvalidRequest where it does
    not fit."""
    message = _read(raw, "message")
    message.role = "assistant"
    if message.function_call is not None and not message.function_call.name:
        message.function_call = None  # some servers always write the member
    return [_with_arguments(item) for item in decode_message(message, "message", unnamed)]


def _with_arguments(item: Item) -> Item:
    """Clients parse what a call is called with, also where that is nothing."""
    if isinstance(item, ToolCallItem) and item.kind == "function" and not item.arguments:
        return ToolCallItem(item.call_id, item.name, NO_ARGUMENTS)
    return item


def _read(raw: Raw, where: str) -> _Message:
    try:
        return _decode_message(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise invalid(_misfit(raw, where), "it is not what the API describes") from None


def _misfit(raw: Raw, where: str) -> str:
    """The first member of a message that does not fit; asked only where one does not."""
    try:
        members = _decode_members(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return where
    for name, value in members.items():
        if name in _Message.__struct_fields__:
            try:
                _decode_message(msgspec.json.encode({name: value}))
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                return f"{where}.{name}"
    return where


def decode_message(message: _Message, where: str, unnamed: str) -> list[Item]:
    """The items that one message holds, in the order in which the model made them."""
    parts, thinking = decode_content(message.content, f"{where}.content")
    if message.role == "tool":
        if not isinstance(message.tool_call_id, str):
            raise invalid(f"{where}.tool_call_id", "a tool message names the call that it answers")
        return [ToolResultItem(message.tool_call_id, parts)]
    reasoning = message.reasoning_content or message.reasoning or thinking
    thoughts = thoughts_of(reasoning if isinstance(reasoning, str) else "", message.reasoning_details)
    if isinstance(message.refusal, str) and message.refusal:
        parts += (RefusalPart(message.refusal),)
    if message.audio is not None and message.audio != _Audio():
        spoken = message.audio
        parts += (AudioPart(data=spoken.data, id=spoken.id, transcript=spoken.transcript),)
    calls = list(_calls(message, where, unnamed))
    before: dict[str | None, list[Item]] = {call.call_id: [] for call in calls}
    items: list[Item] = []
    for thought in thoughts:
        before.get(thought.call_id, items).append(thought.item)
    if parts or not (items or calls):
        items.append(MessageItem(message.role, parts, message.name if isinstance(message.name, str) else None))
    for call in calls:
        items += before[call.call_id]
        items.append(call)
    return items


def _calls(message: _Message, where: str, unnamed: str) -> Iterator[ToolCallItem]:
    for index, raw in enumerate(message.tool_calls or ()):
        try:
            call = _decode_call(raw)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise invalid(f"{where}.tool_calls[{index}]", "a call needs an id and a function with a name") from None
        call_id = call.id or f"{unnamed}_{index}"
        if call.custom is not None:
            yield ToolCallItem(call_id, call.custom.name, call.custom.input or "", "custom")
        elif call.function is not None:
            yield ToolCallItem(call_id, call.function.name, arguments_text(call.function.arguments))
        else:
            raise invalid(f"{where}.tool_calls[{index}]", "a call needs an id and a function with a name")
    if message.function_call is not None:
        name = message.function_call.name
        if name is None:
            raise invalid(f"{where}.function_call", "a call needs a function with a name")
        yield ToolCallItem(unnamed, name, arguments_text(message.function_call.arguments))


def arguments_text(arguments: Any) -> str:
    """Arguments as the text that this dialect has them in; some servers send the object itself."""
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else msgspec.json.encode(arguments).decode()


def encode_messages(items: Items, maker: Maker, dropped: Dropped) -> list[Json]:
    """Messages for a request to this deployment. Foreign state and compactions are left out."""
    writer = _Writer(maker, dropped)
    for item in items:
        writer.add(item)
    return writer.end()


class _Writer:
    def __init__(self, maker: Maker, dropped: Dropped) -> None:
        self._maker = maker
        self._dropped = dropped
        self._messages: list[Json] = []
        self._turn: Json | None = None  # the assistant message that may still grow
        self._thoughts: list[str] = []  # of the open turn
        self._said: list[Json] | None = None  # its content, where it is a list of our own that may grow
        self._runs = Runs()
        self._stated: list[StatedRun] = []  # of the open turn
        self._moved: list[Part] = []  # of results, to be said after the last of them

    def add(self, item: Item) -> None:
        match item:
            case ReasoningItem():
                self._reason(item)
            case ToolCallItem():
                self._stated += self._runs.settle(item.call_id)
                self._opened().setdefault("tool_calls", []).append(encode_call(item))
            case ToolResultItem():
                self._close()
                self._messages.append(self._result(item))
            case MessageItem(role="assistant"):
                self._say(item)
            case MessageItem():
                self._close()
                self._flush()
                self._messages.append(_message(item, fitting(item.role, item.parts, self._dropped)))
            case CompactionItem():
                pass

    def end(self) -> list[Json]:
        self._close()
        self._flush()
        return self._messages

    def _opened(self) -> Json:
        if self._turn is None:
            self._flush()
            self._turn = {"role": "assistant", "content": None}
            self._messages.append(self._turn)
        return self._turn

    def _reason(self, item: ReasoningItem) -> None:
        state = item.state
        own = state is not None and (state.provider, state.model, state.account) == (
            self._maker.provider,
            self._maker.model,
            self._maker.account,
        )
        if not item.text and not own:
            return
        if self._turn is not None and self._turn["content"] is not None and "tool_calls" not in self._turn:
            self._close()
        turn = self._opened()
        if item.text:
            turn["reasoning_content"] = ""  # its place among the members; what it says is joined once
            self._thoughts.append(item.text)
            self._runs.think(item.text)
        if state is not None and own:
            self._runs.close(state)

    def _say(self, item: MessageItem) -> None:
        """Into the open turn while nothing is said in it, or calls wait for their results."""
        parts = fitting("assistant", item.parts, self._dropped)
        if self._turn is not None and self._turn["content"] is not None and "tool_calls" not in self._turn:
            self._close()
        self._stated += self._runs.settle()
        turn = self._opened()
        said = _message(item, parts)
        if turn["content"]:
            said["content"] = self._joined(turn["content"], said["content"])
        turn.update(said)

    def _joined(self, content: Any, more: Any) -> Any:
        """Content of two messages as one; the first may be what was given here before, which grows."""
        if not more:
            return content
        if self._said is None:
            self._said = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
        self._said += [{"type": "text", "text": more}] if isinstance(more, str) else more
        return self._said

    def _close(self) -> None:
        if self._turn is not None:
            self._stated += self._runs.settle()
            if self._turn["content"] is None and "tool_calls" not in self._turn:
                self._turn["content"] = ""
            if self._stated:
                self._turn["reasoning_details"] = entries(self._stated)
                self._stated = []
            if self._thoughts:
                self._turn["reasoning_content"] = "".join(self._thoughts)
                self._thoughts = []
            self._turn = self._said = None

    def _result(self, item: ToolResultItem) -> Json:
        moved = [part for part in item.parts if isinstance(part, ImagePart | FilePart | AudioPart)]
        parts: Parts = tuple(part for part in item.parts if not isinstance(part, ImagePart | FilePart | AudioPart))
        if item.failed:
            parts = as_failed(parts)
        if moved:
            parts = parts or (TextPart(ELSEWHERE),)
            self._moved += [TextPart(f"Belongs to the result of {item.call_id}:"), *moved]
        content = encode_parts(fitting("tool", parts, self._dropped))
        return {"role": "tool", "tool_call_id": item.call_id, "content": content}

    def _flush(self) -> None:
        if self._moved:
            parts = fitting("user", tuple(self._moved), self._dropped)
            self._moved = []
            self._messages.append({"role": "user", "content": encode_parts(parts)})


def _message(item: MessageItem, parts: list[Part]) -> Json:
    message: Json = {"role": item.role}
    if item.name is not None:
        message["name"] = item.name
    spoken = [part.id for part in parts if isinstance(part, AudioPart) and part.id] if item.role == "assistant" else []
    if spoken:
        message["audio"] = {"id": spoken[-1]}
        parts = [part for part in parts if not isinstance(part, AudioPart)]
    message["content"] = encode_parts(parts)
    return message


def encode_call(item: ToolCallItem) -> Json:
    if item.kind == "custom":
        return {"id": item.call_id, "type": "custom", "custom": {"name": item.name, "input": item.arguments}}
    return {"id": item.call_id, "type": "function", "function": {"name": item.name, "arguments": item.arguments}}
