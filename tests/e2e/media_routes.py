"""The routes of pictures, speech, moderation and reranking as a provider answers on them, for the matrix of their
billing."""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from posthouse.core.requests import ModelRequest, Operation
from posthouse.core.usage import Usage
from posthouse.dialects import openai_media_heads as heads
from tests.e2e.ends import TOLD, Told

COUNTED: Final = (11, 7)  # tokens in and out, where they are told
EARLIER: Final = (1_000, 1_000)  # the first of two reports
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


def _with_reports(start: dict[str, Any], told: Told, report: Callable[[tuple[int, int]], dict[str, Any]]) -> bytes:
    """A JSON object with a `usage` for each report."""
    counts = {"given": [COUNTED], "absent": [], "zero": [(0, 0)], "twice": [EARLIER, COUNTED]}[told]
    members = [f'"usage":{json.dumps(report(one))}' for one in counts]
    return (", ".join([json.dumps(start).removesuffix("}"), *members]) + "}").encode()


def _event(kind: str, data: bytes) -> bytes:
    return f"event: {kind}\n".encode() + b"data: " + data + b"\n\n"


def _tokens(counts: tuple[int, int]) -> dict[str, Any]:
    details = {"text_tokens": counts[0], "image_tokens": 0}
    return {
        "input_tokens": counts[0],
        "output_tokens": counts[1],
        "total_tokens": sum(counts),
        "input_tokens_details": details,
    }


def _read(counts: tuple[int, int]) -> dict[str, Any]:
    return {"prompt_tokens": counts[0], "total_tokens": counts[0]}


def _counted(told: Told) -> tuple[int, int]:
    return COUNTED if told in ("given", "twice") else (0, 0)


def _picture(told: Told) -> Usage:
    read, drawn = _counted(told)
    return Usage(input=read, image_output=drawn, images=1, image_kind=KIND)


def _spoken(told: Told) -> Usage | None:
    read, spoken = _counted(told)
    return None if told == "absent" else Usage(input=read, audio_output=spoken, characters=len(INPUT))


def _judged(told: Told) -> Usage | None:
    return None if told == "absent" else Usage(input=_counted(told)[0])


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
