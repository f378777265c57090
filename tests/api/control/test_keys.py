"""Keys and accounts over HTTP; what they may hold is tested with `accounts`."""

from typing import Any

import pytest

from tests.api.control.conftest import Scene, error_of


def test_a_key_works_from_its_making_until_it_is_revoked(scene: Scene) -> None:
    made = scene.send("POST", "/keys", {"name": "short life"}, 201)
    assert made["key"].startswith("sk-ph-")
    scene.ask(made["key"])
    assert scene.send("DELETE", f"/keys/{made['id']}")["status"] == "revoked"
    scene.ask(made["key"], 401)
    assert scene.get(f"/keys/{made['id']}")["status"] == "revoked"


def test_a_secret_is_shown_once(scene: Scene) -> None:
    made = scene.send("POST", "/keys", {"name": "once"}, 201)
    assert "key" not in scene.get(f"/keys/{made['id']}")
    assert made["key"] not in str(scene.get("/keys", limit=1000))


def test_keys_of_an_account_are_listed_by_its_id_and_by_its_name(scene: Scene) -> None:
    account = scene.send("POST", "/accounts", {"name": "lister"}, 201)
    made = scene.send("POST", "/keys", {"name": "k", "account": "lister"}, 201)
    for reference in (account["id"], "lister"):
        assert [key["id"] for key in scene.get("/keys", account=reference)["data"]] == [made["id"]]
    scene.get("/keys", 404, account="nobody")


def test_a_disabled_account_takes_its_keys_with_it_and_gives_them_back(scene: Scene) -> None:
    account = scene.send("POST", "/accounts", {"name": "sleeper"}, 201)
    secret = scene.send("POST", "/keys", {"name": "k", "account": account["id"]}, 201)["key"]
    scene.send("PATCH", "/accounts/sleeper", {"disabled": True})
    scene.ask(secret, 401)
    scene.send("PATCH", f"/accounts/{account['id']}", {"disabled": False})
    scene.ask(secret)


def test_a_budget_holds_as_soon_as_it_is_set(scene: Scene) -> None:
    made = scene.send("POST", "/keys", {"name": "poor"}, 201)
    scene.send("PATCH", f"/keys/{made['id']}", {"budget": {"amount": "0.000001", "currency": "USD"}})
    scene.ask(made["key"], 429)
    assert scene.get(f"/keys/{made['id']}")["budget"] == {"amount": "0.000001", "currency": "USD", "period": "total"}


def test_a_single_key_and_a_single_account_tell_what_is_spent_and_left_of_each_budget(scene: Scene) -> None:
    month = {"amount": "1", "currency": "USD", "period": "month", "time_zone": "Asia/Shanghai"}
    total = {"amount": "0.0001", "currency": "USD", "model": "shaky"}
    account = scene.send("POST", "/accounts", {"name": "watched", "budgets": [month]}, 201)
    made = scene.send("POST", "/keys", {"name": "k", "account": "watched", "budgets": [month, total]}, 201)
    other = scene.send("POST", "/keys", {"name": "l", "account": "watched"}, 201)
    assert "spent" not in made["budgets"][0]
    for key in (made, other, made):
        scene.ask(key["key"], model="m")
    shown = scene.get(f"/keys/{made['id']}")["budgets"]
    assert [(one["spent"], one["left"]) for one in shown] == [("0.000162", "0.999838"), ("0", "0.0001")]
    assert {**shown[0], "spent": None, "left": None} == {**made["budgets"][0], "spent": None, "left": None}
    for reference in ("watched", account["id"]):
        shown = scene.get(f"/accounts/{reference}")["budgets"]
        assert [(one["spent"], one["left"]) for one in shown] == [("0.000243", "0.999757")]
    scene.send("PATCH", f"/keys/{made['id']}", {"budget": {"amount": "0.0001", "currency": "USD"}})
    (over,) = scene.get(f"/keys/{made['id']}")["budgets"]
    assert (over["spent"], over["left"]) == ("0.000162", "-0.000062")
    listed = [*scene.get("/keys", account="watched")["data"], *scene.get("/accounts", limit=1000)["data"]]
    assert not any("spent" in budget for one in listed for budget in one["budgets"])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"null", None),
        (b"[1]", None),
        (b"\xff\xfe", None),
        (b"[" * 200_000, None),
        (b'{"name": "a", "name\\u0000": 1}', "name\x00"),
        (b'{"name": 1e400}', None),
        (b'{"name": ""}', "name"),
        (b'{"name": "a", "account": "\\u0000"}', "account"),
        (b'{"name": "a", "account": "nobody"}', "account"),
        (b'{"name": "a", "models": []}', "models"),
        (b'{"name": "a", "models": [1]}', "models[0]"),
        (b'{"name": "a", "budget": {"amount": "-1", "currency": "USD"}}', "budget.amount"),
        (b'{"name": "a", "budget": {"amount": 5.1, "currency": "USD"}}', "budget.amount"),
        (b'{"name": "a", "budget": {"amount": "5", "currency": "usd"}}', "budget.currency"),
        (b'{"name": "a", "budgets": [{"amount": "5", "currency": "usd"}]}', "budgets[0].currency"),
        (b'{"name": "a", "budgets": [{"kind": "prepaid", "currency": "USD"}]}', "budgets[0].kind"),
        (
            b'{"name": "a", "budgets": [{"amount": "5", "currency": "USD", "time_zone": "Mars"}]}',
            "budgets[0].time_zone",
        ),
        (b'{"name": "a", "scopes": ["chat", "x"]}', "scopes[1]"),
        (b'{"name": "a", "unpriced": 1}', "unpriced"),
        (b'{"name": "a", "own_credential": {"accounts": []}}', "own_credential.accounts"),
        (b'{"name": "a", "limits": {"rpm": 0}}', "limits.rpm"),
        (b'{"name": "a", "limits": {"rpm": 1e300}}', "limits.rpm"),
        (b'{"name": "a", "expires_at": "soon"}', "expires_at"),
        (b'{"name": "a", "color": "red"}', "color"),
    ],
)
def test_a_body_that_makes_no_key_is_400_and_names_the_field(scene: Scene, body: bytes, param: str | None) -> None:
    answer = scene.client.post("/admin/api/keys", content=body)
    assert answer.status_code == 400, answer.text
    assert error_of(answer.json())["param"] == param


def test_a_body_is_json_whatever_its_content_type_says(scene: Scene) -> None:
    headers = {"content-type": "text/plain"}
    answer = scene.client.post("/admin/api/keys", content=b'{"name": "typed"}', headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize("path", ["/keys/key_1", "/keys/%00", "/keys/' OR 1=1", "/accounts/nobody", "/accounts/%00"])
@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PATCH", {"name": "x"})])
def test_an_id_that_is_not_there_is_404(scene: Scene, path: str, method: str, body: dict[str, Any] | None) -> None:
    error_of(scene.send(method, path, body, 404))


def test_an_account_name_that_is_taken_is_refused_with_a_code(scene: Scene) -> None:
    scene.send("POST", "/accounts", {"name": "twin"}, 201)
    error = error_of(scene.send("POST", "/accounts", {"name": "twin"}, 400))
    assert (error["param"], error["code"]) == ("name", "name_taken")


def test_the_admin_key_alone_opens_the_control_plane(scene: Scene) -> None:
    ordinary = scene.house.new_key()
    for path in ("/keys", "/requests?account=nobody", "/openapi.json", "/usage?colour=1", "/ledger/verify"):
        with scene.house.client(ordinary) as client:
            answer = client.get(f"/admin/api{path}")
        assert answer.status_code == 403, path
        assert error_of(answer.json())["code"] == "admin_key_required"
        with scene.house.client("sk-ph-test-unknown") as client:
            assert client.get(f"/admin/api{path}").status_code == 401, path
            del client.headers["authorization"]
            assert client.get(f"/admin/api{path}").status_code == 401, path


def test_the_admin_key_may_stand_in_any_of_the_usual_headers(scene: Scene) -> None:
    secret = scene.client.headers["authorization"].removeprefix("Bearer ")
    with scene.house.client() as client:
        del client.headers["authorization"]
        for name in ("x-api-key", "api-key", "x-goog-api-key"):
            assert client.get("/admin/api/keys", headers={name: secret}).status_code == 200


def test_unknown_urls_and_methods_are_answered_in_the_same_shape(scene: Scene) -> None:
    error_of(scene.get("/nothing", 404))
    error = error_of(scene.send("PUT", "/keys", {}, 405))
    assert error["code"] == "method_not_allowed"


def test_every_answer_carries_the_id_of_its_request(scene: Scene) -> None:
    assert scene.client.get("/admin/api/keys").headers["x-request-id"].startswith("req_")


def test_a_slash_too_many_is_no_url_of_ours(scene: Scene) -> None:
    error_of(scene.get("/keys/", 404))


def test_what_a_key_wants_is_shown_changed_and_heeded(scene: Scene) -> None:
    wishes = {"defaults": {"temperature": 0.2}, "aliases": {"gpt-4": "m"}, "strict": True}
    made = scene.send("POST", "/keys", {"name": "wishful", **wishes}, 201)
    assert {name: made[name] for name in wishes} == wishes
    scene.upstream.forget()
    scene.ask(made["key"], model="gpt-4")
    assert scene.upstream.visits[-1].json["temperature"] == 0.2
    assert scene.upstream.visits[-1].json["model"] == "m"
    scene.send("PATCH", f"/keys/{made['id']}", {"aliases": None, "defaults": None})
    assert (scene.get(f"/keys/{made['id']}")["aliases"], scene.get(f"/keys/{made['id']}")["strict"]) == (None, True)
    scene.ask(made["key"], 404, model="gpt-4")
