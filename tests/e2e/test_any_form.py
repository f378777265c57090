"""Whatever form a client sends, on whatever route that takes one: never a fault of ours, an answer or a refusal."""

from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.anything import Target, anything, judge, target
from tests.e2e.form_routes import BOUNDARY, PICTURE, SOUND, File, form, sent
from tests.e2e.house import ADMIN_KEY

Fields = list[tuple[str, str]]

_SOUND: Final = [File("file", "a.ogg", SOUND)]
_PICTURES: Final = [File("image[]", "a.png", PICTURE), File("mask", "m.png", PICTURE)]
ROUTES: Final[dict[str, tuple[Fields, list[File]]]] = {
    "/v1/audio/transcriptions": (
        [("model", "echo-transcription"), ("response_format", "json"), ("stream", "false"), ("language", "en")],
        _SOUND,
    ),
    "/v1/audio/translations": ([("model", "echo-transcription"), ("prompt", "b"), ("temperature", "0.5")], _SOUND),
    "/v1/images/edits": (
        [("model", "echo-image"), ("prompt", "a cat"), ("n", "1"), ("size", "64x64"), ("stream", "false")],
        _PICTURES,
    ),
    "/v1/images/variations": (
        [("model", "echo-image"), ("n", "1"), ("size", "64x64")],
        [File("image", "a.png", PICTURE)],
    ),
    "/openai/deployments/echo-transcription/audio/transcriptions": ([("response_format", "json")], _SOUND),
}
_NAMES: Final = st.sampled_from(
    ["model", "file", "image", "image[]", "n", "n[]", "stream", "prompt", "", "a" * 2_000, '"', "\u202e", "n\r\nx: y"]
)
# fmt: off
_VALUES: Final = st.sampled_from([
    "", " ", "0", "-1", "1e9", "nan", "true", "TRUE", "echo-image", "echo-transcription", "m", "\u0000", "9" * 400,
    "x" * 3_000, "\u4f60\u597d", "vtt", "text", "verbose_json", "diarized_json", "1024x1024", "1x1", "auto", "high",
])
_OPENINGS: Final = st.sampled_from([
    b"", b"\x00", PICTURE, SOUND[:100], b"RIFF\xff\xff\xff\xffWAVEfmt ", b"ID3" + bytes(40), b"\r\n--",
])
_TITLES: Final = st.sampled_from(["a.png", "", "../../etc/passwd", "a" * 3_000, "\u4f60.wav", 'a"b', "a.webm"])
_FILES: Final = st.builds(File, _NAMES, _TITLES, _OPENINGS)
# What may stand anywhere in the bytes of a form.
_BYTES: Final = st.sampled_from([
    b"", b"\r\n", b"\n", b"--", b"\x00", b"\xff", b'"', b":", b";", b"\r\n\r\n", b"x" * 20_000,
    f"--{BOUNDARY}".encode(), f"--{BOUNDARY}--".encode(),
    b"content-transfer-encoding: base64\r\n", b"content-type: x/y; charset=utf-16\r\n",
])
# fmt: on


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("house")) as made:
        yield made


@st.composite
def mutated_form(draw: st.DrawFn, fields: Fields, files: list[File]) -> bytes:
    """A good form with something wrong in its fields and files, or in its bytes."""
    said, sent_ = list(fields), list(files)
    for _ in range(draw(st.integers(0, 2))):
        match draw(st.integers(0, 5)):
            case 0 if said:
                said.pop(draw(st.integers(0, len(said) - 1)))
            case 1 if said:
                place = draw(st.integers(0, len(said) - 1))
                said[place] = (said[place][0], draw(_VALUES))
            case 2:
                said.insert(draw(st.integers(0, len(said))), (draw(_NAMES), draw(_VALUES)))
            case 3 if sent_:
                sent_.pop()
            case 4:
                sent_.append(draw(_FILES))
            case _ if said:
                said.append(draw(st.sampled_from(said)))
    body = form(said, sent_)
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(body)))
        body = body[:start] + draw(_BYTES) + body[start + draw(st.sampled_from([0, 0, 1, 2, 60])) :]
    return body[: draw(st.integers(0, len(body)))] if draw(st.integers(0, 9)) == 0 else body


@pytest.mark.req("ANY-001")
@pytest.mark.parametrize("route", ROUTES)
def test_a_form_that_is_right_is_answered(here: Target, route: str) -> None:
    answer = here.line.send(sent(route, form(*ROUTES[route])))
    judge(route, answer, here.faults)
    assert answer.status == 200, answer


@pytest.mark.req("ANY-001")
@pytest.mark.parametrize("route", ROUTES)
@anything
@given(data=st.data())
def test_a_form_with_something_wrong_is_never_a_fault_of_ours(here: Target, route: str, data: st.DataObject) -> None:
    body = data.draw(mutated_form(*ROUTES[route]))
    judge(route, here.line.send(sent(route, body)), here.faults)


_TYPES: Final = (
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=" + "b" * 200,
    'multipart/form-data; boundary="a\\"b"',
    "multipart/form-data; boundary=nowhere",
    f"multipart/mixed; boundary={BOUNDARY}",
    f"multipart/form-data; boundary={BOUNDARY}; boundary=other",
    f"multipart/form-data; charset=utf-16; boundary={BOUNDARY}",
    "application/x-www-form-urlencoded",
    "application/json",
    "\xff",
    "",
)


@pytest.mark.req("ANY-001")
@pytest.mark.parametrize("route", ROUTES)
def test_whatever_it_is_called_it_is_never_a_fault_of_ours(here: Target, route: str) -> None:
    body = form(*ROUTES[route])
    for kind in _TYPES:
        head = f"POST {route} HTTP/1.1\r\nhost: house\r\nauthorization: Bearer {ADMIN_KEY}\r\ncontent-type: {kind}\r\n"
        answer = here.line.send(head.encode("latin-1") + f"content-length: {len(body)}\r\n\r\n".encode() + body)
        judge(route, answer, here.faults)


@pytest.mark.req("ANY-001")
def test_every_route_that_takes_a_form_is_tried(here: Target) -> None:
    """By the door's own list: those that refuse JSON for not being a form, and those that take either."""
    forms = set()
    for path in here.house.house.door.paths():
        if path.startswith("/v1/") and not path.endswith("*"):
            answer = here.line.send(sent(path, form([("model", "nobody")], [])))
            judge(path, answer, here.faults)
            if answer.status == 404 or b"'file'" in answer.body or b"'image'" in answer.body:
                forms.add(path)
    assert forms == {route for route in ROUTES if route.startswith("/v1/")}
