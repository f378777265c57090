"""Requests with files: what they may consume, and what is wrong with them."""

import json
from collections.abc import AsyncGenerator
from typing import Any, Final

import pytest
from msgspec import Struct

from posthouse.core.errors import InvalidRequest
from posthouse.core.media import image_tokens
from posthouse.core.usage import Usage
from posthouse.dialects.multipart import FormScan
from posthouse.dialects.openai_media_forms import (
    decode_edit,
    edit_request,
    heard,
    heard_request,
    variation_request,
    wants_events,
)

TEXT: Final = {"prompt": ["two cats"]}
FILES: Final = {"image": 1}


class Form(Struct):
    """A form that has come, as `Said` and as `Upload`."""

    text: dict[str, list[str]] = {}
    files: dict[str, int] = {}
    opening: bytes = b"OggS"
    file_bytes: int = 20_000
    content_type: bytes = b"multipart/form-data; boundary=x"
    repeatable: bool = True
    sent: bool = False

    def field(self, name: str) -> str | None:
        values = self.text.get(name)
        return values[0] if values else None

    def pieces(self, model: str) -> AsyncGenerator[bytes, None]:
        raise NotImplementedError

    def length(self, model: str) -> int | None:
        return None


def edited(text: dict[str, list[str]], files: dict[str, int] | None = None) -> Usage:
    form = Form({**TEXT, **text}, FILES if files is None else files)
    expected = edit_request("m", form, form).expected
    assert expected is not None
    return expected


def test_sound_is_expected_by_every_measure_that_it_is_sold_by() -> None:
    form = Form({"prompt": ["Hello"]}, {"file": 1})
    request = heard_request("audio.transcriptions", "m", form, form, 20_000)
    assert request.expected == Usage(input=3, output=44, audio_input=110, audio_ms=10_001)
    assert (request.operation, request.model, request.stream, request.upload) == (
        "audio.transcriptions",
        "m",
        False,
        form,
    )
    assert heard(0) == Usage()


@pytest.mark.parametrize(
    ("value", "wanted"), [("true", True), ("True ", True), ("1", True), ("false", False), ("", False)]
)
def test_a_form_asks_for_a_stream_in_words(value: str, wanted: bool) -> None:
    assert wants_events(Form({"stream": [value]})) == wanted
    assert not wants_events(Form())


def test_pictures_are_expected_by_what_is_sent_and_what_is_made() -> None:
    made = image_tokens("1024x1024", "high")
    asked = {"size": ["1024x1024"], "quality": ["high"], "n": ["2"]}
    assert edited(asked, {"image[]": 2, "mask": 1}) == Usage(
        input=5, image_input=21_000, image_output=2 * made, images=2, image_kind="1024x1024/high"
    )
    assert edited({**asked, "input_fidelity": ["low"]}).image_input == 1_000
    streamed = edited({**asked, "stream": ["true"], "partial_images": ["2"]})
    assert streamed.image_output == 2 * (made + 200)
    assert edited({"partial_images": ["2"]}).image_output == image_tokens(None, None)
    form = Form({"size": ["256x256"]}, FILES)
    varied = variation_request("m", form, form)
    assert varied.expected == Usage(
        image_input=7_000, image_output=image_tokens("256x256", None), images=1, image_kind="256x256"
    )


def test_what_the_events_of_a_stream_repeat_is_kept() -> None:
    form = Form({**TEXT, "size": ["64x64"], "output_format": ["webp"], "user": ["u"]}, FILES)
    fields = edit_request("m", form, form).fields
    assert {name: json.loads(bytes(raw)) for name, raw in fields.items()} == {"size": "64x64", "output_format": "webp"}


@pytest.mark.parametrize(
    ("text", "files", "param"),
    [
        ({}, {}, "image"),
        ({}, {"mask": 1}, "image"),
        ({"prompt": [""]}, FILES, "prompt"),
        ({"n": ["1", "2"]}, FILES, "n"),
        ({"n[]": ["2"]}, FILES, "n"),
        ({"N": ["2"]}, FILES, "n"),
        ({"size": ["1x1", "9x9"]}, FILES, "size"),
        ({"Quality": ["high"]}, FILES, "quality"),
        ({"stream": ["true", "true"]}, FILES, "stream"),
        ({"n": ["0"]}, FILES, "n"),
        ({"n": ["129"]}, FILES, "n"),
        ({"n": ["-1"]}, FILES, "n"),
        ({"n": ["1.0"]}, FILES, "n"),
        ({"n": ["٣"]}, FILES, "n"),
        ({"n": ["9" * 5000]}, FILES, "n"),
        ({"partial_images": ["17"]}, FILES, "partial_images"),
        ({}, {"image": 1, "n": 1}, "n"),
    ],
)
def test_what_decides_the_cost_is_said_once_and_makes_sense(
    text: dict[str, list[str]], files: dict[str, int], param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        edited(text, files)
    assert refused.value.param == param


def test_a_form_for_sound_needs_a_file() -> None:
    with pytest.raises(InvalidRequest) as refused:
        heard_request("audio.translations", "m", Form(), Form(), 0)
    assert refused.value.param == "file"


def test_an_edit_as_json_is_expected_as_one_in_a_form() -> None:
    body = {
        "model": "m",
        "prompt": "two cats",
        "images": [{"image_url": "x"}, {"file_id": "f"}],
        "mask": {"file_id": "g"},
        "n": 2,
        "size": "1024x1024",
        "quality": "high",
        "future": 1,
    }
    request = decode_edit(json.dumps(body).encode())
    form = Form({**TEXT, "size": ["1024x1024"], "quality": ["high"], "n": ["2"]}, {"image[]": 2, "mask": 1})
    assert request.expected == edit_request("m", form, form).expected
    assert (request.upload, request.stream, request.choices, set(request.fields)) == (None, False, 2, set(body))
    streamed = decode_edit(json.dumps({**body, "stream": True, "input_fidelity": "low"}).encode())
    assert streamed.stream
    assert streamed.expected is not None
    assert streamed.expected.image_input == 3_000


@pytest.mark.parametrize(
    ("wrong", "param"),
    [({"images": []}, "images"), ({"prompt": ""}, "prompt"), ({"images": "x"}, "images"), ({"n": 0}, "n")],
)
def test_an_edit_as_json_that_does_not_fit_names_its_member(wrong: dict[str, Any], param: str) -> None:
    body = {"model": "m", "prompt": "x", "images": [{}], **wrong}
    with pytest.raises(InvalidRequest) as refused:
        decode_edit(json.dumps(body).encode())
    assert refused.value.param == param


def test_a_scan_of_a_form_is_what_is_said() -> None:
    """The two are one in the house."""
    scan = FormScan(b"x")
    scan.feed(b'--x\r\ncontent-disposition: form-data; name="image[]"; filename="a"\r\n\r\n12\r\n--x')
    scan.feed(b'\r\ncontent-disposition: form-data; name="prompt"\r\n\r\ntwo cats\r\n--x--')
    assert edit_request("m", scan, Form({}, {})).expected == edited({}, {"image[]": 1})
