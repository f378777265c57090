"""The price seed: data/prices.json, read when first asked, one provider at a time.

The file is made by tools/make_prices.py from genai-prices (MIT), whose rules of matching it keeps: within a provider
the first model wins whose whole name, prefix, suffix, part or pattern fits; a provider may fall back to others (one
step); a compact date (-20251211) is tried again in its dashed form. The top level stays undecoded bytes (0.6 ms for 400
KB); a provider's rows are decoded when one of its models is first priced (largest: 5 ms).
"""

import datetime as dt
import re
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Raw, Struct

from posthouse.billing.model import Price, Tier, rates_of
from posthouse.billing.units import BY_TOKENS, MEASURES, UnitRates

SEED_FILE: Final = Path(__file__).parent / "data" / "prices.json"
_MAX_BYTES: Final = 8 << 20
_COMPACT_DATE: Final = re.compile(r"(-)(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")
_DAY: Final = 86_400

Rule = list[int | str | list[str]]


class SeedTier(Struct):
    above: int
    rates: dict[str, int]


class SeedPrice(Struct):
    """One row. It holds from the UTC day `start`, or daily between `from_` and `to` (UTC, HH:MM), or always. `rates` is
    empty where nothing is sold by tokens."""

    rates: dict[str, int] = {}
    units: UnitRates | None = None
    tiers: list[SeedTier] = []
    per_request: int = 0
    start: str | None = None
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None

    def active(self, now: dt.datetime) -> bool:
        if self.start is not None:
            return now.date().isoformat() >= self.start
        if self.from_ is not None and self.to is not None:
            time = now.strftime("%H:%M")
            if self.to < self.from_:
                return time >= self.from_ or time < self.to
            return self.from_ <= time < self.to
        return True


class SeedModel(Struct):
    id: str
    prices: list[SeedPrice]


class SeedProvider(Struct):
    """`names` and `rules` lead to an index in `models`; the smallest index wins."""

    fallback: list[str]
    names: dict[str, int]
    rules: list[Rule]
    models: list[SeedModel]

    def find(self, name: str) -> SeedModel | None:
        """The model that a lower-case name means, or None."""
        best = self.names.get(name, len(self.models))
        for index, kind, *operands in self.rules:
            if not isinstance(index, int) or index >= best:
                break
            if _fits(name, str(kind), operands):
                best = index
        return self.models[best] if best < len(self.models) else None


class SeedHeader(Struct):
    source: str
    version: str
    date: str
    license: str
    currency: str


class _SeedFile(SeedHeader):
    providers: dict[str, Raw]


class Seed:
    """Prices by provider and model. Not for several threads at once."""

    def __init__(self, path: Path = SEED_FILE) -> None:
        self._path = path
        self._providers: dict[str, SeedProvider] = {}

    @cached_property
    def _file(self) -> _SeedFile:
        with self._path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ValueError("the price seed is larger than 8 MiB")
        return msgspec.json.decode(data, type=_SeedFile)

    @property
    def header(self) -> SeedHeader:
        """Where the seed comes from: source, version, date, licence."""
        return self._file

    def rows(self, provider: str, name: str) -> tuple[str, list[SeedPrice]] | None:
        """(name of the row, its prices in ascending precedence), or None where the seed knows no price."""
        found = self._find(provider, name.lower())
        if found is None:
            found = self._find(provider, _COMPACT_DATE.sub(_dashed, name.lower()))
        return (found.id, found.prices) if found is not None and found.prices else None

    def price(self, model: str, row: SeedPrice) -> Price:
        header = self._file
        sold = frozenset(measure for name, measure in MEASURES.items() if getattr(row.units, name, 0))
        return Price(
            currency=header.currency,
            source=f"{header.source} {header.version} ({header.date})",
            model=model,
            rates=rates_of(row.rates or {"input": 0}),
            tiers=tuple(Tier(tier.above, rates_of(tier.rates)) for tier in row.tiers),
            per_request=row.per_request,
            effective_from=row.start,
            units=row.units,
            measures=sold | BY_TOKENS if row.rates else sold,
        )

    def _find(self, provider: str, name: str) -> SeedModel | None:
        seed = self._provider(provider)
        if seed is None:
            return None
        found = seed.find(name)
        for other in seed.fallback if found is None else ():
            fallback = self._provider(other)
            if fallback is not None and (found := fallback.find(name)) is not None:
                break
        return found

    def _provider(self, provider: str) -> SeedProvider | None:
        known = self._providers.get(provider)
        if known is None:
            raw = self._file.providers.get(provider)
            if raw is None:
                return None
            known = self._providers[provider] = msgspec.json.decode(raw, type=SeedProvider)
        return known


def in_force(rows: list[SeedPrice], now: dt.datetime) -> SeedPrice:
    """The last row whose condition holds; the first where none does (as genai-prices has it)."""
    return next((row for row in reversed(rows) if row.active(now)), rows[0])


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
