"""multipart/form-data (RFC 7578), sans I/O: fields come whole, files in pieces, and every byte is accounted for.

It is strict where readers differ, for what we read and what a provider reads of the same bytes must be one thing: a
form in which only the provider finds a second `model` would get around what the key may use. So a boundary stands after
CRLF and nowhere else, a name is plain and said once, nothing comes before the first boundary and nothing after the
last. Whatever is wrong is an InvalidRequest that says so; no input raises anything else, and none makes us hold more
than `FormLimits` allow.

The libraries that are well kept (python-multipart, werkzeug) are not used: they pass over what is refused here, and do
not tell where in the body a value stands, which is what replacing one takes.
"""

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from posthouse.core.errors import InvalidRequest

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER: Final = re.compile(rb'[\t ]*;[\t ]*(%b)=(?:(%b)|"((?:[^"\\]|\\.)*)")' % (_TOKEN, _TOKEN))
_TYPE: Final = re.compile(rb"[\t ]*multipart/form-data", re.IGNORECASE)
_BOUNDARY: Final = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_HEADER: Final = re.compile(rb"(%b):[\t ]*([\t\x20-\x7e\x80-\xff]*)" % _TOKEN)
_DISPOSITION: Final = re.compile(rb"form-data", re.IGNORECASE)
_NAME: Final = re.compile(rb"[!#$&-\[\]-~]{1,128}")  # printable; no space, quote, backslash or percent sign
_ENCODINGS: Final = frozenset({b"7bit", b"8bit", b"binary"})
_LAST: Final = b"\r\n\r\n"
_MOST_AFTER: Final = 16  # line ends after the last boundary
OPENING: Final = 4096  # bytes of the first file that are kept to look at


class FormLimits(Struct, frozen=True):
    """Bytes, but for `parts`. `head` is of one part, `field` of one value, `fields` of all of them."""

    parts: int = 256
    head: int = 8 << 10
    field: int = 1 << 20
    fields: int = 4 << 20


class Field(Struct, frozen=True):
    """A part without a file name. `lead` is what stands in the body before the value: boundary and headers."""

    name: str
    value: bytes
    lead: bytes

    @property
    def text(self) -> str:
        """InvalidRequest where it is no UTF-8."""
        try:
            return self.value.decode()
        except UnicodeDecodeError:
            raise wrong(f"the value of '{self.name}' is not valid UTF-8", self.name) from None


class FileHead(Struct, frozen=True):
    """A part with a file name begins. `headers` are all of its lines, names in lower case."""

    name: str
    filename: str
    content_type: str | None
    headers: tuple[tuple[bytes, bytes], ...]
    lead: bytes


class FileData(Struct, frozen=True):
    """A piece of the file that began last; it is not empty."""

    data: bytes


class FileEnd(Struct, frozen=True):
    """The file is whole."""


class FormEnd(Struct, frozen=True):
    """The last boundary. The leads, values and data of all events, in their order, are the body."""

    lead: bytes


FormEvent = Field | FileHead | FileData | FileEnd | FormEnd


def wrong(what: str, param: str | None = None) -> InvalidRequest:
    return InvalidRequest(f"The form cannot be read: {what}.", param=param, code="invalid_form")


def boundary_of(content_type: bytes | None) -> bytes:
    """The boundary that a request's content-type names. InvalidRequest where that is no multipart/form-data."""
    found = None if content_type is None else _TYPE.match(content_type)
    if content_type is None or found is None:
        raise InvalidRequest("Expected a request of type multipart/form-data.", code="invalid_form")
    boundary = _parameters(content_type, found.end(), "the content-type").get(b"boundary", b"")
    if _BOUNDARY.fullmatch(boundary) is None:
        raise wrong("the content-type names no boundary, or one that is not valid")
    return boundary


class FormReader:
    """Feed it the body in pieces, then `finish`. Events come as soon as they are certain."""

    __slots__ = ("_dash", "_field", "_field_bytes", "_held", "_limits", "_parts", "_scanned", "_state", "_unreal")

    def __init__(self, boundary: bytes, limits: FormLimits | None = None) -> None:
        self._limits = limits or FormLimits()
        self._dash = b"--" + boundary
        # As if a line end stood before the first boundary, as before any other; the first lead is without it.
        self._held = bytearray(b"\r\n")
        self._unreal = 2
        self._state = self._begin
        self._scanned = 0
        self._parts = 0
        self._field: tuple[str, bytes] | None = None  # name and lead of the field whose value is being gathered
        self._field_bytes = 0

    def feed(self, data: bytes) -> list[FormEvent]:
        self._held += data
        return list(self._events())

    def finish(self) -> None:
        """The body has ended. InvalidRequest where the form has not."""
        if self._state != self._after:
            raise wrong("it ends before its last boundary")

    def _events(self) -> Iterator[FormEvent]:
        while True:
            state = self._state
            size = len(self._held)
            yield from state()
            if self._state == state and (state == self._after or len(self._held) == size):
                return

    # One of these is the state. Each takes what it can from the front of `_held`.

    def _begin(self) -> Iterator[FormEvent]:
        """Nothing may stand before the first boundary but a line end."""
        held = self._held
        for before in (b"\r\n", b"\r\n\r\n"):
            first = before + self._dash
            if held.startswith(first):
                if len(held) >= len(first) + 2:
                    yield from self._boundary(len(first))
                return
            if first.startswith(held):
                return
        raise wrong("it does not begin with its boundary")

    def _boundary(self, end: int) -> Iterator[FormEvent]:
        """A boundary ends at `end`, and two more bytes are there: another part follows, or nothing."""
        follows = self._held[end : end + 2]
        if follows == b"\r\n":
            self._parts += 1
            if self._parts > self._limits.parts:
                raise wrong(f"it has more than {self._limits.parts} parts")
            self._state = self._head
            self._scanned = end
        elif follows == b"--":
            yield FormEnd(self._lead_of(end + 2))
            self._state = self._after
        else:
            raise wrong("its boundary stands inside of a part")

    def _head(self) -> Iterator[FormEvent]:
        held = self._held
        end = held.find(_LAST, self._scanned)
        if end < 0 or end - self._scanned > self._limits.head:
            if len(held) - self._scanned > self._limits.head + len(_LAST):
                raise wrong(f"the headers of a part are larger than {self._limits.head} bytes")
            return
        headers = _headers(bytes(held[self._scanned + 2 : end]))
        name, filename = _disposition(headers)
        lead = self._lead_of(end + len(_LAST))
        if filename is None:
            self._field = (name, lead)
            self._state = self._value
        else:
            kind = dict(headers).get(b"content-type")
            yield FileHead(name, filename, None if kind is None else kind.decode("latin-1"), headers, lead)
            self._state = self._file
        self._scanned = 0

    def _value(self) -> Iterator[FormEvent]:
        held, limits = self._held, self._limits
        at = self._find_boundary()
        if at is None:
            if len(held) > limits.field + len(self._dash) + 4:
                self._too_large_field()
            return
        assert self._field is not None
        name, lead = self._field
        self._field_bytes += at
        if at > limits.field or self._field_bytes > limits.fields:
            self._too_large_field()
        yield Field(name, bytes(held[:at]), lead)
        del held[:at]
        yield from self._boundary(2 + len(self._dash))

    def _file(self) -> Iterator[FormEvent]:
        held = self._held
        at = self._find_boundary()
        if at is None:
            sure = len(held) - len(self._dash) - 3  # the rest may turn out to be a boundary and the two bytes after it
            if sure > 0:
                yield FileData(bytes(held[:sure]))
                del held[:sure]
                self._scanned = max(0, self._scanned - sure)
            return
        if at:
            yield FileData(bytes(held[:at]))
            del held[:at]
        yield FileEnd()
        yield from self._boundary(2 + len(self._dash))

    def _after(self) -> Iterator[FormEvent]:
        if len(self._held) > _MOST_AFTER or self._held.strip(b"\r\n"):
            raise wrong("something follows its last boundary")
        return iter(())

    # Inside

    def _find_boundary(self) -> int | None:
        """Where the line end before the next boundary is, two bytes behind the boundary being there; else None."""
        held, dash = self._held, self._dash
        at = held.find(dash, self._scanned)
        if at < 0 or at + len(dash) + 2 > len(held):
            self._scanned = max(0, len(held) - len(dash) + 1) if at < 0 else at
            return None
        if at < 2 or held[at - 2 : at] != b"\r\n":
            raise wrong("its boundary stands inside of a part")
        self._scanned = 0
        return at - 2

    def _lead_of(self, end: int) -> bytes:
        """Takes the bytes before a part's content from the front."""
        lead = bytes(self._held[self._unreal : end])
        del self._held[:end]
        self._unreal = 0
        return lead

    def _too_large_field(self) -> None:
        assert self._field is not None
        name = self._field[0]
        most = self._limits.field
        raise wrong(f"'{name}' is larger than {most} bytes, or all fields are larger than {self._limits.fields}", name)


class FormScan:
    """What a form says beside its files, and where the value of one field stands, so that it can be replaced.

    `text` holds the fields in their order, by name; `place` is where the value of the field `name` begins and ends in
    the body, None until it has come. It may come once, and not as a file. `files` counts those that have begun, by
    name; `file_bytes` those of all; `opening` are the first bytes of the first. `before` is where the first boundary
    stands.
    """

    __slots__ = (
        "_at",
        "_reader",
        "before",
        "boundary",
        "ended",
        "file_bytes",
        "files",
        "name",
        "opening",
        "place",
        "text",
    )

    def __init__(self, boundary: bytes, name: str = "model", limits: FormLimits | None = None) -> None:
        self.boundary = boundary
        self.before = 0
        self.name = name
        self.text: dict[str, list[str]] = {}
        self.place: tuple[int, int] | None = None
        self.files: dict[str, int] = {}
        self.file_bytes = 0
        self.opening = b""
        self.ended = False
        self._reader = FormReader(boundary, limits)
        self._at = 0

    def feed(self, data: bytes) -> None:
        for event in self._reader.feed(data):
            if not self._at and isinstance(event, Field | FileHead | FormEnd):
                self.before = len(event.lead) - len(event.lead.removeprefix(b"\r\n"))
            match event:
                case Field():
                    self._at += len(event.lead)
                    self._note(event)
                    self._at += len(event.value)
                case FileHead():
                    self._at += len(event.lead)
                    self.files[event.name] = self.files.get(event.name, 0) + 1
                    self._check(event.name)
                    if event.name == self.name:
                        raise wrong(f"'{self.name}' must not be a file", self.name)
                case FileData():
                    self._at += len(event.data)
                    if len(self.opening) < OPENING and sum(self.files.values()) == 1:
                        self.opening += event.data[: OPENING - len(self.opening)]
                    self.file_bytes += len(event.data)
                case FileEnd():
                    pass
                case FormEnd():
                    self.ended = True

    def finish(self, *, required: bool = True) -> None:
        """The body has ended. InvalidRequest where the form has not, or where a `required` field has not come."""
        self._reader.finish()
        if self.place is None and required:
            raise InvalidRequest(
                f"Missing required parameter: '{self.name}'.", param=self.name, code="missing_required_parameter"
            )

    def first(self, name: str) -> str | None:
        values = self.text.get(name)
        return values[0] if values else None

    def _check(self, name: str) -> None:
        """Some servers read `model[]` as `model`, or do not look at the case."""
        if name != self.name and name.lower().partition("[")[0] == self.name:
            raise wrong(f"'{name}' may be taken for '{self.name}'", self.name)

    def _note(self, field: Field) -> None:
        self._check(field.name)
        if field.name == self.name:
            if self.place is not None:
                raise wrong(f"'{self.name}' is there twice", self.name)
            self.place = (self._at, self._at + len(field.value))
        self.text.setdefault(field.name, []).append(field.text)


def _headers(block: bytes) -> tuple[tuple[bytes, bytes], ...]:
    found = []
    for line in block.split(b"\r\n") if block else ():
        match = _HEADER.fullmatch(line)
        if match is None:
            raise wrong("a part has a header that is not valid")
        found.append((match[1].lower(), match[2].rstrip(b"\t ")))
    return tuple(found)


def _disposition(headers: tuple[tuple[bytes, bytes], ...]) -> tuple[str, str | None]:
    """Name and file name of a part."""
    names = [name for name, _ in headers]
    if names.count(b"content-disposition") != 1:
        raise wrong("a part has no content-disposition, or two")
    if len(set(names)) != len(names):
        raise wrong("a part has a header twice")
    fields = dict(headers)
    value = fields[b"content-disposition"]
    found = _DISPOSITION.match(value)
    if found is None:
        raise wrong("a part is no form-data")
    if fields.get(b"content-transfer-encoding", b"binary").lower() not in _ENCODINGS:
        raise wrong("a part has a content-transfer-encoding")
    parameters = _parameters(value, found.end(), "a content-disposition")
    name = parameters.get(b"name", b"")
    if _NAME.fullmatch(name) is None or b"name*" in parameters:
        raise wrong("a part has no name, or one that is not plain")
    filename = parameters.get(b"filename", parameters.get(b"filename*"))
    return name.decode(), None if filename is None else filename.decode("utf-8", "replace")


def _parameters(value: bytes, start: int, where: str) -> dict[bytes, bytes]:
    """`; name=token; name="quoted"` to the end; a quoted value stays as it is between its quotes."""
    found: dict[bytes, bytes] = {}
    end = len(value.rstrip(b"\t ;"))
    while start < end:
        match = _PARAMETER.match(value, start, end)
        if match is None or match[1].lower() in found:
            raise wrong(f"{where} is not valid")
        found[match[1].lower()] = match[3] if match[2] is None else match[2]
        start = match.end()
    return found
