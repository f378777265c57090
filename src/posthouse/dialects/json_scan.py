"""A JSON object on its way: what some of its members say, read beside bytes that are not held and not changed.

It is strict where readers differ: a member that is there twice is named in `twice`, names are compared as JSON reads
them (`\\u006dodel` is `model`), and whatever is no JSON object in UTF-8 is not `sound`. A text that is sound and ended
has these top-level members and no others.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
# Strings to the quote that ends them, or to a backslash that ends the piece.
_STRING: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
# Of a value: what may stand outside of strings, and inside of brackets whole strings too.
_OUTER: Final = re.compile(rb"[ \t\r\n0-9A-Za-z+.-]*+")
_INNER: Final = re.compile(rb'(?:[ \t\r\n0-9A-Za-z+.,:-]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_LONGEST_NAME: Final = 256  # bytes as written; none that is asked for is longer, even if each letter is escaped
_DEEPEST: Final = 100_000
_decode_text: Final = msgspec.json.Decoder(str).decode


class MemberScan:
    """Feed it the text in pieces. `values` has the members that were asked for, as they stand in the text; those that
    are longer than `longest` bytes are in `long` instead. `sound` turns false once the text is no JSON object, and
    nothing is read after that; `ended` turns true with its last bracket. What stands in brackets is known with the last
    of them, anything else with what follows it. `array`: objects in an array too, of whose members the last stand.
    """

    __slots__ = (
        "_array",
        "_capturing",
        "_depth",
        "_escaped",
        "_held",
        "_longest",
        "_name",
        "_names",
        "_quoted",
        "_seen",
        "_state",
        "ended",
        "long",
        "sound",
        "twice",
        "values",
    )

    def __init__(self, names: Iterable[str], longest: int = 4096, *, array: bool = False) -> None:
        self.values: dict[str, bytes] = {}
        self.twice: set[str] = set()
        self.long: set[str] = set()
        self.sound = True
        self.ended = False
        self._names = frozenset(names)
        self._longest = longest
        self._array = array
        self._seen: set[str] = set()
        self._name = ""
        self._held = bytearray()
        self._capturing = False
        self._quoted = False
        self._escaped = False
        self._depth = 0
        self._state: Callable[[bytes, int], int] = self._begin

    def feed(self, data: bytes) -> None:
        at, size = 0, len(data)
        while at < size and self.sound:
            at = self._state(data, at)

    # One of these is the state. Each takes what it can from `at` on, and gives where it stopped.

    def _begin(self, data: bytes, at: int) -> int:
        if self._held or data[at : at + 1] == _BOM[:1]:
            self._held += data[at : at + 1]
            if not _BOM.startswith(self._held):
                return self._wrong(at)
            if len(self._held) == len(_BOM):
                self._held.clear()
                self._state = self._open
            return at + 1
        self._state = self._open
        return at

    def _open(self, data: bytes, at: int) -> int:
        if self._array:
            at = _end_of(_SPACE, data, at)
            if data[at : at + 1] in (b"[", b","):
                return at + 1
            if data[at : at + 1] == b"]":
                self._state = self._after
                return at + 1
            self._seen.clear()
        return self._expect(b"{", self._first, data, at)

    def _first(self, data: bytes, at: int) -> int:
        """A name, or the end of an empty object."""
        at = _end_of(_SPACE, data, at)
        if data[at : at + 1] == b"}":
            return self._close(at)
        return self._before_name(data, at)

    def _before_name(self, data: bytes, at: int) -> int:
        return self._expect(b'"', self._in_name, data, at)

    def _in_name(self, data: bytes, at: int) -> int:
        end = self._string(data, at)
        if len(self._held) <= _LONGEST_NAME:
            self._held += data[at:end]
        if not self._quoted:
            self._state = self._colon
        return end

    def _colon(self, data: bytes, at: int) -> int:
        at = self._expect(b":", self._value, data, at)
        if self._state == self._value:
            self._begin_value()
        return at

    def _value(self, data: bytes, at: int) -> int:
        start = at
        if self._quoted:
            at = self._string(data, at)
        else:
            at = _end_of(_INNER if self._depth else _OUTER, data, at)
            mark = data[at : at + 1]
            if mark in (b",", b"}") and not self._depth:
                self._take(data, start, at)
                return self._end_value(mark, at)
            if mark:
                at = self._mark(mark, at)
        self._take(data, start, at)
        if self._capturing and not self._depth and data[at - 1 : at] in (b"}", b"]") and not self._quoted:
            self.values[self._name] = bytes(self._held).strip(b" \t\r\n")
        return at

    def _after(self, data: bytes, at: int) -> int:
        at = _end_of(_SPACE, data, at)
        if self._array and data[at : at + 1] in (b",", b"]"):
            self._state = self._open
            return at
        return at if at == len(data) else self._wrong(at)

    # Steps

    def _expect(self, mark: bytes, then: Callable[[bytes, int], int], data: bytes, at: int) -> int:
        at = _end_of(_SPACE, data, at)
        found = data[at : at + 1]
        if not found:
            return at
        if found != mark:
            return self._wrong(at)
        self._state = then
        self._quoted = mark == b'"'
        return at + 1

    def _string(self, data: bytes, at: int) -> int:
        """To behind the quote that ends a string, or to the end of the piece."""
        if self._escaped:
            self._escaped = False
            at += 1
        end = data.find(b'"', at)
        end = len(data) if end < 0 else end
        if data.find(b"\\", at, end) >= 0:  # a search is ten times as fast, and an image in base64 has none
            end = _end_of(_STRING, data, at)
        mark = data[end : end + 1]
        if mark == b'"':
            self._quoted = False
        elif mark:
            self._escaped = True
        return end + len(mark)

    def _mark(self, mark: bytes, at: int) -> int:
        if mark == b'"':
            self._quoted = True
        elif mark in b"{[":
            self._depth += 1
            if self._depth > _DEEPEST:
                return self._wrong(at)
        elif mark in b"}]" and self._depth:
            self._depth -= 1
        else:
            return self._wrong(at)
        return at + 1

    def _begin_value(self) -> None:
        self._capturing = False
        if len(self._held) <= _LONGEST_NAME:
            try:
                self._name = _decode_text(b'"' + self._held)
            except (msgspec.DecodeError, UnicodeError):
                self.sound = False
                return
            self._capturing = self._name in self._names
        self._held.clear()

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._capturing:
            self._held += data[start:end]
            if len(self._held) > self._longest:
                self._capturing = False
                self._note()
                self.values.pop(self._name, None)
                self.long.add(self._name)
                self._held.clear()

    def _end_value(self, mark: bytes, at: int) -> int:
        if self._capturing:
            value = bytes(self._held).strip(b" \t\r\n")
            self._note()
            if not value:
                return self._wrong(at)
            self.values[self._name] = value
            self._capturing = False
        self._held.clear()
        if mark == b"}":
            return self._close(at)
        self._state = self._before_name
        return at + 1

    def _note(self) -> None:
        (self.twice if self._name in self._seen else self._seen).add(self._name)

    def _close(self, at: int) -> int:
        self.ended = True
        self._state = self._after
        return at + 1

    def _wrong(self, at: int) -> int:
        self.sound = False
        self.values.clear()
        return at


def _end_of(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    found = pattern.match(data, at)
    assert found is not None  # each of them matches nothing too
    return found.end()
