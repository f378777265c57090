"""Server-sent events, sans I/O: where an event ends, and what its data is.

An event ends at its first blank line; a line ends with LF, CRLF or CR (WHATWG HTML, 9.2.6). Newlines that stand before
an event are blank lines of their own (some upstreams send them as a keep-alive): they pass at once and belong to no
event, so that dropping an event never depends on where the network cut the bytes.
"""

import re

from posthouse.dialects.errors import DialectError

_BOM = b"\xef\xbb\xbf"
# A CR after an LF that is the last byte so far may be half of a CRLF: it ends nothing until the next byte is known.
_END = re.compile(rb"\n\n|\r\r|\n\r\n|\n\r(?=[^\n])")
_NEWLINES = b"\r\n"


class SseSplitter:
    """Cuts a byte stream after whole events; holds back at most `max_event` bytes of an unfinished one."""

    __slots__ = ("_held", "_max_event", "_start")

    def __init__(self, max_event: int = 1 << 20) -> None:
        # A bytearray, so that an event of n bytes that comes in k pieces costs O(n), not O(n * k).
        self._held = bytearray()
        self._max_event = max_event
        self._start = True

    @property
    def rest(self) -> bytes:
        """The unfinished tail."""
        return bytes(self._held)

    def take_rest(self) -> bytes:
        """The unfinished tail, which is nobody's any more."""
        rest = bytes(self._held)
        self._held.clear()
        return rest

    def feed(self, data: bytes) -> bytes:
        """The longest prefix of all bytes so far that consists of whole events and was not returned yet.

        DialectError where what is left exceeds `max_event`.
        """
        if self._start and data and not self._held and not data.startswith(b"\xef"):
            self._start = False
        if not self._start and not self._held and data.endswith(b"\n\n"):
            return data  # nearly every call: the upstream flushes whole events
        held = self._held
        scanned = max(0, len(held) - 3)
        held += data
        if self._start:
            if len(held) < len(_BOM) and _BOM.startswith(held):
                return b""
            self._start = False
            if held.startswith(_BOM):
                del held[: len(_BOM)]
        end = _last_end(held, scanned)
        end = _skip_blank_lines(held, end)
        if len(held) - end > self._max_event:
            raise DialectError(f"an event of the stream is larger than {self._max_event} bytes")
        if not end:
            return b""
        whole = bytes(held[:end])
        del held[:end]
        return whole


def _last_end(data: bytearray, start: int) -> int:
    """The end of the last whole event in `data`, looking from `start` on; 0 where there is none."""
    end = data.rfind(b"\n\n", start) + 2
    if end == 1:
        end = 0
    if data.find(b"\r", start) < 0:
        return end
    for match in _END.finditer(data, max(start, end)):
        end = match.end()
    return end


def _skip_blank_lines(data: bytearray, end: int) -> int:
    """The end of the blank lines that stand at `end`, which is the beginning of an event."""
    size = len(data)
    while end < size and data[end] in _NEWLINES:
        end += 1
    return end


def split_events(block: bytes) -> list[bytes]:
    """The events of a block of whole events, each with the blank line that ends it; stray blank lines apart.

    Joining the result gives `block` again. An unfinished tail, if any, is the last element.
    """
    events: list[bytes] = []
    start = 0
    size = len(block)
    has_cr = b"\r" in block
    while start < size:
        end = event_end(block, start, has_cr)
        events.append(block[start:end])
        start = end
    return events


def event_end(block: bytes, start: int, has_cr: bool) -> int:
    """Where the event (or the run of blank lines) that begins at `start` ends. `has_cr`: `block` has a CR in it."""
    if block[start] in _NEWLINES:
        end = start + 1
        while end < len(block) and block[end] in _NEWLINES:
            end += 1
        return end
    if not has_cr:
        end = block.find(b"\n\n", start)
        return end + 2 if end >= 0 else len(block)
    match = _END.search(block, start)
    return match.end() if match is not None else len(block)


def data_of(event: bytes) -> bytes | None:
    """The data lines of one event, joined with LF; None where it has none (a comment, a bare `event:` or `id:`)."""
    if event.find(b"\n") == len(event) - 2 and event.startswith(b"data:") and event.endswith(b"\n\n"):
        if b"\r" not in event:  # nearly every event: one line
            return event[6:-2] if event.startswith(b" ", 5) else event[5:-2]
    if event.startswith(b"event:"):
        at = event.find(b"\ndata: ")
        if at == event.find(b"\n") and event.find(b"\n", at + 1) == len(event) - 2 and b"\r" not in event:
            return event[at + 7 : -1].removesuffix(b"\n")  # an event with its name, then one line
    lines: list[bytes] = []
    for line in event.splitlines():
        if line.startswith(b"data:"):
            lines.append(line[6:] if line.startswith(b" ", 5) else line[5:])
        elif line == b"data":
            lines.append(b"")
    return b"\n".join(lines) if lines else None


def is_named_error(event: bytes) -> bool:
    """Whether the event calls itself `error` in an `event:` line."""
    return any(line.startswith(b"event:") and line[6:].strip() == b"error" for line in event.splitlines())
