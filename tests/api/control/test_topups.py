"""The control plane: what is paid in, codes that are made and redeemed, invitations that are made and accepted."""

import datetime as dt
import secrets
from typing import Any

import httpx2
import pytest

from posthouse.api.control import schemas
from posthouse.api.joining import MEMBERS
from posthouse.billing.credit_forms import BATCH_MEMBERS, CREDIT_MEMBERS
from posthouse.billing.tickets import new_ticket
from tests.api.control.conftest import Scene, error_of

PREPAID = {"kind": "prepaid", "currency": "USD"}


class Holder:
    """An account with a prepaid budget, and a member's key of it."""

    def __init__(self, scene: Scene, **account: Any) -> None:
        self.scene = scene
        name = f"holder {secrets.token_hex(4)}"
        self.account = scene.send("POST", "/accounts", {"name": name, "budgets": [PREPAID], **account}, 201)["id"]
        self.key = self.of_role("member")

    def of_role(self, role: str | None) -> str:
        key: str = self.scene.send("POST", "/keys", {"name": "k", "account": self.account, "role": role}, 201)["key"]
        return key

    def call(self, method: str, path: str, body: Any = None, key: str | None = None) -> httpx2.Response:
        with self.scene.house.client(key or self.key) as client:
            return client.request(method, f"/admin/api{path}", json=body)

    def redeem(self, code: object, status: int = 201, key: str | None = None, **more: Any) -> dict[str, Any]:
        answer = self.call("POST", "/redeem", {"code": code, **more}, key)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def left(self) -> dict[str, str]:
        rows = self.scene.get(f"/accounts/{self.account}/balance")["data"]
        return {row["currency"]: row["left"] for row in rows}


@pytest.fixture
def holder(scene: Scene) -> Holder:
    return Holder(scene)


def codes_of(scene: Scene, count: int = 3, **change: Any) -> dict[str, Any]:
    wish = {"name": "spring", "count": count, "amount": "2.50", "currency": "USD"}
    return scene.send("POST", "/codes", {**wish, **change}, 201)


def test_the_bodies_have_the_members_that_the_forms_know() -> None:
    for schema, members in (
        (schemas.NEW_CREDIT, CREDIT_MEMBERS),
        (schemas.NEW_BATCH, BATCH_MEMBERS),
        (schemas.NEW_INVITATION, MEMBERS),
    ):
        assert sorted(schema["properties"]) == sorted(members)


def test_a_credit_is_made_once_listed_and_part_of_the_balance(scene: Scene, holder: Holder) -> None:
    path = f"/accounts/{holder.account}/credits"
    body = {"amount": "5.00", "currency": "USD", "reason": "by bank", "author": "olga", "idempotency_key": "t1"}
    made = scene.send("POST", path, body, 201)
    assert (made["account"], made["amount"], made["currency"], made["kind"]) == (holder.account, "5", "USD", "manual")
    assert scene.send("POST", path, body, 201) == made
    assert error_of(scene.send("POST", path, {**body, "amount": "6"}, 409))["code"] == "credit_exists"
    back = scene.send("POST", path, {**body, "amount": "-1.25", "idempotency_key": "t2"}, 201)
    assert scene.get(path)["data"] == [back, made]
    first = scene.get(path, limit=1)
    assert (first["data"], scene.get(path, cursor=first["next"])["data"]) == ([back], [made])
    assert scene.get(f"/accounts/{holder.account}/balance")["data"] == [
        {"currency": "USD", "paid_in": "3.75", "spent": "0", "left": "3.75"}
    ]
    assert holder.call("GET", path).json()["data"] == [back, made]
    assert holder.call("POST", path, body).status_code == 403
    assert scene.get("/ledger/verify")["ok"]


def test_a_credit_is_spent_at_once(scene: Scene, holder: Holder) -> None:
    scene.ask(holder.key, 429, model="m")
    body = {"amount": "5.00", "currency": "USD", "reason": "by bank", "author": "olga", "idempotency_key": "t1"}
    scene.send("POST", f"/accounts/{holder.account}/credits", body, 201)
    scene.ask(holder.key, model="m")
    (balance,) = scene.get(f"/accounts/{holder.account}/balance")["data"]
    assert float(balance["spent"]) > 0
    assert float(balance["left"]) == pytest.approx(5 - float(balance["spent"]))
    month = f"{dt.datetime.now(dt.UTC):%Y-%m}"
    (total,) = scene.get(f"/accounts/{holder.account}/statements/{month}")["totals"]
    assert (total["paid_in"], total["usage"]) == ("5", balance["spent"])
    assert float(total["closing"]) == pytest.approx(-float(balance["left"]))


def test_codes_are_shown_once_listed_by_state_and_revoked(scene: Scene, holder: Holder) -> None:
    made = codes_of(scene)
    assert len(made["codes"]) == made["count"] == 3
    assert made["author"] == "admin"
    holder.redeem(made["codes"][0])
    listed = scene.get("/codes", batch=made["id"])
    assert sorted(row["state"] for row in listed["data"]) == ["open", "open", "redeemed"]
    assert not any(code in str(listed) or code.replace("-", "") in str(listed) for code in made["codes"])
    (redeemed,) = scene.get("/codes", batch=made["id"], state="redeemed")["data"]
    assert (redeemed["redeemed_by"], redeemed["hint"]) == (holder.account, made["codes"][0][-4:])
    stand = scene.send("DELETE", f"/codes/batches/{made['id']}")
    assert stand["states"] == {"open": 0, "redeemed": 1, "revoked": 2, "expired": 0}
    assert stand in scene.get("/codes/batches")["data"]
    assert error_of(holder.redeem(made["codes"][1], 409))["code"] == "code_revoked"
    scene.send("DELETE", "/codes/batches/cbt_none", status=404)
    assert scene.client.get("/admin/api/codes", params={"state": "odd"}).status_code == 400


def test_a_member_redeems_a_code_once_for_its_own_account(scene: Scene, holder: Holder) -> None:
    code = codes_of(scene)["codes"][0]
    credit = holder.redeem(code.lower().replace("-", ""))
    assert (credit["account"], credit["amount"], credit["kind"]) == (holder.account, "2.5", "code")
    assert error_of(holder.redeem(code, 409))["code"] == "code_used"
    assert error_of(holder.redeem(new_ticket(), 404))["code"] == "code_unknown"
    assert error_of(holder.redeem(5, 400))["param"] == "code"
    error = error_of(holder.redeem(code, 403, account=holder.account))
    assert (error["code"], error["param"]) == ("field_not_allowed", "account")
    assert holder.left() == {"USD": "2.5"}
    scene.ask(holder.key, model="m")


def test_who_may_redeem_and_for_whom(scene: Scene, holder: Holder) -> None:
    codes = codes_of(scene, 4)["codes"]
    other = Holder(scene)
    for role in (None, "operator"):
        assert holder.call("POST", "/redeem", {"code": codes[0]}, holder.of_role(role)).status_code == 403
    assert holder.redeem(codes[0], key=holder.of_role("billing"))["account"] == holder.account
    assert holder.redeem(codes[1], key=holder.of_role("billing"), account=other.account)["account"] == other.account
    assert scene.send("POST", "/redeem", {"code": codes[2], "account": other.account}, 201)["author"] == "admin"
    scene.send("POST", "/redeem", {"code": codes[3], "account": "nobody"}, 404)
    assert (holder.left(), other.left()) == ({"USD": "2.5"}, {"USD": "5"})


def test_an_account_without_a_prepaid_budget_is_told_so_and_keeps_its_code(scene: Scene) -> None:
    plain = Holder(scene, budgets=None, budget={"amount": "1", "currency": "USD"})
    code = codes_of(scene)["codes"][0]
    error = error_of(plain.redeem(code, 409))
    assert error["code"] == "not_prepaid"
    assert "2.5 USD" in error["message"]
    assert Holder(scene).redeem(code)["amount"] == "2.5"


def test_wrong_codes_are_bounded_for_each_account(scene: Scene, holder: Holder) -> None:
    code = codes_of(scene)["codes"][0]
    for number in range(10):
        holder.redeem(new_ticket(), 404, holder.of_role("member") if number % 2 else None)
    assert error_of(holder.redeem(code, 429))["code"] == "rate_limit_exceeded"
    assert Holder(scene).redeem(code)["amount"] == "2.5"


def test_what_cannot_be_made_is_refused_by_name(scene: Scene) -> None:
    for change, param in (
        ({"count": 10_001}, "count"),
        ({"amount": "1e3"}, "amount"),
        ({"points": 5, "amount": None, "currency": None}, "points"),
        ({"expires_at": "2020-01-01"}, "expires_at"),
    ):
        wish = {"name": "n", "count": 1, "amount": "1", "currency": "USD", **change}
        assert error_of(scene.send("POST", "/codes", wish, 400))["param"] == param


def test_an_invitation_is_made_accepted_listed_and_revoked(scene: Scene, holder: Holder) -> None:
    wish = {
        "name": "spring",
        "parent": holder.account,
        "account": {"budgets": [PREPAID]},
        "key": {"role": "member"},
        "bonus": {"amount": "1", "currency": "USD"},
        "inviter": holder.account,
        "inviter_bonus": {"amount": "0.5", "currency": "USD"},
        "max_uses": 2,
    }
    made = scene.send("POST", "/invitations", {**wish, "count": 2}, 201)["data"]
    assert len({one["code"] for one in made}) == 2
    body = {"code": made[0]["code"], "name": f"newcomer {secrets.token_hex(4)}"}
    with httpx2.Client(base_url=scene.house.base_url, trust_env=False) as stranger:
        answer = stranger.post("/admin/api/invitations/accept", json=body)
    assert answer.status_code == 201, answer.text
    joined = answer.json()
    assert joined["account"]["parent"] == holder.account
    scene.ask(joined["key"]["key"], model="m")
    assert 0 < float(holder.left()["USD"]) < 0.5  # what is spent below counts above
    scene.send("DELETE", f"/invitations/{made[1]['id']}")
    shown = {row["id"]: row for row in scene.get("/invitations")["data"]}
    assert [(shown[one["id"]]["state"], shown[one["id"]]["uses"]) for one in made] == [("open", 1), ("revoked", 0)]
    assert not any(one["code"] in str(shown) for one in made)
    assert holder.call("POST", "/invitations", wish).status_code == 403
    scene.send("DELETE", f"/invitations/{made[0]['id']}")
    assert scene.get("/ledger/verify")["ok"]


def test_a_top_up_without_a_webhook_is_unknown(scene: Scene) -> None:
    for path in ("/webhooks/topup", "/webhooks/stripe"):
        answer = scene.client.post(path, json={})
        assert (answer.status_code, error_of(answer.json())["code"]) == (404, "unknown_url")
