"""Limits of a calendar day: over a restart, and given while the day runs."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.answers import answers, completion
from tests.e2e.house import ADMIN_KEY, PRICE, RunningHouse, provider, running
from tests.e2e.upstream import Upstream
from tests.e2e.wire import eventually

USAGE = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}


def ask(house: RunningHouse, key: str, model: str = "m") -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 20}
    with house.wire() as wire:
        return wire.ask("/v1/chat/completions", body, key).status


def at_noon() -> dict[str, str]:
    """A zone in which no day ends while a test runs."""
    hours = 12 - int(time.time() // 3600 % 24)
    return {"POSTHOUSE_LIMITS_TIME_ZONE": f"{'-' if hours < 0 else '+'}{abs(hours):02d}:00"}


def remaining(house: RunningHouse, key: str, kind: str) -> int:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 20}
    with house.wire() as wire:
        return int(wire.ask("/v1/chat/completions", body, key).headers[f"x-ratelimit-remaining-{kind}"])


@pytest.mark.req("LIMIT-107")
def test_a_restart_gives_no_day_a_second_time(tmp_path: Path) -> None:
    with Upstream() as upstream:
        upstream.scripts["m"] = upstream.scripts["n"] = answers(completion(usage=USAGE))
        config = provider(upstream.base_url, '"m", "n"') + PRICE + '[[limits.models]]\nname = "n"\nrpd = 2\n'
        with running(tmp_path, config, at_noon()) as house:
            team = house.admin("POST", "/accounts", {"name": "team", "limits": {"rpd": 4}})["id"]
            child = house.admin("POST", "/accounts", {"name": "child", "parent": team})["id"]
            mine, other = house.new_key(account=child, limits={"tpd": 10_000}), house.new_key(account=team)
            by_model = house.new_key(limits={"models": {"m": {"rpd": 2}}})
            assert [ask(house, key) for key in (mine, mine, other)] == [200, 200, 200]
            assert [ask(house, by_model, model) for model in ("m", "m", "m", "n")] == [200, 200, 429, 200]
        with running(tmp_path, config, at_noon()) as house:
            assert [ask(house, by_model, model) for model in ("m", "n", "n")] == [429, 200, 429]
            assert remaining(house, mine, "requests") == 0
            assert [ask(house, key) for key in (mine, other)] == [429, 429]
            assert house.admin("PATCH", f"/accounts/{team}", {"limits": {"rpd": 100}})
            # Three answers of 30 tokens before this one, which is not settled when its head is written.
            eventually(lambda: remaining(house, mine, "requests") > 0, "the limit has changed")
            assert remaining(house, mine, "tokens") < 10_000 - 4 * 30


@pytest.mark.req("LIMIT-108")
def test_a_limit_that_is_given_at_noon_counts_the_morning(tmp_path: Path) -> None:
    with Upstream() as upstream:
        upstream.scripts["m"] = answers(completion(usage=USAGE))
        with running(tmp_path, provider(upstream.base_url) + PRICE, at_noon()) as house:
            made: dict[str, Any] = house.admin("POST", "/keys", {"name": "k"})
            assert [ask(house, made["key"]) for _ in range(5)] == [200] * 5
            house.admin("PATCH", f"/keys/{made['id']}", {"limits": {"rpd": 100}})
            asked = 5

            def counted() -> bool:
                nonlocal asked
                asked += 1
                return remaining(house, made["key"], "requests") == 100 - asked

            eventually(counted, "the morning is counted")
            house.admin("PATCH", f"/keys/{made['id']}", {"limits": {"rpd": asked + 1}})
            assert [ask(house, made["key"]) for _ in range(2)] == [200, 429]
            assert ask(house, ADMIN_KEY) == 200
