"""Answers in the inner form, whole and as events: some providers stream unasked, others answer whole though they were
asked to stream, and the client gets what it asked for."""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator

from msgspec import Struct

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
from posthouse.core.items import (
    Choice,
    CompactionItem,
    InnerResponse,
    Item,
    MessageItem,
    ReasoningItem,
    ToolCallItem,
    ToolKind,
    ToolResultItem,
)
from posthouse.core.parts import AudioPart, Part, RefusalPart, TextPart
from posthouse.core.usage import Usage
from posthouse.dialects.codec import StreamDecoder
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_errors import StreamError
from posthouse.dialects.sse import data_of, split_events


def events_of(response: InnerResponse) -> Iterator[Event]:
    """The events of a whole answer. What has no event (a compaction, a part of one dialect's own) is left out."""
    for index, choice in enumerate(response.choices):
        yield Started(index)
        calls = 0
        for item in choice.items:
            if isinstance(item, ToolCallItem):
                yield ToolCallStarted(item.call_id, item.name, item.kind, calls, index)
                if item.arguments:
                    yield ToolCallDelta(item.arguments, item.kind, calls, index)
                calls += 1
            else:
                yield from _events_of_item(item, index)
        if choice.finish is not None:
            yield Finished(choice.finish, index)
    if response.usage is not None:
        yield UsageReported(response.usage)


def _events_of_item(item: Item, choice: int) -> Iterator[Event]:
    match item:
        case MessageItem():
            for part in item.parts:
                match part:
                    case TextPart(text=text):
                        yield TextDelta(text, choice)
                    case RefusalPart(text=text):
                        yield RefusalDelta(text, choice)
                    case AudioPart():
                        yield AudioDelta(part.data or "", part.transcript or "", part.id, choice)
                    case _:
                        pass
        case ReasoningItem():
            if item.text:
                yield ReasoningDelta(item.text, choice)
            if item.state is not None:
                yield ReasoningState(item.state, choice)
        case ToolCallItem() | ToolResultItem() | CompactionItem():
            pass


def text_of(response: InnerResponse) -> str:
    """All that a whole answer says, for counting tokens."""
    said: list[str] = []
    for event in events_of(response):
        match event:
            case TextDelta(text=text) | RefusalDelta(text=text) | ReasoningDelta(text=text):
                said.append(text)
            case ToolCallStarted(name=text) | ToolCallDelta(arguments=text) | AudioDelta(transcript=text):
                said.append(text)
            case _:
                pass
    return "".join(said)


class Collected(Struct, frozen=True):
    """`error`: what the provider reported instead of going on."""

    response: InnerResponse
    error: StreamError | None = None


def collected(body: bytes, decoder: StreamDecoder) -> Collected:
    """One whole answer of all events of a stream. DialectError where the body is no stream of the dialect."""
    collector = Collector()
    for event in split_events(body):
        if data_of(event) is None:
            continue
        collector.add(decoder.decode(event))
        if decoder.done or collector.error is not None:
            break
    if not decoder.done:
        collector.add(decoder.finish())
    return Collected(collector.response(decoder.id or ""), collector.error)


class _Call:
    def __init__(self, event: ToolCallStarted) -> None:
        self.event = event
        self.pieces: list[str] = []


class _Answer:
    """One choice on its way. `items` holds what is done, and calls that are filled until the end."""

    def __init__(self) -> None:
        self.items: list[Item | _Call] = []
        self.calls: dict[int, _Call] = {}
        self.kind: type[Event] | None = None  # of the run of text that is under way
        self.run: list[str] = []
        self.audio: list[AudioDelta] = []
        self.finish: str | None = None

    def say(self, kind: type[Event], text: str) -> None:
        if self.kind is not kind:
            self.close()
            self.kind = kind
        self.run.append(text)

    def close(self) -> None:
        """The run of text is over."""
        text, kind = "".join(self.run), self.kind
        self.run, self.kind = [], None
        if kind is ReasoningDelta:
            self.items.append(ReasoningItem(text))
        elif kind is RefusalDelta:
            self._part(RefusalPart(text))
        elif kind is TextDelta:
            self._part(TextPart(text))

    def state(self, event: ReasoningState) -> None:
        text = "".join(self.run) if self.kind is ReasoningDelta else ""
        if text:
            self.run, self.kind = [], None
        else:
            self.close()
        self.items.append(ReasoningItem(text, event.state))

    def speak(self, event: AudioDelta) -> None:
        self.close()
        self.audio.append(event)

    def choice(self) -> Choice:
        self.close()
        if self.audio:
            data = _joined([piece.data for piece in self.audio if piece.data])
            transcript = "".join([piece.transcript for piece in self.audio])
            ids = [piece.id for piece in self.audio if piece.id is not None]
            self._part(AudioPart(data or None, None, ids[-1] if ids else None, transcript or None))
        return Choice(tuple(map(_item_of, self.items)), self.finish)

    def _part(self, part: Part) -> None:
        last = self.items[-1] if self.items else None
        if isinstance(last, MessageItem):
            self.items[-1] = MessageItem("assistant", (*last.parts, part))
        else:
            self.items.append(MessageItem("assistant", (part,)))


def _joined(pieces: list[str]) -> str:
    """Base64 of all that the pieces hold, each of which may be padded for itself."""
    if not any(piece.endswith("=") for piece in pieces[:-1]):
        return "".join(pieces)
    try:
        return b64encode(b"".join(map(b64decode, pieces))).decode()
    except ValueError:
        raise DialectError("the sound in the stream is no base64") from None


def _item_of(item: Item | _Call) -> Item:
    if not isinstance(item, _Call):
        return item
    started = item.event
    kind: ToolKind = started.kind
    return ToolCallItem(started.call_id, started.name, "".join(item.pieces), kind)


class Collector:
    """Events in, one whole answer out. Its size is bounded by whoever feeds it."""

    def __init__(self) -> None:
        self._choices: dict[int, _Answer] = {}
        self._usage: Usage | None = None
        self.error: StreamError | None = None

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, UsageReported):
                self._usage = event.usage
            elif isinstance(event, Failed):
                self.error = StreamError(event.message, event.type, event.code, event.param)
                return
            else:
                self._add(event, self._choices.setdefault(event.choice, _Answer()))

    def response(self, id: str) -> InnerResponse:
        """DialectError where nothing has come."""
        if not self._choices and self._usage is None and self.error is None:
            raise DialectError("the stream held no answer")
        choices = tuple(self._choices[index].choice() for index in sorted(self._choices))
        return InnerResponse(id, "", 0, choices, self._usage)

    def _add(self, event: Event, answer: _Answer) -> None:
        match event:
            case TextDelta(text=text) | RefusalDelta(text=text) | ReasoningDelta(text=text):
                answer.say(type(event), text)
            case ReasoningState():
                answer.state(event)
            case ToolCallStarted():
                answer.close()
                call = answer.calls[event.call] = _Call(event)
                answer.items.append(call)
            case ToolCallDelta():
                if event.call not in answer.calls:
                    raise DialectError("arguments came before the call that they belong to")
                answer.calls[event.call].pieces.append(event.arguments)
            case AudioDelta():
                answer.speak(event)
            case Finished(reason=reason):
                answer.finish = reason
            case Started() | UsageReported() | Failed():
                pass
