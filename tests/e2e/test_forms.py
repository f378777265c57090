"""Transcriptions, translations, edits and variations as their clients see them, before scripts and the built-in
model."""

import io
import re
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import openai
import pytest

from tests.e2e.answers import answers, fault, frames
from tests.e2e.form_routes import BOUNDARY, PICTURE, SOUND, File, form, head_of, sent
from tests.e2e.house import ADMIN_KEY, Place, place, provider, running
from tests.e2e.oracle import published
from tests.e2e.upstream import Script, Upstream, Visit
from tests.e2e.wire import Response, payloads

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

[[prices]]
model = "m"
currency = "USD"
image = "0.04"
audio_second = "0.01"
"""
HEARING: Final = "/v1/audio/transcriptions"
EDITING: Final = "/v1/images/edits"
SENT: Final = [File("file", "a.ogg", SOUND)]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Upstream() as upstream:
        config = provider(upstream.base_url, '"m", "other"') + ECHO.format(base_url=upstream.base_url)
        with running(tmp_path_factory.mktemp("house"), config, {"POSTHOUSE_ROUTING_MAX_ATTEMPTS": "1"}) as house:
            yield Place(house, upstream)
            house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.early = {}
    here.upstream.scripts = {"*": answers({"text": "One two three"})}


@pytest.fixture
def client(here: Place) -> Iterator[openai.OpenAI]:
    made = here.house.openai()
    yield made
    made.close()


def ask(
    here: Place, path: str, fields: Sequence[tuple[str, str]], files: Sequence[File], key: str = ADMIN_KEY
) -> Response:
    with here.house.wire() as wire:
        wire.send(sent(path, form(fields, files), key))
        return wire.response()


def recorded(size: int) -> bytes:
    """A WAV of so many bytes of sound, 32,000 of them to the second."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(bytes(size))
    return file.getvalue()


# --- OpenAI's own client ---------------------------------------------------------------------------------------------
@pytest.mark.req("UPFORM-001")
def test_the_client_hears_a_transcript_in_every_form(client: openai.OpenAI) -> None:
    sound = ("a.wav", recorded(48_000))
    said = 'This is echo. It was given the file "a.wav" of 48,044 bytes; no model listens behind it.'

    def heard(form: Any) -> Any:
        return client.audio.transcriptions.create(model="echo-transcription", file=sound, response_format=form)

    short = heard("json")
    assert short.text == said
    assert short.usage.type == "tokens"
    assert heard("text") == said + "\n"
    assert heard("srt") == f"1\n00:00:00,000 --> 00:00:01,000\n{said}\n\n"
    assert heard("vtt") == f"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{said}\n\n"
    detailed = heard("verbose_json")
    assert (detailed.text, detailed.duration, detailed.segments[0].text) == (said, 1.0, said)
    diarized = heard("diarized_json")
    assert (diarized.text, diarized.segments[0].speaker) == (said, "A")


@pytest.mark.req("UPFORM-001")
def test_the_client_hears_a_transcript_as_it_comes(here: Place, client: openai.OpenAI) -> None:
    before = here.house.last_id()
    with client.audio.transcriptions.create(
        model="echo-transcription", file=("a.wav", SOUND), stream=True, include=["logprobs"], language="en"
    ) as events:
        found = list(events)
    *deltas, last = found
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert last.type == "transcript.text.done"
    assert "".join(event.delta for event in deltas if event.type == "transcript.text.delta") == last.text
    assert last.usage is not None
    record = here.house.only_since(before).record
    assert (record["operation"], record["stream"], record["usage_source"]) == ("audio.transcriptions", True, "provider")
    assert record["audio_input"] == last.usage.input_tokens


@pytest.mark.req("UPFORM-001")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_client_hears_a_translation(client: openai.OpenAI) -> None:
    answer = client.audio.translations.create(model="echo-transcription", file=("b.mp3", SOUND), prompt="hello")
    assert "b.mp3" in answer.text
    text = client.audio.translations.create(model="echo-transcription", file=("b.mp3", SOUND), response_format="srt")
    assert str(text).startswith("1\n00:00:00,000 --> ")


@pytest.mark.req("UPFORM-001")
def test_the_client_gets_an_edit_of_two_pictures_with_a_mask(here: Place, client: openai.OpenAI) -> None:
    before = here.house.last_id()
    pictures = [("a.png", PICTURE), ("b.png", PICTURE)]
    made = client.images.edit(
        model="echo-image", image=pictures, mask=("m.png", PICTURE), prompt="two cats", size="1024x1024", n=2
    )
    assert made.data is not None
    assert made.usage is not None
    assert [bool(one.b64_json) for one in made.data] == [True, True]
    assert made.usage.input_tokens_details.image_tokens == 3
    record = here.house.only_since(before).record
    assert (record["operation"], record["images"], record["image_input"]) == ("images.edits", 2, 3)
    with client.images.edit(
        model="echo-image", image=pictures, prompt="two cats", size="1024x1024", stream=True, partial_images=1
    ) as events:
        assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]


@pytest.mark.req("UPFORM-001")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_client_gets_a_variation(here: Place, client: openai.OpenAI) -> None:
    made = client.images.create_variation(model="echo-image", image=("a.png", PICTURE), size="256x256", n=1)
    assert made.data is not None
    assert made.data[0].b64_json


@pytest.mark.req("UPFORM-001")
def test_an_edit_may_be_asked_for_as_json(here: Place) -> None:
    body = {"prompt": "two cats", "images": [{"image_url": "data:image/png;base64,aGk="}], "size": "64x64"}
    with here.house.wire() as wire:
        for path, named in (("/v1/images/edits", "echo-image"), ("/openai/deployments/echo-image/images/edits", None)):
            answer = wire.ask(path, body if named is None else {"model": named, **body}, ADMIN_KEY)
            assert answer.status == 200
            assert answer.json["data"][0]["b64_json"]
        for wrong in ({"model": "echo-image", "prompt": "x"}, {"model": "echo-image", "images": [{}]}, {}):
            assert wire.ask("/v1/images/edits", wrong, ADMIN_KEY).error["code"] == "missing_required_parameter"


@pytest.mark.req("UPFORM-001")
def test_answers_and_events_satisfy_the_published_schemas(here: Place) -> None:
    oracle = published()
    model, named = "echo-transcription", [("model", "echo-transcription")]
    for form_, schema in (
        ("json", "CreateTranscriptionResponseJson"),
        ("verbose_json", "CreateTranscriptionResponseVerboseJson"),
        ("diarized_json", "CreateTranscriptionResponseDiarizedJson"),
    ):
        oracle.approves(ask(here, HEARING, [*named, ("response_format", form_)], SENT).json, schema)
    answer = ask(here, HEARING, [("model", model), ("stream", "true")], SENT)
    *deltas, done = payloads(re.sub(rb"event: .*\n", b"", answer.body.replace(b"data: [DONE]\n\n", b"")))
    for delta in deltas:
        oracle.approves(delta, "TranscriptTextDeltaEvent")
    oracle.approves(done, "TranscriptTextDoneEvent")
    small = [("model", "echo-image"), ("prompt", "x"), ("size", "64x64")]
    picture = [File("image", "a.png", PICTURE)]
    oracle.approves(_of_usual_size(ask(here, EDITING, small, picture).json), "ImagesResponse")
    events = ask(here, EDITING, [*small, ("stream", "true"), ("partial_images", "1")], picture).body
    partial, completed = payloads(re.sub(rb"event: .*\n", b"", events))
    oracle.approves(_of_usual_size(partial), "ImageEditPartialImageEvent")
    oracle.approves(_of_usual_size(completed), "ImageEditCompletedEvent")


def _of_usual_size(body: dict[str, Any]) -> dict[str, Any]:
    """The published document knows three sizes; a small picture is drawn sooner."""
    return {**body, "size": "1024x1024"}


# --- what reaches the provider ---------------------------------------------------------------------------------------
@pytest.mark.req("UPFORM-002")
@pytest.mark.parametrize("base", ["/v1", "", "/openai/v1"])
def test_a_form_reaches_the_provider_byte_for_byte_with_its_own_model(here: Place, base: str) -> None:
    fields = [("model", "m"), ("language", "de"), ("include[]", "logprobs"), ("future", "kept"), ("prompt", "café")]
    answer = ask(here, f"{base}/audio/transcriptions", fields, SENT)
    assert answer.json == {"text": "One two three"}
    visit = here.upstream.visit()
    assert visit.path == "/v1/audio/transcriptions"
    assert visit.body == form(fields, SENT)
    assert visit.headers["content-type"] == f"multipart/form-data; boundary={BOUNDARY}"
    assert visit.headers["content-length"] == str(len(visit.body))
    assert visit.headers["authorization"] == "Bearer upstream-credential-1"


@pytest.mark.req("UPFORM-002")
@pytest.mark.parametrize("base", ["/openai/deployments/", "/v1/engines/", "/engines/"])
@pytest.mark.parametrize("said", [[], [("model", "nobody")]])
def test_the_model_in_the_path_holds_for_a_form_too(here: Place, base: str, said: list[tuple[str, str]]) -> None:
    answer = ask(here, f"{base}m/audio/transcriptions?api-version=1", [*said, ("language", "de")], SENT)
    assert answer.status == 200, answer
    assert here.upstream.visit().body == form([("model", "m"), ("language", "de")], SENT)
    nobody = ask(here, f"{base}nobody/audio/transcriptions", [("model", "m")], SENT)
    assert (nobody.status, nobody.error["code"]) == (404, "model_not_found")


@pytest.mark.req("UPFORM-002")
@pytest.mark.parametrize("size", [5_000, 3_000_000])
def test_fields_behind_a_file_count_as_those_before_it(here: Place, size: int) -> None:
    """As curl sends them where they are written so."""
    here.upstream.scripts["m"] = frames(
        {"type": "transcript.text.delta", "delta": "One"},
        {"type": "transcript.text.done", "text": "One", "usage": {"type": "duration", "seconds": 2}},
    )
    behind = form([("model", "m"), ("stream", "true")], []).removesuffix(f"--{BOUNDARY}--\r\n".encode())
    body = form([], [File("file", "a", bytes(size))]).replace(f"--{BOUNDARY}--".encode(), b"END", 1)
    body = body.replace(b"END\r\n", behind + f"--{BOUNDARY}--\r\n".encode())
    with here.house.wire() as wire:
        wire.send(head_of(HEARING, len(body)) + body)
        answer = wire.response()
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [event["type"] for event in payloads(answer.body)] == ["transcript.text.delta", "transcript.text.done"]
    assert here.upstream.visit().body == body
    record = here.house.stored(answer.headers["x-request-id"]).record
    assert (record["stream"], record["audio_ms"]) == (True, 2_000)


def _asked_for(stream: bool) -> list[tuple[str, str]]:
    return [("model", "m"), *([("stream", "true")] if stream else [])]


@pytest.mark.req("UPFORM-007")
def test_a_whole_answer_where_a_stream_was_asked_for_becomes_one(here: Place) -> None:
    here.upstream.scripts["m"] = answers({"text": "One two", "usage": {"type": "duration", "seconds": 2}})
    answer = ask(here, HEARING, _asked_for(True), SENT)
    assert answer.body.startswith(b"event: transcript.text.delta\ndata: {")
    assert payloads(re.sub(rb"event: .*\n", b"", answer.body)) == [
        {"type": "transcript.text.delta", "delta": "One two"},
        {"type": "transcript.text.done", "text": "One two", "usage": {"type": "duration", "seconds": 2}},
    ]


@pytest.mark.req("UPFORM-007")
def test_a_text_where_a_stream_was_asked_for_becomes_one_however_long_it_takes(tmp_path: Path) -> None:
    """A heartbeat has promised events by then."""
    with place(tmp_path, environ={"POSTHOUSE_SERVER_HEARTBEAT": "0.05"}) as slow:
        gate = slow.upstream.gate()

        async def text(visit: Visit) -> None:
            await gate.passed(visit)
            await visit.whole(b"One two", extra="content-type: text/plain\r\n")

        slow.upstream.scripts["m"] = text
        with slow.house.wire() as wire:
            wire.send(sent(HEARING, form([*_asked_for(True), ("response_format", "text")], SENT)))
            wire.head()
            events = wire.events()
            assert next(events) == b": keep-alive\n\n"
            gate.open()
            said = b"".join(event for event in events if not event.startswith(b":"))
        assert payloads(re.sub(rb"event: .*\n", b"", said)) == [
            {"type": "transcript.text.delta", "delta": "One two"},
            {"type": "transcript.text.done", "text": "One two"},
        ]
        slow.house.verified()


@pytest.mark.req("UPFORM-007")
def test_a_stream_where_a_whole_answer_was_asked_for_becomes_one(here: Place) -> None:
    usage = {"type": "tokens", "input_tokens": 11, "output_tokens": 7, "total_tokens": 18}
    here.upstream.scripts["m"] = frames(
        {"type": "transcript.text.delta", "delta": "One"},
        {"type": "transcript.text.done", "text": "One two", "usage": usage},
        "[DONE]",
    )
    assert ask(here, HEARING, _asked_for(False), SENT).json == {"text": "One two", "usage": usage}


WRONG_ANSWERS: Final[dict[str, Script]] = {
    "an error in a success": answers(fault("No.", code="overloaded_error")),
    "a page": answers(b"<html>Welcome</html>", extra="content-type: text/html\r\n"),
    "no transcript": answers({"hello": 1}),
    "no JSON": answers(b"{"),
    "a stream of nothing": frames("[DONE]"),
}


@pytest.mark.req("UPFORM-007")
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("what", WRONG_ANSWERS)
def test_an_answer_that_is_no_transcript_is_an_error_and_costs_nothing(here: Place, what: str, stream: bool) -> None:
    here.upstream.scripts["m"] = WRONG_ANSWERS[what]
    before = here.house.last_id()
    answer = ask(here, HEARING, _asked_for(stream), SENT)
    assert answer.status in (502, 503), answer
    stored = here.house.only_since(before)
    assert (stored.record["cost"], stored.record["hold_state"]) == (None, "released")


# --- what is refused -------------------------------------------------------------------------------------------------
REFUSED: Final[list[tuple[str, list[tuple[str, str]], list[File], str]]] = [
    (HEARING, [("model", "m")], [], "file"),
    (HEARING, [], SENT, "model"),
    (HEARING, [("model", "")], SENT, "model"),
    (HEARING, [("model", "m"), ("model", "other")], SENT, "model"),
    (HEARING, [("model", "m"), ("stream", "true"), ("stream", "false")], SENT, "stream"),
    (EDITING, [("model", "m"), ("prompt", "x")], [], "image"),
    (EDITING, [("model", "m")], [File("image", "a", PICTURE)], "prompt"),
    (EDITING, [("model", "m"), ("prompt", "x"), ("n", "1"), ("n", "10")], [File("image", "a", PICTURE)], "n"),
    (EDITING, [("model", "m"), ("prompt", "x"), ("n[]", "10")], [File("image", "a", PICTURE)], "n"),
    (EDITING, [("model", "m"), ("prompt", "x"), ("n", "many")], [File("image", "a", PICTURE)], "n"),
    (EDITING, [("model", "m"), ("prompt", "x"), ("n", "0")], [File("image", "a", PICTURE)], "n"),
    (EDITING, [("model", "m"), ("prompt", "x")], [File("image", "a", PICTURE), File("n", "n", b"10")], "n"),
    ("/v1/images/variations", [("model", "m")], [], "image"),
]


@pytest.mark.req("UPFORM-008")
@pytest.mark.parametrize(("path", "fields", "files", "param"), REFUSED)
def test_a_form_that_lacks_something_or_says_it_in_two_ways_is_refused(
    here: Place, path: str, fields: list[tuple[str, str]], files: list[File], param: str
) -> None:
    answer = ask(here, path, fields, files)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert here.upstream.visits == []


@pytest.mark.req("UPFORM-008")
@pytest.mark.parametrize("path", [HEARING, "/v1/audio/translations", EDITING, "/v1/images/variations"])
def test_a_body_that_is_no_form_is_refused(here: Place, path: str) -> None:
    with here.house.wire() as wire:
        answer = wire.ask(path, b"x=1", ADMIN_KEY, extra="content-type: text/plain\r\n")
        assert answer.status == 400
        assert wire.ask(path, b"", "sk-ph-nobody").status == 401
    assert here.upstream.visits == []


@pytest.mark.req("UPFORM-008")
def test_a_model_without_the_endpoint_and_a_key_without_the_model_are_refused(here: Place) -> None:
    answer = ask(here, HEARING, [("model", "texts-only")], SENT)
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    answer = ask(here, HEARING, [("model", "m")], SENT, here.house.new_key(models=["other"]))
    assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
    assert here.upstream.visits == []


@pytest.mark.req("UPFORM-006")
def test_a_budget_is_asked_before_the_provider_wherever_the_cost_is_said(here: Place) -> None:
    here.upstream.scripts["m"] = answers({"created": 1, "data": [{"b64_json": "aGk="}]})
    key = here.house.new_key(budget={"amount": "0.1", "currency": "USD", "period": "day"})
    dear = form([("model", "m"), ("prompt", "x")], [File("image", "a", PICTURE)])
    dear = dear.replace(f"--{BOUNDARY}--".encode(), form([("n", "3")], []).removesuffix(b"\r\n"))
    with here.house.wire() as wire:
        wire.send(sent(EDITING, dear, key))
        answer = wire.response()
    assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")
    assert here.upstream.visits == []
    cheap = ask(here, EDITING, [("model", "m"), ("prompt", "x"), ("n", "2")], [File("image", "a", PICTURE)], key)
    assert (cheap.status, cheap.headers["x-posthouse-cost"]) == (200, "0.04")
    long = ask(here, HEARING, [("model", "m")], [File("file", "a", bytes(20_000))], key)
    assert (long.status, long.error["code"]) == (429, "insufficient_quota")
    here.upstream.scripts["m"] = answers({"text": "", "duration": 0.5})
    short = ask(here, HEARING, [("model", "m")], [File("file", "a.wav", recorded(32_000))], key)
    assert (short.status, short.headers["x-posthouse-cost"]) == (200, "0.005")
