"""What becomes of connections to a provider: how long one is waited for, when it is used again, and when it is not."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.e2e.answers import answers, asked, chunk, completion, streams
from tests.e2e.house import ADMIN_KEY, Place, RunningHouse, place
from tests.e2e.upstream import Visit
from tests.e2e.wire import Response, payloads

SMALL: Final = "timeout = { connect = 1, first_byte = 0.3, idle = 0.3, total = 1 }"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    # Two attempts are enough to see that each is given up.
    with place(tmp_path_factory.mktemp("house"), environ={"POSTHOUSE_ROUTING_MAX_ATTEMPTS": "2"}, more=SMALL) as made:
        yield made
        made.house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {}


def ask(house: RunningHouse, **more: Any) -> Response:
    with house.wire() as wire:
        return wire.ask("/v1/chat/completions", asked(**more), ADMIN_KEY)


async def says_nothing(visit: Visit) -> None:
    await visit.until_left()


# --- deadlines -------------------------------------------------------------------------------------------------------
def test_a_provider_that_says_nothing_is_given_up_at_the_deadline(here: Place) -> None:
    here.upstream.scripts = {"*": says_nothing}
    answer = ask(here.house)
    assert answer.status == 504
    assert here.upstream.visit(0).left.wait(5)
    assert all(visit.left.wait(5) for visit in here.upstream.visits)


@pytest.mark.req("CHAT-E2E-005")
def test_a_stream_that_falls_silent_for_too_long_ends_with_the_error_event(here: Place) -> None:
    async def script(visit: Visit) -> None:
        await visit.start_stream()
        await visit.event(chunk({"content": "a"}))
        await visit.until_left()

    here.upstream.scripts = {"*": script}
    answer = ask(here.house, stream=True)
    content, error = payloads(answer.body)
    assert content["choices"][0]["delta"]["content"] == "a"
    assert set(error["error"]) == {"message", "type", "param", "code"}
    assert here.upstream.visit().left.wait(5)
    record = here.house.stored(answer.headers["x-request-id"]).record
    assert (record["ended_by"], record["usage_source"]) == ("upstream", "estimated")


def test_a_stream_that_never_ends_is_ended_at_the_total_deadline(here: Place) -> None:
    async def script(visit: Visit) -> None:
        await visit.start_stream()
        while not visit.left.is_set():
            await visit.event(chunk({"content": "a"}))
            await visit.until_left(0.1)

    here.upstream.scripts = {"*": script}
    answer = ask(here.house, stream=True)
    *contents, error = payloads(answer.body)
    assert len(contents) > 3
    assert error["error"]["message"]
    assert here.upstream.visit().left.wait(5)


# --- connections -----------------------------------------------------------------------------------------------------
def test_connections_are_used_again(here: Place) -> None:
    here.upstream.scripts = {"*": answers(completion())}
    before = here.upstream.accepted
    for _ in range(5):
        assert ask(here.house).status == 200
    assert here.upstream.accepted <= before + 1


def test_a_stream_s_connection_is_used_again_though_its_body_ends_a_little_after_done(here: Place) -> None:
    gate = here.upstream.gate()

    async def script(visit: Visit) -> None:
        await visit.start_stream()
        await visit.event(chunk({"content": "a"}, "stop"))
        await visit.event("[DONE]")
        await gate.passed(visit)
        await visit.end_stream()

    here.upstream.scripts = {"*": script}
    before = here.upstream.accepted
    assert payloads(ask(here.house, stream=True).body)[-1] == "[DONE]"
    gate.open()
    assert here.upstream.visit().done.wait(5)
    here.upstream.scripts = {"*": answers(completion())}
    # The end of the body is on its way to the house: the first request may be there before it.
    for _ in range(2):
        assert ask(here.house).status == 200
    assert here.upstream.accepted <= before + 2
    assert not here.upstream.visits[0].left.is_set()


def test_a_stream_whose_body_does_not_end_after_done_loses_its_connection(here: Place) -> None:
    async def script(visit: Visit) -> None:
        await visit.start_stream()
        await visit.event(chunk({"content": "a"}, "stop"))
        await visit.event("[DONE]")
        await visit.until_left()

    here.upstream.scripts = {"*": script}
    assert payloads(ask(here.house, stream=True).body)[-1] == "[DONE]"
    assert here.upstream.visit().left.wait(5)


@pytest.mark.parametrize("stream", [True, False])
def test_a_connection_that_was_closed_while_idle_is_no_failure(here: Place, stream: bool) -> None:
    """The upstream closes at the very moment at which it is asked: the request cannot have been worked on."""
    seen: set[int] = set()

    async def script(visit: Visit) -> None:
        if id(visit.writer) in seen:
            visit.close()
            return
        seen.add(id(visit.writer))
        await (streams(["a"]) if stream else answers(completion()))(visit)

    here.upstream.scripts = {"*": script}
    for visits in (1, 3, 5):
        answer = ask(here.house, stream=stream)
        assert answer.status == 200
        assert answer.headers["x-posthouse-attempts"] == "1"
        assert len(here.upstream.visits) == visits
