"""What a key is told of its own money."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from posthouse.billing.balances import DAY_MS
from posthouse.billing.dashboard import (
    UNLIMITED,
    Standing,
    credit_grants,
    dates_of,
    subscription,
    usage_of_key,
)
from posthouse.billing.span import Span
from posthouse.billing.standings import standing
from posthouse.core.caller import Caller
from posthouse.core.errors import InvalidRequest
from tests.billing.fakes import NOW, PRICE, caller, usd
from tests.billing.stored import StoredHouse

TODAY = int(NOW * 1000) // DAY_MS * DAY_MS


def plain(body: dict[str, Any]) -> dict[str, Any]:
    """As a client reads it."""
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(body))
    return decoded


def asked(house: StoredHouse, who: Caller) -> Standing:
    house.save()
    with house.database.snapshot() as connection:
        return standing(connection, who, int(NOW * 1000))


def test_a_key_with_a_budget_sees_what_it_used_and_what_is_left(stored: StoredHouse) -> None:
    house = stored
    me = caller(key=usd(5_000_000_000))
    house.hold(me, 1_250_000_000)
    found = asked(house, me)
    assert (found.used, found.left, found.limit) == (1_250_000_000, 3_750_000_000, 5_000_000_000)
    body = plain(subscription(found, 1_800_000_000.0))
    assert (body["object"], body["hard_limit_usd"], body["access_until"]) == ("billing_subscription", 5, 1_800_000_000)
    granted = plain(credit_grants(found, "key_1", None))
    assert (granted["total_granted"], granted["total_used"], granted["total_available"]) == (5, 1.25, 3.75)
    (grant,) = granted["grants"]["data"]
    assert (grant["id"], grant["grant_amount"], grant["used_amount"], grant["expires_at"]) == ("key_1", 5, 1.25, 0)


def test_the_budget_with_the_least_left_is_the_one_and_other_keys_stay_unseen(stored: StoredHouse) -> None:
    house = stored
    account = usd(1_000, "month")
    house.hold(caller(account=account, name="2"), 700)
    me = caller(key=usd(900), account=account)
    house.hold(me, 50)
    found = asked(house, me)
    assert (found.used, found.left, found.limit) == (50, 250, 300)


@pytest.mark.parametrize(
    ("period", "days"), [("day", (0, 1)), ("week", (-4, 3)), ("month", (-19, 11)), ("total", None)]
)
def test_a_grant_lasts_as_long_as_the_period(stored: StoredHouse, period: str, days: tuple[int, int] | None) -> None:
    found = asked(stored, caller(key=usd(10, period)))
    expected = (None, None) if days is None else tuple(TODAY + day * DAY_MS for day in days)
    assert (found.start_ms, found.end_ms) == expected
    if days is not None:
        (grant,) = plain(credit_grants(found, "k", None))["grants"]["data"]
        assert (grant["effective_at"], grant["expires_at"]) == (expected[0] // 1000, expected[1] // 1000)  # type: ignore[operator]


def test_what_is_overdrawn_is_never_a_negative_limit() -> None:
    assert Standing(70, -20, "USD").limit == 70


def test_without_a_budget_there_is_no_limit(stored: StoredHouse) -> None:
    found = asked(stored, caller())
    assert found == Standing(0, None, None)
    assert plain(subscription(found, None))["hard_limit_usd"] == UNLIMITED // 10**9
    assert plain(subscription(found, None))["access_until"] == 0


@pytest.fixture
def kept(stored: StoredHouse) -> StoredHouse:
    yuan = type(PRICE)("CNY", "test", "m", PRICE.rates)
    for number in range(4):
        stored.settle(stored.hold(caller()), 1_000 + number)
        stored.settle(stored.hold(caller(name="2")), 1_000_000)
        stored.settle(stored.hold(replace(caller(name="3"), account_id="acc_2")), 1_000_000)
        stored.clock.now += 86_400
    stored.settle(stored.hold(caller(), 10, "CNY"), 77, yuan)
    stored.save()
    return stored


def test_usage_is_the_keys_own_in_hundredths_by_day_and_model(kept: StoredHouse) -> None:
    with kept.database.read() as connection:
        body = plain(usage_of_key(connection, "key_1", Span(), None))
        some = plain(usage_of_key(connection, "key_1", Span(TODAY + DAY_MS, TODAY + 3 * DAY_MS), "USD"))
        yuan = plain(usage_of_key(connection, "key_1", Span(), "CNY"))
        nobody = plain(usage_of_key(connection, "key_x", Span(), None))
    assert (body["total_usage"], body["currency"]) == (0.0004006, "USD")
    assert [day["timestamp"] for day in body["daily_costs"]] == [(TODAY + n * DAY_MS) // 1000 for n in range(4)]
    assert body["daily_costs"][1]["line_items"] == [{"name": "m", "cost": 0.0001001}]
    assert some["total_usage"] == 0.0002003
    assert (yuan["total_usage"], yuan["currency"]) == (0.0000077, "CNY")
    assert (nobody["total_usage"], nobody["daily_costs"]) == (0, [])


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"start_date": ["2026-11-01"]}, "end_date"),
        ({"end_date": ["2026-11-01"]}, "start_date"),
        ({"start_date": ["2026-11-31"], "end_date": ["2026-12-01"]}, "start_date"),
        ({"start_date": ["2026-11-01"], "end_date": ["soon"]}, "end_date"),
        ({"start_date": ["2026-W10-1"], "end_date": ["2026-12-01"]}, "start_date"),
        ({"start_date": ["20261101"], "end_date": ["2026-12-01"]}, "start_date"),
        ({"start_date": ["2026-12-02"], "end_date": ["2026-12-01"]}, "end_date"),
        ({"start_date": ["0001-01-01"], "end_date": ["9999-12-31"]}, "end_date"),
        ({"start_date": [""], "end_date": ["2026-12-01"]}, "start_date"),
    ],
)
def test_what_is_no_span_of_dates_is_refused_by_name(query: dict[str, list[str]], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        dates_of(query)
    assert caught.value.param == param


def test_dates_are_utc_days_and_the_last_is_not_included() -> None:
    assert dates_of({}) == Span()
    found = dates_of({"start_date": ["2026-11-20"], "end_date": ["2026-11-21"]})
    assert found == Span(TODAY, TODAY + DAY_MS)
