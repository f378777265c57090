"""Which price a call has: the operator's own, else zero for self-hosted models, else the seed's, else none (Unpriced).

An unknown price is None and never zero; the ledger decides by policy what to do with it. So is one that says nothing of
the use: a price by tokens for images, a price by images for a chat. A price is asked once for a deployment (`line`),
and then for each call (`PriceLine.at`, 0.2 us, or `listed`); it changes only at UTC midnight, or at a minute where
there are prices by time of day. Its service tiers are inside it (`Price.variants`).
"""

import datetime as dt
from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from posthouse.billing.model import Price, rates_of
from posthouse.billing.overrides import EVERY_MODEL, Override, read_override
from posthouse.billing.seed import Seed, SeedHeader, SeedModel
from posthouse.billing.units import BY_ANYTHING
from posthouse.core.money import NANO, format_nano
from posthouse.settings.model import PriceSettings

_MAX_LINES: Final = 8192
_DAY: Final = 86_400
_MINUTE: Final = 60
_ZERO: Final = rates_of({"input": 0})


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


class PriceStep(Struct, frozen=True):
    """One place that was asked for a price, in their order; `taken` are those that had a part in it."""

    place: Literal["configuration", "set", "self-hosted", "seed"]
    taken: bool
    detail: str


class PriceLine:
    """The prices of one deployment over time."""

    def __init__(
        self, key: PriceKey, overrides: Sequence[Override], rows: tuple[SeedModel, SeedHeader] | None, seed: Seed
    ):
        self.key = key
        # Later ones win: general before specific, old before new.
        self._overrides = sorted(overrides, key=lambda one: (one.rank, one.age))
        self._rows = rows
        self._seed = seed
        by_the_hour = any(one.hours is not None for one in overrides) or (rows is not None and rows[0].by_the_hour)
        self._step = _MINUTE if by_the_hour else _DAY
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
        used = self._used(now)
        below = not any(one.tier is None and one.factor is None for one in used)
        for override in reversed(self._overrides):
            told = override.told
            if override in used:
                steps.append(PriceStep(override.place, self.listed(now) is not None, told))
            elif not override.start <= now:
                steps.append(PriceStep(override.place, False, f"{told}: not yet in force"))
            elif now >= override.end:
                steps.append(PriceStep(override.place, False, f"{told}: no longer in force"))
            elif not override.in_force(now):
                steps.append(PriceStep(override.place, False, f"{told}: not at this hour"))
            else:
                steps.append(PriceStep(override.place, False, f"{told}: a newer or more specific one goes before it"))
        if not steps:
            named = " or ".join(repr(name) for name in self.key.names)
            steps.append(PriceStep("configuration", False, f"no [[prices]] names {named} for {self.key.account!r}"))
        if self.key.free:
            steps.append(PriceStep("self-hosted", below, "this type of provider runs on your own machines: zero"))
        else:
            steps.append(PriceStep("seed", below and self._rows is not None, self._why_seed()))
        return tuple(steps)

    def _why_seed(self) -> str:
        key = self.key
        if key.seed_provider is None:
            return "the seed knows no prices of this type of provider"
        names = " or ".join(repr(name) for name in key.seed_names)
        if self._rows is None:
            known = ", ".join(f"{source.source} {source.version}" for source in self._seed.sources)
            return f"{known}: no model of {key.seed_provider!r} that is named {names}"
        model, header = self._rows
        found = f"{header.source} {header.version} ({header.date}): {key.seed_provider}/{model.id}, found as {names}"
        page = [f"its page is {model.url}"] if model.url else []
        return "; ".join([found, *page, *(self._seed.doubt(one) for one in model.differs)])

    def _read(self, now: float) -> None:
        self._since = now // self._step * self._step
        self._until = self._since + self._step
        found = self._find(now)
        listed = self._listed = None if found is None else found.identified()
        self._price = listed if listed is not None and "tokens" in listed.measures else None

    def _used(self, now: float) -> list[Override]:
        """The overrides that have a part in the price: the newest of each kind, from the last that says amounts on."""
        newest = {one.kind: one for one in self._overrides if one.in_force(now)}
        ours = set(map(id, newest.values()))
        used: list[Override] = []
        for one in self._overrides:
            if id(one) in ours:
                if one.factor is None or one.tier is not None:
                    used = [other for other in used if other.tier != one.tier]
                used.append(one)
        return used

    def _find(self, now: float) -> Price | None:
        used = self._used(now)
        price = None if any(one.tier is None and one.factor is None for one in used) else self._below(now)
        for one in used:
            if one.tier is None:
                price = one.price if one.factor is None else _times(price, one)
        if price is None:
            return None
        variants = dict(price.variants)
        for one in used:
            if one.tier is not None:
                tier = one.price if one.factor is None else _times(price, one)  # of the standard price
                if tier is not None:
                    variants[one.tier] = replace(tier, variants={})
        return replace(price, variants=variants) if variants != price.variants else price

    def _below(self, now: float) -> Price | None:
        """What holds without any override."""
        if self.key.free:
            name = self.key.names[0]
            return Price(self.key.currency, "self-hosted", name, rates=_ZERO, measures=BY_ANYTHING)
        if self._rows is None:
            return None
        return self._seed.price(*self._rows, dt.datetime.fromtimestamp(now, dt.UTC))


def _times(price: Price | None, override: Override) -> Price | None:
    if price is None or override.factor is None:
        return None
    return price.times(override.factor, f"{price.source}, times {format_nano(int(override.factor * NANO))}")


class PriceBook:
    """All prices of the house. `overrides` are the [[prices]] of the settings; ConfigError where one cannot stand."""

    def __init__(self, overrides: Sequence[PriceSettings] = (), seed: Seed | None = None) -> None:
        self.seed = self._own = seed if seed is not None else Seed()
        self._overrides = [read_override(index, one) for index, one in enumerate(overrides)]
        self._set: list[Override] = []
        self._lines: dict[PriceKey, PriceLine] = {}

    def replace(self, other: "PriceBook") -> None:
        """The overrides of another book in place of these. Lines that somebody holds keep what they had."""
        self._overrides = other._overrides
        self._lines.clear()

    def use(self, rows: Sequence[Override], seed: Seed | None) -> None:
        """What was set beside the file, and the seed that holds, in place of what did; None is the package's own."""
        self._set = list(rows)
        self.seed = seed if seed is not None else self._own
        self._lines.clear()

    def line(self, key: PriceKey) -> PriceLine:
        """The line of a deployment; the same object for the same key."""
        found = self._lines.get(key)
        if found is None:
            if len(self._lines) >= _MAX_LINES:
                self._lines.clear()
            found = self._lines[key] = self.unkept(key)
        return found

    def unkept(self, key: PriceKey) -> PriceLine:
        """A line of its own, to be asked for other times than now: `line` gives what requests are priced by."""
        return PriceLine(key, self._overrides_of(key), self._rows_of(key), self.seed)

    def quote(self, key: PriceKey, now: float) -> Price | None:
        """The price at `now` (seconds since the epoch), whatever it measures calls by; None where none is known."""
        return self.line(key).listed(now)

    def _overrides_of(self, key: PriceKey) -> list[Override]:
        rows = (*self._overrides, *self._set)
        fitting = [one for one in rows if one.account is None or one.account == key.account]
        general = [one for one in fitting if one.model == EVERY_MODEL]
        for name in key.names:
            named = [one for one in fitting if one.model == name]
            if named:
                return [*general, *named]
        return general

    def _rows_of(self, key: PriceKey) -> tuple[SeedModel, SeedHeader] | None:
        if key.seed_provider is None or key.free:
            return None
        for name in key.seed_names:
            rows = self.seed.rows(key.seed_provider, name)
            if rows is not None:
                return rows
        return None
