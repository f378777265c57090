"""The other form of a gemini stream: without `alt=sse` it is one JSON array, an element for each event."""

from posthouse.core.errors import PosthouseError
from posthouse.core.events import Event
from posthouse.core.usage import Usage
from posthouse.dialects.codec import StreamEncoder
from posthouse.dialects.sse import data_of, split_events


class ArrayForm:
    """Blocks of whole SSE events, ours or a provider's, become pieces of one array. Sans I/O.

    What carries no data (a comment that keeps the line open) becomes a newline, which may stand between elements.
    """

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = False

    def feed(self, block: bytes) -> bytes:
        pieces: list[bytes] = []
        for event in split_events(block):
            data = data_of(event)
            if data is None and event.startswith(b"{"):
                data = event.strip()  # an error that a provider did not wrap in an event
            if data is None:
                pieces.append(b"\n")
                continue
            pieces += (b",\r\n" if self._begun else b"[", data)
            self._begun = True
        return b"".join(pieces)

    def end(self) -> bytes:
        """What closes the array; it is legal after an error too, which then is its last element."""
        return b"]" if self._begun else b"[]"


class _ArrayEncoder:
    __slots__ = ("_encoder", "_form")

    def __init__(self, encoder: StreamEncoder) -> None:
        self._encoder = encoder
        self._form = ArrayForm()

    def encode(self, event: Event) -> bytes:
        return self._form.feed(self._encoder.encode(event))

    def close(self, usage: Usage) -> bytes:
        return self._form.feed(self._encoder.close(usage)) + self._form.end()

    def fail(self, error: PosthouseError) -> bytes:
        return self._form.feed(self._encoder.fail(error)) + self._form.end()


def as_array(encoder: StreamEncoder) -> StreamEncoder:
    """The same stream as a JSON array: `application/json` rather than `text/event-stream`."""
    return _ArrayEncoder(encoder)
