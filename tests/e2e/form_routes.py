"""The routes whose requests are forms with files, as clients ask and a provider answers on them, for the matrix of
their billing; and how a form is written."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from posthouse.core.requests import Operation
from posthouse.core.usage import Usage
from tests.e2e.billable import (
    COUNTED,
    REPORTS,
    SPARSE,
    STREAM_FREE,
    WHOLE_FREE,
    WHOLE_HEARD,
    Billable,
    Case,
    Sold,
    Streamed,
    Whole,
    sensible,
)
from tests.e2e.ends import TOLD, End, Told
from tests.e2e.house import ADMIN_KEY
from tests.e2e.media_routes import SILENT, failing_event, sold_by, whole
from tests.e2e.speakers import Report

BOUNDARY: Final = "d74496d66958873e"
SOUND: Final = bytes(range(256)) * 40  # 5.12 s, as nobody says otherwise
PICTURE: Final = b"\x89PNG and so on"
HEARD: Final = Usage(audio_input=60, output=24, audio_ms=5_121)


class File(NamedTuple):
    part: str
    name: str
    data: bytes


def form(fields: Sequence[tuple[str, str]], files: Sequence[File]) -> bytes:
    """A whole form; files behind all fields, as clients write them."""
    lead = f"--{BOUNDARY}\r\ncontent-disposition: form-data; name="
    parts = [f'{lead}"{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields]
    parts += [f'{lead}"{file.part}"; filename="{file.name}"\r\n\r\n'.encode() + file.data + b"\r\n" for file in files]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def head_of(path: str, length: int | None, key: str = ADMIN_KEY, extra: str = "") -> bytes:
    """The head of a request with a form. `length` None: it comes in chunks."""
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    lines = f"POST {path} HTTP/1.1\r\nhost: house\r\nauthorization: Bearer {key}\r\n{extra}{framing}\r\n"
    return f"{lines}content-type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n".encode()


def sent(path: str, body: bytes, key: str = ADMIN_KEY) -> bytes:
    return head_of(path, len(body), key) + body


class FormVariant(NamedTuple):
    """One way to ask on one route, and how a provider answers: `answer` with the usage that is told, of this content
    type; `begun` is how much of it has come before the client may leave a stream in the middle. `usage` is what the
    answer says that was consumed, None where it says nothing; `expected` what is held, and charged where nothing is
    told (`late`: once the whole answer is known)."""

    operation: Operation
    path: str
    fields: list[tuple[str, str]]
    files: list[File]
    answer: Callable[[Told], bytes]
    usage: Callable[[Told], Usage | None]
    expected: Usage
    told: Sequence[Told] = TOLD
    content_type: str = "application/json"
    begun: bytes = b""
    late: Usage | None = None

    def body(self, model: str) -> bytes:
        return form([("model", model), *self.fields], self.files)


def _with_reports(start: dict[str, Any], told: Told, details: str) -> bytes:
    usages = [
        {"input_tokens": one.read, details: {}, "output_tokens": one.written, "total_tokens": one.total}
        for one in REPORTS[told]
    ]
    members = [f'"usage":{json.dumps(usage)}' for usage in usages]
    return (", ".join([json.dumps(start).removesuffix("}"), *members]) + "}").encode()


def _heard(told: Told) -> bytes:
    return _with_reports({"text": "One two three"}, told, "input_token_details")


def _heard_usage(told: Told) -> Usage | None:
    report = sensible(told)
    return None if report is None else Usage(input=report.read, output=report.written)


def _verbose(told: Told) -> bytes:
    usage = {} if told == "absent" else {"usage": {"type": "duration", "seconds": 3 if told == "given" else -3}}
    return json.dumps(
        {"text": "One two three", "language": "english", "duration": 2.5, "segments": [], **usage}
    ).encode()


def _event(kind: str, data: bytes) -> bytes:
    return f"event: {kind}\ndata: ".encode() + data + b"\n\n"


_DELTA: Final = _event("transcript.text.delta", b'{"type":"transcript.text.delta","delta":"One"}')


def _heard_stream(told: Told) -> bytes:
    done = _with_reports({"type": "transcript.text.done", "text": "One two three"}, told, "input_token_details")
    return _DELTA + _event("transcript.text.done", done)


def _drawn(told: Told) -> bytes:
    return _with_reports({"created": 1, "data": [{"b64_json": "aGk="}]}, told, "input_tokens_details")


_KIND: Final = "1024x1024/high"


def _drawn_usage(told: Told) -> Usage | None:
    read, made, _ = sensible(told) or Report(0, 0)
    return Usage(input=read, image_output=made, images=1, image_kind=_KIND)


def _drawn_stream(told: Told) -> bytes:
    done = {"type": "image_edit.completed", "b64_json": "aGk=", "size": "1024x1024", "quality": "high"}
    return _PARTIAL + _event("image_edit.completed", _with_reports(done, told, "input_tokens_details"))


_PARTIAL: Final = _event(
    "image_edit.partial_image", b'{"type":"image_edit.partial_image","b64_json":"aGk=","partial_image_index":0}'
)
_SOUND: Final = [File("file", "a.ogg", SOUND)]
_PICTURES: Final = [
    File("image[]", "a.png", PICTURE),
    File("image[]", "b.png", PICTURE),
    File("mask", "m.png", PICTURE),
]
_ASKED: Final = [("prompt", "two cats"), ("size", "1024x1024"), ("quality", "high"), ("n", "1")]
_EDIT: Final = Usage(input=5, image_input=21_000, image_output=7_024, images=1, image_kind=_KIND)


VARIANTS: Final[dict[str, FormVariant]] = {
    "transcript": FormVariant(
        "audio.transcriptions", "/v1/audio/transcriptions", [], _SOUND, _heard, _heard_usage, HEARD
    ),
    "translation": FormVariant("audio.translations", "/v1/audio/translations", [], _SOUND, _heard, _heard_usage, HEARD),
    "verbose": FormVariant(
        "audio.transcriptions",
        "/v1/audio/transcriptions",
        [("response_format", "verbose_json"), ("timestamp_granularities[]", "word")],
        _SOUND,
        _verbose,
        lambda told: Usage(audio_ms=3_000 if told == "given" else 2_500),
        HEARD,
        SPARSE,
        late=Usage(audio_input=30, output=12, audio_ms=2_500),
    ),
    "text": FormVariant(
        "audio.transcriptions",
        "/v1/audio/transcriptions",
        [("response_format", "text")],
        _SOUND,
        lambda told: b"One two three\n",
        lambda told: None,
        HEARD,
        ("absent",),
        "text/plain; charset=utf-8",
    ),
    "subtitles": FormVariant(
        "audio.transcriptions",
        "/v1/audio/transcriptions",
        [("response_format", "vtt")],
        _SOUND,
        lambda told: b"WEBVTT\n\n00:00.000 --> 00:01.500\nOne\n\n00:01.500 --> 00:02.500\ntwo three\n\n",
        lambda told: None,
        HEARD,
        ("absent",),
        "text/vtt",
        late=Usage(audio_input=30, output=12, audio_ms=2_500),
    ),
    "transcript as it comes": FormVariant(
        "audio.transcriptions",
        "/v1/audio/transcriptions",
        [("stream", "true")],
        _SOUND,
        _heard_stream,
        _heard_usage,
        HEARD,
        content_type="text/event-stream",
        begun=_DELTA,
    ),
    "edit": FormVariant("images.edits", "/v1/images/edits", _ASKED, _PICTURES, _drawn, _drawn_usage, _EDIT),
    "edit as it comes": FormVariant(
        "images.edits",
        "/v1/images/edits",
        [*_ASKED, ("stream", "true")],
        _PICTURES,
        _drawn_stream,
        _drawn_usage,
        _EDIT,
        content_type="text/event-stream",
        begun=_PARTIAL,
    ),
    "variation": FormVariant(
        "images.variations",
        "/v1/images/variations",
        _ASKED[1:],
        [File("image", "a.png", PICTURE)],
        _drawn,
        _drawn_usage,
        Usage(image_input=7_000, image_output=7_024, images=1, image_kind=_KIND),
    ),
}


# --- the matrix -------------------------------------------------------------------------------------------------------
def _billable(name: str, variant: FormVariant) -> Billable:
    units: Sold = "units" if variant.operation.startswith("images") else "time"
    heard: frozenset[End] = frozenset(("ends", "leaves drained")) if variant.begun else WHOLE_HEARD

    def answer(told: Told) -> Whole | Streamed:
        body = variant.answer(told)
        if not variant.begun:
            return whole(body, variant.content_type)
        return Streamed([variant.begun], [], [body.removeprefix(variant.begun)], fault=failing_event())

    def by_us(case: Case) -> Usage:
        return variant.late or variant.expected if case.end in heard else variant.expected

    return Billable(
        name,
        variant.operation,
        ("media", ""),
        lambda account, model: sent(variant.path, variant.body(model)),
        answer,
        variant.usage,
        by_us,
        sold_by(units, variant.told),
        heard,
        STREAM_FREE if variant.begun else WHOLE_FREE,
        lacks=SILENT if variant.begun else {},
        held=variant.expected,
        odd=COUNTED if len(variant.told) == len(TOLD) else (),
        as_is=True,
    )


ROUTES: Final = tuple(_billable(name, variant) for name, variant in VARIANTS.items())
