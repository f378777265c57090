"""Contents of gemini to and from items.

A content is a turn of `user` or `model`; its parts are what the inner form calls items. Calls and results pair by id
where there is one, by name and order where not. A signature on a part is state that stands before it: it closes the
thoughts that came directly before (`core.events.ReasoningState`), or is an item of its own without text.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from posthouse.core.items import (
    CompactionItem,
    Item,
    Items,
    MessageItem,
    OpaqueState,
    ReasoningItem,
    ToolCallItem,
    ToolResultItem,
)
from posthouse.core.parts import AudioPart, Part, Parts, TextPart
from posthouse.dialects.fields import kind_of, wrong_type
from posthouse.dialects.gemini_fields import ERRORS, NULL, Json, Members, invalid
from posthouse.dialects.gemini_parts import Lost, decode_media, encode_call, encode_part, is_object

StateOf = Callable[[str], OpaqueState]
SignatureOf = Callable[[OpaqueState], str | None]

_decode_object = Decoder(dict[str, Raw]).decode
# `function` is what older clients call the turn of results.
_ROLES: Final = {"user": "user", "function": "user", "model": "assistant"}


class ContentReader:
    """Turns contents into items, one content after another: `items` are what was read, `said` is what it means. Errors
    name the part.

    state_of   the state in a signature
    made_up    the beginning of ids of calls that have none; they are numbered
    taken      ids that no call may be given
    """

    def __init__(self, state_of: StateOf, made_up: str = "call_", taken: Iterable[str] = ()) -> None:
        self.items: list[Item] = []
        self._state_of = state_of
        self._made_up = made_up
        self._taken = frozenset(taken)
        self._ids: set[str] = set()
        self._number = 0
        # Calls of the last turn that called, by name: their ids and numbers, oldest first; and which of all calls have
        # no result yet.
        self._unanswered: dict[str, deque[tuple[str, int]]] = {}
        self._open: dict[str, int] = {}
        self._last_role = ""
        self._seams: set[int] = set()  # places where a content of the model goes on with the one before it
        self._called_in_turn = False

    def read(self, content: Members, role: str | None = None) -> None:
        """`role`: that of the items, where the content does not say."""
        if role is None:
            said = content.string("role") or "user"
            role = _ROLES.get(said)
            if role is None:
                raise invalid(content.at("role"), "expected user or model")
        parts = content.objects("parts")
        if not parts:
            raise invalid(content.at("parts"), "expected at least one part")
        before = len(self.items)
        self._called_in_turn = self._called_in_turn and self._last_role == role
        message: list[Part] = []
        for part in parts:
            self._read_part(part, role, message)
        self._close(message, role)
        if len(self.items) == before and role != "assistant":
            self.items.append(MessageItem(role, ()))
        if self._last_role == role == "assistant" and 0 < before < len(self.items):
            self._seams.add(before)
        self._last_role = role

    def said(self) -> Items:
        """All items. Contents of the model that follow each other are one turn."""
        runs: list[list[Item]] = []
        for place, item in enumerate(self.items):
            if place in self._seams and _continues(runs[-1][-1], item):
                runs[-1].append(item)
            else:
                runs.append([item])
        return tuple(map(_joined, runs))

    def _read_part(self, part: Members, role: str, message: list[Part]) -> None:
        signature = part.string("thoughtSignature")
        thought = part.boolean("thought")
        if signature:
            self._close(message, role)
            self._add_state(self._state_of(signature))
            if not part:
                return
        if (text := part.string("text")) is not None:
            if thought:
                self._close(message, role)
                self.items.append(ReasoningItem(text))
            elif text:
                message.append(TextPart(text))
        elif (call := part.object("functionCall")) is not None:
            self._close(message, role)
            self._add_call(call)
        elif (result := part.object("functionResponse")) is not None:
            self._close(message, role)
            self._add_result(result)
        else:
            message.append(decode_media(part))

    def _close(self, message: list[Part], role: str) -> None:
        if message:
            self.items.append(MessageItem(role, tuple(message)))
            message.clear()

    def _add_state(self, state: OpaqueState) -> None:
        last = self.items[-1] if self.items else None
        if isinstance(last, ReasoningItem) and last.state is None:
            self.items[-1] = ReasoningItem(last.text, state)
        else:
            self.items.append(ReasoningItem("", state))

    def _add_call(self, call: Members) -> None:
        name = call.string("name")
        if not name:
            raise invalid(call.at("name"), "a call names its function")
        call_id = call.string("id") or self._new_id()
        raw = call.raw("args")
        if raw is not None and kind_of(raw) != "an object":
            raise wrong_type(call.at("args"), "an object", raw)
        text = "{}" if raw is None else bytes(raw).decode()
        self._ids.add(call_id)
        if not self._called_in_turn:
            self._unanswered.clear()
            self._called_in_turn = True
        self._open[call_id] = len(self.items)
        self._unanswered.setdefault(name, deque()).append((call_id, len(self.items)))
        self.items.append(ToolCallItem(call_id, name, text))

    def _new_id(self) -> str:
        while True:
            self._number += 1
            call_id = f"{self._made_up}{self._number}"
            if call_id not in self._ids and call_id not in self._taken:
                return call_id

    def _add_result(self, result: Members) -> None:
        name, given = result.string("name") or "", result.string("id")
        if given is not None and given in self._ids:
            call_id = given
        else:
            call_id = self._first_open(name) or given or self._new_id()
        self._open.pop(call_id, None)
        parts, failed = _decode_response(result)
        self.items.append(ToolResultItem(call_id, parts, failed))

    def _first_open(self, name: str) -> str | None:
        waiting = self._unanswered.get(name)
        while waiting:
            call_id, number = waiting[0]
            if self._open.get(call_id) == number:
                return call_id
            waiting.popleft()
        return None


def _decode_response(result: Members) -> tuple[Parts, bool]:
    """The keys `output` and `error` are Google's convention; `result` is that of its SDK."""
    raw = result.raw("response")
    parts: list[Part] = []
    failed = False
    if raw is not None:
        try:
            said = _decode_object(raw)
        except ERRORS:
            raise wrong_type(result.at("response"), "an object", raw) from None
        key = next(iter(said), "") if len(said) == 1 else ""
        failed = key == "error" and said[key] != NULL
        text = _text_in(said[key]) if failed or key in ("output", "result") else bytes(raw).decode()
        parts += [TextPart(text)] if text else []
    for part in result.objects("parts") or ():
        parts.append(decode_media(part))
    return tuple(parts), failed


def _text_in(raw: Raw) -> str:
    try:
        value = msgspec.json.decode(raw)
    except ERRORS:
        value = None
    return value if isinstance(value, str) else bytes(raw).decode()


def _continues(last: Item, item: Item) -> bool:
    if isinstance(last, ReasoningItem):
        return isinstance(item, ReasoningItem) and last.state is None
    return isinstance(last, MessageItem) and isinstance(item, MessageItem)


def _joined(run: list[Item]) -> Item:
    """What an SDK kept piece by piece as it streamed."""
    first, last = run[0], run[-1]
    if len(run) > 1 and isinstance(last, ReasoningItem):
        return ReasoningItem("".join([item.text for item in run if isinstance(item, ReasoningItem)]), last.state)
    if len(run) == 1 or not isinstance(first, MessageItem):
        return first
    parts: list[Part] = []
    texts: list[str] = []  # of the text that is under way at the end of a piece
    for item in run:
        for place, part in enumerate(item.parts if isinstance(item, MessageItem) else ()):
            if texts and not (place == 0 and isinstance(part, TextPart)):
                parts.append(TextPart("".join(texts)))
                texts = []
            if isinstance(part, TextPart):
                texts.append(part.text)
            else:
                parts.append(part)
    if texts:
        parts.append(TextPart("".join(texts)))
    return MessageItem(first.role, tuple(parts))


class ContentWriter:
    """Turns items into contents: neighbours of one role are joined, a signature goes on the part that follows it.

    signature_of   None: the state is not for whoever reads this
    faithful       who reads this has said it, or made it: thoughts are written, and answers of tools that are JSON
                   objects stay objects. Else thoughts without state of the reader's are left out, and answers travel as
                   text: in a protobuf struct every number is a double, and long ids would come out changed
    """

    def __init__(self, signature_of: SignatureOf, lost: Lost, *, faithful: bool) -> None:
        self.contents: list[Json] = []
        self._signature_of = signature_of
        self._lost = lost
        self._faithful = faithful
        self._pending: str | None = None
        self._names: dict[str, str] = {}

    def write(self, items: Items) -> None:
        for item in items:
            match item:
                case MessageItem():
                    self._write_message(item)
                case ReasoningItem(text, state):
                    signature = None if state is None else self._signature_of(state)
                    if text and (self._faithful or signature is not None):
                        self._add("model", {"text": text, "thought": True})
                    if signature is not None:
                        self.flush()
                        self._pending = signature
                case ToolCallItem(call_id, name):
                    self._names[call_id] = name
                    self._add("model", encode_call(item))
                case ToolResultItem():
                    self._add("user", self._encode_result(item))
                case CompactionItem():
                    pass  # state of its maker, which is not us
        self.flush()

    def flush(self) -> None:
        """What closes a turn without a part to bear it stands on an empty text, as it does in answers that stream."""
        if self._pending is not None:
            self._add("model", {"text": ""})

    def _write_message(self, item: MessageItem) -> None:
        if item.name is not None:
            self._lost["name"] = None
        role = "model" if item.role == "assistant" else "user"
        reminder = item.role in ("system", "developer")
        if item.role not in ("assistant", "user"):
            self._lost["role"] = None
        for part in item.parts:
            if isinstance(part, AudioPart) and part.data and part.transcript:
                self._add(role, {"text": part.transcript})  # what it says stands beside it, as in answers that stream
            encoded = encode_part(part, self._lost)
            if encoded is None:
                continue
            if reminder and "text" in encoded:
                encoded["text"] = f"<system-reminder>\n{encoded['text']}\n</system-reminder>"
            self._add(role, encoded)

    def _encode_result(self, item: ToolResultItem) -> Json:
        texts: list[str] = []
        media: list[Json] = []
        for part in item.parts:
            encoded = encode_part(part, self._lost)
            if encoded is not None and isinstance(text := encoded.get("text"), str):
                texts.append(text)
            elif encoded is not None:
                media.append(encoded)
        said = "\n".join(texts)
        response: Json | Raw = {"error" if item.failed else "output": said}
        if self._faithful and not item.failed and _is_plain_object(said):
            response = Raw(said.encode())
        name = self._names.get(item.call_id, item.call_id)
        result: Json = {"id": item.call_id, "name": name, "response": response}
        if media:
            result["parts"] = media
        return {"functionResponse": result}

    def _add(self, role: str, part: Json) -> None:
        if self._pending is not None:
            signature, self._pending = self._pending, None
            if role == "model":
                part["thoughtSignature"] = signature
            else:
                self._append("model", {"text": "", "thoughtSignature": signature})
        self._append(role, part)

    def _append(self, role: str, part: Json) -> None:
        if self.contents and self.contents[-1]["role"] == role:
            self.contents[-1]["parts"].append(part)
        else:
            self.contents.append({"role": role, "parts": [part]})


def _is_plain_object(text: str) -> bool:
    """A JSON object that `_decode_response` does not take for a wrapped text."""
    if not text.startswith("{") or not is_object(text):
        return False
    keys = list(_decode_object(text))
    return len(keys) != 1 or keys[0] not in ("output", "result", "error")


# Gemini 3 refuses a request in whose current turn the first call of a step bears no signature, and documents this text
# for calls that another model made; models before it require none. It stands as it is, not as base64 of it, which is
# refused as no valid signature. Sources: https://ai.google.dev/gemini-api/docs/thought-signatures (rules and FAQ, as of
# November 2026); for the literal form https://github.com/langchain-ai/langchain-google/pull/1972 (2026-08-27).
NOBODYS_SIGNATURE: Final = "skip_thought_signature_validator"


def sign_current_turn(contents: list[Json]) -> None:
    """Gives the first call of every step since the user last said something a signature, where it has none.

    Members in either spelling. A content that holds results begins no turn, whatever else it holds.
    """
    for content in reversed(contents):
        calls = [part for part in content["parts"] if not _CALL.isdisjoint(part)]
        if calls:
            if _SIGNATURE.isdisjoint(calls[0]):
                calls[0]["thoughtSignature"] = NOBODYS_SIGNATURE
        elif content["role"] == "user" and all(_RESULT.isdisjoint(part) for part in content["parts"]):
            return


_CALL: Final = frozenset({"functionCall", "function_call"})
_RESULT: Final = frozenset({"functionResponse", "function_response"})
_SIGNATURE: Final = frozenset({"thoughtSignature", "thought_signature"})
