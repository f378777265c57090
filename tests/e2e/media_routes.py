"""The routes of pictures, speech, moderation and reranking as a provider answers on them, for the matrix of their
billing."""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from posthouse.core.requests import ModelRequest, Operation
from posthouse.core.usage import Usage
from posthouse.dialects import openai_media_heads as heads
from tests.e2e.answers import fault
from tests.e2e.billable import (
    COUNTED,
    REPORTS,
    SPARSE,
    STREAM_FREE,
    WHOLE_FREE,
    WHOLE_HEARD,
    Billable,
    Bytes,
    Sold,
    Streamed,
    Whole,
    sensible,
)
from tests.e2e.ends import TOLD, End, Told
from tests.e2e.house import ADMIN_KEY
from tests.e2e.speakers import Report
from tests.e2e.wire import request

SOUND: Final = bytes(range(256)) * 40
INPUT: Final = "Hello there."
KIND: Final = "1024x1024/high"
PICTURE: Final = base64.b64encode(b"\x89PNG and so on").decode()


class Variant(NamedTuple):
    """One way to ask on one route, and how a provider answers.

    `whole` is a JSON body with the usage that is told; where it is None the answer comes in pieces: `begins`, then
    `ends`, of this content type. `usage` is what the answer says that was consumed, None where it says nothing.
    """

    operation: Operation
    path: str
    body: dict[str, Any]
    decode: Callable[[bytes], ModelRequest]
    usage: Callable[[Told], Usage | None]
    told: Sequence[Told] = TOLD
    whole: Callable[[Told], bytes] | None = None
    begins: tuple[bytes, ...] = ()
    ends: Callable[[Told], list[bytes]] = lambda told: []
    content_type: str = "application/json"

    @property
    def expected(self) -> Usage:
        expected = self.decode(json.dumps({"model": "m", **self.body}).encode()).expected
        assert expected is not None
        return expected


def _with_reports(start: dict[str, Any], told: Told, report: Callable[[Report], dict[str, Any]]) -> bytes:
    """A JSON object with a `usage` for each report."""
    members = [f'"usage":{json.dumps(report(one))}' for one in REPORTS[told]]
    return (", ".join([json.dumps(start).removesuffix("}"), *members]) + "}").encode()


def _event(kind: str, data: bytes) -> bytes:
    return f"event: {kind}\n".encode() + b"data: " + data + b"\n\n"


def _tokens(report: Report) -> dict[str, Any]:
    return {
        "input_tokens": report.read,
        "output_tokens": report.written,
        "total_tokens": report.total,
        "input_tokens_details": {"text_tokens": report.read, "image_tokens": 0},
    }


def _read(report: Report) -> dict[str, Any]:
    return {"prompt_tokens": report.read, "total_tokens": report.total if report.odd else report.read}


def _picture(told: Told) -> Usage:
    read, drawn, _ = sensible(told) or Report(0, 0)
    return Usage(input=read, image_output=drawn, images=1, image_kind=KIND)


def _spoken(told: Told) -> Usage | None:
    report = sensible(told)
    return None if report is None else Usage(report.read, audio_output=report.written, characters=len(INPUT))


def _judged(told: Told) -> Usage | None:
    report = sensible(told)
    return None if report is None else Usage(input=report.read)


_IMAGE: Final = {"prompt": "two cats", "size": "1024x1024", "quality": "high"}
_PARTIAL: Final = {"type": "image_generation.partial_image", "b64_json": PICTURE, "partial_image_index": 0}
_DELTA: Final = {"type": "speech.audio.delta", "audio": base64.b64encode(SOUND[:300]).decode()}
_EVENTS: Final = "text/event-stream"

VARIANTS: Final[dict[str, Variant]] = {
    "images": Variant(
        "images.generations",
        "/v1/images/generations",
        _IMAGE,
        heads.decode_images,
        _picture,
        whole=lambda told: _with_reports({"created": 1, "data": [{"b64_json": PICTURE}]}, told, _tokens),
    ),
    "images streamed": Variant(
        "images.generations",
        "/v1/images/generations",
        {**_IMAGE, "stream": True, "partial_images": 1},
        heads.decode_images,
        _picture,
        begins=(_event("image_generation.partial_image", json.dumps(_PARTIAL).encode()),),
        ends=lambda told: [
            _event(
                "image_generation.completed",
                _with_reports({"type": "image_generation.completed", "b64_json": PICTURE}, told, _tokens),
            )
        ],
        content_type=_EVENTS,
    ),
    "speech": Variant(
        "audio.speech",
        "/v1/audio/speech",
        {"input": INPUT, "voice": "alloy"},
        heads.decode_speech,
        lambda told: None,
        told=("absent",),
        begins=(SOUND[:1000],),
        ends=lambda told: [SOUND[1000:5000], SOUND[5000:]],
        content_type="audio/mpeg",
    ),
    "speech as events": Variant(
        "audio.speech",
        "/v1/audio/speech",
        {"input": INPUT, "voice": "alloy", "stream_format": "sse"},
        heads.decode_speech,
        _spoken,
        begins=(_event("speech.audio.delta", json.dumps(_DELTA).encode()),),
        ends=lambda told: [
            _event("speech.audio.done", _with_reports({"type": "speech.audio.done"}, told, _tokens)),
        ],
        content_type=_EVENTS,
    ),
    "moderations": Variant(
        "moderations",
        "/v1/moderations",
        {"input": ["Hello", "there"]},
        heads.decode_moderation,
        _judged,
        whole=lambda told: _with_reports({"id": "modr-1", "model": "m", "results": [{"flagged": False}]}, told, _read),
    ),
    "rerank": Variant(
        "rerank",
        "/v1/rerank",
        {"query": "red cat", "documents": ["a blue dog", "a red cat"]},
        heads.decode_rerank,
        _judged,
        whole=lambda told: _with_reports({"results": [{"index": 1, "relevance_score": 0.5}]}, told, _read),
    ),
}
# The routes, without the base.
MEASURED: Final = {variant.path.removeprefix("/v1") for variant in VARIANTS.values()}

# --- the matrix -------------------------------------------------------------------------------------------------------
SILENT: Final[dict[End, str]] = {"leaves late": "the event that has the usage is the end: nobody can leave between"}


def sold_by(units: Sold | None, told: Sequence[Told]) -> dict[Sold, Sequence[Told]]:
    """By tokens, and by units where there are any."""
    by_tokens: dict[Sold, Sequence[Told]] = {"tokens": told}
    return by_tokens if units is None else {**by_tokens, units: [one for one in SPARSE if one in told]}


def whole(body: bytes, content_type: str = "application/json") -> Whole:
    """What fails says so under a status of success."""
    return Whole(body, content_type, (200, fault("The tank is empty.")))


def failing_event() -> bytes:
    return b"data: " + json.dumps(fault("The tank is empty.")).encode() + b"\n\n"


def _billable(name: str, variant: Variant) -> Billable:
    whole_body, bare = variant.whole, variant.content_type != _EVENTS
    # A moderation is sold by tokens or by the call: there is no unit of it.
    units: Sold | None = None if variant.operation == "moderations" else "units"
    heard: frozenset[End] = WHOLE_HEARD if whole_body is not None else frozenset(("ends", "leaves drained"))

    def answer(told: Told) -> Whole | Streamed:
        if whole_body is not None:
            return whole(whole_body(told))
        last = variant.ends(told)
        return Streamed(
            begins=variant.begins,
            ends=last if bare else [],
            last=[] if bare else last,
            fault=None if bare else failing_event(),  # bare bytes have no other way than to break off
            content_type=variant.content_type,
        )

    return Billable(
        name,
        variant.operation,
        ("media", ""),
        lambda account, model: request(variant.path, {"model": model, **variant.body}, ADMIN_KEY),
        answer,
        variant.usage,
        # Of what was begun and is not whole nobody knows what its provider charges for a part.
        lambda case: variant.expected,
        sold_by(units, variant.told),
        heard,
        WHOLE_FREE if whole_body is not None else STREAM_FREE,
        lacks={} if whole_body is not None or bare else SILENT,
        reading=Bytes(4 if bare else 0),
        held=variant.expected,
        odd=() if bare and whole_body is None else COUNTED,
        as_is=True,
    )


ROUTES: Final = tuple(_billable(name, variant) for name, variant in VARIANTS.items())
