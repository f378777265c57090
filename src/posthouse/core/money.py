"""Money: integers of nano-units with a currency, never a float.

A nano-unit is 10^-9 of the currency's unit. A rate is nano-units per million units of usage, so that 0.0125 USD per
million tokens (12,500,000) is still a whole number. A cost is rounded once, half up, at the end of a whole call.
"""

from decimal import Decimal, InvalidOperation
from typing import Final

from msgspec import Struct

NANO: Final = 1_000_000_000
_MAX_NANO: Final = 2**63 - 1  # what a BIGINT column holds


class Money(Struct, frozen=True, gc=False):
    """`nano` of `currency` (ISO 4217, upper case)."""

    nano: int
    currency: str

    def __str__(self) -> str:
        return f"{format_nano(self.nano)} {self.currency}"


def parse_nano(text: str) -> int:
    """Nano-units of a decimal string such as `0.15`. ValueError where it is no number, negative, too large or too
    fine."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal number") from None
    if not value.is_finite() or value < 0:
        raise ValueError(f"{text!r} is not a non-negative amount")
    if value > _MAX_NANO // NANO:
        raise ValueError(f"{text!r} is too large")
    nano = value * NANO
    if nano != nano.to_integral_value():
        raise ValueError(f"{text!r} has more than nine decimal places")
    return int(nano)


def format_nano(nano: int) -> str:
    """The exact decimal string, without trailing zeros: 150 -> `0.00000015`, 0 -> `0`."""
    if 0 < nano < NANO:  # as nearly every cost of one call
        return f"0.{nano:09d}".rstrip("0")
    sign = "-" if nano < 0 else ""
    whole, rest = divmod(abs(nano), NANO)
    if not rest:
        return f"{sign}{whole}"
    return f"{sign}{whole}." + f"{rest:09d}".rstrip("0")
