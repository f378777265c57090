"""kill -9 at any moment, again and again, and the same folder each time."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from sqlalchemy import select

from posthouse.storage.segments import segments
from posthouse.storage.tables import holds, requests
from tests.chaos_embedded.books import purses, remembered, sound
from tests.chaos_embedded.lives import Load, counts_tokens
from tests.chaos_embedded.rounds import seeds
from tests.e2e.house import ADMIN_KEY, PRICE, RunningHouse, provider, running
from tests.e2e.process import process
from tests.e2e.upstream import Upstream
from tests.e2e.wire import eventually

LIVES: Final = 5
QUIET: Final = {"POSTHOUSE_LOG_REQUESTS": "false"}
DOLLAR: Final = 10**9


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as made:
        made.scripts["m"] = counts_tokens
        yield made


def die_while_starting(folder: Path, config: str) -> None:
    """As soon as it has taken the folder: what the last life left is being moved into the database."""
    journal = folder / "data" / "journal"
    before = segments(journal)
    with process(folder, config, QUIET) as house:
        eventually(lambda: segments(journal)[-1:] > before[-1:], house.logged)
        house.kill()
        assert house.ended() == -9


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
        load.until(house, random.randint(1, 400), house.kill)
        assert house.ended() == -9
    for _ in range(LIVES - 1):
        if random.random() < 0.3:
            die_while_starting(tmp_path, config)
        with process(tmp_path, config, QUIET) as house:
            load.until(house, random.randint(1, 400), house.kill)
            assert house.ended() == -9
            assert "Traceback" not in house.logged
    with running(tmp_path, config) as last:
        remembered(last, found)
        check(last, load)
        sound(last.house.database)


def check(house: RunningHouse, load: Load) -> None:
    """What clients saw whole is charged and recorded, exactly; nothing is charged that no answer was made for."""
    with house.house.database.read() as connection:
        held = {row["id"]: dict(row) for row in connection.execute(select(holds)).mappings()}
        recorded = {row["id"]: dict(row) for row in connection.execute(select(requests)).mappings()}
    for seen in load.seen:
        assert (held[seen.id]["state"], held[seen.id]["charged"]) == ("settled", seen.nano)
        assert (recorded[seen.id]["status"], recorded[seen.id]["cost"]) == (200, seen.nano)
    assert {row["state"] for row in held.values()} <= {"settled", "released", "expired"}
    assert all(not row["charged"] for row in held.values() if row["state"] != "settled")
    # Every answer costs something else, so what is charged twice would stand there twice.
    told = Counter(row["cost"] for row in recorded.values() if row["usage_source"] == "provider")
    assert all(count == 1 for count in told.values()), told.most_common(3)
    assert len(held) <= load.asked
    _not_idle(held, load)


def _not_idle(held: dict[str, dict[str, Any]], load: Load) -> None:
    """The round was one: answers were seen, and requests were under way when the house died."""
    assert load.seen
    assert load.statuses.keys() <= {200, 429, 502, 503}, load.statuses
    assert any(row["state"] == "expired" for row in held.values())
