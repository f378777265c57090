"""Streamed answers on their way from a provider to a client, in the one form that the spine knows.

    openai_chat_stream.ChatStream   chat completions pass: most bytes are never parsed
    Passing                         any other dialect passes: every event as it came, read beside
    Translating                     the two sides speak different dialects

What ends a stream (`[DONE]`, message_stop, response.completed, a last chunk with its reason) leaves the house last, by
`end`, so that the settlement is on disk before it does.
"""

from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from typing import Final, Protocol

from msgspec.structs import replace

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
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Codec, Maker, ReplyHead, StreamDecoder
from posthouse.dialects.custom import CustomCalls
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_stream import Repair, repaired
from posthouse.dialects.openai_chat_text import MAX_TEXT, Emitted
from posthouse.dialects.openai_errors import StreamError
from posthouse.dialects.sse import SseSplitter, data_of, split_events

MAX_EVENT: Final = 16 << 20  # an image is one event in some dialects, and in some the last event repeats the answer
TellsUsage = Callable[[Usage, ReplyHead, str | None], bytes]
_MAX_HELD: Final = 2 * MAX_EVENT
_PREAMBLE: Final = 4  # events with which an answer may begin: it was created, it is under way, an item, a ping
# What a client waits for: with the first of these the answer has begun.
_CONTENT: Final = (
    TextDelta,
    RefusalDelta,
    ReasoningDelta,
    ReasoningState,
    ToolCallStarted,
    ToolCallDelta,
    AudioDelta,
)


class AnswerStream(Protocol):
    """Bytes of a provider in, bytes for a client out.

    committed       something that a client waits for has come
    finish_reason   the last one seen, None until then; `done`: the provider has said all
    usage           the last sensible report; None where there was none
    error           what the provider reported instead of going on; from then on nothing is forwarded
    id              the answer's id at the provider
    """

    committed: bool
    done: bool
    finish_reason: str | None
    usage: Usage | None
    error: StreamError | None
    id: str | None

    def feed(self, data: bytes) -> bytes:
        """Whole events to forward now, never what ends the stream. DialectError where `data` makes no sense."""

    def finish(self) -> bytes:
        """The provider's body has ended, cleanly or not; what to forward of what was still held back. A second call
        gives nothing."""

    def end(self, usage: Usage, estimated: bool) -> bytes:
        """What ends a stream that went well. `usage` is what is charged, `estimated` where the provider told none."""

    def fail(self, error: PosthouseError) -> bytes:
        """What ends a stream that broke. `error` is fit to be shown."""

    def emitted(self) -> Emitted:
        """The text that has come so far, for counting tokens."""


class _Observed:
    """What Passing and Translating have in common: whole events are cut, decoded and observed."""

    def __init__(self, decoder: StreamDecoder) -> None:
        self._decoder = decoder
        self._splitter = SseSplitter(MAX_EVENT)
        self._text = StringIO()
        self._room = MAX_TEXT
        self.committed = False
        self.done = False
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.error: StreamError | None = None
        self.id: str | None = None

    def feed(self, data: bytes) -> bytes:
        block = self._splitter.feed(data)
        if not block or self._over():
            return b""
        return self._taken(split_events(block))

    def finish(self) -> bytes:
        rest = self._splitter.take_rest().rstrip(b"\r\n")
        if self._over():
            return b""
        out = b""
        if rest:
            try:
                out = self._taken([rest + b"\n\n"])
            except DialectError:
                pass  # half an event: the stream is not whole, which is told by what it lacks
        return out if self._over() else out + self._concluded()

    def emitted(self) -> Emitted:
        return Emitted(self._text.getvalue(), self._room < 0)

    def _over(self) -> bool:
        return self.done or self.error is not None

    def _taken(self, events: Iterable[bytes]) -> bytes:
        raise NotImplementedError

    def _concluded(self) -> bytes:
        raise NotImplementedError

    def _decoded(self, event: bytes) -> Sequence[Event]:
        """The inner events of one event, observed; the stream's own state is brought up to date."""
        events = self._decoder.decode(event)
        if len(events) == 1 and type(first := events[0]) is TextDelta:  # nearly every event
            self._say(first.text)
        else:
            self._observe(events)
        self.done = self._decoder.done
        if self.id is None:
            self.id = self._decoder.id
        return events

    def _observe(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case TextDelta(text=text) | RefusalDelta(text=text) | ReasoningDelta(text=text):
                    self._say(text)
                case ToolCallDelta(arguments=text) | AudioDelta(transcript=text) | ToolCallStarted(name=text):
                    self._say(text)
                case ReasoningState():
                    self.committed = True
                case Finished(reason=reason):
                    self.committed = True
                    self.finish_reason = reason
                case UsageReported(usage=usage):
                    self.usage = usage
                case Failed():
                    self.error = StreamError(event.message, event.type, event.code, event.param)
                    return
                case Started():
                    pass

    def _say(self, text: str) -> None:
        self.committed = True
        if self._room >= 0:
            self._text.write(text if len(text) <= self._room else text[: self._room])
            self._room -= len(text)


class Repaired:
    """A decoder of chat completions, for a vendor whose events must be brought into OpenAI's form first."""

    def __init__(self, decoder: StreamDecoder, repair: Repair, marker: bytes) -> None:
        self._decoder = decoder
        self._repair = repair
        self._marker = marker
        self.done = False
        self.id: str | None = None

    def decode(self, event: bytes) -> Sequence[Event]:
        if self._marker in event and (data := data_of(event)) is not None:
            event, _ = repaired(event, data, self._repair)
        events = self._decoder.decode(event)
        self.done, self.id = self._decoder.done, self._decoder.id
        return events

    def finish(self) -> Sequence[Event]:
        return self._decoder.finish()


class Passing(_Observed):
    """The answer to a client that speaks the provider's dialect. `head` serves only for what we must say ourselves.

    `hides_usage`: an event that only reports usage is there because we asked for it, and does not pass. `tells_usage`
    makes the event that does, from the usage and the answer's id, where the client asked and the provider told none; it
    stands before `[DONE]`. A provider that works long before it says anything (on tools of its own) tells of it in
    events that have no inner form: after a few of them its answer has begun.
    """

    def __init__(
        self,
        codec: Codec,
        maker: Maker,
        head: ReplyHead,
        *,
        hides_usage: bool = False,
        tells_usage: TellsUsage | None = None,
    ) -> None:
        super().__init__(codec.decoder(maker))
        self._hides_usage = hides_usage
        self._tells_usage = tells_usage
        self._codec = codec
        self._head = head
        self._told = 0
        self._held: list[bytes] = []
        self._held_size = 0
        self._before = 0  # events that came before the answer began

    def end(self, usage: Usage, estimated: bool) -> bytes:
        if estimated and self._tells_usage is not None:
            last = len(self._held) - 1
            done = last >= 0 and (data_of(self._held[last]) or b"").lstrip().startswith(b"[DONE]")
            self._held.insert(last if done else last + 1, self._tells_usage(usage, self._head, self.id))
        return self._released()

    def fail(self, error: PosthouseError) -> bytes:
        """As the answer's own, as far as it is known: with its id, and numbered on."""
        head = replace(self._head, id=self.id or self._head.id, told=self._told)
        return self._codec.encoder(head).fail(error)

    def _taken(self, events: Iterable[bytes]) -> bytes:
        out: list[bytes] = []
        for event in events:
            if data_of(event) is None:
                out.append(event)  # a comment
                continue
            if self.done:
                self._hold(event)  # what some providers still say, such as [DONE]
                continue
            inner = self._decoded(event)
            if self.error is not None:
                break
            if self._hides_usage and inner and all(isinstance(one, UsageReported) for one in inner):
                continue
            if not self.committed:
                self._before += 1
                self.committed = self._before > _PREAMBLE
            content = any(isinstance(one, _CONTENT) for one in inner)
            if content and self._held:
                out.append(self._released())  # one of several choices had ended, and another goes on
            if self._held or self._over() or any(isinstance(one, Finished) for one in inner):
                self._hold(event)
            else:
                self._told += 1
                out.append(event)
        return b"".join(out)

    def _concluded(self) -> bytes:
        self._observe(self._decoder.finish())
        return b""

    def _hold(self, event: bytes) -> None:
        self._held_size += len(event)
        if self._held_size > _MAX_HELD:
            raise DialectError("the stream does not end after its end")
        self._held.append(event)

    def _released(self) -> bytes:
        held = b"".join(self._held)
        self._told += len(self._held)
        self._held.clear()
        self._held_size = 0
        return held


class Translating(_Observed):
    """The answer to a client that speaks another dialect than the provider. `customs` are the tools that are custom
    ones for the client and functions for the provider."""

    def __init__(self, provider: StreamDecoder, client: Codec, head: ReplyHead, customs: frozenset[str]) -> None:
        super().__init__(provider)
        self._encoder = client.encoder(head)
        self._customs = CustomCalls(customs) if customs else None

    def end(self, usage: Usage, estimated: bool) -> bytes:
        return self._encoder.close(usage)

    def fail(self, error: PosthouseError) -> bytes:
        return self._encoder.fail(error)

    def replay(self, events: Sequence[Event]) -> bytes:
        """Events of an answer that came whole, as if they had come one by one, and their end."""
        self._observe(events)
        self.done = True
        return self._encoded(events)

    def _taken(self, events: Iterable[bytes]) -> bytes:
        out: list[bytes] = []
        for event in events:
            out.append(self._encoded(self._decoded(event)))
            if self.done or self.error is not None:
                break
        return b"".join(out)

    def _concluded(self) -> bytes:
        events = self._decoder.finish()
        self._observe(events)
        return self._encoded(events)

    def _encoded(self, events: Sequence[Event]) -> bytes:
        if self._customs is not None:
            events = self._customs.turned(events)
        elif len(events) == 1 and type(events[0]) is TextDelta:
            return self._encoder.encode(events[0])
        return b"".join([self._encoder.encode(event) for event in events if not isinstance(event, Failed)])
