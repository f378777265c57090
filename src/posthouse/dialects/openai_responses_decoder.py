"""A provider's Responses stream as inner events.

Most events are pieces of text: one pass of msgspec tells them by `type` and reads two members. A text that comes whole
and never in pieces is given when its item is done; an answer that comes only in the last event, when that comes.

Not told, since no other dialect has a place for it: hosted tools, annotations, logprobs.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.core.events import (
    AudioDelta,
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    ReasoningState,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from posthouse.core.items import CompactionItem, Item, MessageItem, ReasoningItem, ToolCallItem
from posthouse.core.parts import RefusalPart, TextPart
from posthouse.dialects.codec import Maker
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_errors import StreamError, decode_error
from posthouse.dialects.openai_responses_items import decode_item
from posthouse.dialects.openai_responses_whole import Reply, finish_of, output_of, usage_of_reply
from posthouse.dialects.sse import data_of

MAX_OPEN: Final = 4096  # items that were begun and are not done; no answer has so many


class _Text(Struct, tag_field="type", tag="response.output_text.delta", gc=False):
    delta: str
    output_index: int = 0


class _Refusal(Struct, tag_field="type", tag="response.refusal.delta", gc=False):
    delta: str
    output_index: int = 0


class _Summary(Struct, tag_field="type", tag="response.reasoning_summary_text.delta", gc=False):
    delta: str
    output_index: int = 0
    summary_index: int = 0


class _Thought(Struct, tag_field="type", tag="response.reasoning_text.delta", gc=False):
    delta: str
    output_index: int = 0
    content_index: int = 0


class _Arguments(Struct, tag_field="type", tag="response.function_call_arguments.delta", gc=False):
    delta: str
    output_index: int = 0


class _CustomInput(Struct, tag_field="type", tag="response.custom_tool_call_input.delta", gc=False):
    delta: str
    output_index: int = 0


class _Sound(Struct, tag_field="type", tag="response.audio.delta", gc=False):
    delta: str


class _Transcript(Struct, tag_field="type", tag="response.audio.transcript.delta", gc=False):
    delta: str


class _Added(Struct, tag_field="type", tag="response.output_item.added", gc=False):
    item: Raw
    output_index: int = 0


class _Done(Struct, tag_field="type", tag="response.output_item.done", gc=False):
    item: Raw
    output_index: int = 0


class _Created(Struct, tag_field="type", tag="response.created", gc=False):
    response: Reply


class _InProgress(Struct, tag_field="type", tag="response.in_progress", gc=False):
    response: Reply


class _Completed(Struct, tag_field="type", tag="response.completed", gc=False):
    response: Reply


class _Incomplete(Struct, tag_field="type", tag="response.incomplete", gc=False):
    response: Reply


class _Failed(Struct, tag_field="type", tag="response.failed", gc=False):
    response: Reply


class _Error(Struct, tag_field="type", tag="error", gc=False):
    """Documented flat; some send the members under `error`."""

    message: Any = None
    code: Any = None
    param: Any = None
    error: Any = None


_Known = (
    _Text
    | _Refusal
    | _Summary
    | _Thought
    | _Arguments
    | _CustomInput
    | _Sound
    | _Transcript
    | _Added
    | _Done
    | _Created
    | _InProgress
    | _Completed
    | _Incomplete
    | _Failed
    | _Error
)


class _Call(Struct, gc=False):
    """A call as it begins: what it is called with comes later."""

    type: str
    id: Any = None
    call_id: Any = None
    name: Any = None


class _Bare(Struct, gc=False):
    type: Any = None
    error: Any = None


class _Open(Struct, gc=False):
    """An item that was begun. `call`: its number, -1 where it is none; `part`: the part of its thoughts told last."""

    call: int = -1
    said: bool = False
    part: tuple[str, int] | None = None


_decode: Final = Decoder(_Known).decode
_decode_call = Decoder(_Call).decode
_decode_bare = Decoder(_Bare).decode
_TAGS: Final = frozenset(str(kind.__struct_config__.tag) for kind in _Known.__args__)
_KINDS: Final[dict[str, Any]] = {"function_call": "function", "custom_tool_call": "custom"}
_BROKEN: Final = StreamError("the upstream reported an error")


class ResponsesDecoder:
    """Of an answer by `maker`. `done` with response.completed, .incomplete or .failed."""

    def __init__(self, maker: Maker) -> None:
        self._maker = maker
        self._begun = False
        self._over = False
        self._calls = 0
        self._told = False  # some of the answer
        self._items: dict[int, _Open] = {}
        self.done = False
        self.id: str | None = None
        self._handlers: dict[type, Callable[[Any], list[Event]]] = {
            _Text: self._on_text,
            _Refusal: self._on_refusal,
            _Summary: self._on_summary,
            _Thought: self._on_thought,
            _Arguments: self._on_arguments,
            _CustomInput: self._on_arguments,
            _Sound: lambda event: [AudioDelta(event.delta)],
            _Transcript: lambda event: [AudioDelta(transcript=event.delta)],
            _Added: self._on_added,
            _Done: self._on_done,
            _Created: self._on_begun,
            _InProgress: self._on_begun,
            _Completed: self._on_end,
            _Incomplete: self._on_end,
            _Failed: self._on_end,
            _Error: self._on_error,
        }

    def decode(self, event: bytes) -> Sequence[Event]:
        data = data_of(event)
        if data is None or self._over:
            return ()
        try:
            known = _decode(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return self._unknown(data)
        events = self._handlers[type(known)](known)
        if not events or self._begun:
            return events
        self._begun = True
        return events if isinstance(events[0], Started | Failed) else [Started(), *events]

    def finish(self) -> Sequence[Event]:
        return ()

    def _unknown(self, data: bytes) -> Sequence[Event]:
        """An event of a type that is not read here, [DONE], or an error in the manner of another dialect."""
        if data.lstrip().startswith(b"[DONE]"):
            return ()
        try:
            bare = _decode_bare(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            bare = _Bare()
        if bare.type is None and bare.error:
            return self._failed(decode_error(bare.error))
        if not isinstance(bare.type, str) or bare.type in _TAGS:
            raise DialectError("an event of the stream is none of a response")
        return ()

    def _item(self, index: int) -> _Open:
        item = self._items.get(index)
        if item is None:
            if len(self._items) >= MAX_OPEN:
                raise DialectError("the answer has too many items")
            item = self._items[index] = _Open()
        return item

    def _on_begun(self, event: _Created | _InProgress) -> list[Event]:
        self._identify(event.response)
        return [] if self._begun else [Started()]

    def _identify(self, reply: Reply) -> None:
        if self.id is None and isinstance(reply.id, str):
            self.id = reply.id

    def _on_text(self, event: _Text) -> list[Event]:
        return [TextDelta(event.delta)] if self._says(event) else []

    def _on_refusal(self, event: _Refusal) -> list[Event]:
        return [RefusalDelta(event.delta)] if self._says(event) else []

    def _says(self, event: _Text | _Refusal) -> bool:
        if not event.delta:
            return False
        self._told = self._item(event.output_index).said = True
        return True

    def _on_summary(self, event: _Summary) -> list[Event]:
        return self._thought(event.output_index, ("summary", event.summary_index), event.delta)

    def _on_thought(self, event: _Thought) -> list[Event]:
        return self._thought(event.output_index, ("content", event.content_index), event.delta)

    def _thought(self, index: int, part: tuple[str, int], text: str) -> list[Event]:
        """Parts of one item are joined as `Reasoning.text` joins them."""
        if not text:
            return []
        item = self._item(index)
        first = item.part is None or item.part == part
        item.part = part
        self._told = item.said = True
        return [ReasoningDelta(text if first else f"\n\n{text}")]

    def _on_arguments(self, event: _Arguments | _CustomInput) -> list[Event]:
        item = self._items.get(event.output_index)
        if item is None or item.call < 0 or not event.delta:
            return []  # of a call that was not begun: it is given when it is done
        item.said = True
        return [ToolCallDelta(event.delta, "custom" if type(event) is _CustomInput else "function", item.call)]

    def _on_added(self, event: _Added) -> list[Event]:
        try:
            call = _decode_call(event.item)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise DialectError("an item of the answer is none") from None
        kind = _KINDS.get(call.type)
        item = self._item(event.output_index)
        if kind is None or item.call >= 0:
            return []
        return [self._call(item, call.call_id or call.id, call.name, kind)]

    def _call(self, item: _Open, call_id: Any, name: Any, kind: Any) -> Event:
        item.call = self._calls
        self._calls += 1
        self._told = True
        return ToolCallStarted(str(call_id or ""), str(name or ""), kind, item.call)

    def _on_done(self, event: _Done) -> list[Event]:
        opened = self._items.pop(event.output_index, None) or _Open()
        try:
            item = decode_item(event.item, "item", self._maker)
        except InvalidRequest:
            raise DialectError("an item of the answer is none") from None
        return self._whole(item, opened)

    def _whole(self, item: Item, opened: _Open) -> list[Event]:
        """What of a whole item was not told yet."""
        events: list[Event] = []
        match item:
            case ToolCallItem(call_id, name, arguments, kind):
                if opened.call < 0:
                    events.append(self._call(opened, call_id, name, kind))
                if arguments and not opened.said:
                    events.append(ToolCallDelta(arguments, kind, opened.call))
            case ReasoningItem(text, state):
                if text and not opened.said:
                    events.append(ReasoningDelta(text))
                if state is not None:
                    events.append(ReasoningState(state))
            case CompactionItem(state):
                events.append(ReasoningState(state))  # it goes back as it came, whatever carries it
            case MessageItem(_, parts) if not opened.said:
                for part in parts:
                    if isinstance(part, TextPart) and part.text:
                        events.append(TextDelta(part.text))
                    elif isinstance(part, RefusalPart) and part.text:
                        events.append(RefusalDelta(part.text))
        self._told = self._told or bool(events)
        return events

    def _on_end(self, event: _Completed | _Incomplete | _Failed) -> list[Event]:
        reply = event.response
        self._identify(reply)
        events: list[Event] = []
        self.done = True
        usage = usage_of_reply(reply)
        if type(event) is _Failed or reply.status == "failed":
            if usage is not None:
                events.append(UsageReported(usage))
            return events + self._failed(decode_error(reply.error))
        if not self._told:
            for item in output_of(reply, self._maker):
                events += self._whole(item, _Open())
        self._over = True
        if type(event) is _Incomplete or reply.status != "incomplete":
            reply.status = "incomplete" if type(event) is _Incomplete else "completed"
        events.append(Finished(finish_of(reply, self._calls > 0) or "length"))
        if usage is not None:
            events.append(UsageReported(usage))
        return events

    def _on_error(self, event: _Error) -> list[Event]:
        flat = {"message": event.message, "code": event.code, "param": event.param}
        return self._failed(decode_error(event.error or flat))

    def _failed(self, error: StreamError | None) -> list[Event]:
        error = error or _BROKEN
        self._over = True
        return [Failed(error.message, error.type, error.code, error.param)]
