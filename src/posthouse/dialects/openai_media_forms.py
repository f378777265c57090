"""Requests with files, decoded just as far as admission, routing and billing need: sound to be written down, pictures
to be changed.

A form is given as what it says (`Said`); its files are not looked at, but for the first bytes of the first. What such a
call may consume stands in `expected`, by every measure that somebody sells it by:

    sound       its time, from its size where it does not say; 10 tokens of sound and 4 of text for a second
    pictures    as those that are made from a prompt (`openai_media_heads`), and tokens for each that is sent

A field that decides what a call costs may be said once, and in one way: what we read and what a provider reads of the
same form must be one thing.

Sources: the openai package 3.52.0 and OpenAI's published OpenAPI document; OpenAI's guides (10 tokens for a second of
sound that is heard; 65 + 129 tokens for each tile of a picture, 4,160 or 6,240 more where its details are kept).
Checked: 2026-11-21.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec
from msgspec import Raw

from posthouse.core.errors import InvalidRequest
from posthouse.core.media import image_tokens, kind_of_image
from posthouse.core.requests import ModelRequest, Operation, Upload
from posthouse.core.sound import sound_ms
from posthouse.core.usage import Usage
from posthouse.dialects.fields import ARRAY, STRING, Fields, check_fields, decode_fields, missing, model_of
from posthouse.dialects.openai_media_heads import DIALECT, IMAGES, PARTIAL_TOKENS, rough_tokens

HEARD: Final[tuple[Operation, ...]] = ("audio.transcriptions", "audio.translations")
_HEARD_TOKENS: Final = 10  # in a second
_WRITTEN_TOKENS: Final = 4
_PICTURE_TOKENS: Final = 7_000
_PLAIN_PICTURE_TOKENS: Final = 1_000  # where its details need not be kept
_MOST_PICTURES: Final = 128
_MOST_PARTIALS: Final = 16
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
# What decides the cost or the form of an answer.
_DECIDING: Final = ("n", "size", "quality", "stream", "partial_images", "input_fidelity", "response_format")
_SHOWN: Final = ("size", "quality", "background", "output_format")  # what events of a stream say of a picture
_encode: Final = msgspec.json.Encoder().encode


class Said(Protocol):
    """The fields of a form that have come, in their order by name, and how many files by theirs."""

    text: dict[str, list[str]]
    files: dict[str, int]


def heard_request(operation: Operation, model: str, said: Said, upload: Upload, size: int) -> ModelRequest:
    """A request for sound to be written down, or to be translated into English. `size` is that of its files, as far as
    it is known. More of its fields may still come: ask `wants_events` once they have."""
    _check_said(said)
    if not said.files:
        raise missing("file")
    request = ModelRequest(operation, DIALECT, model, {}, size, upload=upload)
    request.stream = wants_events(upload)
    request.expected = heard(sound_ms(upload.opening, size), _prompt_tokens(said.text))
    return request


def wants_events(upload: Upload) -> bool:
    """Whether the answer to a form is to be a stream, by the fields that have come."""
    return (upload.field("stream") or "").strip().lower() in _TRUE


def heard(milliseconds: int, prompt: int = 0) -> Usage:
    """What so much sound may consume, by every measure."""
    seconds = -(-milliseconds // 1000)
    return Usage(
        input=prompt,
        output=seconds * _WRITTEN_TOKENS,
        audio_input=seconds * _HEARD_TOKENS,
        audio_ms=milliseconds,
    )


def edit_request(model: str, said: Said, upload: Upload) -> ModelRequest:
    """A form with pictures to be changed, all of which has come."""
    _check_said(said)
    given = sum(count for name, count in said.files.items() if name.partition("[")[0] in ("image", "mask"))
    if not any(name.partition("[")[0] == "image" for name in said.files):
        raise missing("image")
    prompt = said.text.get("prompt", [""])[0]
    if not prompt:
        raise missing("prompt")
    request = _drawn("images.edits", model, said, upload)
    assert request.expected is not None
    expected, kept = request.expected, _first(said.text, "input_fidelity") != "low"
    request.expected = msgspec.structs.replace(
        expected,
        input=rough_tokens(Raw(_encode(prompt))),
        image_input=given * (_PICTURE_TOKENS if kept else _PLAIN_PICTURE_TOKENS),
    )
    return request


def variation_request(model: str, said: Said, upload: Upload) -> ModelRequest:
    """A form with a picture to be varied, all of which has come."""
    _check_said(said)
    if not said.files.get("image"):
        raise missing("image")
    request = _drawn("images.variations", model, said, upload)
    request.stream = False  # nobody's API has one
    assert request.expected is not None
    request.expected = msgspec.structs.replace(request.expected, image_input=_PICTURE_TOKENS)
    return request


def decode_edit(body: bytes) -> ModelRequest:
    """The same as JSON, in which pictures are addresses, data or files of the provider's."""
    fields = decode_fields(body)
    model = model_of(fields)
    values = check_fields(fields, {**IMAGES, "images": ARRAY, "input_fidelity": STRING})
    for name in ("images", "prompt"):
        if not values.get(name):
            raise missing(name)
    given = len(values["images"]) + ("mask" in fields)
    count, stream = values.get("n") or 1, bool(values.get("stream"))
    size, quality = values.get("size"), values.get("quality")
    partials = (values.get("partial_images") or 0) if stream else 0
    plain = values.get("input_fidelity") == "low"
    request = ModelRequest("images.edits", DIALECT, model, fields, len(body), stream=stream, choices=count)
    request.expected = Usage(
        input=rough_tokens(fields["prompt"]),
        image_input=given * (_PLAIN_PICTURE_TOKENS if plain else _PICTURE_TOKENS),
        image_output=count * (image_tokens(size, quality) + partials * PARTIAL_TOKENS),
        images=count,
        image_kind=kind_of_image(size, quality),
    )
    return request


def _drawn(operation: Operation, model: str, said: Said, upload: Upload) -> ModelRequest:
    count = _number(said.text, "n", 1, _MOST_PICTURES) or 1
    partials = _number(said.text, "partial_images", 0, _MOST_PARTIALS) or 0
    size, quality = _first(said.text, "size"), _first(said.text, "quality")
    stream = wants_events(upload)
    fields: Fields = {name: Raw(_encode(said.text[name][0])) for name in _SHOWN if name in said.text}
    request = ModelRequest(operation, DIALECT, model, fields, 0, stream=stream, choices=count, upload=upload)
    request.expected = Usage(
        image_output=count * (image_tokens(size, quality) + (partials if stream else 0) * PARTIAL_TOKENS),
        images=count,
        image_kind=kind_of_image(size, quality),
    )
    return request


def _check_said(said: Said) -> None:
    for name, values in said.text.items():
        plain = name.lower().partition("[")[0]
        if plain in _DECIDING and (name != plain or len(values) > 1):
            raise InvalidRequest(
                f"'{plain}' may be said once in a form, and by this name.", param=plain, code="invalid_value"
            )
    for name in said.files:
        if name.lower().partition("[")[0] in _DECIDING:
            raise InvalidRequest(f"'{name}' must not be a file.", param=name, code="invalid_value")


def _first(text: Mapping[str, list[str]], name: str) -> str | None:
    values = text.get(name)
    return values[0].strip() if values else None


def _number(text: Mapping[str, list[str]], name: str, least: int, most: int) -> int | None:
    value = _first(text, name)
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= most):
        raise InvalidRequest(
            f"Invalid '{name}': expected an integer from {least} to {most}.", param=name, code="invalid_value"
        )
    return int(value)


def _prompt_tokens(text: Mapping[str, Any]) -> int:
    return sum(rough_tokens(Raw(_encode(value))) for value in text.get("prompt", ()))
