"""Forms whose upload takes its time: clients that stop, that are slow, and that send more than the house would keep."""

import functools
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.form_routes import File, form, head_of
from tests.e2e.house import PRICE, Place, place, provider, running
from tests.e2e.process import process
from tests.e2e.upstream import Upstream, Visit
from tests.e2e.wire import Wire, eventually

HEARING: Final = "/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("house")) as made:
        yield made
        made.house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.early = {}


@pytest.mark.req("UPFORM-003")
def test_a_client_that_sends_nothing_more_is_told_so(tmp_path: Path) -> None:
    with Upstream() as upstream:
        upstream.early[HEARING] = _takes_all
        config = provider(upstream.base_url) + PRICE
        with running(tmp_path, config, {"POSTHOUSE_SERVER_BODY_TIMEOUT": "0.2"}) as house, house.wire() as wire:
            body = form([("model", "m")], [File("file", "a", bytes(3_000_000))])
            wire.send(head_of(HEARING, len(body)) + body[:2_000_000])
            answer = wire.response()
            assert (answer.status, answer.error["code"]) == (408, "request_timeout")
            record = house.stored(answer.headers["x-request-id"]).record
            assert (record["status"], record["hold_state"]) == (408, "released")


async def _takes_all(visit: Visit) -> None:
    size = 0
    async for piece in visit.pieces():
        size += len(piece)
    await visit.whole({"text": str(size)})


@pytest.mark.req("UPFORM-003")
def test_a_slow_upload_reaches_the_provider_as_it_comes(here: Place) -> None:
    got: list[int] = []

    async def script(visit: Visit) -> None:
        async for piece in visit.pieces():
            got.append(len(piece))  # noqa: PERF401  # one by one, as the test looks
        await visit.whole({"text": "One"})

    here.upstream.early[HEARING] = script
    body = form([("model", "m")], [File("file", "a", bytes(1_500_000))])
    with here.house.wire() as wire:
        wire.send(head_of(HEARING, len(body)))
        for at in range(0, len(body), 300_000):
            wire.send(body[at : at + 300_000])
            eventually(functools.partial(_has, got, at - 300_000), "the provider gets nothing")
        assert wire.response().json == {"text": "One"}
    assert sum(got) == len(body)


def _has(got: list[int], size: int) -> bool:
    """All but what is held back until more is known."""
    return sum(got) >= size


@pytest.mark.req("UPFORM-003")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory of another process is read in /proc")
def test_a_large_upload_costs_no_memory(tmp_path: Path) -> None:
    """200 MB through a house of its own, whose memory stays what it was; the provider reads slower than the client
    sends."""
    size = 200 << 20
    environ = {"POSTHOUSE_SERVER_BODY_LIMIT": str(256 << 20), "POSTHOUSE_LOG_REQUESTS": "false"}
    with Upstream() as upstream:
        upstream.early[HEARING] = _takes_all
        config = provider(upstream.base_url) + PRICE
        with process(tmp_path, config, environ) as house, house.wire() as wire:
            warm = form([("model", "m")], [File("file", "a", bytes(3 << 20))])
            wire.send(head_of(HEARING, len(warm)) + warm)
            assert wire.response().json == {"text": str(len(warm))}
            before = house.memory()
            lead, _, tail = form([("model", "m")], [File("file", "a", b"@")]).partition(b"@")
            sender = threading.Thread(target=_sends, args=(wire, lead, size, tail))
            sender.start()
            most = before
            while sender.is_alive():
                most = max(most, house.memory())
                sender.join(0.02)
            assert wire.response().json == {"text": str(len(lead) + size + len(tail))}
            assert most - before < 24 << 20


def _sends(wire: Wire, lead: bytes, size: int, tail: bytes) -> None:
    piece = random.Random(1).randbytes(1 << 20)
    wire.send(head_of(HEARING, len(lead) + size + len(tail)) + lead)
    for _ in range(size >> 20):
        wire.send(piece)
    wire.send(tail)
