"""`reasoning_details`: where clients of this dialect keep the state that lets a model go on thinking.

A list beside `reasoning_content`, invented by a marketplace of models and sent back by its clients as it came:

    {"type": "reasoning.text", "text": ..., "format": "unknown", "index": 0}
    {"type": "reasoning.encrypted", "data": "ph1....", "format": "unknown", "index": 1, "id": "call_1"}

`data` is opaque state, sealed. The text that it closes stands before it, since some clients send back nothing but this
list; `id` is that of the call before which the state stands. `format` is the one word of that list which promises
nothing: clients check it, and lose entries with a word that they do not know. Entries that we did not seal are a
provider's own, and pass only where bytes pass.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.items import OpaqueState, ReasoningItem
from posthouse.dialects.opaque import has_sealed, seal, unseal
from posthouse.dialects.openai_chat_parts import Json

TEXT: Final = "reasoning.text"
SUMMARY: Final = "reasoning.summary"
SEALED: Final = "reasoning.encrypted"
_FORMAT: Final = "unknown"
MAX_RUN: Final = 1 << 20  # characters of a run that are kept to be said again


class _Entry(Struct):
    type: str | None = None
    data: str | None = None
    text: str | None = None
    format: str | None = None


_NONE: Final = Raw(b"[]")
_decode_list = Decoder(list[Raw]).decode
_decode_members = Decoder(dict[str, Raw]).decode
_decode_entry = Decoder(_Entry).decode
_encode = msgspec.json.Encoder().encode


class Thought(Struct, frozen=True):
    """An item of reasoning, and the id of the call that it stands directly before."""

    item: ReasoningItem
    call_id: str | None = None


class StatedRun(Struct, frozen=True):
    """A run of text and the state that closes it. `text` is "" where there is none, None where it is too long to be
    said again."""

    text: str | None
    state: OpaqueState
    call_id: str | None = None


class Runs:
    """Takes what is thought, piece by piece, and finds the run that each state closes and the call it stands before."""

    __slots__ = ("_length", "_pending", "_pieces", "_settled")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._pending: list[StatedRun] = []
        self._settled: list[StatedRun] = []

    @property
    def pending(self) -> bool:
        """Whether a state waits for what it stands before."""
        return bool(self._pending)

    def think(self, text: str) -> None:
        if self._pending:
            self._settled += self._pending
            self._pending = []
        self._length += len(text)
        if self._length <= MAX_RUN:
            self._pieces.append(text)
        else:
            self._pieces.clear()

    def close(self, state: OpaqueState) -> None:
        self._pending.append(StatedRun("".join(self._pieces) if self._length <= MAX_RUN else None, state))
        self._begin()

    def settle(self, call_id: str | None = None) -> list[StatedRun]:
        """Something else than a thought comes, perhaps this call: the runs that were closed since the last one."""
        self._begin()
        settled, pending = self._settled, self._pending
        if not settled and not pending:
            return []
        self._settled, self._pending = [], []
        return settled + [StatedRun(run.text, run.state, call_id) for run in pending]

    def _begin(self) -> None:
        self._pieces.clear()
        self._length = 0


def entries(runs: Iterable[StatedRun], first: int = 0) -> list[Json]:
    """`first` is the index of the first entry. A text that is not said again leaves its index free."""
    made: list[Json] = []
    index = first
    for run in runs:
        if run.text:
            made.append({"type": TEXT, "text": run.text, "format": _FORMAT, "index": index})
        index += run.text != ""
        entry: Json = {"type": SEALED, "data": seal(run.state), "format": _FORMAT, "index": index}
        if run.call_id is not None:
            entry["id"] = run.call_id
        made.append(entry)
        index += 1
    return made


def thoughts_of(text: str, details: Any) -> list[Thought]:
    """What was thought, in order, from the text and the list beside it. Entries that are not ours give text only, and
    only where there is no other."""
    found = details if isinstance(details, list) else []
    thoughts: list[Thought] = []
    at = last = 0
    run = ""
    for entry in found:
        if not isinstance(entry, dict):
            continue
        state = _state_of(entry)
        if state is None:
            run += _text_of(entry)
            continue
        index = entry.get("index")
        index = index if type(index) is int else last
        if not run and index > last:
            run = text[at:]  # the client did not keep the entry with the text
        start = text.find(run, at)
        if start < 0:
            at = len(text)  # one of the two was changed on its way: the list is believed
        elif run:
            if start > at:
                thoughts.append(Thought(ReasoningItem(text[at:start])))
            at = start + len(run)
        call_id = entry.get("id")
        thoughts.append(Thought(ReasoningItem(run, state), call_id if isinstance(call_id, str) else None))
        last, run = index + 1, ""
    rest = text[at:] if text else run
    if rest:
        thoughts.append(Thought(ReasoningItem(rest)))
    return thoughts


def own_messages(raw: Raw) -> Raw:
    """The member `messages` as it goes to a provider of this dialect: nobody else reads what we sealed. The same object
    where nothing in it is sealed."""
    if not has_sealed(bytes(raw)):
        return raw
    try:
        messages = _decode_list(raw)
        return Raw(_encode([_own(one) if has_sealed(bytes(one)) else one for one in messages]))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return raw  # the provider may know what it is


def _own(raw: Raw) -> dict[str, Raw]:
    message = _decode_members(raw)
    kept: list[Raw] = []
    text: str | None = None  # of the entry before, if it is one that is said again for a state
    for entry in _decode_list(message.get("reasoning_details", _NONE)):
        said = _decode_entry(entry)
        sealed = said.type == SEALED and said.data is not None and unseal(said.data) is not None
        if sealed and text is not None:
            kept.pop()
        if not sealed:
            kept.append(entry)
        text = said.text if said.type == TEXT and said.format == _FORMAT else None
    if kept:
        message["reasoning_details"] = Raw(_encode(kept))
    else:
        message.pop("reasoning_details", None)
    return message


def states_of(details: Any) -> list[OpaqueState]:
    """The states in one delta of a stream, in order."""
    found = [_state_of(entry) for entry in details if isinstance(entry, dict)] if isinstance(details, list) else []
    return [state for state in found if state is not None]


def text_of(details: Any) -> str:
    """The text of all entries."""
    return (
        "".join([_text_of(entry) for entry in details if isinstance(entry, dict)]) if isinstance(details, list) else ""
    )


def _state_of(entry: Json) -> OpaqueState | None:
    data = entry.get("data")
    return unseal(data) if entry.get("type") == SEALED and isinstance(data, str) else None


def _text_of(entry: Json) -> str:
    text = entry.get({TEXT: "text", SUMMARY: "summary"}.get(str(entry.get("type")), ""))
    return text if isinstance(text, str) else ""
