"""kill -9 at any moment, again and again, and the same folder each time."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

import pytest

from posthouse.storage.segments import segments
from tests.chaos_embedded.books import billed, purses, remembered, sound
from tests.chaos_embedded.lives import CHAT, Load, counts_tokens
from tests.chaos_embedded.rounds import seeds
from tests.e2e.answers import asked, chunk, completion, held
from tests.e2e.house import ADMIN_KEY, PRICE, provider, running
from tests.e2e.process import process
from tests.e2e.upstream import Gate, Script, Upstream, Visit
from tests.e2e.wire import eventually, request

LIVES: Final = 4
QUIET: Final = {"POSTHOUSE_LOG_REQUESTS": "false"}
DOLLAR: Final = 10**9


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as made:
        made.scripts["m"] = counts_tokens
        yield made


def late(gate: Gate) -> Script:
    """A whole answer when the gate is open."""

    async def script(visit: Visit) -> None:
        await gate.passed(visit)
        await visit.whole(completion())

    return script


def die_while_starting(folder: Path, config: str) -> None:
    """As soon as it has taken the folder: what the last life left is being moved into the database."""
    journal = folder / "data" / "journal"
    before = segments(journal)
    with process(folder, config, QUIET) as house:
        eventually(lambda: segments(journal)[-1:] > before[-1:], house.logged)
        house.kill()
        assert house.ended() == -9


@pytest.mark.req("FAULT-001")
@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_was_read_to_its_last_byte_is_billed_though_the_house_dies_at_that_moment(
    tmp_path: Path, upstream: Upstream, stream: bool
) -> None:
    """Nothing else is under way, and its hold is on the disk before it ends: nobody writes its end by chance."""
    gate = upstream.gate()
    upstream.scripts["last"] = (
        held(gate, [chunk({"content": "a"})], chunk({}, "stop"), "[DONE]") if stream else late(gate)
    )
    config = provider(upstream.base_url, '"last"') + PRICE.replace('"m"', '"last"')
    journal = tmp_path / "data" / "journal"
    with process(tmp_path, config, QUIET) as house, house.wire() as wire:
        wire.send(request(CHAT, asked("last", stream=stream), ADMIN_KEY))
        eventually(lambda: sum(path.stat().st_size for path in journal.glob("*.journal")), "no hold is written")
        gate.open()
        answer = wire.response()
        house.kill()
        assert answer.status == 200
        assert not stream or answer.body.endswith(b"data: [DONE]\n\n")
        assert house.ended() == -9
    with running(tmp_path, config) as last:
        stored = last.stored(answer.headers["x-request-id"])
        assert stored.hold is not None
        assert (stored.hold["state"], stored.record["status"]) == ("settled", 200)
        assert stored.hold["charged"] == stored.record["cost"] > 0
        last.verified()


@pytest.mark.req("FAULT-001", "FAULT-002")
@pytest.mark.parametrize("seed", seeds(1))
def test_kills_at_any_moment_lose_no_answer_bill_none_twice_and_leave_no_hold(
    tmp_path: Path, upstream: Upstream, seed: int
) -> None:
    random = Random(seed)
    config = provider(upstream.base_url) + PRICE
    # The first is used up soon, so that refusals are under way too.
    with process(tmp_path, config, QUIET) as house:
        with house.wire() as wire:
            found = purses(wire, (random.randint(1, 10) * DOLLAR // 1_000, 2 * DOLLAR, 3 * DOLLAR))
        load = Load(random, [ADMIN_KEY, *(purse.key for purse in found)])
        load.until(house.port, random.randint(1, 400), house.kill)
        assert house.ended() == -9
    for _ in range(LIVES - 1):
        if random.random() < 0.3:
            die_while_starting(tmp_path, config)
        with process(tmp_path, config, QUIET) as house:
            load.until(house.port, random.randint(1, 400), house.kill)
            assert house.ended() == -9
            assert "Traceback" not in house.logged
    with running(tmp_path, config) as last:
        remembered(last, found)
        books = billed(last.house.database, load)
        sound(last.house.database)
    # The round was one: requests were under way when the house died.
    assert any(hold["state"] == "expired" for hold in books.holds.values())
