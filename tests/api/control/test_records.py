"""What happened and what it cost, as the admin API tells it."""

import pytest

from tests.api.control.conftest import Scene, error_of

COST = "0.000081"  # 11 tokens in at 1.00 and 7 out at 10.00 per million


def test_a_record_holds_usage_cost_hold_and_both_entries(scene: Scene) -> None:
    key = scene.house.new_key()
    request_id = scene.ask(key)
    record = scene.get(f"/requests/{request_id}")
    assert record["recorded"] is True
    assert record["operation"] == "chat.completions"
    assert (record["model"], record["provider"], record["deployment"]) == ("m", "main", "main/m")
    assert record["usage"]["input"] == 11
    assert record["usage"]["output"] == 7
    assert record["usage"]["total_input"] == 11
    assert record["usage_source"] == "provider"
    assert (record["cost"], record["currency"], record["priced"]) == (COST, "USD", True)
    assert (record["status"], record["ended_by"], record["error_code"]) == (200, "complete", None)
    hold = record["hold"]
    assert (hold["state"], hold["charged"], hold["currency"]) == ("settled", COST, "USD")
    assert hold["ended_at"] >= hold["created_at"]
    legs = {entry["ledger_account"]: entry["amount"] for entry in record["entries"]}
    assert legs == {"account:default": COST, "provider:main": f"-{COST}"}
    assert record["attempts"] == 1
    assert record["failed_attempts"] == []


def test_a_record_tells_of_the_attempts_that_failed_before_one_answered(scene: Scene) -> None:
    request_id = scene.ask(scene.house.new_key(), model="rocky")
    record = scene.get(f"/requests/{request_id}")
    assert record["attempts"] == 2
    (failed,) = record["failed_attempts"]
    assert failed["deployment"] == "dead/rocky"
    assert failed["kind"] == "connect"


def test_a_model_without_a_price_has_no_cost(scene: Scene) -> None:
    record = scene.get(f"/requests/{scene.ask(scene.house.new_key(), model='unpriced')}")
    assert (record["cost"], record["currency"], record["priced"]) == (None, None, False)
    assert record["hold"]["amount"] is None


def test_a_record_is_there_as_soon_as_its_answer_has_been_read(scene: Scene) -> None:
    key = scene.house.new_key()
    for _ in range(5):
        scene.get(f"/requests/{scene.ask(key)}")


@pytest.mark.parametrize("request_id", ["req_0000000000000000", "nonsense", "%00", "a%ff", "x" * 4000, "' OR 1=1"])
def test_a_record_that_is_not_there_is_404(scene: Scene, request_id: str) -> None:
    assert error_of(scene.get(f"/requests/{request_id}", 404))["type"] == "not_found_error"


def test_requests_are_listed_newest_first_and_page_by_page(scene: Scene) -> None:
    secret = scene.send("POST", "/keys", {"name": "pages"}, 201)
    ids = [scene.ask(secret["key"]) for _ in range(5)]
    seen: list[str] = []
    cursor = None
    pages = 0
    while pages == 0 or cursor is not None:
        query = {"key": secret["id"], "limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = scene.get("/requests", **query)
        seen += [row["id"] for row in page["data"]]
        cursor = page["next"]
        pages += 1
    assert seen == ids[::-1]
    assert pages == 3


def test_requests_are_filtered_by_account_model_status_and_time(scene: Scene) -> None:
    account = scene.send("POST", "/accounts", {"name": "filtered"}, 201)
    secret = scene.send("POST", "/keys", {"name": "filtered", "account": "filtered"}, 201)["key"]
    good = scene.ask(secret)
    bad = scene.ask(secret, 404, model="nothing")
    for reference in (account["id"], "filtered"):
        assert {row["id"] for row in scene.get("/requests", account=reference)["data"]} == {good, bad}
    assert [row["id"] for row in scene.get("/requests", account="filtered", model="m")["data"]] == [good]
    assert [row["id"] for row in scene.get("/requests", account="filtered", status=404)["data"]] == [bad]
    assert scene.get("/requests", account="filtered", **{"from": "2999-01-01"})["data"] == []
    assert scene.get("/requests", account="filtered", to="2001-01-01T00:00:00Z")["data"] == []


@pytest.mark.parametrize("group_by", ["key", "model", "day", "deployment", "account"])
def test_usage_is_told_by_every_group(scene: Scene, group_by: str) -> None:
    scene.ask(scene.house.new_key())
    body = scene.get("/usage", group_by=group_by)
    assert body["next"] is None
    for row in body["data"]:
        assert row["group"] == row[group_by]
        assert row["requests"] >= 1 or row["cost"] != "0"  # a correction is no request
        assert sum(row["by_source"].values()) == row["requests"]


def test_usage_of_a_key_is_what_its_requests_say(scene: Scene) -> None:
    made = scene.send("POST", "/keys", {"name": "usage"}, 201)
    for _ in range(3):
        scene.ask(made["key"])
    (row,) = [row for row in scene.get("/usage", group_by="key", limit=1000)["data"] if row["key"] == made["id"]]
    assert (row["requests"], row["input_tokens"], row["cached_input_tokens"], row["output_tokens"]) == (3, 33, 0, 21)
    assert (row["cost"], row["currency"], row["by_source"]) == ("0.000243", "USD", {"provider": 3})


def test_an_account_that_was_charged_in_two_currencies_has_a_row_for_each(scene: Scene) -> None:
    account = scene.send("POST", "/accounts", {"name": "two-currencies"}, 201)["id"]
    secret = scene.send("POST", "/keys", {"name": "k", "account": account}, 201)["key"]
    scene.ask(secret)
    scene.ask(secret, model="yuan")
    rows = [row for row in scene.get("/usage", group_by="account", limit=1000)["data"] if row["account"] == account]
    assert {row["currency"]: row["cost"] for row in rows} == {"USD": COST, "CNY": "0.000036"}


def test_entries_are_listed_in_pairs_that_cancel_out(scene: Scene) -> None:
    request_id = scene.ask(scene.house.new_key())
    listed = scene.get("/ledger", limit=2)
    assert [(row["request"], row["leg"]) for row in listed["data"]] == [(request_id, 1), (request_id, 0)]
    assert [row["amount"] for row in listed["data"]] == [f"-{COST}", COST]
    assert listed["next"] is not None
    following = scene.get("/ledger", limit=2, cursor=listed["next"])
    assert all(row["request"] < request_id for row in following["data"])
    owed = scene.get("/ledger", ledger_account="provider:main", limit=5)["data"]
    assert {row["leg"] for row in owed} == {1}


def test_the_ledger_of_a_house_that_works_verifies(scene: Scene) -> None:
    scene.ask(scene.house.new_key())
    result = scene.get("/ledger/verify")
    assert (result["ok"], result["holds_open"], result["problems"]) == (True, 0, [])


@pytest.mark.parametrize(
    ("path", "query", "param"),
    [
        ("/requests", {"limit": 0}, "limit"),
        ("/requests", {"limit": 1001}, "limit"),
        ("/requests", {"limit": "9" * 5000}, "limit"),
        ("/requests", {"limit": "many"}, "limit"),
        ("/requests", {"status": "99"}, "status"),
        ("/requests", {"cursor": "\x00"}, "cursor"),
        ("/requests", {"model": "x" * 600}, "model"),
        ("/requests", {"from": "yesterday"}, "from"),
        ("/requests", {"from": "2026-13-01"}, "from"),
        ("/requests", {"from": "2026-02-01", "to": "2026-01-01"}, "to"),
        ("/requests", {"frm": "2026-01-01"}, "frm"),
        ("/usage", {"group_by": "colour"}, "group_by"),
        ("/usage", {"group_by": "day", "cursor": "someday"}, "cursor"),
        ("/ledger", {"cursor": "req_1"}, "cursor"),
        ("/ledger", {"ledger_account": ""}, "ledger_account"),
        ("/ledger/verify", {"quick": "1"}, "quick"),
    ],
)
def test_a_query_that_makes_no_sense_is_400_and_names_the_parameter(
    scene: Scene, path: str, query: dict[str, str], param: str
) -> None:
    error = error_of(scene.get(path, 400, **query))
    assert error["param"] == param
    assert param in error["message"]


def test_records_of_an_account_that_is_not_there_are_404(scene: Scene) -> None:
    scene.get("/requests", 404, account="nobody")


def test_a_request_is_explained(scene: Scene) -> None:
    key = scene.house.new_key()
    request_id = scene.ask(key, model="smart")
    shown = scene.get(f"/requests/{request_id}/explain")
    first = shown["candidates"][0]
    assert (first["deployment"], first["outcome"]) == ("main/m", "answered")
    assert shown["limits"]["key"]["name"] == "test"
    assert shown["price"]["agrees"] is True
    record = scene.get(f"/requests/{request_id}")
    assert (shown["hold"], shown["duration_ms"]) == (record["hold"], record["duration_ms"])
    assert error_of(scene.get("/requests/req_none/explain", 404))["type"] == "not_found_error"
