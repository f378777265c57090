"""Corrections, statements and the rebuilding of folds, as the admin API does them."""

import csv
import datetime as dt
import io
from typing import Any

import pytest

from tests.api.control.conftest import Scene, error_of

GIVEN: dict[str, Any] = {"amount": "-1.25", "currency": "USD", "reason": "cut off", "author": "olga"}


def month() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m")


def test_a_correction_holds_for_a_budget_at_once_and_stands_in_the_statement(scene: Scene) -> None:
    budget = {"amount": "0.00005", "currency": "USD"}
    account = scene.send("POST", "/accounts", {"name": "corrected", "budget": budget}, 201)
    key = scene.send("POST", "/keys", {"name": "corrected", "account": "corrected"}, 201)
    charge = {"amount": "0.00005", "currency": "USD", "reason": "setup", "author": "olga", "idempotency_key": "fee"}
    fee = scene.send("POST", "/accounts/corrected/corrections", charge, 201)
    scene.ask(key["key"], 429)
    credit = {**charge, "amount": "-1", "key": key["id"], "idempotency_key": "credit"}
    scene.send("POST", "/accounts/corrected/corrections", credit, 201)
    scene.ask(key["key"])
    assert scene.send("POST", "/accounts/corrected/corrections", charge, 201) == fee
    assert [row["amount"] for row in scene.get("/accounts/corrected/corrections")["data"]] == ["-1", "0.00005"]
    found = scene.get(f"/accounts/{account['id']}/statements/{month()}")
    (total,) = found["totals"]
    assert (total["opening"], total["usage"], total["corrections"]) == ("0", "0.000081", "-0.99995")
    assert total["closing"] == "-0.999869"
    assert [(line["key"], line["model"], line["requests"]) for line in found["lines"] if line["cost"] != "0"] == [
        (key["id"], "m", 1)
    ]
    assert scene.get("/ledger/verify")["ok"] is True


def test_a_statement_is_csv_where_it_is_asked_for(scene: Scene) -> None:
    path = f"/admin/api/accounts/default/statements/{month()}"
    by_accept = scene.client.get(path, headers={"accept": "text/csv"})
    by_format = scene.client.get(path, params={"format": "csv", "zone": "Asia/Shanghai"})
    for answer in (by_accept, by_format):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/csv")
        assert next(csv.reader(io.StringIO(answer.text)))[0] == "kind"
    as_json = scene.client.get(path, params={"format": "json"}, headers={"accept": "text/csv"})
    assert as_json.json()["account"] == "default"


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/accounts/default/statements/2026-13", "month"),
        ("/accounts/default/statements/2026-11?zone=Nowhere", "zone"),
        ("/accounts/default/statements/2026-11?format=pdf", "format"),
    ],
)
def test_what_is_no_statement_is_refused_by_name(scene: Scene, path: str, param: str) -> None:
    error = error_of(scene._answer(scene.client.get(f"/admin/api{path}"), 400))
    assert error["param"] == param


def test_an_account_or_a_key_that_is_not_there_is_404(scene: Scene) -> None:
    body = {**GIVEN, "idempotency_key": "x"}
    scene.send("POST", "/accounts", {"name": "stranger"}, 201)
    foreign = scene.send("POST", "/keys", {"name": "foreign", "account": "stranger"}, 201)["id"]
    scene.send("POST", "/accounts/nobody/corrections", body, 404)
    scene.send("POST", "/accounts/default/corrections", {**body, "key": foreign}, 404)
    scene.get("/accounts/nobody/corrections", 404)
    scene.get("/accounts/nobody/statements/2026-11", 404)


def test_an_idempotency_key_with_something_else_is_409(scene: Scene) -> None:
    scene.send("POST", "/accounts", {"name": "twice"}, 201)
    body = {**GIVEN, "idempotency_key": "twice"}
    scene.send("POST", "/accounts/twice/corrections", body, 201)
    error = error_of(scene.send("POST", "/accounts/twice/corrections", {**body, "amount": "-2"}, 409))
    assert (error["code"], error["param"]) == ("correction_exists", "idempotency_key")


def test_folds_are_rebuilt_and_nothing_was_different(scene: Scene) -> None:
    scene.ask(scene.house.new_key())
    scene.get("/usage")
    done = scene.send("POST", "/ledger/rebuild")
    assert (done["differences"], done["truncated"]) == ([], False)
    assert done["rows"]["usage_hours"] >= 1
