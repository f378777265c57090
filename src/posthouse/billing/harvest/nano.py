"""Prices of others as integers."""

from decimal import ROUND_HALF_UP, Decimal

from posthouse.core.money import NANO


def nano(price: Decimal) -> int:
    """Nano-units of a price, half up: some rows carry the dust of a float (0.18000000000000002)."""
    return int((price * NANO).quantize(Decimal(1), ROUND_HALF_UP))
