"""Pictures and sound on their way from a provider to a client: events that are no text, and bytes that are no events.

    MediaEvents   server-sent events pass as they came, read beside: what they are, a `Reader` knows
    Raw           bytes pass as they came; whether they are whole, only the end of the body tells

Both are streams as `streams.AnswerStream` has them. What ends one is held back until `end`, so that the settlement is
on disk before it leaves; of bare bytes that is the last one to four of them.
"""

from collections.abc import Iterable
from typing import Final, Protocol

from msgspec import Struct

from posthouse.core.errors import PosthouseError
from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_text import Emitted
from posthouse.dialects.openai_errors import StreamError, encode_error
from posthouse.dialects.sse import SseSplitter, data_of, is_named_error, split_events

MAX_EVENT: Final = 64 << 20  # a picture is one event
_MAX_HELD: Final = 2 * MAX_EVENT
_DONE: Final = b"[DONE]"
# Samples have two or four bytes: whoever plays what comes need not wait for half of one.
_ALIGNED: Final = 4


class Step(Struct, frozen=True):
    """What an event is. `content`: a client waits for it; `ends`: a part of the answer is complete with it; `last`: all
    of it is."""

    content: bool = False
    ends: bool = False
    last: bool = False
    error: StreamError | None = None


class Reader(Protocol):
    """Knows one kind of answer. Asked event by event."""

    def read(self, data: bytes, *, failed: bool) -> Step:
        """The data of one event; `failed` where it calls itself an error. DialectError where it makes no sense."""

    def usage(self) -> Usage | None:
        """What was told of it, once it is complete."""

    def complete(self) -> bool:
        """Whether an answer that ends here, with nothing more said, is whole."""


class MediaEvents:
    """See the module, and `streams.AnswerStream` for what it has and does."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._splitter = SseSplitter(MAX_EVENT)
        self._held: list[bytes] = []
        self._held_size = 0
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
        if not self._over() and self._reader.complete():
            self._conclude()
        return out

    def end(self, usage: Usage, estimated: bool) -> bytes:
        return self._released()

    def fail(self, error: PosthouseError) -> bytes:
        return self._released() + b"data: " + encode_error(error) + b"\n\n"

    def emitted(self) -> Emitted:
        return Emitted("")

    def _taken(self, events: Iterable[bytes]) -> bytes:
        out: list[bytes] = []
        for event in events:
            data = data_of(event)
            if self.done:
                self._hold(event)
                continue
            if data is None:
                out.append(event)  # a comment
                continue
            if len(data) < 2 * len(_DONE) and data.strip() == _DONE:
                self._hold(event)
                if self.committed:
                    self._conclude()
                self.done = True
                continue
            step = self._reader.read(data, failed=is_named_error(event))
            self.error = step.error
            if self.error is not None:
                break
            if step.content:
                self.committed = True
                if self._held:
                    out.append(self._released())  # one of several was complete, and another goes on
            if step.ends or self._held:
                self._hold(event)
            else:
                out.append(event)
            if step.last:
                self._conclude()
                self.done = True
        return b"".join(out)

    def _over(self) -> bool:
        return self.done or self.error is not None

    def _conclude(self) -> None:
        self.finish_reason = "stop"
        self.usage = self._reader.usage()

    def _hold(self, event: bytes) -> None:
        self._held_size += len(event)
        if self._held_size > _MAX_HELD:
            raise DialectError("the stream does not end after its end")
        self._held.append(event)

    def _released(self) -> bytes:
        held = b"".join(self._held)
        self._held.clear()
        self._held_size = 0
        return held


class Raw:
    """See the module. A body that breaks off cannot say so: `fail` gives nothing, and whoever writes it must not end it
    in good order."""

    def __init__(self) -> None:
        self._held = b""
        self._size = 0
        self.committed = False
        self.done = False
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.error: StreamError | None = None
        self.id: str | None = None

    def feed(self, data: bytes) -> bytes:
        if not data or self.done:
            return b""
        self.committed = True
        self._size += len(data)
        held = self._held + data
        kept = (self._size - 1) % _ALIGNED + 1
        self._held = held[-kept:]
        return held[:-kept]

    def finish(self) -> bytes:
        self.done = True
        if self.committed:
            self.finish_reason = "stop"
        return b""

    def end(self, usage: Usage, estimated: bool) -> bytes:
        held, self._held = self._held, b""
        return held

    def fail(self, error: PosthouseError) -> bytes:
        return b""

    def emitted(self) -> Emitted:
        return Emitted("")
