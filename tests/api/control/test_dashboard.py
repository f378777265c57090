"""The balance that older clients ask for, over HTTP."""

import datetime as dt
from typing import Any

import pytest

from tests.api.control.conftest import Scene, error_of

PATHS = ("/dashboard/billing/", "/v1/dashboard/billing/")


def ask(scene: Scene, key: str, path: str, status: int = 200, /, **query: str) -> dict[str, Any]:
    with scene.house.client(key) as client:
        answer = client.get(path, params=query or None)
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize("base", PATHS)
def test_a_key_sees_its_budget_and_what_it_spent_and_nothing_of_others(scene: Scene, base: str) -> None:
    budget = {"amount": "2.00", "currency": "USD", "period": "month"}
    key = scene.send("POST", "/keys", {"name": "mine", "budget": budget}, 201)["key"]
    scene.ask(scene.house.new_key())
    scene.ask(key)
    today = dt.datetime.now(dt.UTC).date()
    days = {"start_date": today.isoformat(), "end_date": (today + dt.timedelta(days=1)).isoformat()}
    whole: dict[str, str] = {}
    for query in (whole, days):
        usage = ask(scene, key, f"{base}usage", 200, **query)
        assert usage["total_usage"] == 0.0081
        assert usage["daily_costs"][0]["line_items"] == [{"name": "m", "cost": 0.0081}]
    assert ask(scene, key, f"{base}usage", start_date="2020-01-01", end_date="2020-02-01")["total_usage"] == 0
    assert ask(scene, key, f"{base}subscription")["hard_limit_usd"] == 2
    grants = ask(scene, key, f"{base}credit_grants")
    assert (grants["total_used"], grants["total_available"]) == (0.000081, 1.999919)


def test_bad_dates_are_400_and_no_key_is_401(scene: Scene) -> None:
    key = scene.house.new_key()
    error = error_of(ask(scene, key, "/v1/dashboard/billing/usage", 400, start_date="yesterday", end_date="2026-01-01"))
    assert error["param"] == "start_date"
    for name in ("usage", "subscription", "credit_grants"):
        ask(scene, "sk-nobody", f"/dashboard/billing/{name}", 401)
