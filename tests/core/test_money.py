"""Money: exact, and never a float."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.money import Money, format_nano, parse_nano


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("0", 0),
        ("0.15", 150_000_000),
        ("5.00", 5 * 10**9),
        ("0.000000001", 1),
        ("1e-9", 1),
        ("9223372036", 9223372036 * 10**9),
    ],
)
def test_a_decimal_string_is_read_exactly(text: str, nano: int) -> None:
    assert parse_nano(text) == nano


@pytest.mark.parametrize("text", ["", "x", "-1", "NaN", "Infinity", "0.0000000001", "1e30", "1,5", "$1"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_nano(text)


@pytest.mark.parametrize(
    ("nano", "text"), [(0, "0"), (150, "0.00000015"), (10**9, "1"), (-1_500_000_000, "-1.5"), (1, "0.000000001")]
)
def test_an_amount_is_written_without_trailing_zeros(nano: int, text: str) -> None:
    assert format_nano(nano) == text


@given(st.integers(0, 2**63 - 1).filter(lambda nano: nano <= (2**63 - 1) // 10**9 * 10**9))
def test_what_is_written_reads_the_same(nano: int) -> None:
    assert parse_nano(format_nano(nano)) == nano


def test_money_says_its_currency() -> None:
    assert str(Money(1_500_000_000, "EUR")) == "1.5 EUR"
