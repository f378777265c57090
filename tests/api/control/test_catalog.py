"""Models, providers, prices and settings of a running house."""

import pytest

from posthouse.core.requests import TEXTS
from tests.api.control.conftest import Scene, error_of


def test_models_are_listed_with_who_serves_them_in_the_order_of_preference(scene: Scene) -> None:
    models = {row["id"]: row for row in scene.get("/models", limit=1000)["data"]}
    assert sorted(models) == ["m", "rocky", "shaky", "smart", "unpriced", "yuan"]
    assert [one["deployment"] for one in models["shaky"]["candidates"]] == ["dead/shaky", "main/shaky"]
    assert models["smart"]["owned_by"] == "posthouse"
    assert {*TEXTS, "embeddings"} <= set(models["m"]["candidates"][0]["operations"])


def test_models_come_in_pages(scene: Scene) -> None:
    first = scene.get("/models", limit=2)
    assert [row["id"] for row in first["data"]] == ["m", "rocky"]
    second = scene.get("/models", limit=2, cursor=first["next"])
    assert [row["id"] for row in second["data"]] == ["shaky", "smart"]


def test_a_deployment_that_fails_shows_its_trouble(scene: Scene) -> None:
    for _ in range(3):
        scene.ask(scene.house.new_key(), model="shaky")
    models = {row["id"]: row for row in scene.get("/models")["data"]}
    (dead,) = [one for one in models["shaky"]["candidates"] if one["deployment"] == "dead/shaky"]
    trouble = dead["troubles"]["chat.completions"]
    assert (trouble["kind"], trouble["failures"], trouble["state"]) == ("connect", 3, "cooling")
    assert trouble["cooling_seconds"] > 0
    providers = {row["name"]: row for row in scene.get("/providers")["data"]}
    assert providers["dead"]["state"] == "cooling"
    assert providers["dead"]["cooling"][0]["deployment"] == "dead/shaky"


def test_providers_are_listed_with_their_state_and_without_their_credentials(scene: Scene) -> None:
    listed = scene.get("/providers")
    providers = {row["name"]: row for row in listed["data"]}
    assert sorted(providers) == ["dead", "listless", "main"]
    assert providers["main"]["state"] == "ok"
    assert providers["main"]["credential"] == "set"
    assert providers["main"]["wires"] == ["chat.completions"]
    assert providers["main"]["models"] == ["m", "shaky", "rocky", "yuan", "unpriced"]
    assert providers["listless"]["state"] == "unlisted"
    assert "refused" in providers["listless"]["problem"]
    assert "upstream-credential" not in str(listed)


def test_a_provider_is_tested_live(scene: Scene) -> None:
    scene.upstream.scripts["/v1/models"] = scene.upstream.scripts["*"]
    good = scene.send("POST", "/providers/main/test")
    assert (good["ok"], good["problem"], good["remedy"]) == (True, None, None)
    bad = scene.send("POST", "/providers/dead/test")
    assert (bad["ok"], bad["kind"]) == (False, "connect")
    assert bad["remedy"]
    error_of(scene.send("POST", "/providers/nobody/test", status=404))


def test_prices_are_listed_by_deployment_and_unknown_ones_are_null(scene: Scene) -> None:
    prices = {row["deployment"]: row["price"] for row in scene.get("/prices")["data"]}
    assert prices["main/m"]["per_million"]["input"] == "1"
    assert prices["main/m"]["per_million"]["cache_read"] == "0.5"
    assert prices["main/m"]["currency"] == "USD"
    assert prices["main/yuan"]["currency"] == "CNY"
    assert prices["main/unpriced"] is None


def test_a_price_is_explained_place_by_place(scene: Scene) -> None:
    (row,) = scene.get("/prices/explain", model="m")["data"]
    assert row["price"]["source"] == "configuration"
    later, taken, seed = row["steps"]
    assert (later["taken"], "not yet in force" in later["detail"]) == (False, True)
    assert (taken["place"], taken["taken"]) == ("configuration", True)
    assert (seed["place"], seed["taken"]) == ("seed", False)
    (unpriced,) = scene.get("/prices/explain", model="unpriced")["data"]
    assert unpriced["price"] is None
    assert not any(step["taken"] for step in unpriced["steps"])


def test_a_price_of_a_route_is_explained_for_everything_behind_it(scene: Scene) -> None:
    data = scene.get("/prices/explain", model="smart")["data"]
    assert [row["deployment"] for row in data] == ["main/m", "dead/shaky", "main/shaky"]


@pytest.mark.parametrize(("query", "status"), [({"model": "nothing"}, 404), ({}, 400), ({"model": ""}, 400)])
def test_no_price_is_explained_for_no_model(scene: Scene, query: dict[str, str], status: int) -> None:
    assert error_of(scene.get("/prices/explain", status, **query))["param"] == "model"


def test_settings_are_explained_with_their_source_and_secrets_are_masked(scene: Scene) -> None:
    (port,) = scene.get("/config", key="server.port")["data"]
    assert (port["value"], port["layer"], port["where"]) == ("0", "command line", "--port")
    everything = scene.get("/config")
    assert "upstream-credential" not in str(everything)
    values = {row["key"]: row["value"] for row in everything["data"]}
    assert values["providers[0].credential"] == "***"
    assert values["admin.key"] == "***"
    assert error_of(scene.get("/config", 404, key="server.prot"))["param"] == "key"


def test_the_settings_of_a_running_house_have_no_errors(scene: Scene) -> None:
    result = scene.get("/config/check")
    assert result["ok"] is True
    assert all(problem["level"] == "warning" for problem in result["problems"])
