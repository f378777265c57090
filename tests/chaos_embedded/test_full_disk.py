"""A disk that is full, and then is not: who is refused, how streams end that were under way, and what they cost."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from tests.chaos_embedded.books import billed, purses, remembered, sound
from tests.chaos_embedded.disk import Disk, running_on
from tests.chaos_embedded.lives import Load, counts_tokens
from tests.chaos_embedded.rounds import seeds
from tests.e2e.answers import USAGE, answers, asked, chunk, completion
from tests.e2e.house import ADMIN_KEY, PRICE, RunningHouse, provider
from tests.e2e.upstream import Gate, Script, Upstream, Visit
from tests.e2e.wire import Response, eventually, payloads, request

ROOT: Final = Path(__file__).parents[2]
CHAT: Final = "/v1/chat/completions"
COST: Final = 11 * 1_000 + 7 * 10_000
UNDER_WAY: Final = 3  # streams, and as many whole answers
DOLLAR: Final = 10**9
SMALL_JOURNAL: Final = 400_000  # bytes: some three hundred requests


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as made:
        yield made


def waiting(gate: Gate) -> Script:
    """The first word of a stream, or nothing yet of a whole answer; the rest when the gate is open."""

    async def script(visit: Visit) -> None:
        if not visit.json.get("stream"):
            await gate.passed(visit)
            await visit.whole(completion())
            return
        await visit.start_stream()
        await visit.event(chunk({"content": "One"}))
        await gate.passed(visit)
        for event in (chunk({"content": " two"}, "stop"), chunk(None, usage=USAGE), "[DONE]"):
            await visit.event(event)
        await visit.end_stream()

    return script


def ask(house: RunningHouse, **more: Any) -> Response:
    with house.wire() as wire:
        wire.send(request(CHAT, asked(**more), ADMIN_KEY))
        return wire.response()


def ready(house: RunningHouse) -> bool:
    with house.wire() as wire:
        return wire.ask("/readyz", method="GET").status == 200


@pytest.mark.req("FAULT-003", "FAULT-004")
@pytest.mark.parametrize("room", [0, 1, 150])
def test_a_full_disk_closes_the_house_and_what_is_under_way_ends_and_is_billed_once(
    tmp_path: Path, upstream: Upstream, room: int
) -> None:
    disk, gate = Disk(), upstream.gate()
    upstream.scripts["m"] = waiting(gate)
    with running_on(disk, tmp_path, provider(upstream.base_url) + PRICE) as house, ThreadPoolExecutor(8) as pool:
        streams = [pool.submit(ask, house, stream=True) for _ in range(UNDER_WAY)]
        wholes = [pool.submit(ask, house) for _ in range(UNDER_WAY)]
        eventually(lambda: len(upstream.visits) == 2 * UNDER_WAY, "not all are under way")
        assert house.house.journal.wait_applied(20)
        upstream.scripts["m"] = answers(completion())
        disk.leave(room)
        # Nothing is promised that cannot be written: whoever comes first finds it out, and nobody more is let in.
        eventually(lambda: ask(house).status == 503 and not ready(house), "the house stays open")
        answered = len(upstream.visits)
        upstream.forget()
        refused = ask(house)
        assert (refused.status, refused.error["code"], refused.error["type"]) == (503, "unavailable", "server_error")
        assert "cannot be recorded" in refused.error["message"]
        assert upstream.visits == []
        gate.open()
        for one in streams:
            response = one.result(20)
            *words, last = payloads(response.body)
            assert (response.status, last["error"]["code"]) == (200, "unavailable")
            assert "[DONE]" not in words
        assert {one.result(20).status for one in wholes} == {503}
        disk.leave(None)
        eventually(lambda: ready(house), "the house does not open again")
        assert ask(house).status == 200
        house.verified()
        stored = house.stored_since("")
        # What a provider has answered is charged, also to whom could be given no answer for want of room.
        charged = [one for one in stored if one.hold is not None and one.hold["state"] == "settled"]
        assert [one.record["cost"] for one in charged] == [COST] * (answered + 1)
        others = {(one.record["status"], one.record["cost"]) for one in stored if one not in charged}
        assert others <= {(503, None)}


@pytest.mark.req("FAULT-003", "FAULT-004")
@pytest.mark.parametrize("seed", seeds(1))
def test_a_disk_that_fills_up_at_any_moment_loses_nothing_and_bills_nothing_twice(
    tmp_path: Path, upstream: Upstream, seed: int
) -> None:
    random, disk = Random(seed), Disk()
    upstream.scripts["m"] = counts_tokens

    def fill() -> None:
        disk.leave(random.choice((0, 1, random.randint(1, 5_000))))

    def free() -> None:
        disk.leave(None)

    with running_on(disk, tmp_path, provider(upstream.base_url) + PRICE) as house:
        with house.wire() as wire:
            found = purses(wire, (DOLLAR, 2 * DOLLAR, 3 * DOLLAR))
        load = Load(random, [ADMIN_KEY, *(purse.key for purse in found)])
        for _ in range(4):
            load.until(house.port, random.randint(1, 300), fill)
            load.until(house.port, random.randint(1, 300), free)
            eventually(lambda: ready(house), "the house does not open again")
        load.until(house.port, 50, free)
        assert disk.refused
        assert load.statuses[503]
        house.verified()
        books = billed(house.house.database, load)
        for request_id in load.begun:
            hold = books.holds[request_id]
            assert hold["state"] == "settled"
            assert hold["charged"]
        remembered(house, found)
    sound_again(tmp_path, upstream)


def sound_again(folder: Path, upstream: Upstream) -> None:
    """The next life finds nothing left to mend."""
    disk = Disk()
    with running_on(disk, folder, provider(upstream.base_url) + PRICE) as house:
        ledger = house.house.ledger
        assert ledger is not None
        assert ledger.counts.recovered == 0
        sound(house.house.database)


_MOUNTED: Final = 'mount -t tmpfs -o size=8m tmpfs "$1" && exec "$2" -m tests.chaos_embedded.small_disk "$1" "$3"'


@pytest.mark.req("FAULT-003", "FAULT-004")
@pytest.mark.parametrize("seed", seeds(1))
def test_a_small_disk_that_really_fills_up_with_the_database_on_it(tmp_path: Path, seed: int) -> None:
    """In a name space of its own, where whoever may make one may mount a disk of eight megabytes."""
    space = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*space, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a small disk (unshare --user --mount)")
    played = subprocess.run(
        [*space, "sh", "-c", _MOUNTED, "sh", str(tmp_path), sys.executable, str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert played.returncode == 0, played.stderr


@pytest.mark.req("FAULT-003", "FAULT-004")
def test_a_database_that_takes_nothing_fills_the_journal_and_closes_the_house_until_it_does(
    tmp_path: Path, upstream: Upstream
) -> None:
    """Somebody else writes to the file and does not end: requests go on into the journal until its bound."""
    upstream.scripts["m"] = counts_tokens
    with running_on(Disk(), tmp_path, provider(upstream.base_url) + PRICE, SMALL_JOURNAL) as house:
        with house.wire() as wire:
            found = purses(wire, (100 * DOLLAR, 200 * DOLLAR, 300 * DOLLAR))
        load = Load(Random(1), [ADMIN_KEY, *(purse.key for purse in found)])
        load.until(house.port, 50, lambda: None)
        with closing(sqlite3.connect(tmp_path / "data" / "posthouse.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            while not load.statuses[503]:
                load.until(house.port, 200, lambda: None)
            assert not ready(house)
            assert house.house.journal.stats().pending_bytes < SMALL_JOURNAL
            other.execute("ROLLBACK")
        eventually(lambda: ready(house), "the house does not open again")
        load.until(house.port, 50, lambda: None)
        house.verified()
        books = billed(house.house.database, load)
        assert [one for one in load.begun if books.holds[one]["state"] != "settled"] == []
        remembered(house, found)
