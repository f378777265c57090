"""What the smallest part of a currency is: a payment of less of it cannot have been made.

Source: ISO 4217, list one, of 2026-01-01 (minor units).
"""

from typing import Final

_NONE: Final = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())
_THREE: Final = frozenset(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"))


def minor_digits(currency: str) -> int:
    """Decimal places that amounts of it have: 2 for most, and for those that nobody knows."""
    return 0 if currency in _NONE else 3 if currency in _THREE else 2


def is_payable(nano: int, currency: str) -> bool:
    """Whether an amount in nano-units is a whole number of the currency's smallest parts."""
    part: int = 10 ** (9 - minor_digits(currency))
    return nano % part == 0
