"""Pictures that were made: what they consumed, whole, as events, and from the one to the other."""

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import UpstreamFailure
from posthouse.core.requests import ModelRequest
from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_media_heads import decode_images
from posthouse.dialects.openai_media_images import (
    PictureEvents,
    added,
    collect,
    put_right,
    read_whole,
    to_events,
    tokens_of,
)
from posthouse.dialects.openai_media_streams import MediaEvents
from posthouse.dialects.sse import data_of, split_events

PICTURE: Final = "iVBORw0KGgo="
USAGE: Final = {
    "input_tokens": 50,
    "output_tokens": 1_060,
    "total_tokens": 1_110,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
    "output_tokens_details": {"text_tokens": 4, "image_tokens": 1_056},
}
COUNTED: Final = Usage(input=10, image_input=40, output=4, image_output=1_056)


def asked(**more: Any) -> ModelRequest:
    return decode_images(json.dumps({"model": "m", "prompt": "a cat", **more}).encode())


def payloads(events: bytes) -> list[Any]:
    found = (data_of(one) for one in split_events(events))
    return [json.loads(data) for data in found if data is not None]


def whole(**more: Any) -> bytes:
    return json.dumps({"created": 1, "data": [{"b64_json": PICTURE}], **more}).encode()


# --- what was consumed ------------------------------------------------------------------------------------------------


@pytest.mark.req("MEDIA-005")
@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (USAGE, COUNTED),
        ({"input_tokens": 5, "output_tokens": 9, "total_tokens": 14}, Usage(input=5, image_output=9)),
        ({"output_tokens": 4096, "total_tokens": 4096, "generated_images": 1}, Usage(image_output=4096)),
        (
            {"input_tokens": 30, "output_tokens": 1, "input_tokens_details": {"image_tokens": 20, "cached_tokens": 25}},
            Usage(cache_read=10, image_input=20, image_output=1),
        ),
        (
            {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16},
            Usage(input=7, image_output=9),
        ),
        (
            {
                "prompt_tokens": 7,
                "completion_tokens": 9,
                "total_tokens": 16,
                "completion_tokens_details": {"image_tokens": 6},
            },
            Usage(input=7, output=3, image_output=6),
        ),
        ({"input_tokens": 0, "output_tokens": 0}, Usage()),
        ({"input_tokens": -1, "output_tokens": 0}, None),
        ({"input_tokens": "5", "output_tokens": 0}, None),
        ({"input_tokens": 2**50, "output_tokens": 0}, None),
        ({"images": 1}, None),
        ({"input_tokens": None, "output_tokens": None}, None),
        (
            {"input_tokens": 5, "output_tokens": 7, "input_tokens_details": {"image_tokens": -3, "cached_tokens": "5"}},
            Usage(input=5, image_output=7),
        ),
        ({"input_tokens": 5, "output_tokens": 7, "output_tokens_details": "many"}, Usage(input=5, image_output=7)),
        ({}, None),
        (None, None),
        ([1], None),
    ],
)
def test_tokens_of_images_are_in_one_class_each(told: Any, usage: Usage | None) -> None:
    assert tokens_of(told) == usage


@pytest.mark.req("MEDIA-005")
@given(st.tuples(*[st.integers(0, 2_000)] * 6))
def test_no_token_is_counted_twice(counts: tuple[int, ...]) -> None:
    read, images, cached, drawn, text, thought = counts
    found = tokens_of(
        {
            "input_tokens": read,
            "output_tokens": drawn,
            "input_tokens_details": {"image_tokens": images, "cached_tokens": cached},
            "output_tokens_details": {"text_tokens": text, "reasoning_tokens": thought},
        }
    )
    assert found is not None
    assert (found.total_input, found.total_output) == (read, drawn)


@pytest.mark.req("MEDIA-005")
def test_what_was_written_for_a_drawing_of_lines_is_added() -> None:
    svg = {"input_tokens": 100, "output_tokens": 30, "reasoning_tokens": 20, "total_tokens": 130, "model": "author"}
    found = read_whole(whole(usage=USAGE, svg_usage=svg), asked()).usage
    assert found is not None
    assert (found.input, found.output, found.reasoning, found.image_output) == (110, 14, 20, 1_056)
    odd = read_whole(whole(usage=USAGE, svg_usage={"input_tokens": "many"}), asked()).usage
    assert odd is not None and odd.input == 10


def test_two_usages_are_added_class_by_class() -> None:
    one, other = Usage(input=1, images=2, image_kind="a"), Usage(input=3, reasoning=4, image_kind="b")
    assert added(one, other) == Usage(input=4, reasoning=4, images=2, image_kind="a")


# --- whole answers ----------------------------------------------------------------------------------------------------


@pytest.mark.req("MEDIA-006")
@pytest.mark.parametrize(
    ("data", "made"),
    [
        ([{"b64_json": PICTURE}], 1),
        ([{"url": "https://example.com/a.png"}, {"b64_json": PICTURE, "revised_prompt": "x"}], 2),
        ([{"b64_json": PICTURE}, {"error": {"code": "refused"}}, {"b64_json": None, "url": ""}], 1),
        ([{"b64_json": None}], 0),
        ([], 0),
    ],
)
def test_pictures_that_are_there_are_counted_whatever_was_asked_for(data: list[Any], made: int) -> None:
    read = read_whole(whole(data=data), asked(n=4))
    assert (read.usage.images if read.usage else 0) == made
    assert read.finish_reason == ("stop" if made else None)


@pytest.mark.req("MEDIA-006")
def test_the_kind_is_what_the_answer_says_and_else_what_was_asked_for() -> None:
    def kind(request: ModelRequest, **said: Any) -> str:
        usage = read_whole(whole(**said), request).usage
        assert usage is not None
        return usage.image_kind

    assert kind(asked(size="auto", quality="high"), size="1536x1024", quality="low") == "1536x1024/low"
    assert kind(asked(size="1024x1024", quality="high")) == "1024x1024/high"
    assert kind(asked(size="1024x1024"), quality="medium") == "1024x1024/medium"
    assert kind(asked(quality="high"), size="1024x1024") == "1024x1024/high"
    assert kind(asked(), size=7, quality=None) == ""


def test_an_error_under_a_status_of_success_is_read() -> None:
    read = read_whole(b'{"error":{"message":"No.","code":"moderation_blocked"}}', asked())
    assert read.error is not None and read.error.code == "moderation_blocked"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"data":7}', b'{"data":[1]}', b'"x"', b"\xff", b"[" * 100_000])
def test_what_is_no_answer_makes_no_sense(body: bytes) -> None:
    with pytest.raises(DialectError):
        read_whole(body, asked())


@pytest.mark.req("MEDIA-021")
def test_images_by_another_name_become_data() -> None:
    theirs = b'{"images":[{"url":"https://example.com/a.png"}],"timings":{"inference":1.5},"seed":7}'
    assert read_whole(theirs, asked()).finish_reason == "stop"
    assert json.loads(put_right(theirs, 9)) == {
        "created": 9,
        **json.loads(theirs),
        "data": [{"url": "https://example.com/a.png"}],
    }
    assert put_right(whole(), 9) == whole()


# --- streams ----------------------------------------------------------------------------------------------------------


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


PARTIAL: Final = event("image_generation.partial_image", b64_json=PICTURE, partial_image_index=0)
LAST: Final = event("image_generation.completed", b64_json=PICTURE, size="1024x1024", quality="high", usage=USAGE)
END: Final = Usage()


def stream(**more: Any) -> MediaEvents:
    return MediaEvents(PictureEvents(asked(stream=True, **more)))


@pytest.mark.req("MEDIA-007")
@pytest.mark.parametrize("size", [1, 2, 7, 100, 1_000_000])
def test_events_pass_as_they_came_however_they_are_cut_and_the_last_is_held_back(size: int) -> None:
    came = b": hello\n\n" + PARTIAL + PARTIAL + LAST
    made = stream()
    out = b"".join(made.feed(came[start : start + size]) for start in range(0, len(came), size))
    assert out == b": hello\n\n" + PARTIAL + PARTIAL
    assert (made.committed, made.done, made.finish_reason) == (True, True, "stop")
    usage = made.usage
    assert usage is not None
    assert (usage.images, usage.image_kind, usage.image_output) == (1, "1024x1024/high", 1_056)
    assert made.finish() == b""
    assert made.end(END, False) == LAST
    assert made.emitted().text == ""


@pytest.mark.req("MEDIA-007")
def test_an_event_that_lacks_only_its_blank_line_counts() -> None:
    made = stream()
    assert made.feed(PARTIAL + LAST.rstrip(b"\n")) == PARTIAL
    assert made.finish() == b""
    assert (made.done, made.end(END, False)) == (True, LAST)


@pytest.mark.req("MEDIA-007")
def test_of_several_only_the_last_is_held_back_and_their_usage_adds_up() -> None:
    made = stream(n=2)
    assert made.feed(PARTIAL + LAST) == PARTIAL
    assert (made.done, made.usage) == (False, None)
    assert made.feed(PARTIAL) == LAST + PARTIAL
    assert made.feed(LAST) == b""
    assert made.usage is not None
    assert (made.usage.images, made.usage.image_output) == (2, 2_112)
    assert made.end(END, False) == LAST


@pytest.mark.req("MEDIA-007")
def test_fewer_than_were_asked_for_are_enough_where_the_stream_ends_well() -> None:
    for tail in (b"", b"data: [DONE]\n\n"):
        made = stream(n=3)
        made.feed(LAST + tail)
        made.finish()
        assert made.finish_reason == "stop"
        assert made.usage is not None and made.usage.images == 1
        assert made.end(END, False) == LAST + tail


@pytest.mark.req("MEDIA-007")
def test_a_vendor_that_completes_without_a_picture_has_sent_them_before() -> None:
    one = event("image_generation.partial_succeeded", image_index=0, url="https://example.com/a.png", size="2048x2048")
    none = event("image_generation.partial_failed", image_index=1, error={"code": "refused", "message": "No."})
    last = event("image_generation.completed", usage={"generated_images": 2, "output_tokens": 32, "total_tokens": 32})
    made = stream()
    assert made.feed(one + none + one) == one + none + one
    assert made.feed(last + b"data: [DONE]\n\n") == b""
    assert made.usage == Usage(image_output=32, images=2, image_kind="2048x2048")
    assert made.end(END, False) == last + b"data: [DONE]\n\n"


@pytest.mark.req("MEDIA-007")
@pytest.mark.parametrize(
    "wrong",
    [
        b'data: {"error":{"message":"No.","code":"moderation_blocked"}}\n\n',
        b'event: error\ndata: {"type":"error","message":"No."}\n\n',
        b'event: error\ndata: {"code":1}\n\n',
        b'data: {"type":"error","error":{"message":"No."}}\n\n',
    ],
)
def test_an_error_ends_it_and_is_not_forwarded(wrong: bytes) -> None:
    made = stream()
    assert made.feed(PARTIAL + wrong + PARTIAL) == PARTIAL
    assert made.error is not None and made.error.message
    assert (made.feed(LAST), made.finish(), made.finish_reason) == (b"", b"", None)


@pytest.mark.req("MEDIA-007")
def test_what_breaks_off_has_no_end_and_what_was_complete_is_still_told() -> None:
    made = stream(n=2)
    made.feed(PARTIAL)
    made.finish()
    assert (made.finish_reason, made.usage) == (None, None)
    other = stream(n=2)
    other.feed(LAST)
    said = other.fail(UpstreamFailure("server", "It broke."))
    assert said.startswith(LAST)
    assert payloads(said)[-1]["error"]["message"] == "It broke."


@pytest.mark.parametrize("wrong", [b"data: nothing\n\n", b"data: [1]\n\n", b'data: {"type":\n\n', b"data: \xff\n\n"])
def test_an_event_that_is_none_makes_no_sense(wrong: bytes) -> None:
    with pytest.raises(DialectError):
        stream().feed(wrong)


def test_a_stream_that_says_nothing_but_its_end_has_not_begun() -> None:
    made = stream()
    made.feed(b"data: [DONE]\n\n")
    assert (made.committed, made.done, made.finish_reason) == (False, True, None)


def test_an_end_that_does_not_end_is_bounded() -> None:
    made = stream(n=2)
    made.feed(LAST)
    with pytest.raises(DialectError, match="does not end"):
        for _ in range(10):
            made.feed(b'data: {"type":"x","padding":"%b"}\n\n' % (b"x" * (16 << 20)))


# --- from the one to the other ----------------------------------------------------------------------------------------


@pytest.mark.req("MEDIA-022")
def test_a_whole_answer_becomes_the_events_that_were_asked_for() -> None:
    request = asked(stream=True, n=2, size="1024x1024", output_format="webp")
    answer = whole(data=[{"b64_json": PICTURE}, {"b64_json": PICTURE, "type": "b64_json"}], usage=USAGE, quality="low")
    first, last = payloads(to_events(answer, request, 9))
    about = {"created_at": 9, "size": "1024x1024", "quality": "low", "background": "auto", "output_format": "webp"}
    assert first == {"b64_json": PICTURE, "type": "image_generation.completed", **about}
    assert last == {**first, "usage": USAGE}
    made = MediaEvents(PictureEvents(request))
    made.feed(to_events(answer, request, 9))
    assert made.usage is not None
    assert (made.usage.images, made.usage.image_output, made.done) == (2, 1_056, True)


@pytest.mark.req("MEDIA-022")
def test_a_stream_that_nobody_asked_for_becomes_one_answer() -> None:
    answer = json.loads(collect(b": hello\n\n" + PARTIAL + LAST + b"data: [DONE]\n\n", 9))
    assert answer == {
        "created": 9,
        "usage": USAGE,
        "size": "1024x1024",
        "quality": "high",
        "data": [{"b64_json": PICTURE}],
    }
    assert read_whole(json.dumps(answer).encode(), asked()).usage is not None
    broken = collect(PARTIAL + b'data: {"error":{"message":"No."}}\n\n', 9)
    assert read_whole(broken, asked()).error is not None
    for nothing in (b"", PARTIAL, b"data: {\n\n", b"data: x\n\n"):
        with pytest.raises(DialectError):
            collect(nothing, 9)
