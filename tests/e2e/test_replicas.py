"""Several servers on one PostgreSQL and one Redis: limits and budgets are those of all of them together."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from posthouse.billing.verify import verify
from posthouse.core.errors import ConfigError
from posthouse.core.money import format_nano
from posthouse.storage.database import Database
from tests.e2e.answers import answers, completion
from tests.e2e.house import ADMIN_KEY, PRICE, RunningHouse, provider, running
from tests.e2e.process import process
from tests.e2e.upstream import Upstream
from tests.e2e.wire import eventually
from tests.limits.shared_world import laid

ECHO: Final = '[[providers]]\nname = "here"\ntype = "echo"\n'


class Street:
    """Houses that share everything but their folders."""

    def __init__(self, houses: list[RunningHouse], upstream: Upstream) -> None:
        self.houses = houses
        self.upstream = upstream

    def ask(self, number: int, key: str, **more: object) -> int:
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **more}
        with self.houses[number % len(self.houses)].wire() as wire:
            return wire.ask("/v1/chat/completions", body, key).status

    def at_once(self, count: int, key: str, **more: object) -> list[int]:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda number: self.ask(number, key, **more), range(count)))


@pytest.fixture
def street(tmp_path: Path, postgres_url: str, redis_server: str) -> Iterator[Street]:
    environ = {"POSTHOUSE_DATABASE_URL": postgres_url, "POSTHOUSE_REDIS_URL": redis_server}
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream())
        upstream.scripts["*"] = answers(
            completion(usage={"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30})
        )
        config = provider(upstream.base_url, '"m", "n"') + PRICE + PRICE.replace('"m"', '"n"')
        houses = []
        for name in ("one", "two", "three"):
            folder = tmp_path / name
            folder.mkdir()
            houses.append(stack.enter_context(running(folder, config, environ)))
        yield Street(houses, upstream)
        houses[0].verified()


def known_everywhere(street: Street, key: str) -> None:
    for number in range(len(street.houses)):
        _known(street, number, key)


def _known(street: Street, number: int, key: str) -> None:
    eventually(lambda: street.ask(number, key, max_tokens=20) == 200, "the key is known")


@pytest.mark.req("REPLICA-E2E-001")
def test_a_budget_holds_over_all_servers(street: Street) -> None:
    """An answer costs 210,000 nano-units, and a request for 20 tokens may cost a little more."""
    key = street.houses[0].new_key(budget={"amount": "0.0021", "currency": "USD"})
    known_everywhere(street, key)
    statuses = street.at_once(30, key, max_tokens=20)
    assert set(statuses) == {200, 429}
    for _ in range(10):
        statuses += street.at_once(3, key, max_tokens=20)
    spent = 210_000 * (statuses.count(200) + 3)
    assert 2_100_000 - 2 * 210_000 <= spent <= 2_100_000


@pytest.mark.req("REPLICA-E2E-001")
def test_budgets_of_a_model_and_of_a_calendar_hold_over_all_servers_and_change_on_all_of_them(street: Street) -> None:
    one = {"amount": "0.0021", "currency": "USD", "model": "m"}
    month = {"amount": "0.0042", "currency": "USD", "period": "month", "time_zone": "Asia/Kathmandu"}
    made = street.houses[0].admin("POST", "/keys", {"name": "k", "budgets": [one, month]})
    key = made["key"]
    known_everywhere(street, key)
    ours = [200] * 3
    for _ in range(12):
        ours += street.at_once(3, key, max_tokens=20)
    assert set(ours) == {200, 429}
    assert 2_100_000 - 2 * 210_000 <= 210_000 * ours.count(200) <= 2_100_000
    theirs: list[int] = []
    for _ in range(12):
        theirs += street.at_once(3, key, max_tokens=20, model="n")
    assert set(theirs) == {200, 429}
    both = 210_000 * (ours.count(200) + theirs.count(200))
    assert 4_200_000 - 2 * 210_000 <= both <= 4_200_000

    # Changed on one server, known on all of them; what was spent counts on.
    changed = {"budgets": [{**one, "amount": "0.0042"}, {**month, "time_zone": "+05:45", "amount": "0.0063"}]}
    street.houses[0].admin("PATCH", f"/keys/{made['id']}", changed)
    assert street.ask(0, key, max_tokens=20) == 200
    for number in (1, 2):
        _known(street, number, key)
    more = [200] * 3
    for _ in range(12):
        more += street.at_once(3, key, max_tokens=20)
    assert set(more) == {200, 429}
    assert 210_000 * (ours.count(200) + more.count(200)) <= 4_200_000
    answered = [ours.count(200) + more.count(200), ours.count(200) + theirs.count(200) + more.count(200)]
    spent = [format_nano(210_000 * count) for count in answered]

    def shown() -> list[str]:
        return [one["spent"] for one in street.houses[1].admin("GET", f"/keys/{made['id']}")["budgets"]]

    eventually(lambda: shown() == spent, "what all of them have spent is told by each")


@pytest.mark.req("REPLICA-E2E-001")
def test_a_correction_holds_for_a_budget_everywhere(street: Street) -> None:
    made = street.houses[0].admin("POST", "/keys", {"name": "t", "budget": {"amount": "0.0003", "currency": "USD"}})
    key = made["key"]
    _known(street, 1, key)
    eventually(lambda: street.ask(2, key, max_tokens=20) == 429, "the budget is spent")
    correction = {
        "key": made["id"],
        "amount": "-0.0003",
        "currency": "USD",
        "reason": "an apology",
        "author": "olga",
        "idempotency_key": "ticket-1",
    }
    street.houses[0].admin("POST", "/accounts/default/corrections", correction)
    eventually(lambda: street.ask(2, key, max_tokens=20) == 200, "the correction is known elsewhere")


@pytest.mark.req("REPLICA-E2E-002")
def test_a_rate_limit_holds_over_all_servers(street: Street) -> None:
    key = street.houses[0].new_key(limits={"rpm": 12})
    known_everywhere(street, key)
    statuses = street.at_once(30, key)
    assert statuses.count(200) in range(8, 10)
    assert set(statuses) == {200, 429}


@pytest.mark.req("REPLICA-E2E-002")
def test_a_repetition_counts_in_the_limit_that_all_servers_share(street: Street) -> None:
    key = street.houses[0].new_key(limits={"rpd": 3 + 4})
    known_everywhere(street, key)
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    asked = len(street.upstream.visits)
    statuses = []
    for number in range(6):
        with street.houses[number % 3].wire() as wire:
            statuses.append(wire.ask("/v1/chat/completions", body, key, extra="idempotency-key: one\r\n").status)
    assert statuses == [200] * 4 + [429] * 2
    assert len(street.upstream.visits) == asked + 1


@pytest.mark.req("REPLICA-E2E-003")
def test_a_server_alone_does_not_join_those_who_share(street: Street, postgres_url: str) -> None:
    alone = Database(postgres_url)
    try:
        with pytest.raises(ConfigError, match="another posthouse server"):
            alone.claim()
        alone.claim(among_others=True)
    finally:
        alone.close()
    assert street.ask(0, ADMIN_KEY) == 200


@pytest.mark.req("REPLICA-E2E-004")
def test_without_redis_a_server_goes_on_and_budgets_close_until_it_is_back(
    tmp_path: Path, postgres_url: str, redis_server: str
) -> None:
    with ExitStack() as stack:
        cable = stack.enter_context(laid(redis_server))
        upstream = stack.enter_context(Upstream())
        upstream.scripts["m"] = answers(completion())
        environ = {"POSTHOUSE_DATABASE_URL": postgres_url, "POSTHOUSE_REDIS_URL": cable.url}
        house = stack.enter_context(running(tmp_path, provider(upstream.base_url) + PRICE, environ))
        street = Street([house], upstream)
        free, poor = house.new_key(), house.new_key(budget={"amount": "5", "currency": "USD"})
        assert street.ask(0, free) == 200
        assert street.ask(0, poor, max_tokens=5) == 200
        replica = house.house.replica
        assert replica is not None
        eventually(lambda: replica.gate.leases, "a lease is taken")
        cable.cut()
        eventually(lambda: not replica.up, "the loss is noticed")
        assert street.ask(0, free) == 200
        # Five dollars leave a lease of five cents: enough for a small request, too little for a large one.
        assert street.ask(0, poor, max_tokens=5) == 200
        assert street.ask(0, poor, max_tokens=1_000_000) == 503
        cable.mend()
        eventually(lambda: replica.up, "Redis is found again")
        assert street.ask(0, poor, max_tokens=5) == 200
        assert replica.gate.counts.alone >= 2
        assert replica.gate.counts.closed == 1
        house.verified()


@pytest.mark.req("REPLICA-E2E-005")
def test_workers_share_a_socket_and_one_that_dies_is_started_again(
    tmp_path: Path, postgres_url: str, redis_server: str
) -> None:
    environ = {"POSTHOUSE_DATABASE_URL": postgres_url, "POSTHOUSE_REDIS_URL": redis_server}
    with process(tmp_path, ECHO, environ, ("--workers", "2")) as house:
        asked = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}

        def answered() -> bool:
            with house.wire() as wire:
                return wire.ask("/v1/chat/completions", asked, ADMIN_KEY).status == 200

        eventually(answered, "it serves")
        eventually(lambda: len(house.children()) == 2, "both workers run")
        first = house.children()
        os.kill(first[1], signal.SIGKILL)
        eventually(lambda: len(house.children()) == 2 and house.children() != first, "the dead one is replaced")
        assert all(answered() for _ in range(20))
        house.terminate()
        assert house.ended() == 0
    assert "worker 1 ended with status -9; it is started again" in house.logged
    database = Database(postgres_url)
    try:
        result = verify(database, 4_000_000_000.0)
        assert result.ok
        assert result.holds_open == 0
    finally:
        database.close()


@pytest.mark.req("REPLICA-E2E-005")
def test_workers_without_what_they_share_are_refused(tmp_path: Path) -> None:
    with process(tmp_path, ECHO, None, ("--workers", "2")) as house:
        assert house.ended() == 1
    assert "--workers needs storage.redis_url" in house.logged
