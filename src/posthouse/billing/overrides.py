"""[[prices]] and what is set beside the file, read: amounts or a multiplier, for whom, and when.

A row with amounts says itself what a call costs. One with a multiplier multiplies what would hold without it: the price
of a region is 1.1 of the vendor's list, of a batch 0.5 of the standard price. `service_tier` makes a row one for the
calls that were served at that tier.

Above: prices. Below: settings, core.
"""

import datetime as dt
from fractions import Fraction
from typing import Final, Literal

from msgspec import Struct

from posthouse.billing.model import Price, Tier, rates_of
from posthouse.billing.units import BESIDE, BY_ANYTHING, MEASURES, SOLD_BY, Measure, UnitRates
from posthouse.core.errors import ConfigError
from posthouse.core.hours import Hours, hours_of
from posthouse.core.money import NANO, parse_nano
from posthouse.settings.check import price_problems
from posthouse.settings.model import PriceSettings, TierSettings
from posthouse.settings.problem import dotted

EVERY_MODEL: Final = "*"
# The field of [[prices]] -> the usage class.
FIELDS: Final = {
    "input": "input",
    "cached_input": "cache_read",
    "cache_write": "cache_write",
    "cache_write_1h": "cache_write_1h",
    "output": "output",
    "reasoning": "reasoning",
    "audio_input": "audio_input",
    "audio_output": "audio_output",
    "image_input": "image_input",
    "image_output": "image_output",
    "cached_audio_input": "audio_cache_read",
    "cached_image_input": "image_cache_read",
}
_ZERO: Final = rates_of({"input": 0})
_FOREVER: Final = float("inf")

Place = Literal["configuration", "set"]


class Override(Struct, frozen=True):
    """One row, read. `account` None holds for all; `start` and `end` are in seconds since the epoch; either `price` or
    `factor` is given. `id` is that of a row that was set beside the file."""

    account: str | None
    model: str
    start: float
    price: Price | None
    end: float = _FOREVER
    factor: Fraction | None = None
    tier: str | None = None
    hours: Hours | None = None
    place: Place = "configuration"
    id: str | None = None
    told: str = ""

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """What is said of one model, of one account and of some hours goes before what is said of all, in this
        order."""
        return self.model != EVERY_MODEL, self.account is not None, self.hours is not None

    @property
    def kind(self) -> tuple[object, ...]:
        """Of rows of one kind only the newest in force counts; those of several add to each other."""
        return self.model, self.account, self.tier, self.hours

    @property
    def age(self) -> tuple[float, bool, str]:
        return self.start, self.place == "set", self.id or ""

    def in_force(self, now: float) -> bool:
        if not self.start <= now < self.end:
            return False
        return self.hours is None or self.hours.active(dt.datetime.fromtimestamp(now, dt.UTC))


def read_override(index: int, table: PriceSettings, place: Place = "configuration", id: str | None = None) -> Override:
    """A row as it is looked up. It needs `input`, a unit, or `request`, or else a `multiplier`; what is missing in it,
    or contradicts itself, is ConfigError."""
    for _, path, message in price_problems(table):
        where = dotted((f"prices[{index}]", *path)) if path else f"prices[{index}]"
        if message.startswith("`input`"):
            raise ConfigError(
                f"{where}.input is missing: the price of {table.model!r} needs it, or a unit, or `request` alone"
            )
        if path == ("image",):
            raise ConfigError(f"{where} is missing: the price of {table.model!r} needs it for images of any other kind")
        raise ConfigError(f"{where}: {message}")
    since, until = table.effective_from, table.effective_until
    return Override(
        account=table.provider,
        model=table.model,
        start=0.0 if since is None else _midnight(since),
        end=_FOREVER if until is None else _midnight(until),
        price=_price_of(table, place) if table.multiplier is None else None,
        factor=None if table.multiplier is None else Fraction(parse_nano(table.multiplier), NANO),
        tier=table.service_tier,
        hours=hours_of(table.daily_from, table.daily_until, table.zone, table.days),
        place=place,
        id=id,
        told=_told(table, place, id),
    )


def _midnight(day: dt.date) -> float:
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC).timestamp()


def _price_of(table: PriceSettings, place: Place) -> Price:
    given = _amounts(table)
    units, measures = _units_of(table)
    if "input" in given:
        measures |= {"tokens"}
    return Price(
        currency=table.currency or "",  # which price_problems has asked for
        source=place,
        model=table.model,
        rates=rates_of(given) if given else _ZERO,
        tiers=tuple(Tier(tier.above, rates_of(given | _amounts(tier))) for tier in table.tiers),
        per_request=parse_nano(table.request) if table.request is not None else 0,
        effective_from=None if table.effective_from is None else table.effective_from.isoformat(),
        units=units,
        measures=measures or BY_ANYTHING,
    )


def _amounts(table: PriceSettings | TierSettings) -> dict[str, int]:
    return {ours: parse_nano(text) for name, ours in FIELDS.items() if (text := getattr(table, name, None)) is not None}


def _units_of(table: PriceSettings) -> tuple[UnitRates | None, frozenset[Measure]]:
    """The units that a table names, and what they measure."""
    given = {name: text for name in SOLD_BY if (text := getattr(table, name)) is not None}
    if not given:
        return None, frozenset()
    rates = {name: parse_nano(text) * SOLD_BY[name] for name, text in given.items()}
    kinds = {kind.lower(): parse_nano(text) * SOLD_BY["image"] for kind, text in table.image_kinds.items()}
    measures = frozenset(MEASURES[name] for name in given if name not in BESIDE)
    return UnitRates(**rates, image_kinds=kinds), measures


def _told(table: PriceSettings, place: Place, id: str | None) -> str:
    """What row this is, in words."""
    of = "any provider" if table.provider is None else f"provider {table.provider!r}"
    parts = [f"{'[[prices]]' if place == 'configuration' else id or 'a price'} of {table.model!r} for {of}"]
    if table.service_tier is not None:
        parts.append(f"at the service tier {table.service_tier}")
    if table.effective_from is not None:
        parts.append(f"from {table.effective_from.isoformat()}")
    if table.effective_until is not None:
        parts.append(f"until {table.effective_until.isoformat()}")
    if table.daily_from is not None:
        parts.append(f"daily {table.daily_from}-{table.daily_until} {table.zone}")
    if table.days:
        parts.append(f"on {' '.join(table.days)}")
    if table.multiplier is not None:
        parts.append(f"times {table.multiplier}")
    return ", ".join(parts)
