"""What chunks of a stream say, made a legal sequence of events (core/events.py), for all dialects of this family.

Servers that call themselves compatible leave out what a lenient client does without. Here a choice begins before it
says anything, and once; a call has an id, a name, and the next number; a choice ends once, after all that it said, when
the stream says that it is over. A call that is not named yet is held back until it is.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from posthouse.core.events import (
    Event,
    Failed,
    Finished,
    Started,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from posthouse.core.items import ToolKind
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_finish import CALLS, STOP, meant

UNSAID: Final = -1  # the number of a call where a chunk says none
MAX_NUMBER: Final = 1 << 31  # of a choice or a call; nobody counts so far, and clients read 32 bits
MAX_CHOICES: Final = 4096  # of several prompts at once, where each has its own
MAX_CALLS: Final = 1024  # of one choice
NO_ARGUMENTS: Final = "{}"
MAX_HELD: Final = 1 << 20  # characters of arguments before the name


class _Call:
    __slots__ = ("argued", "held", "id", "kind", "name", "number", "size", "started")

    def __init__(self, number: int, kind: ToolKind) -> None:
        self.number = number
        self.kind: ToolKind = kind
        self.id = ""
        self.name = ""
        self.held: list[str] = []
        self.size = 0  # characters that are held
        self.argued = False
        self.started = False


class _Choice:
    __slots__ = ("calls", "ended", "finish", "last", "places")

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.places: dict[int, _Call] = {}  # by the number on the wire
        self.last: _Call | None = None
        self.finish: str | None = None
        self.ended = False


class Sequence:
    """Feed it what each chunk says; `seed` is the chunk, from which ids are made that it does not give."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._failed = False

    def take(self, said: Iterable[Event], seed: bytes) -> list[Event]:
        """DialectError where a stream has more choices or calls than any answer."""
        events: list[Event] = []
        for event in said:
            if self._failed:
                break
            if isinstance(event, Failed):
                self._failed = True
                events.append(event)
            elif isinstance(event, UsageReported):
                events.append(event)
            else:
                self._take(event, seed, events)
        return events

    def end(self, whole: bool, seed: bytes = b"") -> list[Event]:
        """The ends of those choices that have ended. `whole`: the stream has its own end mark, so all of them have."""
        events: list[Event] = []
        if self._failed:
            return events
        for index, choice in sorted(self._choices.items()):
            if choice.ended or (choice.finish is None and not whole):
                continue
            reason = meant(choice.finish or STOP, bool(choice.calls)) or STOP
            for call in choice.calls:
                if not call.started:
                    self._start(call, index, seed, events)
                if not call.argued and call.kind == "function" and reason == CALLS:
                    # Clients parse what a call is called with, also where that is nothing.
                    events.append(ToolCallDelta(NO_ARGUMENTS, call.kind, call.number, index))
            choice.ended = True
            events.append(Finished(reason, index))
        return events

    def _take(self, event: Event, seed: bytes, events: list[Event]) -> None:
        assert not isinstance(event, Failed | UsageReported)
        choice = self._choices.get(event.choice)
        if choice is None:
            if len(self._choices) >= MAX_CHOICES:
                raise DialectError("the stream has too many choices")
            choice = self._choices[event.choice] = _Choice()
            role = event.role if isinstance(event, Started) else "assistant"
            events.append(Started(event.choice, role))
        if choice.ended:
            return
        match event:
            case Started():
                pass
            case Finished():
                choice.finish = event.reason
            case ToolCallStarted():
                self._name(choice, event, seed, events)
            case ToolCallDelta():
                self._argue(choice, event, events)
            case _:
                events.append(event)

    def _name(self, choice: _Choice, event: ToolCallStarted, seed: bytes, events: list[Event]) -> None:
        call = choice.places.get(event.call) if event.call != UNSAID else choice.last
        if call is None or _is_another(call, event):
            call = self._new(choice, event.call, event.kind)
        if call.started:
            return
        call.id = call.id or event.call_id
        call.name = call.name or event.name
        if call.name:
            self._start(call, event.choice, seed, events)

    def _argue(self, choice: _Choice, event: ToolCallDelta, events: list[Event]) -> None:
        call = choice.places.get(event.call) if event.call != UNSAID else choice.last
        if call is None:
            call = self._new(choice, event.call, event.kind)
        choice.last = call
        call.argued = call.argued or bool(event.arguments)
        if call.started:
            events.append(ToolCallDelta(event.arguments, call.kind, call.number, event.choice))
            return
        call.size += len(event.arguments)
        if call.size > MAX_HELD:
            raise DialectError("a call of a tool has no name")
        call.held.append(event.arguments)

    def _new(self, choice: _Choice, place: int, kind: ToolKind) -> _Call:
        if len(choice.calls) >= MAX_CALLS:
            raise DialectError("the stream has too many calls of tools")
        call = _Call(len(choice.calls), kind)
        choice.calls.append(call)
        if place != UNSAID:
            choice.places[place] = call
        choice.last = call
        return call

    def _start(self, call: _Call, choice: int, seed: bytes, events: list[Event]) -> None:
        call.started = True
        call.id = call.id or made_id(seed, choice, call.number)
        events.append(ToolCallStarted(call.id, call.name, call.kind, call.number, choice))
        if call.held:
            events.append(ToolCallDelta("".join(call.held), call.kind, call.number, choice))
            call.held.clear()


def _is_another(call: _Call, event: ToolCallStarted) -> bool:
    """Whether a name in the place of a call is that of the next one: some servers count nothing, or always 0."""
    if not event.name or not call.name:
        return False
    return event.call_id != call.id if event.call_id else event.call == UNSAID


def made_id(seed: bytes, choice: int, call: int) -> str:
    """What to call a tool call that came without an id: the same for the same bytes, and hardly for any other."""
    salt = (choice % (1 << 32)).to_bytes(4, "big") + (call % (1 << 32)).to_bytes(4, "big")
    return f"call_{blake2b(seed, digest_size=12, salt=salt).hexdigest()}"
