"""Who may do what: every route and every field, for every role, against the one table."""

from collections.abc import Iterator
from typing import Any, Final

import httpx2
import pytest

from posthouse.api.control import schemas
from posthouse.api.control.parameters import PREFIX
from posthouse.api.control.roles import TABLE, Permit, Tree, allowed, check_writes, reach_of, sifted, tree_of
from posthouse.core.caller import Role
from posthouse.core.errors import Forbidden
from tests.api.control.conftest import Scene, error_of
from tests.api.control.test_openapi import PAGE, operations

ROLES: Final[tuple[Role, ...]] = ("admin", "billing", "operator", "member")
BODIES: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("POST", f"{PREFIX}/keys"): schemas.NEW_KEY,
    ("PATCH", f"{PREFIX}/keys/{{key_id}}"): schemas.KEY_CHANGES,
    ("POST", f"{PREFIX}/accounts"): schemas.NEW_ACCOUNT,
    ("PATCH", f"{PREFIX}/accounts/{{account}}"): schemas.ACCOUNT_CHANGES,
    ("POST", f"{PREFIX}/redeem"): schemas.REDEEM,
}


class Cast:
    """A company with a team below it, a key of each role in the company, and what the routes want in their address."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        limits = {"rpm": 10_000, "request_spend": {"amount": "5", "currency": "USD"}, "models": {"m": {"rpm": 1000}}}
        budget = {"amount": "100", "currency": "USD"}
        self.company = scene.send("POST", "/accounts", {"name": "cast", "budget": budget, "limits": limits}, 201)["id"]
        self.team = scene.send("POST", "/accounts", {"name": "cast team", "parent": self.company}, 201)["id"]
        self.secrets: dict[str, str] = {}
        for role in ROLES:
            self.secrets[role] = self.key(self.company, role=role)["key"]
        self.scratch = scene.send("POST", "/accounts", {"name": "cast scratch"}, 201)["id"]
        self.scratch_key = self.key(self.scratch)["id"]
        credential = {"accounts": ["main"], "fee_percent": "2.5"}
        own = self.key(self.team, budget=budget, limits=limits, own_credential=credential)
        request = scene.ask(own["key"], model="m")
        price = scene.get(f"/requests/{request}")["price_id"]
        row = {"model": "priced-by-role", "currency": "USD", "input": "1"}
        self.address = {
            "{account}": self.team,
            "{key_id}": own["id"],
            "{request_id}": request,
            "{name}": "main",
            "prices/rows/{id}": "prices/rows/" + scene.send("POST", "/prices", row, 201)["id"],
            "prices/snapshots/{id}": f"prices/snapshots/{price}",
            "{month}": "2026-11",
        }

    def key(self, account: str, **more: Any) -> dict[str, Any]:
        return self.scene.send("POST", "/keys", {"name": "cast", "account": account, **more}, 201)

    def path(self, template: str) -> str:
        for name, value in self.address.items():
            template = template.replace(name, value)
        return template + ("?model=m" if template.endswith("/prices/explain") else "")

    def call(self, role: str, method: str, template: str, body: Any = None) -> httpx2.Response:
        with self.scene.house.client(self.secrets[role]) as client:
            return client.request(method, self.path(template), json=body)


@pytest.fixture(scope="module")
def cast(scene: Scene) -> Cast:
    return Cast(scene)


def paths_in(value: Any, tree: Tree, place: str = "") -> Iterator[str]:
    """The fields of an answer, as deep as the table tells them apart."""
    if isinstance(value, list):
        for one in value:
            yield from paths_in(one, tree, place)
    elif isinstance(value, dict) and tree and "*" not in tree:
        for name, below in value.items():
            path = f"{place}{name}"
            yield path
            yield from paths_in(below, tree.get(name, {}), f"{path}.")


@pytest.mark.req("ROLE-001")
def test_every_route_is_in_the_table(cast: Cast) -> None:
    described = {*operations(cast.scene), ("GET", f"{PREFIX}/openapi.json")}
    assert described == set(TABLE)


@pytest.mark.req("ROLE-002")
@pytest.mark.parametrize("role", ROLES)
def test_a_route_that_is_not_for_a_role_is_refused(cast: Cast, role: Role) -> None:
    for (method, template), permit in TABLE.items():
        if role in allowed(permit.roles):
            continue
        answer = cast.call(role, method, template, {} if method in ("POST", "PATCH") else None)
        assert answer.status_code == 403, (role, method, template)
        assert error_of(answer.json())["code"] == "role_not_allowed"


@pytest.mark.req("ROLE-003")
def test_every_field_of_every_answer_is_in_the_table_and_is_told_to_whom_it_says(cast: Cast) -> None:
    for (method, template), permit in TABLE.items():
        if method != "GET":
            continue
        whole = cast.call("admin", method, template)
        assert whole.status_code == 200, (template, whole.text)
        known = tree_of(permit.reads)
        there = set(paths_in(whole.json(), known))
        assert {path for path in there if not is_known(path, permit)} == set(), template
        for role in allowed(permit.roles):
            answer = cast.call(role, method, template)
            assert answer.status_code == 200, (role, template, answer.text)
            told = set(paths_in(answer.json(), known))
            assert told == {path for path in there if may_read(path, permit, role)}, (role, template)
        assert there or known == {"*": {}}, template


def is_known(path: str, permit: Permit) -> bool:
    return any(one == path or one.startswith(f"{path}.") for one in permit.reads)


def may_read(path: str, permit: Permit, role: Role) -> bool:
    return any(
        (one == path or one.startswith(f"{path}.")) and role in allowed(letters)
        for one, letters in permit.reads.items()
    )


def fields_of(schema: dict[str, Any], place: str = "") -> Iterator[str]:
    for name, below in schema["properties"].items():
        if name == "limits":
            yield from fields_of(below, "limits.")
        else:
            yield f"{place}{name}"


@pytest.mark.req("ROLE-004")
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", BODIES, ids=lambda route: " ".join(route))
def test_every_field_of_every_body_is_written_by_whom_the_table_says(
    cast: Cast, route: tuple[str, str], role: Role
) -> None:
    permit = TABLE[route]
    fields = set(fields_of(BODIES[route]))
    assert fields == set(permit.writes)
    if role not in allowed(permit.roles):
        return
    scratch = {"{account}": cast.scratch, "{key_id}": cast.scratch_key}
    for path in sorted(fields):
        body: dict[str, Any] = {path: None}
        if path.startswith("limits."):
            body = {"limits": {path.removeprefix("limits."): None}}
        method, template = route
        for name, value in scratch.items():
            template = template.replace(name, value)
        answer = cast.call(role, method, template, body)
        if role in allowed(permit.writes[path]):
            assert answer.status_code in (200, 400), (path, answer.text)
        else:
            error = error_of(answer.json())
            assert (answer.status_code, error["code"], error["param"]) == (403, "field_not_allowed", path)


def test_every_body_is_whole_or_told_apart(cast: Cast) -> None:
    with_body = {route for route, operation in operations(cast.scene).items() if "requestBody" in operation}
    for route in with_body - set(BODIES):
        assert set(TABLE[route].writes) == {"*"}, route
    assert set(BODIES) <= with_body


def test_null_takes_away_only_what_a_role_may_write() -> None:
    reach = reach_of("PATCH", f"{PREFIX}/keys/{{key_id}}", "operator")
    with pytest.raises(Forbidden) as caught:
        check_writes({"limits": None}, reach)
    assert caught.value.param == "limits"
    with pytest.raises(Forbidden) as caught:
        check_writes({"limits": {"rpm": 5, "request_spend": None}}, reach)
    assert caught.value.param == "limits.request_spend"
    check_writes({"limits": {"rpm": 5, "models": {}}}, reach)
    check_writes({"limits": None}, reach_of("PATCH", f"{PREFIX}/keys/{{key_id}}", "admin"))
    check_writes({"no such field": 1}, reach)  # the form says so


def test_what_the_tree_does_not_have_is_left_out() -> None:
    tree = tree_of({"a": "O", "b.c": "O", "b.d": "A", "e.*": "O"}, "operator")
    answer = {"a": {"x": 1}, "b": [{"c": 1, "d": 2}], "e": {"y": 1}, "f": 1}
    assert sifted(answer, tree) == {"a": {"x": 1}, "b": [{"c": 1}], "e": {"y": 1}}


# --- tenants ----------------------------------------------------------------------------------------------------------
@pytest.mark.req("ROLE-005")
def test_a_member_sees_its_subtree_and_nothing_else(cast: Cast) -> None:
    scene = cast.scene
    stranger = scene.send("POST", "/accounts", {"name": "cast stranger"}, 201)["id"]
    theirs = cast.key(stranger)
    request = scene.ask(theirs["key"], model="m")
    with scene.house.client(cast.secrets["member"]) as client:

        def found(path: str, **query: Any) -> Any:
            answer = client.get(f"{PREFIX}{path}", params=query)
            assert answer.status_code == 200, answer.text
            return answer.json()

        assert {row["id"] for row in found("/accounts")["data"]} == {cast.company, cast.team}
        assert {row["account"] for row in found("/keys", limit=1000)["data"]} == {cast.company, cast.team}
        assert {row["account"] for row in found("/requests", limit=1000)["data"]} == {cast.team}
        assert {row["group"] for row in found("/usage", group_by="account")["data"]} == {cast.team}
        assert {row["account"] for row in found("/keys", under=cast.team)["data"]} == {cast.team}
        assert [one["id"] for one in found(f"/accounts/{cast.team}")["path"]] == [cast.company, cast.team]
        for path in (
            f"/accounts/{stranger}",
            "/accounts/cast stranger",
            f"/accounts/{stranger}/statements/2026-11",
            f"/accounts/{stranger}/corrections",
            f"/accounts/{stranger}/credits",
            f"/accounts/{stranger}/balance",
            f"/keys/{theirs['id']}",
            f"/requests/{request}",
            f"/keys?account={stranger}",
            f"/keys?under={stranger}",
            f"/accounts?under={stranger}",
            f"/requests?account={stranger}",
            f"/requests?key={theirs['id']}",
        ):
            assert client.get(f"{PREFIX}{path}").status_code == 404, path
        assert client.delete(f"{PREFIX}/keys/{theirs['id']}").status_code == 404
        new = {"name": "k", "account": stranger}
        assert client.post(f"{PREFIX}/keys", json=new).status_code == 404
    scene.ask(theirs["key"])


def test_a_member_does_not_look_above_its_account(cast: Cast) -> None:
    secret = cast.key(cast.team, role="member")["key"]
    with cast.scene.house.client(secret) as client:
        shown = client.get(f"{PREFIX}/accounts/{cast.team}").json()
        assert [one["id"] for one in shown["path"]] == [cast.team]
        assert "parent" not in shown
        assert client.get(f"{PREFIX}/accounts/{cast.company}").status_code == 404
        assert {row["id"] for row in client.get(f"{PREFIX}/accounts").json()["data"]} == {cast.team}


def test_every_route_of_members_with_an_id_in_its_address_was_asked_for_another_s() -> None:
    named = {template for (_, template), permit in TABLE.items() if "M" in permit.roles and "{" in template}
    assert named == {
        f"{PREFIX}{path}"
        for path in (
            "/accounts/{account}",
            "/accounts/{account}/statements/{month}",
            "/accounts/{account}/corrections",
            "/accounts/{account}/credits",
            "/accounts/{account}/balance",
            "/keys/{key_id}",
            "/requests/{request_id}",
        )
    }


# --- keys that members make -------------------------------------------------------------------------------------------
@pytest.mark.req("ROLE-006")
def test_a_member_makes_keys_no_wider_than_its_own(cast: Cast) -> None:
    own = cast.key(
        cast.company,
        role="member",
        models=["m", "shaky"],
        scopes=["chat", "embeddings"],
        unpriced="refuse",
        own_credential={"accounts": ["main"]},
        limits={"rpm": 10, "request_spend": {"amount": "1", "currency": "USD"}, "models": {"m": {"rpm": 5}}},
        budget={"amount": "2", "currency": "USD", "period": "day"},
        expires_at="2999-01-01",
    )
    with cast.scene.house.client(own["key"]) as client:

        def made(status: int, **wish: Any) -> Any:
            answer = client.post(f"{PREFIX}/keys", json={"name": "child", **wish})
            assert answer.status_code == status, answer.text
            return answer.json() if status == 201 else error_of(answer.json())

        child = made(201)
        same = ("account", "models", "scopes", "unpriced", "limits", "budget", "budgets", "expires_at")
        assert {name: child[name] for name in same} == {name: own[name] for name in same}
        assert (child["role"], child["own_credential"]) == (None, None)
        cast.scene.ask(child["key"], model="m")
        for wish, param in (
            ({"models": ["m", "other"]}, "models"),
            ({"scopes": ["chat", "images"]}, "scopes"),
            ({"limits": {"rpm": 11}}, "limits.rpm"),
            ({"limits": {"models": {"m": {"rpm": 6}}}}, "limits.models.m.rpm"),
            ({"limits": {"request_spend": {"amount": "1.01", "currency": "USD"}}}, "limits.request_spend"),
            ({"limits": {"request_spend": {"amount": "1", "currency": "CNY"}}}, "limits.request_spend"),
            ({"budget": {"amount": "3", "currency": "USD", "period": "day"}}, "budget"),
            ({"budget": {"amount": "2", "currency": "USD", "period": "total"}}, "budget"),
            ({"budgets": [{"amount": "3", "currency": "USD", "period": "day"}]}, "budgets[0].amount"),
            ({"budgets": [{"amount": "1", "currency": "USD", "period": "day", "model": "m"}]}, "budgets"),
            ({"budgets": [{"amount": "1", "currency": "USD", "period": "day", "time_zone": "+08:00"}]}, "budgets"),
            ({"expires_at": "2999-01-02"}, "expires_at"),
        ):
            error = made(403, **wish)
            assert (error["code"], error["param"]) == ("wider_than_own", param)
        for field, value in (("role", "admin"), ("unpriced", "allow"), ("own_credential", {"accounts": ["main"]})):
            error = made(403, **{field: value})
            assert (error["code"], error["param"]) == ("field_not_allowed", field)
        assert made(403, account=cast.team)["param"] == "account"
        narrow = made(201, models=["m"], scopes=["chat"], limits={"rpm": 3, "rpd": 4}, account=cast.company)
        assert (narrow["scopes"], narrow["unpriced"]) == (["chat"], "refuse")
        assert (narrow["models"], narrow["limits"]["rpm"], narrow["limits"]["rpd"]) == (["m"], 3, 4)


def test_a_member_revokes_what_is_its_own_account_s_and_may_no_more_than_it(cast: Cast) -> None:
    with cast.scene.house.client(cast.secrets["member"]) as client:

        def revoked(key: dict[str, Any]) -> int:
            return client.delete(f"{PREFIX}/keys/{key['id']}").status_code

        assert revoked(cast.key(cast.company)) == 200
        assert revoked(cast.key(cast.company, role="member")) == 200
        assert revoked(cast.key(cast.company, role="billing")) == 403
        assert revoked(cast.key(cast.team)) == 403


def test_a_key_with_the_role_of_an_admin_may_all_that_the_admin_key_may(cast: Cast) -> None:
    made = cast.call("admin", "POST", f"{PREFIX}/keys", {"name": "by an admin", "role": "billing"})
    assert made.status_code == 201
    assert made.json()["role"] == "billing"


def test_a_role_ends_as_soon_as_it_is_taken_away(cast: Cast) -> None:
    key = cast.key(cast.company, role="operator")
    with cast.scene.house.client(key["key"]) as client:
        assert client.get(f"{PREFIX}/providers").status_code == 200
        cast.scene.send("PATCH", f"/keys/{key['id']}", {"role": None})
        answer = client.get(f"{PREFIX}/providers")
    assert (answer.status_code, error_of(answer.json())["code"]) == (403, "admin_key_required")


# --- the page ---------------------------------------------------------------------------------------------------------
def table_in_words() -> str:
    """The table of docs/admin-api.md."""
    lines = ["| Route | admin | billing | operator | member |", "|---|---|---|---|---|"]
    for (method, template), permit in TABLE.items():
        cells = [cell(permit, role) for role in ROLES]
        lines.append(f"| `{method} {template.removeprefix(PREFIX)}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(permit: Permit, role: Role) -> str:
    if role not in allowed(permit.roles):
        return ""
    words = [f"not {names}" for names in [named(permit.reads, role)] if names]
    written = named({path: letters for path, letters in permit.writes.items() if path != "*"}, role, readable=True)
    if written and role != "admin":
        words.append(f"writes {written}")
    return "; ".join(words) or "yes"


def named(paths: Any, role: Role, readable: bool = False) -> str:
    """The paths that a role has, or has not; the limits that are alike as one."""
    names = [path.removeprefix("data.") for path, letters in paths.items() if (role in allowed(letters)) is readable]
    counts = [name for name in names if name.startswith("limits.") and name != "limits.request_spend"]
    shown = [name for name in names if name not in counts]
    return ", ".join(f"`{name}`" for name in [*shown, *(["limits"] if counts else [])])


@pytest.mark.req("ROLE-007")
def test_the_page_has_the_table() -> None:
    assert table_in_words() in PAGE
