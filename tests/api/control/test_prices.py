"""Prices that are set, and another seed, while the house serves."""

import json

from posthouse.billing.desk import PriceDesk
from tests.api.control.conftest import Scene
from tests.e2e.answers import asked
from tests.e2e.house import ADMIN_KEY
from tests.e2e.wire import eventually

TABLE = {
    "dashscope/qwen-new": {
        "litellm_provider": "dashscope",
        "input_cost_per_token": 2e-06,
        "output_cost_per_token": 4e-06,
    }
}


def price_of(scene: Scene, model: str = "m") -> dict[str, str]:
    """What is charged for input by whom."""
    data = scene.get("/prices/explain", model=model)["data"]
    price = next(row["price"] for row in data if row["provider"] == "main")
    return {"input": price["per_million"]["input"], "source": price["source"]}


def test_a_price_holds_at_once_is_billed_by_and_goes_again(scene: Scene) -> None:
    before = price_of(scene)
    made = scene.send("POST", "/prices", {"model": "m", "currency": "USD", "input": "5", "output": "5"}, status=201)
    assert price_of(scene) == {"input": "5", "source": "set"}
    assert [row["id"] for row in scene.get("/prices/rows")["data"]] == [made["id"]]
    with scene.house.wire() as wire:
        answer = wire.ask("/v1/chat/completions", asked(), ADMIN_KEY)
    record = scene.get(f"/requests/{answer.headers['x-request-id']}")
    used = record["usage"]["total_input"] + record["usage"]["total_output"]
    assert int(float(record["cost"]) * 10**9 + 0.5) == used * 5_000
    snapshot = scene.get(f"/prices/snapshots/{record['price_id']}")
    assert (snapshot["id"], snapshot["source"], snapshot["per_million"]["output"]) == (record["price_id"], "set", "5")
    assert scene.send("DELETE", f"/prices/rows/{made['id']}")["id"] == made["id"]
    assert price_of(scene) == before
    explained = scene.get(f"/requests/{record['id']}/explain")["price"]
    assert explained["billed_by"] == record["price_id"]
    assert explained["agrees"] is False  # the price of today is another
    scene.send("DELETE", f"/prices/rows/{made['id']}", status=404)
    scene.get("/prices/snapshots/price_0", 404)


def test_a_price_that_cannot_stand_is_400_and_names_its_member(scene: Scene) -> None:
    refused = scene.send("POST", "/prices", {"model": "m", "currency": "USD", "input": "x"}, status=400)
    assert refused["error"]["param"] == "input"
    assert scene.get("/prices/rows")["data"] == []


def test_an_update_is_told_and_applied_only_if_asked(scene: Scene) -> None:
    body = json.loads(json.dumps(TABLE))
    told = scene.send("POST", "/prices/update", body)
    assert told["applied"] is False
    assert ("new", "qwen-new") in [(change["kind"], change["model"]) for change in told["changes"]]
    assert scene.send("POST", "/prices/update", body)["changes"] == told["changes"]
    assert scene.send("POST", "/prices/update?apply=true", body)["applied"] is True
    assert scene.send("POST", "/prices/update", body)["changes"] == []
    desk = PriceDesk(scene.house.house.database)
    assert scene.house.house.prices.seed.rows("qwen", "qwen-new") is not None
    desk.replace_seed(None)  # as another process does; this one follows
    scene.send("POST", "/prices/update", {"a": 1}, status=400)


def test_a_price_that_another_process_sets_holds_within_a_second(scene: Scene) -> None:
    desk = PriceDesk(scene.house.house.database)
    made = desk.set({"model": "m", "currency": "USD", "input": "9"})
    eventually(lambda: price_of(scene)["input"] == "9", "the price of another process")
    desk.unset(made.id)
    eventually(lambda: price_of(scene)["input"] != "9", "the price of another process is gone")
