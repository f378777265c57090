"""The price seed: data/prices.json, or what the operator has put in its place; read when first asked, one provider at
a time.

The file is made by `billing/harvest` from the sources in its header: genai-prices first, whose rules of matching it
keeps: within a provider the first model wins whose whole name, prefix, suffix, part or pattern fits; a provider may
fall back to others (one step); a compact date (-20251211) is tried again in its dashed form. What the first source has
no price for is looked up by its whole name in `more`, which the other sources have filled. The top level stays
undecoded bytes (1 ms for 650 KB); a provider's rows are decoded when one of its models is first priced (largest: 5 ms).
"""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Raw, Struct

from posthouse.billing.model import Price, Tier, rates_of
from posthouse.billing.units import BY_TOKENS, MEASURES, UnitRates
from posthouse.core.hours import hours_of
from posthouse.core.money import format_nano

SEED_FILE: Final = Path(__file__).parent / "data" / "prices.json"
MAX_BYTES: Final = 8 << 20
_COMPACT_DATE: Final = re.compile(r"(-)(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")

Rule = list[int | str | list[str]]


class SeedTier(Struct, omit_defaults=True):
    above: int
    rates: dict[str, int]


class SeedPrice(Struct, omit_defaults=True):
    """One row. It holds from the UTC day `start`, or daily between `from_` and `to` (HH:MM in `zone`, on `days`), or
    always. `rates` is empty where nothing is sold by tokens.

    With a `tier` it is the price of that service tier, and `rates` has only what differs from the standard price.
    """

    rates: dict[str, int] = {}
    units: UnitRates | None = None
    tiers: list[SeedTier] = []
    per_request: int = 0
    start: str | None = None
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    zone: str = "UTC"
    days: list[str] = []
    tier: str | None = None

    def active(self, now: dt.datetime) -> bool:
        if self.start is not None and now.date().isoformat() < self.start:
            return False
        hours = hours_of(self.from_, self.to, self.zone, self.days)
        return hours is None or hours.active(now)


class Differs(Struct, array_like=True):
    """Another source says something else, by more than one per cent: `rate` for the class `name` (or the unit)."""

    source: int
    name: str
    ours: int
    rate: int


class SeedModel(Struct, omit_defaults=True):
    """`prices` in ascending precedence, those of service tiers among them; `source` is an index into the header's, and
    `url` the page that it names for this very row."""

    id: str
    prices: list[SeedPrice]
    source: int = 0
    url: str = ""
    differs: list[Differs] = []

    @property
    def by_the_hour(self) -> bool:
        return any(row.from_ is not None or row.days for row in self.prices)


class SeedProvider(Struct, omit_defaults=True):
    """`names` and `rules` lead to an index in `models`; the smallest index wins. `more`: models by their whole name,
    for names that `models` has none for, or none with a price."""

    fallback: list[str] = []
    names: dict[str, int] = {}
    rules: list[Rule] = []
    models: list[SeedModel] = []
    more: dict[str, SeedModel] = {}

    def find(self, name: str) -> SeedModel | None:
        """The model of the first source that a lower-case name means, or None."""
        best = self.names.get(name, len(self.models))
        for index, kind, *operands in self.rules:
            if not isinstance(index, int) or index >= best:
                break
            if _fits(name, str(kind), operands):
                best = index
        return self.models[best] if best < len(self.models) else None


class SeedHeader(Struct):
    """One source; `date` is the day on which it was read."""

    source: str
    version: str
    date: str
    license: str
    url: str


class SeedFile(Struct):
    """The whole file; each provider is still bytes."""

    sources: list[SeedHeader]
    currency: str
    providers: dict[str, Raw]
    left_out: dict[str, int] = {}


class Seed:
    """Prices by provider and model, of a file or of its content. Not for several threads at once."""

    def __init__(self, path: Path = SEED_FILE, data: bytes | None = None) -> None:
        self._path = path
        self._data = data
        self._providers: dict[str, SeedProvider] = {}

    def content(self) -> bytes:
        """The whole of it, as bytes. ValueError where it is beyond its bound."""
        data = self._data
        if data is None:
            with self._path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError("the price seed is larger than 8 MiB")
        return data

    @cached_property
    def file(self) -> SeedFile:
        found = msgspec.json.decode(self.content(), type=SeedFile)
        if not found.sources:
            raise ValueError("the price seed names no source")
        return found

    @property
    def sources(self) -> Sequence[SeedHeader]:
        """Where the seed comes from: source, version, date, licence; what most of it comes from is the first."""
        return self.file.sources

    def rows(self, provider: str, name: str) -> tuple[SeedModel, SeedHeader] | None:
        """The model and who says what it costs, or None where the seed knows no price."""
        found = self._find(provider, name.lower())
        if found is None:
            found = self._find(provider, _COMPACT_DATE.sub(_dashed, name.lower()))
        return (found, self.sources[found.source]) if found is not None and found.prices else None

    def price(self, model: SeedModel, header: SeedHeader, now: dt.datetime) -> Price:
        """What a model costs at `now`, which must say its time zone, with its service tiers."""
        standard = in_force([row for row in model.prices if row.tier is None], now)
        price = self._price(model, header, standard)
        tiers: dict[str, SeedPrice] = {}
        for row in model.prices:  # the first says most, as in genai-prices
            if row.tier is not None and row.active(now):
                known = tiers.get(row.tier)
                tiers[row.tier] = row if known is None else _over(row, known)
        if not tiers:
            return price
        variants = {tier: self._price(model, header, _over(standard, row)) for tier, row in tiers.items()}
        return msgspec.structs.replace(price, variants=variants)

    def doubt(self, one: Differs) -> str:
        """In words."""
        theirs = self.sources[one.source]
        return f"{theirs.source} {theirs.version} says {one.name} {format_nano(one.rate)}, not {format_nano(one.ours)}"

    def provider(self, name: str) -> SeedProvider | None:
        known = self._providers.get(name)
        if known is None:
            raw = self.file.providers.get(name)
            if raw is None:
                return None
            known = self._providers[name] = msgspec.json.decode(raw, type=SeedProvider)
        return known

    def _price(self, model: SeedModel, header: SeedHeader, row: SeedPrice) -> Price:
        sold = frozenset(measure for name, measure in MEASURES.items() if getattr(row.units, name, 0))
        return Price(
            currency=self.file.currency,
            source=f"{header.source} {header.version} ({header.date})",
            model=model.id,
            rates=rates_of(row.rates or {"input": 0}),
            tiers=tuple(Tier(tier.above, rates_of(tier.rates)) for tier in row.tiers),
            per_request=row.per_request,
            effective_from=row.start,
            units=row.units,
            measures=sold | BY_TOKENS if row.rates else sold,
        )

    def _find(self, provider: str, name: str) -> SeedModel | None:
        seed = self.provider(provider)
        if seed is None:
            return None
        return find([seed, *filter(None, map(self.provider, seed.fallback))], name)


def find(providers: Sequence[SeedProvider], name: str) -> SeedModel | None:
    """The model that a lower-case name means at the first of these, the others being those that it falls back to. Of
    another's model the standard price holds here, whatever its tiers are there (as genai-prices has it)."""
    known = providers[0].find(name)
    if known is None:
        known = next((_untiered(found) for one in providers[1:] if (found := one.find(name)) is not None), None)
    if known is not None and known.prices:
        return known
    if (more := providers[0].more.get(name)) is not None:
        return more
    return next((_untiered(found) for one in providers[1:] if (found := one.more.get(name)) is not None), known)


def _untiered(model: SeedModel) -> SeedModel:
    return msgspec.structs.replace(model, prices=[row for row in model.prices if row.tier is None])


def in_force(rows: Sequence[SeedPrice], now: dt.datetime) -> SeedPrice:
    """The last row whose condition holds; the first where none does (as genai-prices has it)."""
    return next((row for row in reversed(rows) if row.active(now)), rows[0])


def _over(below: SeedPrice, above: SeedPrice) -> SeedPrice:
    """A row with everything that another says in place of what it says itself, at every threshold of either."""
    thresholds = sorted({tier.above for row in (below, above) for tier in row.tiers})
    tiers = [SeedTier(at, {**_rates_above(below, at), **_rates_above(above, at)}) for at in thresholds]
    return SeedPrice(
        rates={**below.rates, **above.rates},
        units=above.units or below.units,
        tiers=tiers,
        per_request=above.per_request or below.per_request,
        start=above.start or below.start,
    )


def _rates_above(row: SeedPrice, threshold: int) -> Mapping[str, int]:
    rates = row.rates
    for tier in row.tiers:
        if tier.above <= threshold:
            rates = tier.rates
    return rates


def _fits(name: str, kind: str, operands: list[int | str | list[str]]) -> bool:
    match kind:
        case "starts":
            return name.startswith(str(operands[0]))
        case "ends":
            return name.endswith(str(operands[0]))
        case "contains":
            return str(operands[0]) in name
        case "equals":
            return name == operands[0]
        case "regex":
            return re.search(str(operands[0]), name) is not None  # compiled once: re keeps the last 512
        case "and" | "or":
            results = (_fits(name, one[0], list(one[1:])) for one in operands if isinstance(one, list))
            return all(results) if kind == "and" else any(results)
        case _:
            raise ValueError(f"the price seed has an unknown rule {kind!r}")


def _dashed(match: re.Match[str]) -> str:
    year, month, day = (int(match[index]) for index in (2, 3, 4))
    try:
        dt.date(year, month, day)
    except ValueError:
        return match[0]
    return f"-{year:04d}-{month:02d}-{day:02d}"
