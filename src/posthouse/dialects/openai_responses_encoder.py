"""Inner events as a Responses stream for a client: every item and part begun and ended, every text whole at its end.

One item is open at a time, but calls of tools, which a provider may fill by turns: a call whose arguments are whole
closes as soon as something else begins, so that a client may run the tool; any other at the end. What the tables of
openai_responses_events allow is all that ever comes.
"""

from typing import Any, Final, assert_never

import msgspec
from msgspec import Raw

from posthouse.core.errors import PosthouseError
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
from posthouse.core.items import OpaqueState
from posthouse.core.usage import Usage
from posthouse.dialects.codec import ReplyHead
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_responses_events import FORMS, Form
from posthouse.dialects.openai_responses_items import Json
from posthouse.dialects.openai_responses_whole import (
    NO_STATE,
    PREFIX_OF,
    encode_usage,
    item_id,
    message_item,
    reasoning_item,
    refusal_part,
    response_object,
    text_part,
    was_cut,
)

DONE: Final = b"data: [DONE]\n\n"
MAX_ANSWER: Final = 32 << 20  # characters; the whole answer stands once more in the last event
_PER_ITEM: Final = 4096  # counted for an item or a part beside its text, so that there are 8,192 of them at most
_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
# What `error.code` of a Response may be, of all that can be told apart here.
_ERROR_CODES: Final = frozenset({"server_error", "rate_limit_exceeded", "invalid_prompt"})


class _Item:
    """An item on its way: `body` as it is so far, `part` the kind of text that `pieces` are of ("": none)."""

    __slots__ = ("body", "done", "index", "part", "pieces")

    def __init__(self, index: int, body: Json, part: str = "") -> None:
        self.index = index
        self.body = body
        self.part = part
        self.pieces: list[str] = []
        self.done = False

    def finished_arguments(self) -> bool:
        """Whether a function's arguments are one whole object."""
        if self.part != "function_call":
            return False
        try:
            _decode_object("".join(self.pieces))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return False
        return True


class ResponsesEncoder:
    """Of an answer to the client of `head`. DialectError where the answer grows beyond MAX_ANSWER.

    This dialect has one choice: what other choices say is left out.
    """

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._sequence = head.told
        self._begun = False
        self._items: list[_Item] = []
        self._open: _Item | None = None  # the one begun last, where it may still grow
        self._calls: dict[int, _Item] = {}
        self._sounds: dict[str, None] = {}
        self._finish: str | None = "stop"
        self._room = MAX_ANSWER

    def encode(self, event: Event) -> bytes:
        if isinstance(event, UsageReported | Failed) or event.choice != 0:
            return b""
        begun = b"" if self._begun else self._begin()
        return begun + self._said(event)

    def close(self, usage: Usage) -> bytes:
        out = b"" if self._begun else self._begin()
        out += self._close_all(self._finish)
        reply = response_object(self._head, self._finish, [item.body for item in self._items])
        reply["usage"] = encode_usage(usage)
        return out + self._event(f"response.{reply['status']}", {"response": reply}) + DONE

    def fail(self, error: PosthouseError) -> bytes:
        """Items that were not whole stand in the failed response as far as they came."""
        code = error.code or error.type
        out = self._event("error", {"code": code, "message": error.message, "param": error.param})
        for item in self._items:
            if not item.done:
                self._fill(item, "incomplete")
        reply = response_object(self._head, None, [item.body for item in self._items])
        reply["status"] = "failed"
        reply["error"] = {"code": _error_code(error), "message": error.message}
        return out + self._event("response.failed", {"response": reply}) + DONE

    def _said(  # noqa: PLR0911 (one for each member of the union)
        self,
        event: Started
        | TextDelta
        | RefusalDelta
        | ReasoningDelta
        | ReasoningState
        | ToolCallStarted
        | ToolCallDelta
        | AudioDelta
        | Finished,
    ) -> bytes:
        match event:
            case TextDelta(text):
                return self._text("message", "output_text", text)
            case RefusalDelta(text):
                return self._text("message", "refusal", text)
            case ReasoningDelta(text):
                return self._text("reasoning", "summary_text", text)
            case ToolCallDelta(arguments, call=call):
                return self._arguments(call, arguments)
            case ToolCallStarted():
                return self._call(event)
            case ReasoningState(state):
                return self._state(state)
            case AudioDelta(data, transcript):
                return self._sound("response.audio", data) + self._sound("response.audio.transcript", transcript)
            case Finished(reason):
                self._finish = reason
                return self._close_all(reason)
            case Started():
                return b""
            case _:
                assert_never(event)

    def _event(self, name: str, members: Json) -> bytes:
        data = _encode({"type": name, "sequence_number": self._sequence, **members})
        self._sequence += 1
        return b"event: %b\ndata: %b\n\n" % (name.encode(), data)

    def _begin(self) -> bytes:
        self._begun = True
        reply = response_object(self._head, "stop", [])
        reply["status"] = "in_progress"
        return self._event("response.created", {"response": reply}) + self._event(
            "response.in_progress", {"response": reply}
        )

    def _take_room(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise DialectError("the answer is too large")

    # --- items ---------------------------------------------------
    def _add(self, item: _Item) -> bytes:
        """Begins an item, once the one before is closed."""
        self._take_room(_PER_ITEM)
        out = self._leave()
        self._items.append(item)
        self._open = item
        return out + self._event("response.output_item.added", {"output_index": item.index, "item": item.body})

    def _leave(self) -> bytes:
        """Closes the item begun last, unless it is a call that may not be whole yet."""
        item = self._open
        self._open = None
        if item is None or item.done or (item.part in PART_OF.values() and not item.finished_arguments()):
            return b""
        return self._close(item, "completed")

    def _close_all(self, finish: str | None) -> bytes:
        """The items that are open, and sound; the last item is incomplete where the answer is."""
        out = [
            self._close(item, "incomplete" if was_cut(finish) and item is self._items[-1] else "completed")
            for item in self._items
            if not item.done
        ]
        out += [self._event(f"{name}.done", {}) for name in self._sounds]
        self._sounds.clear()
        self._open = None
        return b"".join(out)

    def _close(self, item: _Item, status: str) -> bytes:
        out = self._end_text(item)
        self._fill(item, status)
        return out + self._event("response.output_item.done", {"output_index": item.index, "item": item.body})

    def _fill(self, item: _Item, status: str) -> None:
        """Brings the body of an item to its last state."""
        if item.part:
            self._put(item, FORMS[item.part])
        if item.body["type"] == "reasoning" and "encrypted_content" not in item.body:
            item.body = reasoning_item(item.body["id"], item.body["summary"], NO_STATE)
        item.body["status"] = status
        item.done = True

    # --- texts ---------------------------------------------------
    def _text(self, kind: str, part: str, text: str) -> bytes:
        """A piece of a text that stands in a part of an item of this kind."""
        if not text:
            return b""
        self._take_room(len(text))
        item, out = self._open, b""
        if item is None or item.body["type"] != kind:
            item = self._new(kind)
            out = self._add(item)
        if item.part != part:
            out += self._end_text(item) + self._begin_text(item, part)
        item.pieces.append(text)
        return out + self._delta(item, FORMS[part], text)

    def _new(self, kind: str) -> _Item:
        index = len(self._items)
        if kind == "message":
            return _Item(index, message_item(item_id("msg", self._head, index), "in_progress"))
        body = {"type": "reasoning", "id": item_id("rs", self._head, index), "summary": [], "status": "in_progress"}
        return _Item(index, body)

    def _place(self, item: _Item, form: Form) -> Json:
        place = {"item_id": item.body["id"], "output_index": item.index}
        if form.index:
            place[form.index] = len(item.body[form.holder])
        return place

    def _begin_text(self, item: _Item, part: str) -> bytes:
        self._take_room(_PER_ITEM)
        item.part = part
        form = FORMS[part]
        return self._event(form.added, {**self._place(item, form), "part": _part(part, "")})

    def _delta(self, item: _Item, form: Form, text: str) -> bytes:
        members = {**self._place(item, form), "delta": text}
        if item.part == "output_text":
            members["logprobs"] = []
        return self._event(form.delta, members)

    def _end_text(self, item: _Item) -> bytes:
        """Says the whole text that is open, and puts it where it belongs."""
        if not item.part:
            return b""
        part, form = item.part, FORMS[item.part]
        text = "".join(item.pieces)
        place = self._place(item, form)
        said = {**place, form.member: text}
        if part == "output_text":
            said["logprobs"] = []
        elif part == "function_call":
            said["name"] = item.body["name"]
        out = self._event(form.said, said)
        if form.closed:
            out += self._event(form.closed, {**place, "part": _part(part, text)})
        self._put(item, form)
        return out

    def _put(self, item: _Item, form: Form) -> None:
        text = "".join(item.pieces)
        if form.holder:
            item.body = {**item.body, form.holder: [*item.body[form.holder], _part(item.part, text)]}
        else:
            item.body = {**item.body, form.member: text}
        item.pieces.clear()
        item.part = ""

    # --- calls, state, sound -------------------------------------
    def _call(self, event: ToolCallStarted) -> bytes:
        index = len(self._items)
        part = PART_OF[event.kind]
        body = {
            "type": part,
            "id": item_id(PREFIX_OF[event.kind], self._head, index),
            "status": "in_progress",
            "call_id": event.call_id,
            "name": event.name,
            FORMS[part].member: "",
        }
        self._take_room(len(event.call_id) + len(event.name))
        item = self._calls[event.call] = _Item(index, body, part)
        return self._add(item)

    def _arguments(self, call: int, arguments: str) -> bytes:
        item = self._calls.get(call)
        if item is None or item.done or not arguments:
            return b""
        self._take_room(len(arguments))
        item.pieces.append(arguments)
        return self._delta(item, FORMS[item.part], arguments)

    def _state(self, state: OpaqueState) -> bytes:
        """Ends the thoughts that are open, or stands for thoughts that are not shown."""
        self._take_room(2 * len(state.payload))
        item, out = self._open, b""
        if item is None or item.body["type"] != "reasoning":
            item = self._new("reasoning")
            out = self._add(item)
        out += self._end_text(item)
        item.body = reasoning_item(item.body["id"], item.body["summary"], state)
        return out + self._leave()

    def _sound(self, name: str, delta: str) -> bytes:
        if not delta:
            return b""
        self._sounds[name] = None
        return self._event(f"{name}.delta", {"delta": delta})


PART_OF: Final = {"function": "function_call", "custom": "custom_tool_call"}


def _part(kind: str, text: str) -> Any:
    if kind == "output_text":
        return text_part(text)
    return refusal_part(text) if kind == "refusal" else {"type": kind, "text": text}


def _error_code(error: PosthouseError) -> str:
    """OpenAI's vocabulary for a response that failed, which is small."""
    if error.code is not None and error.code in _ERROR_CODES:
        return error.code
    if error.status == 429:
        return "rate_limit_exceeded"
    return "invalid_prompt" if error.status == 400 else "server_error"
