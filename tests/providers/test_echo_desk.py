"""Pictures, speech, judgements and ranks of the model that is there when no other is."""

import base64
import json
import struct
from typing import Any

import pytest

from posthouse.core.requests import ModelRequest
from posthouse.dialects import openai_media_heads as heads
from posthouse.providers.echo import ROW, EchoTransport
from posthouse.providers.echo_desk import IMAGE_MODEL, MODERATION_MODEL, RERANK_MODEL, SPEECH_MODEL
from posthouse.providers.echo_media import CATEGORIES
from posthouse.providers.echo_tokens import tokens_of
from posthouse.providers.model import deployment
from posthouse.providers.prepare import prepare, request_for
from posthouse.upstream.model import UpstreamResponse
from tests.providers.asking import account

LIMIT = 1 << 26


async def answer(request: ModelRequest, model: str) -> tuple[UpstreamResponse, bytes]:
    ready = prepare(deployment(account(ROW), "public-name", model), request.operation)
    response = await EchoTransport(clock=lambda: 1_795_000_000.5).send(request_for(ready, request, 1e9))
    return response, await response.read(LIMIT)


async def drawn(model: str = IMAGE_MODEL, **more: Any) -> tuple[int, Any]:
    body = json.dumps({"model": "m", "prompt": "two cats", "size": "64x32", **more}).encode()
    response, data = await answer(heads.decode_images(body), model)
    return response.status, data if more.get("stream") and response.status == 200 else json.loads(data)


def events(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(one.partition(b"data: ")[2]) for one in data.split(b"\n\n") if one]


def size_of(picture: str) -> tuple[int, int]:
    data = base64.b64decode(picture)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


async def test_pictures_have_the_size_that_is_asked_for_and_are_as_many() -> None:
    status, body = await drawn(n=2, quality="high")
    assert status == 200
    assert [size_of(one["b64_json"]) for one in body["data"]] == [(64, 32)] * 2
    assert body["data"][0] != body["data"][1]
    assert (body["created"], body["size"], body["quality"]) == (1_795_000_000, "64x32", "high")
    assert body["usage"] == {
        "input_tokens": 2,
        "input_tokens_details": {"text_tokens": 2, "image_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": 2},
        "total_tokens": 4,
    }
    assert (await drawn(n=2, quality="high"))[1]["data"] == body["data"]


async def test_a_picture_whose_address_is_asked_for_has_its_data_in_it() -> None:
    _, body = await drawn(response_format="url")
    assert size_of(body["data"][0]["url"].removeprefix("data:image/png;base64,")) == (64, 32)


@pytest.mark.parametrize("size", ["auto", None, ""])
async def test_where_no_size_is_said_there_is_a_usual_one(size: str | None) -> None:
    assert (await drawn(size=size))[1]["size"] == "1024x1024"


@pytest.mark.parametrize("size", ["big", "0x0", "64", "64x", "-1x5", "999999x999999", "5000x1", "²x2", "4096x4096"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_size_that_cannot_be_drawn_is_refused_before_anything_is_sent(size: str, stream: bool) -> None:
    status, body = await drawn(size=size, stream=stream)
    assert (status, body["error"]["param"]) == (400, "size")


async def test_a_stream_of_pictures_has_partial_ones_and_each_complete_one_with_its_usage() -> None:
    _, data = await drawn(stream=True, partial_images=2, n=2)
    found = events(data)
    partial, completed = "image_generation.partial_image", "image_generation.completed"
    assert [one["type"] for one in found] == [partial, partial, completed] * 2
    assert [one.get("partial_image_index") for one in found] == [0, 1, None] * 2
    assert {one["usage"]["output_tokens"] for one in found if one["type"] == completed} == {1}
    _, whole = await drawn(n=2)
    assert [one["b64_json"] for one in found if one["type"] == completed] == [one["b64_json"] for one in whole["data"]]


async def spoken(model: str = SPEECH_MODEL, **more: Any) -> tuple[UpstreamResponse, bytes]:
    body = json.dumps({"model": "m", "input": "Hello there.", "voice": "x", **more}).encode()
    return await answer(heads.decode_speech(body), model)


async def test_speech_is_sound_and_says_its_type() -> None:
    response, data = await spoken()
    assert response.headers == [(b"content-type", b"audio/wav")]
    assert data[:4] == b"RIFF"
    bare, samples = await spoken(response_format="pcm")
    assert bare.headers == [(b"content-type", b"audio/pcm")]
    assert len(samples) == 12 * 60 * 24 * 2
    assert data.endswith(samples)


async def test_speech_as_events_is_the_same_sound() -> None:
    response, data = await spoken(stream_format="sse", response_format="pcm")
    assert response.headers == [(b"content-type", b"text/event-stream")]
    *deltas, last = events(data)
    _, samples = await spoken(response_format="pcm")
    assert b"".join(base64.b64decode(one["audio"]) for one in deltas) == samples
    read = len(tokens_of("Hello there."))
    usage = {"input_tokens": read, "output_tokens": 1, "total_tokens": read + 1}
    assert last == {"type": "speech.audio.done", "usage": usage}


async def judged(given: Any, model: str = MODERATION_MODEL) -> tuple[int, Any]:
    response, data = await answer(heads.decode_moderation(json.dumps({"model": "m", "input": given}).encode()), model)
    return response.status, json.loads(data)


async def test_each_text_is_judged_by_itself_and_the_parts_of_a_message_together() -> None:
    _, body = await judged(["fine", "echo-flag:violence", "echo-flag"])
    assert [one["flagged"] for one in body["results"]] == [False, True, True]
    assert body["results"][1]["categories"]["violence"] is True
    assert set(body["results"][0]["category_scores"]) == set(CATEGORIES)
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "echo-flag"}, {"type": "image_url"}]
    _, together = await judged(parts)
    assert [one["flagged"] for one in together["results"]] == [True]
    _, one = await judged("fine")
    assert (len(one["results"]), one["model"]) == (1, MODERATION_MODEL)


async def ranked(model: str = RERANK_MODEL, **more: Any) -> tuple[int, Any]:
    body = {"model": "m", "query": "red cat", "documents": ["a dog", {"text": "a red cat"}, "a cat"], **more}
    response, data = await answer(heads.decode_rerank(json.dumps(body).encode()), model)
    return response.status, json.loads(data)


async def test_what_shares_most_words_with_the_query_comes_first() -> None:
    _, body = await ranked()
    assert [one["index"] for one in body["results"]] == [1, 2, 0]
    assert body["results"][0]["relevance_score"] > body["results"][1]["relevance_score"] > 0
    assert "document" not in body["results"][0]
    assert body["usage"]["total_tokens"] > 0
    assert body["meta"]["billed_units"]["search_units"] == 1
    _, two = await ranked(top_n=2, return_documents=True)
    assert [one["document"]["text"] for one in two["results"]] == ["a red cat", "a cat"]


async def test_each_model_does_one_thing() -> None:
    assert (await drawn(SPEECH_MODEL))[0] == 400
    assert (await spoken(IMAGE_MODEL))[0].status == 400
    assert (await judged("x", RERANK_MODEL))[0] == 400
    assert (await ranked(MODERATION_MODEL))[0] == 400
