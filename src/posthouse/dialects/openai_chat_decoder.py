"""A provider's stream of chat.completions, event by event."""

from collections.abc import Sequence as Events
from typing import Any, Final

import msgspec
from msgspec.json import Decoder

from posthouse.core.events import Event
from posthouse.dialects.openai_chat_events import decode_chunk, events_of, failed
from posthouse.dialects.openai_chat_parts import Json
from posthouse.dialects.openai_errors import StreamError, decode_error
from posthouse.dialects.openai_sequence import Sequence
from posthouse.dialects.sse import data_of, is_named_error

_decode_any: Final = Decoder(Any).decode
_UNTOLD: Final = StreamError("the upstream reported an error")


class ChatDecoder:
    """codec.StreamDecoder. The end of a choice is held back until the stream is over: what it ends with may say more
    of the choice than the chunk that had the reason."""

    def __init__(self) -> None:
        self.done = False
        self.id: str | None = None
        self._sequence = Sequence()

    def decode(self, event: bytes) -> Events[Event]:
        """DialectError where it is no chunk, or where the stream has more choices or calls than any answer."""
        data = data_of(event)
        if data is None or self.done:
            return ()
        if is_done(data):
            self.done = True
            return self._sequence.end(whole=True, seed=event)
        if b"event:" in event and is_named_error(event):
            return self._sequence.take([failed(named_error(data))], event)
        chunk = decode_chunk(data)
        if self.id is None and isinstance(name := chunk.get("id"), str):
            self.id = name
        return self._sequence.take(self.events_of(chunk), event)

    def events_of(self, chunk: Json) -> Events[Event]:
        """What a chunk says."""
        return events_of(chunk)

    def finish(self) -> Events[Event]:
        return () if self.done else self._sequence.end(whole=False)


def is_done(data: bytes) -> bool:
    return not data.startswith(b"{") and data.lstrip().startswith(b"[DONE]")


def named_error(data: bytes) -> StreamError:
    """The error in the data of an event that calls itself one, whatever form it has."""
    try:
        value = _decode_any(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _UNTOLD
    return decode_error(value.get("error") or value if isinstance(value, dict) else value) or _UNTOLD
