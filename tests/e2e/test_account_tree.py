"""Budgets of accounts above: what a key spends, every account above it spends, and is refused for."""

from pathlib import Path

import pytest

from tests.e2e.answers import answers, completion
from tests.e2e.house import PRICE, RunningHouse, provider, running
from tests.e2e.upstream import Upstream

# An answer costs 210,000 nano-units; a request for 20 tokens holds a little more.
USAGE = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}


def ask(house: RunningHouse, key: str) -> int:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 20}
    with house.wire() as wire:
        return wire.ask("/v1/chat/completions", body, key).status


@pytest.mark.req("ACCT-E2E-001")
def test_a_budget_of_a_team_holds_for_all_below_it_and_over_a_restart(tmp_path: Path) -> None:
    with Upstream() as upstream:
        upstream.scripts["m"] = answers(completion(usage=USAGE))
        config = provider(upstream.base_url) + PRICE
        with running(tmp_path, config) as house:
            budget = {"amount": "0.0009", "currency": "USD", "period": "month"}
            team = house.admin("POST", "/accounts", {"name": "team", "budget": budget})["id"]
            people = [house.admin("POST", "/accounts", {"name": name, "parent": team})["id"] for name in ("a", "b")]
            keys = [house.new_key(account=person) for person in people]
            assert [ask(house, key) for key in (*keys, *keys)] == [200, 200, 200, 200]
            assert [ask(house, key) for key in keys] == [429, 429]
            alone = house.new_key()
            assert ask(house, alone) == 200
            house.verified()
        with running(tmp_path, config) as house:
            assert [ask(house, key) for key in (*keys, alone)] == [429, 429, 200]
            house.admin("PATCH", f"/accounts/{team}", {"budget": {**budget, "amount": "0.0012"}})
            assert ask(house, keys[0]) == 200
            assert ask(house, keys[1]) == 429
