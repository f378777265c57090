"""What is known of budgets while a server runs, and changes from outside: accounts that move, folds made anew."""

from pathlib import Path

import pytest
from sqlalchemy import text

from posthouse.billing.folds import rebuild
from posthouse.storage.database import Database
from tests.e2e.answers import answers, completion
from tests.e2e.house import PRICE, RunningHouse, provider, running
from tests.e2e.upstream import Upstream
from tests.e2e.wire import eventually

USAGE = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}  # 210,000 nano-units
THREE = {"amount": "0.0008", "currency": "USD"}


def ask(house: RunningHouse, key: str) -> int:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 20}
    with house.wire() as wire:
        return wire.ask("/v1/chat/completions", body, key).status


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.req("BUDGET-E2E-001")
def test_an_account_that_moves_takes_what_it_has_spent_with_it(
    tmp_path: Path, request: pytest.FixtureRequest, shared: bool
) -> None:
    environ = {}
    if shared:
        environ["POSTHOUSE_DATABASE_URL"] = request.getfixturevalue("postgres_url")
        environ["POSTHOUSE_REDIS_URL"] = request.getfixturevalue("redis_server")
    with Upstream() as upstream:
        upstream.scripts["m"] = answers(completion(usage=USAGE))
        with running(tmp_path, provider(upstream.base_url) + PRICE, environ) as house:
            team = house.admin("POST", "/accounts", {"name": "team", "budget": THREE})["id"]
            person = house.admin("POST", "/accounts", {"name": "person"})["id"]
            theirs, other = house.new_key(account=person), house.new_key(account=team)
            assert [ask(house, key) for key in (theirs, theirs, other)] == [200, 200, 200]
            house.admin("PATCH", f"/accounts/{person}", {"parent": team})
            eventually(lambda: ask(house, theirs) == 429, "what was spent before counts above")
            assert ask(house, other) == 429
            house.admin("PATCH", f"/accounts/{person}", {"parent": None})
            eventually(lambda: ask(house, other) == 200, "and no more when it has left")
            assert [ask(house, key) for key in (theirs, theirs)] == [200, 200]
            house.verified()


@pytest.mark.req("BUDGET-E2E-002")
def test_folds_that_are_made_anew_hold_for_budgets_of_a_running_server(tmp_path: Path) -> None:
    with Upstream() as upstream:
        upstream.scripts["m"] = answers(completion(usage=USAGE))
        config = provider(upstream.base_url) + PRICE
        with running(tmp_path, config) as house:
            key = house.new_key(budget=THREE)
            assert ask(house, key) == 200
        database = Database(f"sqlite:///{tmp_path / 'data' / 'posthouse.db'}")
        with database.write() as connection:
            connection.execute(text("UPDATE spend SET amount = amount * 4"))
        with running(tmp_path, config) as house:
            assert ask(house, key) == 429
            assert rebuild(database).differences
            eventually(lambda: ask(house, key) == 200, "what was made anew is read")
            house.verified()
        database.close()
