"""Webhooks: what is signed, fresh and sold here is credited once; nothing else credits anything."""

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from posthouse.accounts.model import NewAccount
from posthouse.billing.verify import verify
from posthouse.core.errors import NotFound
from posthouse.settings import PointsSettings, Secret, TopupSettings
from posthouse.settings.model import Amount, HookSecret
from posthouse.storage.database import Database
from tests.api.counter import (
    SECRET,
    SETTINGS,
    Counter,
    checkout,
    dispute,
    generic_headers,
    refund,
    signature,
    stripe_headers,
)
from tests.billing.fakes import NOW, Clock
from tests.billing.test_points import TRICKS

TOLD: dict[str, Any] = {"id": "order-1", "account": "payer", "amount": "10.50", "currency": "USD"}


class Scene:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = Clock()
        self.counter = self.with_settings(SETTINGS)
        try:
            self.account = self.counter.directory.get_account("payer").id
        except NotFound:
            self.account = self.counter.directory.create_account(NewAccount(name="payer")).id

    def with_settings(self, settings: TopupSettings) -> Counter:
        return Counter(self.database, self.clock, settings, PointsSettings(currency="CNY", per_unit=100))

    def credited(self) -> dict[str, str]:
        """What the account has, by currency; and the books are sound."""
        assert verify(self.database, self.clock()).problems == ()
        found = self.counter.till.credits.balances(self.account)
        return {one.currency: f"{one.paid_in / 10**9:.2f}" for one in found if one.paid_in}


@pytest.fixture
def scene(books: Database) -> Scene:
    return Scene(books)


def test_a_signed_top_up_is_credited_once(scene: Scene) -> None:
    status, answer = scene.counter.topup(TOLD)
    assert (status, answer["credited"]) == (200, True)
    (credit,) = answer["credits"]
    assert (credit["account"], credit["amount"], credit["currency"]) == (scene.account, "10.5", "USD")
    assert (credit["kind"], credit["source"], credit["author"]) == ("topup", "topup:order-1", "webhook")
    scene.clock.now += 200
    assert scene.counter.topup(TOLD) == (200, {"credited": False, "credits": [credit]})
    assert scene.credited() == {"USD": "10.50"}


def test_an_account_may_be_named_by_its_id_and_points_are_shown(scene: Scene) -> None:
    status, answer = scene.counter.topup({**TOLD, "account": scene.account, "currency": "CNY", "reason": "by bank"})
    assert status == 200
    assert (answer["credits"][0]["points"], answer["credits"][0]["reason"]) == ("1050", "by bank")


@pytest.mark.parametrize(
    "other", [{"amount": "10.51"}, {"currency": "CNY"}, {"account": "default"}, {"reason": "something else"}]
)
def test_another_body_under_one_id_is_refused(scene: Scene, other: dict[str, str]) -> None:
    scene.counter.topup(TOLD)
    status, answer = scene.counter.topup({**TOLD, **other})
    assert (status, answer["error"]["code"]) == (409, "credit_exists")
    assert scene.credited() == {"USD": "10.50"}


BODY = json.dumps(TOLD).encode()
STAMP = str(int(NOW))
GOOD = signature(BODY, NOW)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Posthouse-Timestamp": STAMP},
        {"X-Posthouse-Signature": f"v1={GOOD}"},
        {"X-Posthouse-Timestamp": "", "X-Posthouse-Signature": f"v1={GOOD}"},
        {"X-Posthouse-Timestamp": f" {STAMP}", "X-Posthouse-Signature": f"v1={GOOD}"},
        {"X-Posthouse-Timestamp": f"+{STAMP}", "X-Posthouse-Signature": f"v1={GOOD}"},
        {"X-Posthouse-Timestamp": f"{STAMP}.0", "X-Posthouse-Signature": f"v1={GOOD}"},
        {"X-Posthouse-Timestamp": "٣", "X-Posthouse-Signature": f"v1={GOOD}"},
        {"X-Posthouse-Timestamp": "9" * 5000, "X-Posthouse-Signature": f"v1={GOOD}"},
        {"X-Posthouse-Timestamp": str(int(NOW) + 1), "X-Posthouse-Signature": f"v1={GOOD}"},
        {"X-Posthouse-Timestamp": STAMP, "X-Posthouse-Signature": ""},
        {"X-Posthouse-Timestamp": STAMP, "X-Posthouse-Signature": GOOD},
        {"X-Posthouse-Timestamp": STAMP, "X-Posthouse-Signature": f"v0={GOOD}"},
        {"X-Posthouse-Timestamp": STAMP, "X-Posthouse-Signature": f"v1={GOOD.upper()}"},
        {"X-Posthouse-Timestamp": STAMP, "X-Posthouse-Signature": f"v1={GOOD[:-1]}"},
        {"X-Posthouse-Timestamp": STAMP, "X-Posthouse-Signature": f"v1={GOOD}0"},
        {"X-Posthouse-Timestamp": STAMP, "X-Posthouse-Signature": "v1="},
        {"X-Posthouse-Timestamp": STAMP, "X-Posthouse-Signature": "v1=" + "é" * 64},
        {"X-Posthouse-Timestamp": STAMP, "X-Posthouse-Signature": ",".join(["v1=0"] * 16 + [f"v1={GOOD}"])},
        {"X-Posthouse-Timestamp": STAMP, "X-Posthouse-Signature": f"{'x' * 5000},v1={GOOD}"},
        generic_headers(BODY, NOW, "another-secret-of-the-tests"),
        generic_headers(BODY, NOW, ""),
        generic_headers(BODY + b" ", NOW),
        {"X-Posthouse-Timestamp": STAMP, "X-Posthouse-Signature": f"v1={SECRET}"},
    ],
)
def test_what_is_not_signed_with_our_secret_is_refused_in_the_same_words(scene: Scene, headers: dict[str, str]) -> None:
    status, answer = scene.counter.post("/webhooks/topup", BODY, headers)
    assert (status, answer["error"]["code"], answer["error"]["type"]) == (
        *(401, "signature_invalid"),
        "authentication_error",
    )
    assert answer["error"]["message"] == "The signature is missing, or it is not of this body."
    assert scene.credited() == {}


def test_of_several_signatures_one_is_enough(scene: Scene) -> None:
    """While a secret is being changed, a sender signs with both."""
    for signatures in (f"v1={'0' * 64}, v1={GOOD}", f"v1={GOOD},v1={'0' * 64}", f"v0={GOOD},v1={GOOD}"):
        headers = {"X-Posthouse-Timestamp": STAMP, "X-Posthouse-Signature": signatures}
        assert scene.counter.post("/webhooks/topup", BODY, headers)[0] == 200
    assert scene.credited() == {"USD": "10.50"}


@pytest.mark.parametrize(("off", "status"), [(300, 200), (-300, 200), (301, 400), (-301, 400), (-(10**9), 400)])
def test_a_signature_is_good_for_a_while(scene: Scene, off: int, status: int) -> None:
    headers = generic_headers(BODY, NOW + off)
    got, answer = scene.counter.post("/webhooks/topup", BODY, headers)
    assert got == status
    assert scene.credited() == ({"USD": "10.50"} if status == 200 else {})
    if status != 200:
        assert answer["error"]["code"] == "signature_stale"


@pytest.mark.parametrize("amount", [*TRICKS, "-10.50", "0", "0.00", "0.001", "10.505", "1000000001", "9" * 18])
def test_an_amount_that_nobody_can_have_paid_credits_nothing(scene: Scene, amount: str) -> None:
    status, answer = scene.counter.topup({**TOLD, "amount": amount})
    assert (status, answer["error"]["param"]) == (400, "amount")
    assert scene.credited() == {}


NO_AMOUNTS: list[Any] = [10.5, 10, True, None, [], {"amount": "1"}, 10**400]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        *(({"amount": raw}, "amount") for raw in NO_AMOUNTS),
        *(({"currency": raw}, "currency") for raw in ("usd", "US", "USDT", "ＵＳＤ", "", None, 5, "USD\n")),
        *(({"id": raw}, "id") for raw in ("", None, 5, "x" * 201, "a\nb", "\ud800")),
        *(({"account": raw}, "account") for raw in ("", None, 5, "x" * 129)),
        *(({"reason": raw}, "reason") for raw in ("", 5, "x" * 1001)),
        ({"points": 500}, "points"),
        ({"currency": "JPY"}, "amount"),
        ({"currency": "KWD", "amount": "1.0005"}, "amount"),
    ],
)
def test_a_body_that_says_no_payment_is_refused_by_name(scene: Scene, change: dict[str, Any], param: str) -> None:
    status, answer = scene.counter.topup({**TOLD, **change})
    assert (status, answer["error"]["param"]) == (400, param)
    assert scene.credited() == {}


def test_an_account_that_is_not_there_credits_nothing(scene: Scene) -> None:
    for account in ("nobody", "acc_0000", "' OR 1=1 --", "\u202e"):
        assert scene.counter.topup({**TOLD, "account": account})[0] == 404
    assert scene.credited() == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b'{"id": NaN}',
        b'{"id": Infinity}',
        BODY[:-1] + b', "amount": "1000.00"}',
        b'{"amount": "0.01", ' + BODY[1:],
        BODY.decode().encode("utf-16"),
        b"\xef\xbb\xbf" + BODY,
        BODY + BODY,
        b"\xff" + BODY,
        b"[" * 100_000,
        b'{"id":' * 2_000 + b"1" + b"}" * 2_000,
        b'{"id": ' + b"9" * 10_000 + b"}",
    ],
)
def test_a_body_that_can_be_read_in_two_ways_is_refused(scene: Scene, body: bytes) -> None:
    status, answer = scene.counter.topup(body)
    assert status in (400, 413)
    assert answer["error"]["type"] == "invalid_request_error"
    assert scene.credited() == {}


def test_bodies_are_bounded(scene: Scene) -> None:
    status, answer = scene.counter.topup(BODY + b" " * (16 << 10))
    assert (status, answer["error"]["code"]) == (413, "request_too_large")
    status, answer = scene.counter.stripe(b" " * ((512 << 10) + 1))
    assert (status, answer["error"]["code"]) == (413, "request_too_large")
    status, answer = scene.counter.post(
        "/webhooks/topup", BODY, {**generic_headers(BODY, NOW), "content-encoding": "gzip"}
    )
    assert (status, answer["error"]["code"]) == (400, "unsupported_encoding")
    assert scene.credited() == {}


@pytest.mark.parametrize("secret", [None, HookSecret(Secret(""))])
def test_without_a_secret_a_webhook_does_not_exist(scene: Scene, secret: HookSecret | None) -> None:
    nowhere = scene.with_settings(TopupSettings(generic_secret=secret, stripe_secret=secret))
    unknown = nowhere.post("/webhooks/nothing", BODY)[1]
    for path, headers in (
        ("/webhooks/topup", generic_headers(BODY, NOW, "")),
        ("/webhooks/topup", {}),
        ("/webhooks/stripe", stripe_headers(BODY, NOW, "")),
        ("/webhooks/stripe", {}),
    ):
        status, answer = nowhere.post(path, BODY, headers)
        assert status == 404
        assert answer == json.loads(json.dumps(unknown).replace("/webhooks/nothing", path))
    assert scene.credited() == {}


def test_one_secret_opens_one_webhook(scene: Scene) -> None:
    other = scene.with_settings(TopupSettings(stripe_secret=SETTINGS.stripe_secret))
    assert other.topup(TOLD)[0] == 404
    assert other.stripe(checkout("evt_1", "pi_1", "payer", 500))[0] == 200


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"minimum": Amount("10.51")}, "amount"),
        ({"minimum": Amount("10.50")}, None),
        ({"maximum": Amount("10.49")}, "amount"),
        ({"maximum": Amount("10.50")}, None),
        ({"amounts": (Amount("10"), Amount("20"))}, "amount"),
        ({"amounts": (Amount("10"), Amount("10.5"))}, None),
        ({"currencies": ("CNY", "EUR")}, "currency"),
        ({"currencies": ("CNY", "USD")}, None),
    ],
)
def test_only_what_is_sold_is_credited(scene: Scene, change: dict[str, Any], refused: str | None) -> None:
    counter = scene.with_settings(replace(SETTINGS, **change))
    for number, (status, answer) in enumerate(
        (counter.topup(TOLD), counter.stripe(checkout("evt_1", "pi_1", "payer", 1_050)))
    ):
        assert status == (200 if refused is None else 400), number
        if refused is not None:
            assert (answer["error"]["code"], answer["error"]["param"]) == ("payment_refused", refused)
    assert scene.credited() == ({"USD": "21.00"} if refused is None else {})


def test_no_secret_and_no_body_is_logged(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        scene.counter.topup(TOLD)
        scene.counter.post("/webhooks/topup", BODY, generic_headers(BODY, NOW, "another-secret-of-the-tests"))
        scene.counter.stripe(checkout("evt_1", "pi_1", "payer", 1_050))
    assert SECRET not in caplog.text
    assert "order-1" not in caplog.text
    assert not any(SECRET in str(error) for error in scene.counter.refusals.errors)


# --- Stripe -----------------------------------------------------------------------------------------------------------
def test_a_checkout_that_is_paid_is_credited_once_by_whatever_event(scene: Scene) -> None:
    event = checkout("evt_1", "pi_1", "payer", 1_999)
    status, answer = scene.counter.stripe(event)
    assert (status, answer["credited"], answer["credits"][0]["source"]) == (200, True, "stripe:pi_1")
    assert scene.counter.stripe(event) == (200, {"credited": False, "credits": []})
    again = {**event, "id": "evt_2", "type": "checkout.session.async_payment_succeeded"}
    assert scene.counter.stripe(again) == (200, {"credited": False, "credits": []})
    assert scene.credited() == {"USD": "19.99"}


@pytest.mark.parametrize(
    ("amount", "currency", "credited"),
    [
        (1_999, "usd", "19.99"),
        (1_999, "cny", "19.99"),
        (1_999, "jpy", "1999.00"),
        (1_999, "krw", "1999.00"),
        (50_000, "vnd", "50000.00"),
        (1_990, "kwd", "1.99"),
        (500, "isk", "5.00"),
        (1, "usd", "0.01"),
    ],
)
def test_amounts_are_in_the_smallest_part_of_their_currency(
    scene: Scene, amount: int, currency: str, credited: str
) -> None:
    assert scene.counter.stripe(checkout("evt_1", "pi_1", "payer", amount, currency))[0] == 200
    assert scene.credited() == {currency.upper(): credited}


@pytest.mark.parametrize(
    ("session", "param"),
    [
        *(({"amount_total": raw}, "amount_total") for raw in (0, -1, 10.5, "1999", True, None, 10**30, 1e3)),
        *(({"currency": raw}, "currency") for raw in ("USD", "us", "", None, 5, "usdt", "ｕｓｄ")),
        ({"payment_intent": 5}, "payment_intent"),
        ({"payment_intent": "pi 1"}, "payment_intent"),
        ({"payment_intent": None, "id": ""}, "id"),
        ({"client_reference_id": 5}, "client_reference_id"),
        ({"metadata": {"posthouse_account": "default"}}, "client_reference_id"),
        ({"metadata": {"posthouse_account": 5}}, "client_reference_id"),
        ({"currency": "isk", "amount_total": 550}, "amount"),
    ],
)
def test_a_checkout_that_makes_no_sense_credits_nothing(scene: Scene, session: dict[str, Any], param: str) -> None:
    status, answer = scene.counter.stripe(checkout("evt_1", "pi_1", "payer", 1_999, **{"currency": "usd", **session}))
    assert (status, answer["error"]["param"]) == (400, param)
    assert scene.credited() == {}
    assert scene.counter.stripe(checkout("evt_1", "pi_1", "payer", 1_999))[1]["credited"] is True


@pytest.mark.parametrize(
    "session",
    [
        {"payment_status": "unpaid"},
        {"payment_status": "no_payment_required", "amount_total": 0},
        {"payment_status": None},
        {"payment_status": "PAID"},
        {"mode": "subscription"},
        {"mode": "setup"},
        {"client_reference_id": None},
        {"client_reference_id": None, "metadata": {"other": "payer"}},
        {"client_reference_id": None, "metadata": None},
    ],
)
def test_a_checkout_that_is_not_paid_or_not_ours_is_no_error_and_credits_nothing(
    scene: Scene, session: dict[str, Any]
) -> None:
    answer = scene.counter.stripe(checkout("evt_1", "pi_1", "payer", 1_999, **session))
    assert answer == (200, {"credited": False, "credits": []})
    assert scene.credited() == {}


def test_a_checkout_may_name_its_account_in_metadata_and_have_no_intent(scene: Scene) -> None:
    named: dict[str, Any] = {
        "client_reference_id": None,
        "metadata": {"posthouse_account": scene.account},
        "payment_intent": None,
    }
    status, answer = scene.counter.stripe(checkout("evt_1", "pi_1", "", 1_999, **named))
    assert (status, answer["credits"][0]["source"]) == (200, "stripe:cs_pi_1")


def test_a_checkout_for_an_account_that_is_not_there_can_be_told_again(scene: Scene) -> None:
    assert scene.counter.stripe(checkout("evt_1", "pi_1", "nobody yet", 1_999))[0] == 404
    assert scene.credited() == {}


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"id": "evt_1"},
        {"id": "evt_1", "type": "charge.refunded"},
        {"id": "evt_1", "type": 5, "data": {"object": {}}},
        {"id": "evt_1", "type": "charge.refunded", "data": {"object": []}},
        {"id": "evt_1", "type": "charge.refunded", "data": {"object": {}}},
        {"id": "", "type": "charge.refunded", "data": {"object": {}}},
        {"id": "evt 1", "type": "customer.created", "data": {"object": {}}},
        {"id": "evt_1", "type": "charge.dispute.created", "data": {"object": {"id": 5}}},
    ],
)
def test_an_event_that_is_none_is_refused(scene: Scene, event: dict[str, Any]) -> None:
    assert scene.counter.stripe(event)[0] == 400


def test_events_of_anything_else_are_no_error(scene: Scene) -> None:
    event = {"id": "evt_1", "type": "customer.created", "data": {"object": {"id": "cus_1"}}}
    assert scene.counter.stripe(event) == (200, {"credited": False, "credits": []})


def test_another_body_under_one_event_is_refused(scene: Scene) -> None:
    scene.counter.stripe(checkout("evt_1", "pi_1", "payer", 1_999))
    for other in (
        checkout("evt_1", "pi_1", "payer", 2_999),
        checkout("evt_1", "pi_2", "payer", 1_999),
        checkout("evt_1", "pi_1", "default", 1_999),
        refund("evt_1", "pi_1", 1_999),
    ):
        status, answer = scene.counter.stripe(other)
        assert (status, answer["error"]["code"]) == (409, "event_reused")
    assert scene.credited() == {"USD": "19.99"}


def test_refunds_and_disputes_take_back_once_and_by_difference(scene: Scene) -> None:
    counter = scene.counter
    counter.stripe(checkout("evt_1", "pi_1", "payer", 2_000))

    def taken(event: dict[str, Any]) -> list[str]:
        status, answer = counter.stripe(event)
        assert status == 200, answer
        return [credit["amount"] for credit in answer["credits"]]

    assert taken(refund("evt_2", "pi_1", 500)) == ["-5"]
    assert taken(refund("evt_2", "pi_1", 500)) == []
    assert taken(refund("evt_3", "pi_1", 800)) == ["-3"]
    assert taken(refund("evt_4", "pi_other", 800)) == []
    assert taken(dispute("evt_5", "dp_1", "pi_1", 700)) == ["-7"]
    assert taken(dispute("evt_6", "dp_1", "pi_1", 700)) == []
    assert scene.credited() == {"USD": "5.00"}
    assert taken(refund("evt_7", "pi_1", 2_000)) == ["-5"]
    assert scene.credited() == {}


@pytest.mark.parametrize(
    "make",
    [
        lambda body: {},
        lambda body: {"Stripe-Signature": ""},
        lambda body: {"Stripe-Signature": f"v1={signature(body, NOW)}"},
        lambda body: {"Stripe-Signature": f"t={STAMP}"},
        lambda body: {"Stripe-Signature": f"t={STAMP},v0={signature(body, NOW)}"},
        lambda body: {"Stripe-Signature": f"t={STAMP},t={STAMP},v1={signature(body, NOW)}"},
        lambda body: {"Stripe-Signature": f"t=x,v1={signature(body, NOW)}"},
        lambda body: {"Stripe-Signature": f"t={int(NOW) - 1},v1={signature(body, NOW)}"},
        lambda body: stripe_headers(body, NOW, "another-secret-of-the-tests"),
        lambda body: stripe_headers(body + b"\n", NOW),
        lambda body: generic_headers(body, NOW),
    ],
)
def test_an_event_that_stripe_has_not_signed_is_refused(scene: Scene, make: Callable[[bytes], dict[str, str]]) -> None:
    body = json.dumps(checkout("evt_1", "pi_1", "payer", 1_999)).encode()
    status, answer = scene.counter.post("/webhooks/stripe", body, make(body))
    assert (status, answer["error"]["code"]) == (401, "signature_invalid")
    assert scene.credited() == {}


def test_an_event_that_is_replayed_late_is_stale(scene: Scene) -> None:
    body = json.dumps(checkout("evt_1", "pi_1", "payer", 1_999)).encode()
    headers = stripe_headers(body, NOW)
    scene.clock.now += 301
    status, answer = scene.counter.post("/webhooks/stripe", body, headers)
    assert (status, answer["error"]["code"]) == (400, "signature_stale")
    assert scene.credited() == {}


# --- anything ---------------------------------------------------------------------------------------------------------
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["payer", "usd"])
)
NAMES = st.sampled_from(
    [*TOLD, "type", "data", "object", "metadata", "amount_total", "amount_refunded", "payment_intent"]
)
ANYTHING = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES | st.text(max_size=5), below, max_size=6)
)
EVENTS = st.sampled_from(["checkout.session.completed", "charge.refunded", "charge.dispute.created"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200) | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_no_signed_body_is_a_fault_of_ours(scene: Scene, body: bytes) -> None:
    for status, _ in (scene.counter.topup(body), scene.counter.stripe(body)):
        assert status < 500


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=EVENTS, found=st.dictionaries(NAMES, ANYTHING, max_size=8), change=st.dictionaries(NAMES, ANYTHING, max_size=3)
)
def test_no_signed_event_is_a_fault_of_ours(
    scene: Scene, kind: str, found: dict[str, Any], change: dict[str, Any]
) -> None:
    session = checkout("evt_1", "pi_1", "payer", 1_999)["data"]["object"]
    for one in (found, {**session, **change}):
        event = {"id": "evt_any", "type": kind, "data": {"object": one}}
        assert scene.counter.stripe(event)[0] < 500
    assert scene.counter.topup({**TOLD, **change})[0] < 500
