"""Amounts as people write them, in money and in points: exact, or refused by name."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.billing.points import MAX_NANO, Points, exact_nano, money_of, points_of, shown_points
from posthouse.core.errors import InvalidRequest
from posthouse.core.money import NANO, Money, parse_nano
from posthouse.settings import PointsSettings

DIVISORS = [2**a * 5**b for a in range(10) for b in range(10)]
DOLLARS = Points("points", "USD", 500_000)
FEN = Points("积分", "CNY", 100)


def test_points_are_a_part_of_a_currency() -> None:
    assert money_of({"points": 500_000}, DOLLARS) == Money(NANO, "USD")
    assert money_of({"points": 1}, DOLLARS) == Money(2_000, "USD")
    assert money_of({"points": "150"}, FEN) == Money(1_500_000_000, "CNY")
    assert money_of({"points": "0.5"}, FEN) == Money(5_000_000, "CNY")
    assert shown_points(FEN, 1_500_000_000, "CNY") == {"points": "150"}
    assert shown_points(FEN, -5_000_000, "CNY") == {"points": "-0.5"}
    assert shown_points(FEN, 1, "USD") == shown_points(None, 1, "CNY") == {}


def test_there_are_none_without_a_currency() -> None:
    assert points_of(PointsSettings()) is None
    assert points_of(PointsSettings(name="p", currency="CNY", per_unit=100)) == Points("p", "CNY", 100)


@given(st.sampled_from(DIVISORS), st.integers(1, MAX_NANO))
def test_what_is_shown_in_points_is_read_as_the_same_money(per_unit: int, nano: int) -> None:
    points = Points("p", "USD", per_unit)
    assert points.nano * per_unit == NANO
    assert money_of({"points": points.shown(nano)}, points) == Money(nano, "USD")


@given(st.decimals(min_value="0.000000001", max_value="999999999", places=9))
def test_an_amount_is_read_exactly(amount: Any) -> None:
    assert exact_nano(f"{amount:f}", "amount") == parse_nano(f"{amount:f}")


# What reads as a number somewhere, and is none here; Decimal takes most of them.
TRICKS = [
    *(
        "1e3",
        "1E3",
        "+5",
        " 5",
        "5 ",
        "5\n",
        "1_000",
        "1,000",
        "0x10",
        ".5",
        "5.",
        "05",
        "00",
        "٥",
        "５",
        "1.0000000001",
    ),
    *("NaN", "nan", "Infinity", "-Infinity", "inf", "", "-", "--5", "5-", "1.2.3", "²", "5\0", "1e-9", "0.", "٠.5"),
]


@pytest.mark.parametrize("text", [*TRICKS, "-5", "0", "0.00", "1000000001", "9" * 18])
def test_what_is_no_plain_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        exact_nano(text, "amount")
    assert caught.value.param == "amount"


@pytest.mark.parametrize("raw", [5, 5.0, True, None, [], {}, b"5", float("nan")])
def test_what_is_no_text_is_refused(raw: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        exact_nano(raw, "amount")
    assert caught.value.param == "amount"


def test_only_where_it_is_asked_for_an_amount_may_be_negative() -> None:
    assert exact_nano("-5.25", "amount", signed=True) == -5_250_000_000
    assert money_of({"points": -100}, FEN, signed=True) == Money(-NANO, "CNY")
    for body in ({"points": -100}, {"amount": "-1", "currency": "CNY"}):
        with pytest.raises(InvalidRequest):
            money_of(body, FEN)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "amount"),
        ({"amount": "1"}, "currency"),
        ({"amount": "1", "currency": "usd"}, "currency"),
        ({"amount": "1", "currency": "USDT"}, "currency"),
        ({"amount": "1", "currency": 5}, "currency"),
        ({"points": 5, "amount": "1"}, "amount"),
        ({"points": 5, "currency": "CNY"}, "currency"),
        ({"points": 0}, "points"),
        ({"points": True}, "points"),
        ({"points": 1.5}, "points"),
        ({"points": "1e3"}, "points"),
        ({"points": "0.00000001"}, "points"),
        ({"points": 10**18}, "points"),
        ({"points": "100000000001"}, "points"),
    ],
)
def test_money_that_is_not_said_whole_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        money_of(body, FEN, "bonus.")
    assert caught.value.param == f"bonus.{param}"


def test_points_are_refused_where_none_are_set_up() -> None:
    with pytest.raises(InvalidRequest, match="no points are set up") as caught:
        money_of({"points": 5}, None)
    assert caught.value.param == "points"
