"""From the first code to the last cent: a prepaid account over a whole house, with webhooks that pay in."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.counter import SECRET, checkout, generic_headers, refund, stripe_headers
from tests.e2e.answers import answers, asked, completion
from tests.e2e.house import Place, place

SETTINGS = f"""
[points]
currency = "USD"
per_unit = 500_000

[topup]
generic_secret = "{SECRET}"
stripe_secret = "{SECRET}"
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    environ = {}
    if request.param == "postgresql":
        environ["POSTHOUSE_DATABASE_URL"] = request.getfixturevalue("postgres_url")
    with place(tmp_path, SETTINGS, environ) as found:
        found.upstream.scripts["*"] = answers(completion())
        yield found


class Payer:
    """An account with nothing but what is paid in, and a member's key of it."""

    def __init__(self, there: Place) -> None:
        self.house = there.house
        prepaid = {"kind": "prepaid", "currency": "USD"}
        self.account = self.house.admin("POST", "/accounts", {"name": "payer", "budgets": [prepaid]})["id"]
        self.key = self.house.new_key(account="payer", role="member")

    def ask(self) -> httpx2.Response:
        with self.house.client(self.key) as client:
            return client.post("/v1/chat/completions", json=asked(model="m", max_tokens=100))

    def webhook(self, path: str, told: dict[str, Any], status: int = 200) -> dict[str, Any]:
        body = json.dumps(told).encode()
        headers = generic_headers(body, time.time()) if path == "topup" else stripe_headers(body, time.time())
        with httpx2.Client(base_url=self.house.base_url, trust_env=False) as sender:
            answer = sender.post(f"/webhooks/{path}", content=body, headers=headers)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def left(self) -> int:
        """Nano-units."""
        (row,) = self.house.admin("GET", f"/accounts/{self.account}/balance")["data"]
        return round(float(row["left"]) * 10**9)

    def passes(self) -> None:
        """At once: whoever has heard that something was paid in can spend it here."""
        assert self.ask().status_code == 200


def test_a_balance_is_paid_in_spent_to_its_end_and_paid_in_again(there: Place) -> None:
    payer = Payer(there)
    refused = payer.ask()
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")

    # 0.005 USD by a code that is worth 2,500 points.
    batch = there.house.admin("POST", "/codes", {"name": "spring", "count": 2, "points": 2_500})
    with there.house.client(payer.key) as client:
        redeemed = client.post("/admin/api/redeem", json={"code": batch["codes"][0]})
        assert (redeemed.status_code, redeemed.json()["points"]) == (201, "2500")
        assert client.post("/admin/api/redeem", json={"code": batch["codes"][0]}).status_code == 409
    payer.passes()
    passed = 1
    while (answer := payer.ask()).status_code == 200:
        passed += 1
        assert passed < 1_000
    assert answer.json()["error"]["code"] == "insufficient_quota"
    assert answer.headers["x-should-retry"] == "false"
    assert 0 <= payer.left() < 5_000_000
    spent = 5_000_000 - payer.left()

    told = {"id": "order-1", "account": "payer", "amount": "0.50", "currency": "USD"}
    assert payer.webhook("topup", told)["credited"] is True
    payer.passes()
    assert payer.webhook("topup", told)["credited"] is False
    assert payer.left() < 505_000_000 - spent

    assert payer.webhook("stripe", checkout("evt_1", "pi_1", "payer", 1_000))["credited"] is True
    before = payer.left()
    assert 10_000_000_000 < before < 10_505_000_000
    assert payer.webhook("stripe", refund("evt_2", "pi_1", 1_000))["credits"][0]["amount"] == "-10"
    assert payer.left() == before - 10_000_000_000
    assert there.house.verified().ok


def test_a_balance_below_zero_lets_nothing_pass(there: Place) -> None:
    payer = Payer(there)
    payer.webhook("stripe", checkout("evt_1", "pi_1", "payer", 1_000))
    payer.passes()
    payer.webhook("stripe", refund("evt_2", "pi_1", 1_000))
    assert payer.ask().status_code == 429
    assert payer.left() < 0
    payer.webhook("topup", {"id": "order-1", "account": payer.account, "amount": "1.00", "currency": "USD"})
    payer.passes()
    assert there.house.verified().ok


def test_forged_webhooks_over_a_socket_credit_nothing(there: Place) -> None:
    payer = Payer(there)
    body = json.dumps({"id": "order-1", "account": "payer", "amount": "5.00", "currency": "USD"}).encode()
    with httpx2.Client(base_url=there.house.base_url, trust_env=False) as sender:
        for headers in (
            {},
            generic_headers(body, time.time(), "another-secret-of-the-tests"),
            generic_headers(body + b" ", time.time()),
            {
                **generic_headers(body, time.time()),
                "authorization": "Bearer sk-ph-nothing",
                "x-posthouse-timestamp": "1",
            },
        ):
            answer = sender.post("/webhooks/topup", content=body, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "signature_invalid")
        stale = sender.post("/webhooks/topup", content=body, headers=generic_headers(body, time.time() - 1_000))
        assert (stale.status_code, stale.json()["error"]["code"]) == (400, "signature_stale")
        huge = b" " * (1 << 20)
        answer = sender.post("/webhooks/topup", content=huge, headers=generic_headers(huge, time.time()))
        assert answer.status_code == 413
        assert sender.get("/webhooks/topup").status_code == 405
    assert there.house.admin("GET", f"/accounts/{payer.account}/balance")["data"] == []
    assert payer.ask().status_code == 429
