"""The smallest part of a currency."""

import pytest

from posthouse.core.currencies import is_payable, minor_digits


@pytest.mark.parametrize(
    ("currency", "digits"), [("USD", 2), ("CNY", 2), ("JPY", 0), ("KRW", 0), ("VND", 0), ("KWD", 3), ("XXX", 2)]
)
def test_a_currency_has_so_many_places(currency: str, digits: int) -> None:
    assert minor_digits(currency) == digits


@pytest.mark.parametrize(
    ("nano", "currency", "payable"),
    [
        (10_000_000, "USD", True),
        (5_000_000, "USD", False),
        (1, "USD", False),
        (1_000_000_000, "JPY", True),
        (500_000_000, "JPY", False),
        (1_000_000, "KWD", True),
        (100_000, "KWD", False),
    ],
)
def test_only_whole_parts_can_be_paid(nano: int, currency: str, payable: bool) -> None:
    assert is_payable(nano, currency) is payable
