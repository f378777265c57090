"""Images, speech, moderations and reranking as their clients see them, before scripts and the built-in model."""

import base64
import json
from collections.abc import Iterator
from typing import Any, Final

import openai
import pytest

from tests.e2e.answers import answers, fault, held
from tests.e2e.house import ADMIN_KEY, Place, provider, running
from tests.e2e.media_routes import MEASURED, PICTURE, SOUND, VARIANTS
from tests.e2e.oracle import Oracle, published
from tests.e2e.upstream import Gate, Script, Upstream, Visit
from tests.e2e.wire import Response, eventually, payloads, request

ECHO: Final = """
[[providers]]
name = "here"
type = "echo"

[[providers]]
name = "texts"
type = "deepseek"
credential = "upstream-credential-1"
models = ["texts-only"]
base_url = "{base_url}"
"""
SMALL: Final = {"model": "echo-image", "prompt": "two cats", "size": "64x64"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Upstream() as upstream:
        config = provider(upstream.base_url, '"m", "other"') + ECHO.format(base_url=upstream.base_url)
        with running(tmp_path_factory.mktemp("house"), config) as house:
            yield Place(house, upstream)
            house.verified()


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return published()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {"*": answers({"created": 1, "data": [{"b64_json": PICTURE}]})}


def ask(here: Place, path: str, body: dict[str, Any] | bytes, key: str = ADMIN_KEY) -> Response:
    with here.house.wire() as wire:
        return wire.ask(path, body, key)


def sound(*pieces: bytes, kind: str = "audio/mpeg") -> Script:
    async def script(visit: Visit) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
        await visit.send(head.encode())
        for piece in pieces:
            await visit.frame(piece)
        await visit.end_stream()

    return script


# --- OpenAI's client --------------------------------------------------------------------------------------------------


@pytest.mark.req("MEDIA-016")
def test_the_client_makes_images(here: Place) -> None:
    with here.house.openai() as client:
        made = client.images.generate(model="echo-image", prompt="two cats", size="64x64", n=2)
    assert made.data is not None and made.usage is not None
    assert [base64.b64decode(one.b64_json or "")[:4] for one in made.data] == [b"\x89PNG"] * 2
    assert made.usage.output_tokens == 2


@pytest.mark.req("MEDIA-016", "MEDIA-014")
def test_the_client_sees_images_as_they_are_made(here: Place) -> None:
    with here.house.openai() as client:
        stream = client.images.generate(
            model="echo-image", prompt="two cats", size="64x64", stream=True, partial_images=2
        )
        events = list(stream)
    assert [event.type for event in events] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    last = events[-1]
    assert last.type == "image_generation.completed" and last.usage.output_tokens == 1


@pytest.mark.req("MEDIA-016", "MEDIA-015")
def test_the_client_hears_speech_as_it_comes(here: Place) -> None:
    with here.house.openai() as client:
        with client.audio.speech.with_streaming_response.create(
            model="echo-speech", input="Hello there.", voice="alloy", response_format="pcm"
        ) as response:
            pieces = list(response.iter_bytes())
            assert response.headers["content-type"] == "audio/pcm"
        whole = client.audio.speech.create(model="echo-speech", input="Hello there.", voice="alloy").content
    assert len(pieces) > 1
    assert whole[:4] == b"RIFF"
    assert whole.endswith(b"".join(pieces))


@pytest.mark.req("MEDIA-016", "MEDIA-018")
def test_the_client_judges_with_a_model_and_without(here: Place) -> None:
    with here.house.openai() as client:
        named = client.moderations.create(model="echo-moderation", input=["fine", "echo-flag:violence"])
        unnamed = client.moderations.create(input="fine")
    assert [one.flagged for one in named.results] == [False, True]
    assert named.results[1].categories.violence
    assert unnamed.model == "echo-moderation"


@pytest.mark.req("MEDIA-016", "MEDIA-015")
def test_the_client_does_not_take_a_part_of_speech_for_the_whole(here: Place) -> None:
    async def script(visit: Visit) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n")
        await visit.frame(SOUND)
        visit.close()

    here.upstream.scripts["m"] = script
    with here.house.openai() as client:
        with pytest.raises(openai.APIConnectionError) as broken:
            client.audio.speech.create(model="m", input="Hello.", voice="alloy")
    assert "incomplete chunked read" in str(broken.value.__cause__)


# --- routes -----------------------------------------------------------------------------------------------------------


@pytest.mark.req("MEDIA-017")
@pytest.mark.parametrize("base", ["/v1", "", "/openai/v1"])
@pytest.mark.parametrize("name", VARIANTS)
def test_the_routes_are_at_every_base(here: Place, name: str, base: str) -> None:
    variant = VARIANTS[name]
    model = {"images": "echo-image", "audio": "echo-speech", "rerank": "echo-rerank", "moderations": "echo-moderation"}
    body = {"model": model[variant.operation.partition(".")[0]], **variant.body}
    if variant.operation == "images.generations":
        body["size"] = "64x64"
    assert ask(here, base + variant.path.removeprefix("/v1"), body).status == 200


@pytest.mark.req("MEDIA-017")
@pytest.mark.parametrize(
    "path",
    [
        "/openai/deployments/echo-image/images/generations?api-version=2024-10-21",
        "/v1/engines/echo-image/images/generations",
        "/engines/echo-image/images/generations",
    ],
)
@pytest.mark.parametrize("said", [{}, {"model": "nobody"}])
def test_the_model_in_the_path_holds(here: Place, path: str, said: dict[str, str]) -> None:
    answer = ask(here, path, {"prompt": "a cat", "size": "64x64", **said})
    assert (answer.status, answer.json["size"]) == (200, "64x64")


@pytest.mark.req("MEDIA-001")
@pytest.mark.parametrize("path", sorted(MEASURED))
def test_a_request_that_is_none_is_refused_and_nobody_is_asked(here: Place, path: str) -> None:
    for body in (b"", b"{", b"[]", b'{"model":"m"}', b'{"model":7}', b'{"model":"m","input":7,"prompt":7,"query":7}'):
        answer = ask(here, f"/v1{path}", body)
        assert answer.status == 400
        assert answer.error["type"] == "invalid_request_error"
    assert here.upstream.visits == []


@pytest.mark.req("MEDIA-020")
@pytest.mark.parametrize("path", sorted(MEASURED))
def test_a_model_that_has_no_such_operation_is_told_from_one_that_has(here: Place, path: str) -> None:
    body = {"prompt": "a", "input": "a", "query": "a", "documents": ["a"]}
    answer = ask(here, f"/v1{path}", {"model": "texts-only", **body})
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert "does not offer" in answer.error["message"]
    assert ask(here, f"/v1{path}", {"model": "nobody", **body}).status == 404
    assert here.upstream.visits == []


@pytest.mark.req("MEDIA-018")
def test_a_moderation_without_a_model_takes_only_one_that_its_key_may_use(here: Place) -> None:
    key = here.house.new_key(models=["m"])
    for body in ({"input": "a"}, {"model": None, "input": "a"}):
        answer = ask(here, "/v1/moderations", body, key)
        assert (answer.status, answer.error["param"]) == (400, "model")
        assert "GET /v1/models" in answer.error["message"]
        assert ask(here, "/v1/moderations", body).json["model"] == "echo-moderation"


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.req("MEDIA-013")
@pytest.mark.parametrize("name", VARIANTS)
def test_what_the_provider_refuses_is_told_in_openais_shape(here: Place, name: str) -> None:
    variant = VARIANTS[name]
    here.upstream.scripts["*"] = answers(fault("No such voice.", type="invalid_request_error", param="voice"), 400)
    answer = ask(here, variant.path, {"model": "m", **variant.body})
    assert (answer.status, answer.error["param"]) == (400, "voice")
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.req("MEDIA-014")
def test_an_error_in_a_stream_of_images_is_its_last_event(here: Place) -> None:
    partial = {"type": "image_generation.partial_image", "b64_json": PICTURE}

    gate = here.upstream.gate()
    here.upstream.scripts["m"] = held(gate, [partial], fault("The tank is empty."))
    with here.house.wire() as wire:
        wire.send(request("/v1/images/generations", {"model": "m", "prompt": "a", "stream": True}, ADMIN_KEY))
        wire.head()
        events = wire.events()
        first = next(events)
        gate.open()  # not before: where nothing has come yet the next provider is asked
        (last,) = events
    assert payloads(first) == [partial]
    assert payloads(last)[0]["error"]["message"]


@pytest.mark.req("MEDIA-002")
def test_a_limit_on_tokens_that_is_smaller_than_an_image_lets_one_through(here: Place) -> None:
    key = here.house.new_key(limits={"tpm": 1_000})
    assert ask(here, "/v1/images/generations", SMALL, key).status == 200
    long = {"model": "echo-rerank", "query": "a", "documents": ["word " * 2_000]}
    assert ask(here, "/v1/rerank", long, key).error["type"] == "tokens"  # what is to be read is no guess


# --- sound ------------------------------------------------------------------------------------------------------------


@pytest.mark.req("MEDIA-015")
@pytest.mark.parametrize("kind", ["audio/mpeg", "audio/L16; rate=24000", "video/mp4"])
def test_sound_is_of_the_providers_type(here: Place, kind: str) -> None:
    here.upstream.scripts["m"] = sound(SOUND[:3], SOUND[3:], kind=kind)
    answer = ask(here, "/v1/audio/speech", {"model": "m", "input": "Hello."})
    assert (answer.body, answer.headers["content-type"]) == (SOUND, kind.lower())


@pytest.mark.req("MEDIA-015")
def test_a_page_is_not_passed_off_as_sound(here: Place) -> None:
    here.upstream.scripts["m"] = sound(b"<script>alert(1)</script>", kind="text/html")
    assert ask(here, "/v1/audio/speech", {"model": "m", "input": "Hello."}).status == 502
    here.upstream.scripts["m"] = sound(b"<svg/>" * 9, kind="image/svg+xml")
    answer = ask(here, "/v1/audio/speech", {"model": "m", "input": "Hello."})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/octet-stream")


def _slowly(gate: Gate) -> Script:
    async def script(visit: Visit) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n")
        for start in range(0, 1_000, 100):
            await visit.frame(SOUND[start : start + 100])
        await gate.passed(visit)
        await visit.frame(SOUND[1_000:])
        await visit.end_stream()

    return script


@pytest.mark.req("MEDIA-015")
def test_sound_is_heard_while_the_provider_still_speaks(here: Place) -> None:
    gate = here.upstream.gate()
    here.upstream.scripts["m"] = _slowly(gate)
    with here.house.wire() as wire:
        wire.send(request("/v1/audio/speech", {"model": "m", "input": "Hello."}, ADMIN_KEY))
        wire.head()
        pieces = wire.pieces()
        seen = b""
        while len(seen) < 996:
            seen += next(pieces)
        gate.open()
        assert seen + b"".join(pieces) == SOUND


@pytest.mark.req("MEDIA-023")
def test_sound_that_nobody_reads_is_not_read_from_the_provider(here: Place) -> None:
    piece = bytes(1 << 16)
    whole = 512 * len(piece)

    async def script(visit: Visit) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\ncontent-length: %d\r\n\r\n" % whole)
        for _ in range(512):
            await visit.send(piece)

    here.upstream.scripts["m"] = script
    with here.house.wire(receive_buffer=4096) as wire:
        wire.send(request("/v1/audio/speech", {"model": "m", "input": "Hello."}, ADMIN_KEY))
        wire.head()
        visit = here.upstream.visit()
        before = -1

        def stands_still() -> bool:
            nonlocal before
            before, was = visit.sent, before
            return was == before > 0

        for _ in range(20):  # it stands still, and stays so
            eventually(stands_still, "the provider is read without end")
        assert visit.sent < whole
        assert sum(len(one) for one in wire.pieces()) == whole


@pytest.mark.req("MEDIA-022")
def test_a_client_that_asked_for_events_gets_events_of_a_provider_that_has_none(here: Place) -> None:
    here.upstream.scripts["m"] = sound(SOUND)
    answer = ask(here, "/v1/audio/speech", {"model": "m", "input": "Hello.", "stream_format": "sse"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(one.partition(b"data: ")[2]) for one in answer.body.split(b"\n\n") if one]
    assert b"".join(base64.b64decode(one.get("audio", "")) for one in events) == SOUND
    assert events[-1]["type"] == "speech.audio.done"


# --- OpenAI's document ------------------------------------------------------------------------------------------------


@pytest.mark.req("MEDIA-019")
def test_answers_and_events_satisfy_the_schemas(here: Place, oracle: Oracle) -> None:
    image = {**SMALL, "size": "1024x1024"}
    oracle.approves(ask(here, "/v1/images/generations", image).json, "ImagesResponse")
    events = ask(here, "/v1/images/generations", {**image, "stream": True, "partial_images": 1}).body
    partial, completed = [json.loads(one.partition(b"data: ")[2]) for one in events.split(b"\n\n") if one]
    oracle.approves(partial, "ImageGenPartialImageEvent")
    oracle.approves(completed, "ImageGenCompletedEvent")
    judged = ask(here, "/v1/moderations", {"model": "echo-moderation", "input": "echo-flag"}).json
    oracle.approves(judged, "CreateModerationResponse")
    speech = {"model": "echo-speech", "input": "Hello.", "voice": "alloy", "stream_format": "sse"}
    spoken = ask(here, "/v1/audio/speech", speech).body.split(b"\n\n")
    *deltas, done = [json.loads(one.partition(b"data: ")[2]) for one in spoken if one]
    for delta in deltas:
        oracle.approves(delta, "SpeechAudioDeltaEvent")
    oracle.approves(done, "SpeechAudioDoneEvent")


@pytest.mark.req("MEDIA-019", "MEDIA-022")
def test_what_the_house_says_itself_satisfies_the_schemas(here: Place, oracle: Oracle) -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    details = {"input_tokens_details": {"text_tokens": 1, "image_tokens": 0}}
    whole = {"created": 1, "data": [{"b64_json": PICTURE}], "usage": {**usage, **details}}
    here.upstream.scripts["m"] = answers(whole)
    body = {"model": "m", "prompt": "a", "stream": True, "size": "1024x1024"}
    event = ask(here, "/v1/images/generations", body).body
    oracle.approves(json.loads(event.partition(b"data: ")[2]), "ImageGenCompletedEvent")
    here.upstream.scripts["m"] = sound(SOUND)
    spoken = ask(here, "/v1/audio/speech", {"model": "m", "input": "Hello.", "stream_format": "sse"}).body
    *deltas, done = [json.loads(one.partition(b"data: ")[2]) for one in spoken.split(b"\n\n") if one]
    oracle.approves(deltas[0], "SpeechAudioDeltaEvent")
    oracle.approves(done, "SpeechAudioDoneEvent")
    here.upstream.scripts["m"] = answers(fault("No."), 500)
    for name in VARIANTS:
        oracle.approves(ask(here, VARIANTS[name].path, {"model": "m", **VARIANTS[name].body}).json, "ErrorResponse")
