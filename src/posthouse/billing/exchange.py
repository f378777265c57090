"""Rates between currencies: dated, the operator's own ([[rates]]), and never made up.

An amount is exchanged once, after it was rounded in its own currency, and rounded again, half up, to a whole nano-unit.
A rate is a fraction of integers, so that its other direction is exact as well. Rates are not chained: from CNY to EUR
by way of USD is a rate that nobody has given.
"""

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from posthouse.core.money import NANO, format_nano, parse_nano
from posthouse.settings.model import RateSettings

_DAY: Final = 86_400


class Exchange(Struct, frozen=True):
    """`numerator` / `denominator` units of `currency` for one of `listed`, as given on `date` (ISO, UTC)."""

    listed: str
    currency: str
    numerator: int
    denominator: int
    date: str

    def of(self, nano: int) -> int:
        """Nano-units of `currency`, rounded half up."""
        return (2 * nano * self.numerator + self.denominator) // (2 * self.denominator)

    def __str__(self) -> str:
        """`0.14` where the rate was given in this direction, `1/7.12` where it was given in the other."""
        if self.denominator == NANO:
            return format_nano(self.numerator)
        return f"1/{format_nano(self.denominator)}"


class ExchangeBook:
    """All rates of the house. A rate holds from its date (UTC) until the next one of its pair."""

    def __init__(self, rates: Iterable[RateSettings] = ()) -> None:
        self._pairs: dict[tuple[str, str], list[tuple[str, int]]] = {}
        for rate in rates:
            pair = self._pairs.setdefault((rate.base, rate.quote), [])
            pair.append((rate.date.isoformat(), parse_nano(rate.rate)))
        for dated in self._pairs.values():
            dated.sort()

    def replace(self, other: "ExchangeBook") -> None:
        self._pairs = other._pairs

    def find(self, listed: str, currency: str, now: float) -> Exchange | None:
        """How `listed` is exchanged into `currency` at `now` (seconds since the epoch); None where nobody says. A rate
        that was given in this direction goes before one in the other, however old it is."""
        day = dt.datetime.fromtimestamp(now, dt.UTC).date().isoformat()
        if (found := self._latest(listed, currency, day)) is not None:
            return Exchange(listed, currency, found[1], NANO, found[0])
        if (found := self._latest(currency, listed, day)) is not None:
            return Exchange(listed, currency, NANO, found[1], found[0])
        return None

    def _latest(self, base: str, quote: str, day: str) -> tuple[str, int] | None:
        dated = self._pairs.get((base, quote))
        if dated is None:
            return None
        place = bisect_right(dated, day, key=lambda one: one[0])
        return dated[place - 1] if place else None
