"""Forms: whole and in pieces of any size, as others write them, damaged, hostile and too large."""

import email.parser
import email.policy
import tracemalloc
from typing import Any, Final

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import InvalidRequest
from posthouse.dialects.multipart import (
    Field,
    FileData,
    FileEnd,
    FileHead,
    FormEnd,
    FormEvent,
    FormLimits,
    FormReader,
    FormScan,
    boundary_of,
)

B: Final = b"--------------------------d74496d66958873e"


def part(headers: bytes, content: bytes) -> bytes:
    return b"--%b\r\n%b\r\n\r\n%b\r\n" % (B, headers, content)


def field(name: bytes, value: bytes) -> bytes:
    return part(b'Content-Disposition: form-data; name="%b"' % name, value)


def file(name: bytes, content: bytes, filename: bytes = b"a.wav") -> bytes:
    head = b'Content-Disposition: form-data; name="%b"; filename="%b"\r\nContent-Type: audio/wav' % (name, filename)
    return part(head, content)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + B + b"--\r\n"


SOUND: Final = bytes(range(256)) * 40 + b"\r\n--------------------------d7\r\n\r\n--\r\n" + b"\r" * 50
USUAL: Final = form(file(b"file", SOUND), field(b"model", b"whisper-1"), field(b"response_format", b"json"))


def read(
    body: bytes, step: int | None = None, boundary: bytes = B, limits: FormLimits | None = None
) -> list[FormEvent]:
    """All events, after `finish`; and every byte of the body must be in one of them."""
    reader = FormReader(boundary, limits)
    events: list[FormEvent] = []
    for at in range(0, len(body), step or len(body) or 1):
        events += reader.feed(body[at : at + (step or len(body))])
    reader.finish()
    assert b"".join(map(raw, events)) == body.removesuffix(b"\r\n")
    return events


def raw(event: FormEvent) -> bytes:
    match event:
        case Field():
            return event.lead + event.value
        case FileData():
            return event.data
        case FileEnd():
            return b""
        case FileHead() | FormEnd():
            return event.lead


def contents(events: list[FormEvent]) -> list[tuple[str, str | None, bytes]]:
    """(name, filename, content) of every part."""
    found: list[tuple[str, str | None, bytes]] = []
    for event in events:
        match event:
            case Field():
                found.append((event.name, None, event.value))
            case FileHead():
                found.append((event.name, event.filename, b""))
            case FileData():
                name, filename, content = found.pop()
                assert filename is not None
                found.append((name, filename, content + event.data))
            case FileEnd() | FormEnd():
                pass
    return found


def refusal(body: bytes, limits: FormLimits | None = None) -> InvalidRequest:
    """What is said of it, whole and byte by byte."""
    said = []
    for step in (None, 1):
        with pytest.raises(InvalidRequest) as caught:
            read(body, step, limits=limits)
        assert caught.value.code == "invalid_form"
        said.append(caught.value)
    assert said[0].message == said[1].message
    return said[0]


# --- forms that are well ---------------------------------------------------------------------------------------------
@pytest.mark.req("FORM-001")
def test_a_form_is_the_same_wherever_it_is_cut() -> None:
    expected = [("file", "a.wav", SOUND), ("model", None, b"whisper-1"), ("response_format", None, b"json")]
    for step in (None, *range(1, 130), 1000, 4096):
        assert contents(read(USUAL, step)) == expected
    for cut in range(0, len(USUAL), 7):
        reader = FormReader(B)
        assert contents(reader.feed(USUAL[:cut]) + reader.feed(USUAL[cut:])) == expected


def test_a_file_says_what_it_is() -> None:
    head = next(event for event in read(USUAL) if isinstance(event, FileHead))
    assert (head.name, head.filename, head.content_type) == ("file", "a.wav", "audio/wav")
    assert head.headers == (
        (b"content-disposition", b'form-data; name="file"; filename="a.wav"'),
        (b"content-type", b"audio/wav"),
    )


def test_pieces_of_a_file_come_before_its_end_has() -> None:
    reader = FormReader(B)
    body = form(file(b"file", bytes(100_000)))
    events = reader.feed(body[:50_000])
    assert sum(len(event.data) for event in events if isinstance(event, FileData)) > 49_000


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (form(), []),
        (b"\r\n" + form(field(b"a", b"b")), [("a", None, b"b")]),
        (form(field(b"a", b""), file(b"f", b"")), [("a", None, b""), ("f", "a.wav", b"")]),
        (form(field(b"a[]", b"1"), field(b"a[]", b"2")), [("a[]", None, b"1"), ("a[]", None, b"2")]),
        (form(file(b"f", b"x", b"C:\\\\a \\\"b\\\".wav")), [("f", 'C:\\\\a \\"b\\".wav', b"x")]),
        (form(file(b"f", b"x", b"")), [("f", "", b"x")]),
        (form(file(b"f", b"x", "声音.wav".encode())), [("f", "声音.wav", b"x")]),
        (form(part(b"content-disposition:form-data;name=a", b"x")), [("a", None, b"x")]),
        (form(part(b'CONTENT-DISPOSITION: Form-Data ; NAME="a" ;', b"x")), [("a", None, b"x")]),
        (form(part(b"x:y\r\ncontent-disposition: form-data; name=a; filename*=x''b", b"")), [("a", "x''b", b"")]),
        (form(field(b"a", b"\r\n\r\n--\r\n-" + B)), [("a", None, b"\r\n\r\n--\r\n-" + B)]),
    ],
    ids=range(11),
)  # fmt: skip
def test_unusual_forms_are_forms(body: bytes, expected: list[Any]) -> None:
    for step in (None, 1, 3):
        assert contents(read(body, step)) == expected


NAMES: Final = st.text("abcdefghijklmnopqrstuvwxyz_[]-.", min_size=1, max_size=20)
CONTENT: Final = st.binary(max_size=300) | st.lists(st.sampled_from([b"\r\n", b"--", B[:5], b"\r", b"x"])).map(b"".join)
PARTS: Final = st.lists(st.tuples(NAMES, st.booleans(), CONTENT), max_size=6)


@pytest.mark.req("FORM-001")
@given(PARTS, st.integers(1, 400))
def test_what_another_library_writes_is_read_as_it_was_meant(parts: list[tuple[str, bool, bytes]], step: int) -> None:
    given_files: list[Any] = [(name, ("a b.bin" if is_file else None, data)) for name, is_file, data in parts]
    request = httpx2.Request("POST", "http://house/", files=given_files or [("a", (None, b"b"))])
    body = request.read()
    found = contents(read(body, step, boundary_of(request.headers["content-type"].encode())))
    if parts:
        assert found == [(name, "a b.bin" if is_file else None, data) for name, is_file, data in parts]


@pytest.mark.req("FORM-001")
@given(PARTS)
def test_what_we_find_is_what_another_library_finds(parts: list[tuple[str, bool, bytes]]) -> None:
    made = [file(name.encode(), data) if is_file else field(name.encode(), data) for name, is_file, data in parts]
    body = form(*made)
    head = b"Content-Type: multipart/form-data; boundary=" + B + b"\r\n\r\n"
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    theirs = [
        (one.get_param("name", header="content-disposition"), one.get_filename(), one.get_payload(decode=True))
        for one in message.iter_parts()
    ]
    ours = contents(read(body))
    assert [(name, filename) for name, filename, _ in ours] == [(name, filename) for name, filename, _ in theirs]
    for (_, _, mine), (_, _, other) in zip(ours, theirs, strict=True):
        if b"\r" not in mine and b"\n" not in mine:  # theirs is made for mail, and changes ends of lines
            assert mine == other


# --- forms that are not ----------------------------------------------------------------------------------------------
NAMED: Final = b'content-disposition: form-data; name="a"'
DAMAGED: Final = {
    "nothing": b"",
    "no boundary": b"hello",
    "another boundary": USUAL.replace(B, b"other"),
    "a preamble": b"hello\r\n" + USUAL,
    "cut before the last boundary": USUAL[:-10],
    "cut in a head": USUAL[:90],
    "an epilogue": USUAL + b"hello",
    "a second form": USUAL + USUAL,
    "boundary with spaces": USUAL.replace(B + b"\r\n", B + b" \r\n"),
    "line feeds alone": USUAL.replace(b"\r\n", b"\n"),
    "boundary after a line feed": form(field(b"a", b"x\n--" + B + b"\r\n" + NAMED + b"\r\n\r\ny")),
    "boundary in the middle of a line": form(field(b"a", b"x--" + B)),
    "longer boundary": form(field(b"a", b"x\r\n--" + B + b"0\r\n")),
    "no headers": form(b"--" + B + b"\r\n\r\nx\r\n"),
    "no blank line before the content": form(b"--" + B + b"\r\n" + NAMED + b"\r\n"),
    "content left out": form(b"--" + B + b"\r\n" + NAMED + b"\r\n\r\n"),
    "no disposition": form(part(b"content-type: text/plain", b"x")),
    "two dispositions": form(part(NAMED + b"\r\n" + NAMED, b"x")),
    "a header twice": form(part(NAMED + b"\r\nx: 1\r\nX: 2", b"x")),
    "attachment": form(part(b'content-disposition: attachment; name="a"', b"x")),
    "no name": form(part(b"content-disposition: form-data", b"x")),
    "empty name": form(field(b"", b"x")),
    "two names": form(part(NAMED + b'; name="model"', b"x")),
    "two names, one in capitals": form(part(NAMED + b'; NAME="model"', b"x")),
    "encoded name": form(part(NAMED + b"; name*=utf-8''model", b"x")),
    "a quote in a name": form(field(b'mod\\"el', b"x")),
    "a backslash in a name": form(field(b"mod\\el", b"x")),
    "a percent sign in a name": form(field(b"mod%65l", b"x")),
    "a space in a name": form(field(b"model ", b"x")),
    "bytes in a name": form(field(b"\xff\xfe", b"x")),
    "NUL in a name": form(field(b"a\x00", b"x")),
    "a long name": form(field(b"a" * 129, b"x")),
    "no quote at the end": form(part(b'content-disposition: form-data; name="a', b"x")),
    "folded header": form(part(b"content-disposition: form-data;\r\n name=a", b"x")),
    "no colon": form(part(NAMED + b"\r\nhello", b"x")),
    "line feed in a header": form(part(NAMED + b"\nx: y", b"x")),
    "base64": form(part(NAMED + b"\r\ncontent-transfer-encoding: base64", b"bW9kZWw=")),
}


@pytest.mark.req("FORM-002")
@pytest.mark.parametrize("what", DAMAGED)
def test_a_form_that_two_readers_could_read_in_two_ways_is_refused(what: str) -> None:
    assert refusal(DAMAGED[what]).message.startswith("The form cannot be read: ")


@pytest.mark.req("FORM-002")
@given(st.data())
def test_no_damage_raises_anything_but_a_refusal(data: st.DataObject) -> None:
    body = bytearray(
        USUAL[:-10_400] if data.draw(st.booleans()) else form(field(b"model", b"m"), file(b"f", b"x" * 90))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    scan = FormScan(B)
    step = data.draw(st.integers(1, 100))
    try:
        for at in range(0, len(body), step):
            scan.feed(bytes(body[at : at + step]))
        scan.finish()
    except InvalidRequest:
        return
    assert scan.place is not None
    assert bytes(body[slice(*scan.place)]).decode() == scan.first("model")


# --- bounds ----------------------------------------------------------------------------------------------------------
@pytest.mark.req("FORM-003")
@pytest.mark.parametrize(
    ("body", "named"),
    [
        (form(*[field(b"a", b"b")] * 6), None),
        (form(part(NAMED + b"\r\nx: " + b"y" * 300, b"x")), None),
        (b"--" + B + b"\r\nx: " + b"y" * 300, None),
        (form(field(b"prompt", b"x" * 101)), "prompt"),
        (form(field(b"prompt", b"x" * 90), field(b"more", b"x" * 90)), "more"),
        (form(field(b"prompt", b"x" * 300))[:350], "prompt"),
    ],
    ids=["parts", "head", "endless head", "field", "fields", "endless field"],
)
def test_more_than_the_limits_allow_is_refused(body: bytes, named: str | None) -> None:
    limits = FormLimits(parts=5, head=200, field=100, fields=150)
    assert read(form(*[field(b"a", b"b" * 30)] * 5), limits=limits)
    assert read(form(field(b"a", b"b" * 100)), limits=limits)
    assert refusal(body, limits).param == named


@pytest.mark.req("FORM-003")
def test_a_large_file_is_not_held() -> None:
    piece = bytes(1 << 16)
    reader = FormReader(B)
    reader.feed(file(b"file", b"")[:-2])
    tracemalloc.start()
    for _ in range(400):
        (event,) = reader.feed(piece)
        assert isinstance(event, FileData)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


# --- the boundary ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'Multipart/Form-Data;boundary="a b"', b"a b"),
        (b"multipart/form-data; charset=utf-8; BOUNDARY=abc;", b"abc"),
        (b"multipart/form-data; boundary=" + b"x" * 70, b"x" * 70),
    ],
)
def test_the_content_type_names_the_boundary(kind: bytes, boundary: bytes) -> None:
    assert boundary_of(kind) == boundary


@pytest.mark.req("FORM-002")
@pytest.mark.parametrize(
    "kind",
    [
        None,
        b"",
        b"application/json",
        b"multipart/mixed; boundary=abc",
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b'multipart/form-data; boundary=""',
        b'multipart/form-data; boundary="a "',
        b"multipart/form-data; boundary=a; boundary=b",
        b"multipart/form-data; boundary=" + b"x" * 71,
        b"multipart/form-data; boundary=\xff",
        b'multipart/form-data; boundary="a',
        b"multipart/form-database; boundary=a",
    ],
)
def test_a_content_type_without_a_proper_boundary_is_refused(kind: bytes | None) -> None:
    with pytest.raises(InvalidRequest):
        boundary_of(kind)


# --- the place of the model ------------------------------------------------------------------------------------------
def scanned(body: bytes, step: int | None = None) -> FormScan:
    scan = FormScan(B)
    for at in range(0, len(body), step or len(body)):
        scan.feed(body[at : at + (step or len(body))])
    scan.finish()
    return scan


@pytest.mark.req("FORM-004")
@pytest.mark.parametrize("before", [b"", b"\r\n"])
@pytest.mark.parametrize("step", [None, 1, 10, 1000])
def test_the_value_of_the_model_can_be_replaced_wherever_it_stands(before: bytes, step: int | None) -> None:
    model, rest = field(b"model", b"whisper-1"), [file(b"file", SOUND), field(b"prompt", b"x"), field(b"prompt", b"y")]
    for at in range(4):
        body = before + form(*rest[:at], model, *rest[at:])
        scan = scanned(body, step)
        assert scan.place is not None
        start, end = scan.place
        assert body[start:end] == b"whisper-1"
        assert (scan.files, scan.ended) == ({"file": 1}, True)
        assert (scan.first("model"), scan.first("none")) == ("whisper-1", None)
        assert (scan.opening, scan.file_bytes) == (SOUND[:4096], len(SOUND))
        assert scan.text == {"model": ["whisper-1"], "prompt": ["x", "y"]}
        other = body[:start] + b"a-longer-name" + body[end:]
        assert other == before + form(*rest[:at], field(b"model", b"a-longer-name"), *rest[at:])


@pytest.mark.req("FORM-002", "FORM-004")
@pytest.mark.parametrize(
    "parts",
    [
        [field(b"model", b"a"), field(b"model", b"b")],
        [field(b"model", b"a"), field(b"model[]", b"b")],
        [field(b"model", b"a"), field(b"Model", b"b")],
        [field(b"model", b"a"), file(b"model", b"b")],
        [field(b"model", b"a"), file(b"MODEL[0]", b"b")],
        [field(b"model", b"\xff")],
        [file(b"file", b"x")],
        [],
    ],
    ids=range(8),
)
def test_a_form_must_name_its_model_once_and_plainly(parts: list[bytes]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        scanned(form(*parts))
    assert caught.value.param == "model"
