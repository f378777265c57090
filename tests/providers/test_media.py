"""Pictures, speech, judgements and ranks at a provider: where they are asked for, in whose words, what is put right."""

import base64
import json
from typing import Any, Final

import pytest

from posthouse.core.errors import NotFound, UpstreamFailure
from posthouse.core.requests import MEDIA, ModelRequest, Operation
from posthouse.core.usage import Usage
from posthouse.dialects import openai_media_heads as heads
from posthouse.providers import (
    azure,
    deepseek,
    doubao,
    minimax,
    openai,
    openai_compatible,
    openrouter,
    qwen,
    siliconflow,
    together,
    zhipu,
)
from posthouse.providers.call import call
from posthouse.providers.model import PATHS, Provider, deployment
from posthouse.providers.prepare import prepare
from posthouse.providers.registry import BUILTIN
from posthouse.providers.reply import Reply
from posthouse.upstream.memory import MemoryResponse, ScriptedTransport
from posthouse.upstream.model import UpstreamRequest, UpstreamResponse
from tests.providers.asking import account, prepared

FAR: Final = 1e12
PICTURE: Final = base64.b64encode(b"\x89PNG").decode()
SOUND: Final = bytes(range(256)) * 20
OFFERED: Final = [pytest.param(row, one, id=f"{row.name}-{one}") for row in BUILTIN for one in row.offers]


def images(**more: Any) -> ModelRequest:
    return heads.decode_images(json.dumps({"model": "public-name", "prompt": "a cat", **more}).encode())


def speech(**more: Any) -> ModelRequest:
    return heads.decode_speech(json.dumps({"model": "public-name", "input": "Hello.", "voice": "x", **more}).encode())


def ranks(**more: Any) -> ModelRequest:
    body = {"model": "public-name", "query": "red", "documents": ["a", "b"], **more}
    return heads.decode_rerank(json.dumps(body).encode())


def judged() -> ModelRequest:
    return heads.decode_moderation(b'{"model":"public-name","input":"Hello"}')


class Vendor:
    """Answers everything with one body, in pieces."""

    def __init__(self, body: bytes | dict[str, Any] | list[Any], kind: str = "application/json") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._pieces = [data[start : start + 97] for start in range(0, len(data), 97)]
        self._headers = [(b"content-type", kind.encode())] if kind else []
        self.seen: dict[str, Any] = {}
        self.response: MemoryResponse | None = None

    async def ask(self, request: ModelRequest, row: Provider = openai_compatible.ROW) -> Reply:
        transport = ScriptedTransport(self._answer)
        return await call(prepared(row, request.operation), request, transport, FAR, "req_1")

    async def _answer(self, request: UpstreamRequest) -> UpstreamResponse:
        self.seen = json.loads(request.body)
        self.response = MemoryResponse(200, self._headers, self._pieces)
        return self.response


async def rest(reply: Reply) -> bytes:
    """All that a client would get, with its end."""
    stream, response = reply.stream, reply.response
    assert stream is not None and response is not None
    out = [reply.first]
    while not stream.done and (data := await response.chunk()):
        out.append(stream.feed(data))
    out.append(stream.finish())
    assert stream.error is None and stream.finish_reason == "stop"
    return b"".join(out) + stream.end(stream.usage or Usage(input=1, audio_output=2), stream.usage is None)


# --- where ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "operation"), OFFERED)
def test_what_a_row_offers_has_an_address_and_is_asked_for_in_json_with_the_vendors_model(
    row: Provider, operation: Operation
) -> None:
    ready = prepared(row, operation)
    path = row.paths.get(operation) or PATHS[operation]
    assert ready.target.partition(b"?")[0].decode().endswith(path.rpartition("../")[2])
    assert (ready.wire, bytes(ready.model or b""), ready.direct) == (operation, b'"vendor/model-1"', False)


@pytest.mark.parametrize("row", BUILTIN, ids=lambda row: row.name)
@pytest.mark.req("MEDIA-020")
def test_what_a_row_does_not_offer_there_is_not(row: Provider) -> None:
    assert set(row.offers) <= set(MEDIA)
    for operation in set(MEDIA) - set(row.offers):
        with pytest.raises(NotFound, match="does not offer"):
            prepared(row, operation)


@pytest.mark.parametrize(
    ("row", "settings", "operation", "target"),
    [
        (openai.ROW, {}, "images.generations", b"/v1/images/generations"),
        (openai.ROW, {"base_url": "https://proxy.example.com/v1"}, "audio.speech", b"/v1/audio/speech"),
        (azure.ROW, {"base_url": "https://r.openai.azure.com"}, "audio.speech", b"/openai/v1/audio/speech"),
        (
            azure.ROW,
            {"base_url": "https://r.openai.azure.com", "api_version": "2024-10-21"},
            "images.generations",
            b"/openai/deployments/vendor%2Fmodel-1/images/generations?api-version=2024-10-21",
        ),
        (qwen.ROW, {}, "rerank", b"/compatible-api/v1/reranks"),
        (
            qwen.ROW,
            {"base_url": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"},
            "rerank",
            b"/compatible-api/v1/reranks",
        ),
        (zhipu.ROW, {}, "rerank", b"/api/paas/v4/rerank"),
        (openrouter.ROW, {}, "images.generations", b"/api/v1/images"),
        (doubao.ROW, {}, "images.generations", b"/api/v3/images/generations"),
        (openai_compatible.ROW, {"base_url": "https://api.cohere.com/v2"}, "rerank", b"/v2/rerank"),
    ],
)
def test_a_request_goes_to_where_the_vendor_has_it(
    row: Provider, settings: dict[str, object], operation: Operation, target: bytes
) -> None:
    ready = prepare(deployment(account(row, **settings), "public-name", "vendor/model-1"), operation)
    assert ready.target == target


@pytest.mark.parametrize("row", [deepseek.ROW, minimax.ROW], ids=lambda row: row.name)
def test_vendors_without_any_of_it_offer_none(row: Provider) -> None:
    assert row.offers == ()


# --- in whose words ---------------------------------------------------------------------------------------------------


@pytest.mark.req("MEDIA-001")
async def test_a_request_passes_with_the_vendors_model_in_it() -> None:
    vendor = Vendor({"results": [{"index": 0, "relevance_score": 1.0}]})
    await vendor.ask(ranks(unknown={"a": None}))
    assert vendor.seen == {
        "model": "vendor/model-1",
        "query": "red",
        "documents": ["a", "b"],
        "unknown": {"a": None},
    }


@pytest.mark.req("MEDIA-021")
@pytest.mark.parametrize(
    ("row", "said", "sent"),
    [
        (siliconflow.ROW, {"size": "1024x1024", "n": 2}, {"image_size": "1024x1024", "batch_size": 2}),
        (siliconflow.ROW, {"image_size": "768x1024", "size": "1x1"}, {"image_size": "768x1024"}),
        (together.ROW, {"size": "1024x768", "n": 2}, {"width": 1024, "height": 768, "n": 2}),
        (together.ROW, {"size": "auto", "response_format": "b64_json"}, {"response_format": "base64"}),
        (together.ROW, {"size": "8x8", "width": 512, "response_format": "url"}, {"width": 512, "height": 8}),
        (openai.ROW, {"size": "1024x1024", "n": 2}, {"size": "1024x1024", "n": 2}),
    ],
)
async def test_members_are_called_what_the_vendor_calls_them(
    row: Provider, said: dict[str, Any], sent: dict[str, Any]
) -> None:
    vendor = Vendor({"created": 1, "data": [{"url": "https://example.com/a.png"}]})
    await vendor.ask(images(**said), row)
    about = {name: value for name, value in vendor.seen.items() if name not in ("model", "prompt")}
    assert about == ({**sent, "response_format": "url"} if said.get("response_format") == "url" else sent)


@pytest.mark.req("MEDIA-021")
async def test_an_answer_that_calls_its_pictures_otherwise_is_brought_into_openais_form() -> None:
    vendor = Vendor({"images": [{"url": "https://example.com/a.png"}], "seed": 7})
    reply = await vendor.ask(images(), siliconflow.ROW)
    answer = json.loads(reply.body)
    assert answer["data"] == [{"url": "https://example.com/a.png"}]
    assert isinstance(answer["created"], int)
    assert reply.whole is not None and reply.whole.usage == Usage(images=1)


# --- whole answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "answer", "usage"),
    [
        (images(), {"created": 1, "data": [{"b64_json": PICTURE}]}, Usage(images=1)),
        (judged(), {"id": "modr-1", "model": "m", "results": [{"flagged": False}]}, None),
        (ranks(), {"results": [{"index": 0}], "meta": {"billed_units": {"search_units": 1}}}, Usage(searches=1)),
        (ranks(), [{"score": 1.0, "index": 0}], None),
    ],
    ids=["images", "moderation", "rerank", "a bare array"],
)
async def test_a_whole_answer_passes_byte_for_byte(request_: ModelRequest, answer: Any, usage: Usage | None) -> None:
    reply = await Vendor(answer).ask(request_)
    assert json.loads(reply.body) == answer
    assert reply.body == json.dumps(answer).encode()
    assert reply.whole is not None and reply.whole.usage == usage


ERRORS: Final = [
    {"error": {"message": "Slow down.", "code": "rate_limit_exceeded"}},
    {"code": 20012, "message": "There is no such model.", "data": None},
    {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
    {"detail": "Not here."},
]


@pytest.mark.req("MEDIA-013")
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: next(iter(error)))
@pytest.mark.parametrize(
    "request_",
    [images(), images(stream=True), speech(), speech(stream_format="sse"), judged(), ranks()],
    ids=["images", "images streamed", "speech", "speech as events", "moderation", "rerank"],
)
async def test_an_error_under_a_status_of_success_is_a_failure(error: dict[str, Any], request_: ModelRequest) -> None:
    vendor = Vendor(error)
    with pytest.raises(UpstreamFailure):
        await vendor.ask(request_)
    assert vendor.response is not None and vendor.response.closed


@pytest.mark.req("MEDIA-013")
@pytest.mark.parametrize(
    ("request_", "body", "kind"),
    [
        (images(), {"created": 1, "data": []}, "application/json"),
        (images(stream=True), {"created": 1}, "application/json"),
        (images(stream=True), b"data: [DONE]\n\n", "text/event-stream"),
        (images(), b"data: [DONE]\n\n", "text/event-stream"),
        (judged(), {"id": "modr-1"}, "application/json"),
        (ranks(), {"id": "x"}, "application/json"),
        (ranks(), b"<html>", "text/html"),
        (speech(), b"<html>Sign in.</html>", "text/html"),
        (speech(), {"voices": []}, "application/json"),
        (speech(), b"", "audio/mpeg"),
        (speech(stream_format="sse"), b"", "text/event-stream"),
    ],
)
async def test_an_answer_that_holds_nothing_is_a_failure(request_: ModelRequest, body: Any, kind: str) -> None:
    with pytest.raises(UpstreamFailure) as failed:
        await Vendor(body, kind).ask(request_)
    assert failed.value.kind == "server"


# --- in pieces --------------------------------------------------------------------------------------------------------


@pytest.mark.req("MEDIA-015")
@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("audio/mpeg", "audio/mpeg"),
        ("Audio/WAV", "audio/wav"),
        ("audio/pcm; rate=24000", "audio/pcm; rate=24000"),
        ("video/mp4", "video/mp4"),
        ("", "application/octet-stream"),
        ("application/x-evil", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("audio/" + "x" * 200, "application/octet-stream"),
    ],
)
async def test_bare_sound_is_what_its_provider_says_and_never_what_a_browser_would_run(kind: str, shown: str) -> None:
    reply = await Vendor(SOUND, kind).ask(speech())
    assert reply.kind == f"content-type: {shown}\r\n".encode()
    assert await rest(reply) == SOUND


@pytest.mark.req("MEDIA-022")
async def test_sound_becomes_events_where_these_were_asked_for() -> None:
    reply = await Vendor(SOUND, "audio/mpeg").ask(speech(stream_format="sse"))
    assert reply.kind == b""
    events = [json.loads(one.partition(b"data: ")[2]) for one in (await rest(reply)).split(b"\n\n") if one]
    assert b"".join(base64.b64decode(one.get("audio", "")) for one in events) == SOUND
    assert events[-1]["usage"] == {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}


@pytest.mark.req("MEDIA-008")
async def test_events_of_speech_pass_whoever_asked_for_them() -> None:
    came = b'data: {"type":"x","delta":"AAAA"}\n\ndata: [DONE]\n\n'
    for request in (speech(stream=True), speech(stream_format="sse")):
        reply = await Vendor(came, "text/event-stream; charset=utf-8").ask(request)
        assert (await rest(reply), reply.kind) == (came, b"")


@pytest.mark.req("MEDIA-022")
@pytest.mark.parametrize(("asked", "made"), [(1, 1), (2, 2), (3, 1)])
async def test_a_whole_answer_of_pictures_becomes_events(asked: int, made: int) -> None:
    vendor = Vendor({"created": 1, "data": [{"b64_json": PICTURE}] * made, "usage": {"output_tokens": 9}})
    reply = await vendor.ask(images(stream=True, n=asked))
    events = [json.loads(one.partition(b"data: ")[2]) for one in (await rest(reply)).split(b"\n\n") if one]
    assert [one["type"] for one in events] == ["image_generation.completed"] * made
    assert events[-1]["usage"] == {"output_tokens": 9}
    assert reply.stream is not None and reply.stream.usage == Usage(image_output=9, images=made)


@pytest.mark.req("MEDIA-022")
async def test_events_of_pictures_that_nobody_asked_for_become_one_answer() -> None:
    event = {"type": "image_generation.completed", "b64_json": PICTURE, "usage": {"output_tokens": 9}}
    vendor = Vendor(b"data: " + json.dumps(event).encode() + b"\n\n", "text/event-stream")
    reply = await vendor.ask(images())
    assert json.loads(reply.body)["data"] == [{"b64_json": PICTURE}]
    assert reply.whole is not None and reply.whole.usage == Usage(image_output=9, images=1)


async def test_an_image_stream_commits_with_its_first_picture() -> None:
    came = b": thinking\n\n" + b'data: {"type":"image_generation.in_progress"}\n\n'
    picture = json.dumps({"type": "image_generation.partial_image", "b64_json": PICTURE}).encode()
    wrong = b'data: {"error":{"message":"No.","code":"moderation_blocked"}}\n\n'
    with pytest.raises(UpstreamFailure) as failed:
        await Vendor(came + wrong, "text/event-stream").ask(images(stream=True))
    assert failed.value.kind == "content_filter"
    reply = await Vendor(came + b"data: " + picture + b"\n\n" + wrong, "text/event-stream").ask(images(stream=True))
    assert reply.first == came + b"data: " + picture + b"\n\n"
