"""What is paid in, over several servers on one PostgreSQL and one Redis: credited once, and spent everywhere."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from tests.api.counter import checkout, stripe_headers
from tests.e2e.answers import answers, completion
from tests.e2e.house import PRICE, RunningHouse, provider, running
from tests.e2e.test_topups import SETTINGS
from tests.e2e.upstream import Upstream
from tests.e2e.wire import eventually

COST = 210_000  # nano-units of an answer
USAGE = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}


@pytest.fixture
def houses(tmp_path: Path, postgres_url: str, redis_server: str) -> Iterator[list[RunningHouse]]:
    environ = {"POSTHOUSE_DATABASE_URL": postgres_url, "POSTHOUSE_REDIS_URL": redis_server}
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream())
        upstream.scripts["*"] = answers(completion(usage=USAGE))
        config = SETTINGS + provider(upstream.base_url) + PRICE
        found = []
        for name in ("one", "two", "three"):
            folder = tmp_path / name
            folder.mkdir()
            found.append(stack.enter_context(running(folder, config, environ)))
        yield found
        found[0].verified()


def ask(house: RunningHouse, key: str) -> int:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 20}
    with house.wire() as wire:
        return wire.ask("/v1/chat/completions", body, key).status


def redeem(house: RunningHouse, key: str, code: str) -> int:
    with house.client(key) as client:
        return client.post("/admin/api/redeem", json={"code": code}).status_code


def pay(house: RunningHouse, event: dict[str, object]) -> int:
    """How many credits it has made."""
    body = json.dumps(event).encode()
    with httpx2.Client(base_url=house.base_url, trust_env=False) as sender:
        answer = sender.post("/webhooks/stripe", content=body, headers=stripe_headers(body, time.time()))
    assert answer.status_code == 200, answer.text
    return len(answer.json()["credits"])


def test_what_is_paid_in_anywhere_is_spent_everywhere_and_no_more_of_it(houses: list[RunningHouse]) -> None:
    prepaid = {"kind": "prepaid", "currency": "USD"}
    account = houses[0].admin("POST", "/accounts", {"name": "payer", "budgets": [prepaid]})["id"]
    key = houses[0].new_key(account="payer", role="member")
    for house in houses:
        eventually(lambda house=house: ask(house, key) == 429, "the key is known")  # type: ignore[misc]
    made = houses[1].admin("POST", "/codes", {"name": "b", "count": 1, "amount": "0.00105", "currency": "USD"})
    (code,) = made["codes"]
    with ThreadPoolExecutor(9) as pool:
        redeemed = list(pool.map(lambda number: redeem(houses[number % 3], key, code), range(9)))
    assert sorted(redeemed) == [201] + [409] * 8

    passed = 0
    for house in houses:
        eventually(lambda house=house: ask(house, key) == 200, "what was paid in is known")  # type: ignore[misc]
        passed += 1
    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(lambda number: ask(houses[number % 3], key), range(12)))
    assert set(statuses) <= {200, 429}
    passed += statuses.count(200)
    assert passed * COST <= 1_050_000

    event = checkout("evt_1", "pi_1", "payer", 1)  # a cent
    with ThreadPoolExecutor(6) as pool:
        credited = list(pool.map(lambda number: pay(houses[number % 3], event), range(6)))
    assert sum(credited) == 1
    for house in houses:
        eventually(lambda house=house: ask(house, key) == 200, "what was paid in is known")  # type: ignore[misc]
        passed += 1

    def settled() -> bool:
        (row,) = houses[2].admin("GET", f"/accounts/{account}/balance")["data"]
        return round(float(row["spent"]) * 10**9) == passed * COST

    eventually(settled, "the books of all servers are not together")
