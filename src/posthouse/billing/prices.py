"""Which price a call has: the operator's own, else zero for self-hosted models, else the seed's, else none (Unpriced).

An unknown price is None and never zero; the ledger decides by policy what to do with it. So is one that says nothing of
the use: a price by tokens for images, a price by images for a chat. A price is asked once for a deployment (`line`),
and then for each call (`PriceLine.at`, 0.2 us, or `listed`); it changes only at UTC midnight, or at a minute where the
seed has prices by time of day.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from posthouse.billing.model import Price, rates_of
from posthouse.billing.seed import Seed, SeedPrice, in_force
from posthouse.billing.units import BY_ANYTHING, MEASURES, SOLD_BY, Measure, UnitRates
from posthouse.core.errors import ConfigError
from posthouse.core.money import parse_nano
from posthouse.settings.model import PriceSettings

_MAX_LINES: Final = 8192
_DAY: Final = 86_400
_MINUTE: Final = 60
_ZERO: Final = rates_of({"input": 0})
# The field of [[prices]] -> the usage class.
_FIELDS: Final = {
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
}


class PriceKey(Struct, frozen=True):
    """What a price is looked up by.

    account         name of the provider account, as in [[prices]] `provider`
    names           names that an override may use: the public model first, then the upstream's
    seed_provider   the vendor's id in the seed, None where it has none: then the seed is not asked
    seed_names      names to look for in the seed, in order; the upstream's own, since an alias may say anything
    free            self-hosted: zero unless overridden
    currency        of the zero price
    """

    account: str
    names: tuple[str, ...]
    seed_provider: str | None = None
    seed_names: tuple[str, ...] = ()
    free: bool = False
    currency: str = "USD"


class Override(Struct, frozen=True):
    """One [[prices]] table, read. `account` None holds for all; `start` is in seconds since the epoch."""

    account: str | None
    model: str
    start: float
    price: Price


class PriceStep(Struct, frozen=True):
    """One place that was asked for a price, in their order; at most one of them was `taken`."""

    place: Literal["configuration", "self-hosted", "seed"]
    taken: bool
    detail: str


class PriceLine:
    """The prices of one deployment over time."""

    def __init__(
        self, key: PriceKey, overrides: Sequence[Override], rows: tuple[str, list[SeedPrice]] | None, seed: Seed
    ):
        self.key = key
        # Later ones win: general before specific, old before new.
        self._overrides = sorted(overrides, key=lambda one: (one.account is not None, one.start))
        self._rows = rows
        self._seed = seed
        self._step = _MINUTE if rows is not None and any(row.from_ is not None for row in rows[1]) else _DAY
        self._since = self._until = 0.0
        self._price: Price | None = None
        self._listed: Price | None = None

    def at(self, now: float) -> Price | None:
        """The price at `now` (seconds since the epoch) of a call that is charged by its tokens; None is Unpriced."""
        if not self._since <= now < self._until:
            self._read(now)
        return self._price

    def listed(self, now: float) -> Price | None:
        """The price at `now`, whatever it measures calls by; what it `covers` must be asked."""
        if not self._since <= now < self._until:
            self._read(now)
        return self._listed

    def why(self, now: float) -> tuple[PriceStep, ...]:
        """How `at` came to its answer, in words."""
        steps: list[PriceStep] = []
        named = " or ".join(repr(name) for name in self.key.names)
        for override in reversed(self._overrides):
            of = "any provider" if override.account is None else f"provider {override.account!r}"
            since = f", from {override.price.effective_from}" if override.price.effective_from else ""
            what = f"[[prices]] of {override.model!r} for {of}{since}"
            if override.start > now:
                steps.append(PriceStep("configuration", False, f"{what}: not yet in force"))
            elif any(step.taken for step in steps):
                steps.append(PriceStep("configuration", False, f"{what}: a newer or more specific one goes before it"))
            else:
                steps.append(PriceStep("configuration", True, what))
        if not steps:
            steps.append(PriceStep("configuration", False, f"no [[prices]] names {named} for {self.key.account!r}"))
        found = any(step.taken for step in steps)
        if self.key.free:
            steps.append(PriceStep("self-hosted", not found, "this type of provider runs on your own machines: zero"))
        else:
            steps.append(PriceStep("seed", not found and self.listed(now) is not None, self._why_seed()))
        return tuple(steps)

    def _why_seed(self) -> str:
        key = self.key
        if key.seed_provider is None:
            return "the seed knows no prices of this type of provider"
        names = " or ".join(repr(name) for name in key.seed_names)
        header = self._seed.header
        if self._rows is None:
            return f"{header.source} {header.version} has no model of {key.seed_provider!r} that is named {names}"
        return (
            f"{header.source} {header.version} ({header.date}): {key.seed_provider}/{self._rows[0]}, found as {names}"
        )

    def _read(self, now: float) -> None:
        self._since = now // self._step * self._step
        self._until = self._since + self._step
        listed = self._listed = self._find(now)
        self._price = listed if listed is not None and "tokens" in listed.measures else None

    def _find(self, now: float) -> Price | None:
        for override in reversed(self._overrides):
            if override.start <= now:
                return override.price
        if self.key.free:
            name = self.key.names[0]
            return Price(self.key.currency, "self-hosted", name, rates=_ZERO, measures=BY_ANYTHING)
        if self._rows is None:
            return None
        model, rows = self._rows
        return self._seed.price(model, in_force(rows, dt.datetime.fromtimestamp(now, dt.UTC)))


class PriceBook:
    """All prices of the house. `overrides` are the [[prices]] of the settings; ConfigError where one cannot stand."""

    def __init__(self, overrides: Sequence[PriceSettings] = (), seed: Seed | None = None) -> None:
        self.seed = seed if seed is not None else Seed()
        self._overrides = [read_override(index, one) for index, one in enumerate(overrides)]
        self._lines: dict[PriceKey, PriceLine] = {}

    def replace(self, other: "PriceBook") -> None:
        """The overrides of another book in place of these. Lines that somebody holds keep what they had."""
        self._overrides = other._overrides
        self._lines.clear()

    def line(self, key: PriceKey) -> PriceLine:
        """The line of a deployment; the same object for the same key."""
        found = self._lines.get(key)
        if found is None:
            if len(self._lines) >= _MAX_LINES:
                self._lines.clear()
            found = self._lines[key] = PriceLine(key, self._overrides_of(key), self._rows_of(key), self.seed)
        return found

    def unkept(self, key: PriceKey) -> PriceLine:
        """A line of its own, to be asked for other times than now: `line` gives what requests are priced by."""
        return PriceLine(key, self._overrides_of(key), self._rows_of(key), self.seed)

    def quote(self, key: PriceKey, now: float) -> Price | None:
        """The price at `now` (seconds since the epoch), whatever it measures calls by; None where none is known."""
        return self.line(key).listed(now)

    def _overrides_of(self, key: PriceKey) -> list[Override]:
        fitting = [one for one in self._overrides if one.account is None or one.account == key.account]
        for name in key.names:
            named = [one for one in fitting if one.model == name]
            if named:
                return named
        return []

    def _rows_of(self, key: PriceKey) -> tuple[str, list[SeedPrice]] | None:
        if key.seed_provider is None or key.free:
            return None
        for name in key.seed_names:
            rows = self.seed.rows(key.seed_provider, name)
            if rows is not None:
                return rows
        return None


def read_override(index: int, table: PriceSettings) -> Override:
    """A [[prices]] table as a price. It needs `input`, a unit, or `request`; what is missing in it is ConfigError."""
    given = {ours: text for theirs, ours in _FIELDS.items() if (text := getattr(table, theirs)) is not None}
    units, measures = _units_of(index, table)
    if "input" in given:
        measures |= {"tokens"}
    elif given or not (measures or table.request is not None):
        raise ConfigError(
            f"prices[{index}].input is missing: the price of {table.model!r} needs it, or a unit, or `request` alone"
        )
    day = table.effective_from
    return Override(
        account=table.provider,
        model=table.model,
        start=0.0 if day is None else dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC).timestamp(),
        price=Price(
            currency=table.currency,
            source="configuration",
            model=table.model,
            rates=rates_of({name: parse_nano(text) for name, text in given.items()}) if given else _ZERO,
            per_request=parse_nano(table.request) if table.request is not None else 0,
            effective_from=None if day is None else day.isoformat(),
            units=units,
            measures=measures or BY_ANYTHING,
        ),
    )


def _units_of(index: int, table: PriceSettings) -> tuple[UnitRates | None, frozenset[Measure]]:
    """The units that a table names, and what they measure."""
    given = {name: text for name in SOLD_BY if (text := getattr(table, name)) is not None}
    if table.image_kinds and "image" not in given:
        raise ConfigError(
            f"prices[{index}].image is missing: the price of {table.model!r} needs it for images of any other kind"
        )
    if not given:
        return None, frozenset()
    rates = {name: parse_nano(text) * SOLD_BY[name] for name, text in given.items()}
    kinds = {kind.lower(): parse_nano(text) * SOLD_BY["image"] for kind, text in table.image_kinds.items()}
    return UnitRates(**rates, image_kinds=kinds), frozenset(MEASURES[name] for name in given)
