"""Budgets of single models, in calendars of their own and prepaid, over real sockets; changed while the house runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.answers import answers, completion
from tests.e2e.house import PRICE, Place, RunningHouse, place
from tests.e2e.wire import Response, eventually

COST: Final = 210_000  # of an answer; a request for 20 tokens holds a little more
ANOTHER: Final = PRICE.replace('"m"', '"n"')
USAGE: Final = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("house"), ANOTHER, models='"m", "n"') as made:
        made.upstream.scripts["*"] = answers(completion(usage=USAGE))
        yield made
        made.house.verified()


def ask(house: RunningHouse, key: str, model: str = "m") -> Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 20}
    with house.wire() as wire:
        return wire.ask("/v1/chat/completions", body, key)


def served(house: RunningHouse, key: str, model: str = "m") -> int:
    """How many requests are answered until one is refused for money."""
    for count in range(100):
        answer = ask(house, key, model)
        if answer.status != 200:
            assert (answer.status, answer.error["type"]) == (429, "insufficient_quota"), answer
            return count
    raise AssertionError("nobody was refused")


def usd(nano: int, **more: Any) -> dict[str, Any]:
    return {"amount": f"{nano / 10**9:.9f}", "currency": "USD", **more}


@pytest.mark.req("ACCT-E2E-003")
def test_a_budget_of_one_model_leaves_the_others_alone(here: Place) -> None:
    budgets = [usd(5 * COST, model="m"), usd(9 * COST)]
    made = here.house.admin("POST", "/keys", {"name": "k", "budgets": budgets})
    assert served(here.house, made["key"]) == 4
    assert served(here.house, made["key"], "n") == 4
    shown = here.house.admin("GET", f"/keys/{made['id']}")["budgets"]
    assert [one["left"] for one in shown] == ["0.00021", "0.00021"]


@pytest.mark.req("ACCT-E2E-003")
def test_budgets_that_change_hold_at_once_and_what_was_spent_counts(here: Place) -> None:
    made = here.house.admin("POST", "/keys", {"name": "k", "budgets": [usd(3 * COST)]})
    assert served(here.house, made["key"]) == 2

    def changed(*budgets: dict[str, Any]) -> None:
        here.house.admin("PATCH", f"/keys/{made['id']}", {"budgets": list(budgets)})

    changed(usd(5 * COST, period="month", time_zone="Asia/Kathmandu"))
    assert served(here.house, made["key"]) == 2
    changed(usd(100 * COST), usd(7 * COST, model="m", period="month", time_zone="-09:30"))
    assert served(here.house, made["key"]) == 2
    assert ask(here.house, made["key"], "n").status == 200
    changed()
    assert ask(here.house, made["key"]).status == 200
    assert here.house.admin("GET", f"/keys/{made['id']}")["budgets"] == []


@pytest.mark.req("ACCT-E2E-004")
def test_a_prepaid_account_spends_what_has_been_paid_in_and_no_more(here: Place) -> None:
    body = {"name": "prepaid", "budgets": [{"kind": "prepaid", "currency": "USD"}]}
    account = here.house.admin("POST", "/accounts", body)["id"]
    below = here.house.admin("POST", "/accounts", {"name": "below", "parent": account})["id"]
    keys = [here.house.new_key(account=owner) for owner in (account, below)]
    assert [ask(here.house, key).status for key in keys] == [429, 429]

    def paid(amount: int, ticket: str) -> None:
        form = {"amount": f"{amount / 10**9:.9f}", "currency": "USD", "reason": "r", "author": "olga"}
        here.house.admin("POST", f"/accounts/{account}/credits", {**form, "idempotency_key": ticket})

    paid(5 * COST, "one")
    eventually(lambda: ask(here.house, keys[0]).status == 200, "what was paid in is not known", 5)
    assert served(here.house, keys[1]) == 3
    (shown,) = here.house.admin("GET", f"/accounts/{account}")["budgets"]
    assert (shown["amount"], shown["spent"], shown["left"]) == ("0.00105", "0.00084", "0.00021")
    paid(COST, "two")
    eventually(lambda: ask(here.house, keys[1]).status == 200, "what was paid in is not known", 5)
    assert [ask(here.house, key).status for key in keys] == [429, 429]


def test_a_house_that_starts_again_knows_what_each_budget_has_spent(tmp_path: Path) -> None:
    budgets = [usd(5 * COST, model="m"), usd(6 * COST, period="month", time_zone="+14:00")]
    with place(tmp_path, ANOTHER, models='"m", "n"') as first:
        first.upstream.scripts["*"] = answers(completion(usage=USAGE))
        key = first.house.new_key(budgets=budgets)
        assert [ask(first.house, key, model).status for model in ("m", "n", "m")] == [200] * 3
    with place(tmp_path, ANOTHER, models='"m", "n"') as second:
        second.upstream.scripts["*"] = answers(completion(usage=USAGE))
        assert served(second.house, key) == 2
        assert served(second.house, key, "n") == 0
        second.house.verified()
