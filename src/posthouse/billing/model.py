"""The types of billing: rates and prices, the states of a hold, what settles it, what verification finds.

Above: gateway (holds, settlements), the control plane (queries, verification). Below: core.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from hashlib import sha256
from typing import Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from posthouse.billing.exchange import Exchange
from posthouse.billing.units import BY_TOKENS, Measure, UnitRates, counts_units, measures_of, multiplied
from posthouse.core.usage import Usage, UsageSource

UnpricedPolicy = Literal["auto", "allow", "refuse"]
MILLION: Final = 1_000_000

# A usage class without a rate of its own is billed as the class that it is part of; `input` is the root of them all.
# An order in which every class stands after the one it falls back to. (docs/billing.md PRICE-3)
FALLBACK: Final[dict[str, str]] = {
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "audio_input": "input",
    "image_input": "input",
    "output": "input",
    "reasoning": "output",
    "audio_output": "output",
    "image_output": "output",
    "audio_cache_read": "cache_read",
    "image_cache_read": "cache_read",
}


class Rates(Struct, frozen=True, gc=False):
    """Nano-units per million tokens for every class of `core.usage`; none is missing."""

    input: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    output: int
    reasoning: int
    audio_input: int
    audio_output: int
    image_input: int
    image_output: int
    audio_cache_read: int
    image_cache_read: int

    def times(self, factor: Fraction) -> "Rates":
        """All of it multiplied, each rate rounded half up."""
        return Rates(*[multiplied(getattr(self, name), factor) for name in self.__struct_fields__])


def rates_of(given: Mapping[str, int]) -> Rates:
    """Rates from the classes that a source names (`input` must be one), the rest by FALLBACK."""
    full = dict(given)
    for name, parent in FALLBACK.items():
        full.setdefault(name, full[parent])
    return Rates(**full)


class Tier(Struct, frozen=True):
    """Rates of a whole request whose total input is more than `above` tokens."""

    above: int
    rates: Rates


class Price(Struct, frozen=True):
    """What a model costs at one moment. `tiers` ascend; `per_request` is nano-units for each settled call.

    `variants` are the prices of the service tiers that cost something else. `exchange` is given where a call is paid in
    another currency than this price is in: `currency` is then the one that is paid in. `id` is made of the content, but
    for exchange and fee, and empty while nobody has asked for it (`identified`).

    `measures` is what a call is charged by: tokens (`rates`, zero where they are none of it), units (`units`), or both,
    which add up. `source` says who says so (`configuration`, `self-hosted`, or the seed with its version), `model`
    under which name the row was found, `effective_from` since which day (ISO, UTC), None where the source does not
    tell.
    """

    currency: str
    source: str
    model: str
    rates: Rates
    tiers: tuple[Tier, ...] = ()
    per_request: int = 0
    effective_from: str | None = None
    units: UnitRates | None = None
    measures: frozenset[Measure] = BY_TOKENS
    variants: Mapping[str, "Price"] = {}
    exchange: Exchange | None = None
    id: str = ""
    fee_ppm: int | UnsetType = UNSET  # unset, and so no part of `id`, where all of it is charged

    def part(self, fee_ppm: int) -> "Price":
        """So many millionths of it, of which a call's are rounded once, half up. The `id` stays that of the whole."""
        variants = {name: variant.part(fee_ppm) for name, variant in self.variants.items()}
        return structs.replace(self, fee_ppm=fee_ppm, variants=variants)

    def rounded(self, total: int, parts: int) -> int:
        """Nano-units of a call whose usage comes to `total`, in so many parts of a nano-unit: rounded once, half up."""
        if self.fee_ppm is UNSET:
            return self.per_request + (total + parts // 2) // parts
        total = (self.per_request * parts + total) * self.fee_ppm
        parts *= MILLION
        return (total + parts // 2) // parts

    def rates_for(self, total_input: int) -> Rates:
        """The rates of a whole request with this much input."""
        chosen = self.rates
        for tier in self.tiers:
            if total_input > tier.above:
                chosen = tier.rates
        return chosen

    def cost(self, usage: Usage) -> int:
        """Nano-units of `currency` for this usage: rounded once, half up, and once more where it is exchanged."""
        nano = self.listed(usage)
        return nano if self.exchange is None else self.exchange.of(nano)

    def listed(self, usage: Usage) -> int:
        """The same in the currency that the price is in."""
        if usage.tier and self.variants and (variant := self.variants.get(usage.tier)) is not None:
            return variant.listed(usage)
        rates = self.rates_for(usage.total_input) if self.tiers else self.rates
        # One expression, and rounded here as `rounded` does: this is on the path of every call.
        total = (
            usage.input * rates.input
            + usage.cache_read * rates.cache_read
            + usage.cache_write * rates.cache_write
            + usage.cache_write_1h * rates.cache_write_1h
            + usage.output * rates.output
            + usage.reasoning * rates.reasoning
            + usage.audio_input * rates.audio_input
            + usage.audio_output * rates.audio_output
            + usage.image_input * rates.image_input
            + usage.image_output * rates.image_output
            + usage.audio_cache_read * rates.audio_cache_read
            + usage.image_cache_read * rates.image_cache_read
        )
        units = self.units
        if units is None or not counts_units(usage):
            if self.fee_ppm is UNSET:
                return self.per_request + (total + 500_000) // 1_000_000
            return self.rounded(total, MILLION)
        return self.rounded(total * 1000 + units.thousandths(usage, units.of_image(usage.image_kind)), MILLION * 1000)

    def covers(self, usage: Usage) -> bool:
        """Whether this price says what a call costs that consumed this: it does for nothing, and for what can be
        charged by one of its measures; one of which nothing is charged does for all. Where it does not, the call is
        Unpriced."""
        found = measures_of(usage)
        return not found or self.fee_ppm == 0 or not self.measures.isdisjoint(found)

    @property
    def free(self) -> bool:
        """Whether no usage at all can cost anything."""
        if self.fee_ppm == 0:
            return True
        if self.per_request or (self.units is not None and not self.units.free):
            return False
        return not any(
            any(getattr(rates, name) for name in rates.__struct_fields__)
            for rates in (self.rates, *(tier.rates for tier in self.tiers))
        ) and all(variant.free for variant in self.variants.values())

    def times(self, factor: Fraction, source: str) -> "Price":
        """All of it multiplied, each rate rounded half up; `source` says by whom."""
        return structs.replace(
            self,
            source=source,
            rates=self.rates.times(factor),
            tiers=tuple(Tier(tier.above, tier.rates.times(factor)) for tier in self.tiers),
            per_request=multiplied(self.per_request, factor),
            units=None if self.units is None else self.units.times(factor),
            variants={name: variant.times(factor, source) for name, variant in self.variants.items()},
        )

    def paid_by(self, exchange: Exchange) -> "Price":
        """The same, paid in another currency."""
        variants = {name: variant.paid_by(exchange) for name, variant in self.variants.items()}
        return structs.replace(self, currency=exchange.currency, exchange=exchange, variants=variants)

    def asked(self, tier: str) -> Iterable["Price"]:
        """Every price that may hold for a request that asks for this tier, empty where it asks for none: a provider may
        serve it at the usual one instead, and chooses itself where it is asked to (`auto`). A batch is no answer to a
        request."""
        yield self
        if tier == "auto":
            yield from (variant for name, variant in self.variants.items() if name != "batch")
        elif tier in self.variants:
            yield self.variants[tier]

    def identified(self) -> "Price":
        """With its `id`: the first 80 bits of a hash over all that it says."""
        digest = sha256(msgspec.json.encode(structs.replace(self, id=""), order="sorted")).hexdigest()
        return structs.replace(self, id=f"price_{digest[:20]}")


# --- Holds ------------------------------------------------------------------------------------------------------------
# Every billable call is a hold that ends exactly once:
#
#     held --settle--> settled     usage is known or counted: charged its cost, which may be zero
#          --release-> released    nothing was consumed: charged nothing
#          --expire--> expired     the process that held it died: charged nothing
#
# No way leads out of settled, released and expired.

HoldState = Literal["held", "settled", "released", "expired"]
HoldEvent = Literal["settle", "release", "expire"]

TRANSITIONS: Final[dict[tuple[HoldState, HoldEvent], HoldState]] = {
    ("held", "settle"): "settled",
    ("held", "release"): "released",
    ("held", "expire"): "expired",
}


class HoldEnded(RuntimeError):
    """A hold was ended a second time: a mistake in our code, never a caller's."""


class Settlement(Struct, frozen=True):
    """How a call ended that consumed something. `price` None: unpriced, and let pass by policy.

    `provider` is the provider account that is owed; `reason` is why the call ended (`complete`, `client`, `upstream`,
    ...).
    """

    usage: Usage
    usage_source: UsageSource
    price: Price | None
    provider: str | None
    reason: str | None = None


# --- Verification -----------------------------------------------------------------------------------------------------


class Problem(Struct, frozen=True):
    """One thing that is wrong: which rule, whose id, and what was found."""

    rule: str
    id: str
    detail: str


class Verification(Struct, frozen=True):
    """The result of `ledger verify`. `problems` is bounded, and `truncated` says whether there were more.

    `holds_unrecorded` counts charges whose request record is missing: a record, unlike money, may be dropped where a
    disk is full. Nobody is billed wrongly by that, so it is no problem.
    """

    ok: bool
    holds_open: int
    problems: tuple[Problem, ...]
    truncated: bool = False
    holds_unrecorded: int = 0
