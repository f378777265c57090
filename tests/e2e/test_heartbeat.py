"""While a model is silent, comments keep the connection alive; clients take no notice of them."""

from collections.abc import Iterator

import pytest

from tests.e2e.answers import USAGE, asked, chunk, fault, frames
from tests.e2e.form_routes import File, form, sent
from tests.e2e.house import ADMIN_KEY, Place, place
from tests.e2e.upstream import Visit
from tests.e2e.wire import payloads, request


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    environ = {"POSTHOUSE_SERVER_HEARTBEAT": "0.05"}
    with place(tmp_path_factory.mktemp("house"), environ=environ) as made:
        yield made


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {}


@pytest.mark.req("CHAT-E2E-003")
def test_a_stream_that_falls_silent_is_kept_alive_by_comments(here: Place) -> None:
    gate = here.upstream.gate()

    async def script(visit: Visit) -> None:
        await visit.start_stream()
        await visit.event(chunk({"content": "a"}))
        await gate.passed(visit)
        await visit.event(chunk({"content": "b"}, "stop"))
        await visit.event(chunk(None, usage=USAGE))
        await visit.end_stream()

    here.upstream.scripts["m"] = script
    with here.house.wire() as wire, here.house.openai() as client:
        with client.chat.completions.create(**asked(stream=True)) as stream:
            assert next(stream).choices[0].delta.content == "a"
            here.upstream.forget()
            wire.send(_asks())
            status, _ = wire.head()
            events = wire.events()
            first, second = next(events), next(events)
            assert (status, payloads(first)) == (200, [chunk({"content": "a"})])
            assert second == b": keep-alive\n\n"
            gate.open()
            rest = b"".join(event for event in events if not event.startswith(b":"))
            assert [event.choices[0].delta.content for event in stream] == ["b"]
    assert payloads(rest) == [chunk({"content": "b"}, "stop"), "[DONE]"]


@pytest.mark.req("CHAT-E2E-003", "CHAT-E2E-008")
def test_a_stream_that_is_silent_from_the_start_begins_with_a_comment_and_can_still_fail(here: Place) -> None:
    gate = here.upstream.gate()

    async def fails(visit: Visit) -> None:
        await gate.passed(visit)
        await visit.whole(fault("The tank is empty."), 500)

    async def succeeds(visit: Visit) -> None:
        await gate.passed(visit)
        await frames(chunk({"content": "a"}, "stop"), "[DONE]")(visit)

    with here.house.wire() as good, here.house.wire() as bad:
        here.upstream.scripts["m"] = succeeds
        good.send(_asks())
        here.upstream.visit(0)
        here.upstream.scripts["m"] = fails
        bad.send(_asks())
        here.upstream.visit(1)
        ends = {}
        for name, wire in (("good", good), ("bad", bad)):
            status, headers = wire.head()
            events = wire.events()
            assert status == 200
            assert headers["content-type"] == "text/event-stream"
            assert headers["x-request-id"]
            assert next(events) == b": keep-alive\n\n"
            ends[name] = events
        gate.open()
        well, ill = (payloads(b"".join(ends[name])) for name in ("good", "bad"))
    assert well == [chunk({"content": "a"}, "stop"), "[DONE]"]
    assert len(ill) == 1
    assert set(ill[0]["error"]) == {"message", "type", "param", "code"}


@pytest.mark.req("CHAT-E2E-003")
def test_a_transcript_of_a_large_file_that_falls_silent_is_kept_alive_too(here: Place) -> None:
    """While the file comes nothing may be said; once the answer has begun, it may."""
    gate = here.upstream.gate()

    async def script(visit: Visit) -> None:
        await visit.start_stream()
        await visit.event({"type": "transcript.text.delta", "delta": "One"})
        await gate.passed(visit)
        await visit.event({"type": "transcript.text.done", "text": "One"})
        await visit.end_stream()

    here.upstream.scripts["m"] = script
    body = form([("model", "m"), ("stream", "true")], [File("file", "a.ogg", bytes(3 << 20))])
    with here.house.wire() as wire:
        wire.send(sent("/v1/audio/transcriptions", body))
        wire.head()
        events = wire.events()
        assert payloads(next(events))[0]["delta"] == "One"
        assert next(events) == b": keep-alive\n\n"
        gate.open()
        rest = b"".join(event for event in events if not event.startswith(b":"))
    assert payloads(rest)[0]["text"] == "One"


@pytest.mark.req("CHAT-E2E-003")
def test_a_transcript_of_a_large_file_that_is_silent_from_the_start_is_kept_alive_once_the_file_has_come(
    here: Place,
) -> None:
    gate = here.upstream.gate()

    async def script(visit: Visit) -> None:
        await gate.passed(visit)
        await visit.whole({"text": "One"})

    here.upstream.scripts["m"] = script
    body = form([("model", "m"), ("stream", "true")], [File("file", "a.ogg", bytes(3 << 20))])
    with here.house.wire() as wire:
        wire.send(sent("/v1/audio/transcriptions", body))
        status, headers = wire.head()
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        events = wire.events()
        assert next(events) == b": keep-alive\n\n"
        gate.open()
        said = [event for event in events if not event.startswith(b":")]
    kinds = [event.split(b"\n")[0] for event in said]
    assert kinds == [b"event: transcript.text.delta", b"event: transcript.text.done"]


@pytest.mark.req("CHAT-E2E-003")
def test_a_whole_answer_has_no_comments_however_long_it_takes(here: Place) -> None:
    gate = here.upstream.gate()

    async def slow(visit: Visit) -> None:
        await gate.passed(visit)
        await visit.whole({"choices": [{"finish_reason": "stop", "message": {}}], "usage": USAGE})

    here.upstream.scripts["m"] = slow
    with here.house.wire() as whole, here.house.wire() as stream:
        whole.send(_asks(stream=False))
        assert gate.reached.wait(10)
        stream.send(_asks())
        # The other connection's comment shows that the sweep has passed over this one too.
        stream.until(b": keep-alive\n\n")
        gate.open()
        answer = whole.response()
    assert answer.json["usage"] == USAGE


def _asks(*, stream: bool = True) -> bytes:
    return request("/v1/chat/completions", asked(stream=stream), ADMIN_KEY)
