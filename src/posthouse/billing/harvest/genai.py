"""The objects of genai-prices (`genai_prices.data.providers`) as providers of the seed.

They are known by the names of their classes, so that nothing has to be installed for this module to be read.

The seed keeps, for every provider, the models in the package's own order, since its rule is "the first model that
matches": names that are matched as a whole go into one dictionary (name -> index of the model), everything else into a
short list of rules with the index they stand for.

What is left out, and counted: units that nothing of ours counts (hours of whole sessions, pages, citations, messages,
video); variants by anything but a service tier (routes, kinds of search); rows without any price, unless the name ends
in `:free` or the package says `free of charge`: unknown is not zero.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from posthouse.billing.harvest.nano import nano
from posthouse.billing.seed import Rule, SeedModel, SeedPrice, SeedProvider, SeedTier
from posthouse.billing.units import UnitRates

# The package's key -> our usage class.
CLASSES: Final = {
    "input_mtok": "input",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "audio_input",
    "output_audio_mtok": "audio_output",
    "input_image_mtok": "image_input",
    "output_image_mtok": "image_output",
    "cache_audio_read_mtok": "audio_cache_read",
    "cache_image_read_mtok": "image_cache_read",
}
# The package's key -> our unit, and how many of a million it prices: rates are for a million of each.
UNITS: Final = {
    "input_audio_hours": ("audio_second", Decimal(1_000_000) / 3600),
    "input_mchars": ("character", Decimal(1)),
    "rerank_searches_kcount": ("search", Decimal(1000)),
    "web_searches_kcount": ("web_search", Decimal(1000)),
    "storage_searches_kcount": ("file_search", Decimal(1000)),
}
# What is charged beside tokens only, and is no price alone.
_BESIDE: Final = ("web_search", "file_search")
# How the package names the conditions under which a call has a service tier.
_TIERS: Final = frozenset({"service_tier", "processing", "speed"})
# Who charges each call for ten seconds of sound at least: the package has it as code (ModelInfo.calc_price), for these
# models where they have a price by the hour at the provider that it names there.
LEAST_AUDIO: Final[Mapping[str, int]] = {"whisper-large-v3": 10_000, "whisper-large-v3-turbo": 10_000}

Left = Counter[str]


def providers_of(providers: Iterable[Any], least_audio: str) -> tuple[dict[str, SeedProvider], Left]:
    """By id, and how often something was left out. `least_audio`: the provider that LEAST_AUDIO is about."""
    left: Left = Counter()
    found: dict[str, SeedProvider] = {}
    for provider in sorted(providers, key=lambda one: str(one.id)):
        made = found[provider.id] = _provider(provider, left)
        if provider.id == least_audio:
            for model in made.models:
                if (least := LEAST_AUDIO.get(model.id)) is not None:
                    model.prices = [_at_least(row, least) for row in model.prices]
    return found, left


def _at_least(row: SeedPrice, least: int) -> SeedPrice:
    if row.units is not None:
        rates = {name: getattr(row.units, name) for name in row.units.__struct_fields__}
        row.units = UnitRates(**(rates | {"least_audio_ms": least}))
    return row


def _provider(provider: Any, left: Left) -> SeedProvider:
    made = SeedProvider(fallback=list(provider.fallback_model_providers or ()))
    names: dict[str, int] = {}
    for index, model in enumerate(provider.models):
        exact: list[str] = []
        rules: list[Rule] = []
        _clauses(model.match, exact, rules)
        for name in exact:
            names.setdefault(name, index)
        made.rules += [[index, *one] for one in rules]
        made.models.append(SeedModel(model.id, _rows(model, left)))
    made.names = dict(sorted(names.items()))
    return made


def _rows(model: Any, left: Left) -> list[SeedPrice]:
    prices = model.prices
    result: list[SeedPrice] = []
    for constraint, price in (
        ((one.constraint, one.prices) for one in prices) if isinstance(prices, list) else ((None, prices),)
    ):
        made = _row(model, price, left)
        if made is None:
            return []
        _constrain(made, constraint)
        result.append(made)
    return result + list(_variants(model, left)) if result else []


def _row(model: Any, price: Any, left: Left) -> SeedPrice | None:
    prices = {key: value for key, value in vars(price).items() if value is not None}
    if "input_audio_hours" in prices:
        prices.pop("audio_hours", None)  # the same under a wider name
    for key in prices.keys() - CLASSES.keys() - UNITS.keys() - {"requests_kcount"}:
        left[key] += 1
    if not prices and _is_free(model):
        return SeedPrice(rates={"input": 0, "output": 0})
    made = _priced(prices)
    if "input_mtok" not in prices:
        made.rates, made.tiers = {}, []
        if not any(name not in _BESIDE for name in _units(prices)):
            left["without an input price"] += 1
            return None
    return made


def _variants(model: Any, left: Left) -> Iterator[SeedPrice]:
    """What differs at a service tier; what says that it is as usual is nothing of its own."""
    for variant in model.price_variants or ():
        prices = {key: value for key, value in vars(variant.prices).items() if value is not None}
        if not prices:
            continue
        if len(variant.when) != 1 or next(iter(variant.when)) not in _TIERS:
            left["variants"] += 1
            continue
        made = _priced(prices)
        made.tier = next(iter(variant.when.values()))
        _constrain(made, variant.constraint)
        yield made


def _priced(prices: Mapping[str, Any]) -> SeedPrice:
    units = _units(prices)
    starts = sorted({tier.start for value in prices.values() for tier in getattr(value, "tiers", ())})
    return SeedPrice(
        rates=_rates(prices, 0),
        units=msgspec.convert(units, UnitRates) if units else None,
        tiers=[SeedTier(start, _rates(prices, start + 1)) for start in starts],
        per_request=nano(_at(prices["requests_kcount"], 0) / 1000) if "requests_kcount" in prices else 0,
    )


def _constrain(row: SeedPrice, constraint: Any) -> None:
    if constraint is None:
        return
    if type(constraint).__name__ == "StartDateConstraint":
        row.start = constraint.start_date.isoformat()
        return
    start, end = constraint.start_time, constraint.end_time
    if start.utcoffset() or end.utcoffset():
        raise ValueError("a time of day that is not in UTC")
    row.from_, row.to = start.strftime("%H:%M"), end.strftime("%H:%M")


def _at(value: Any, total_input: int) -> Decimal:
    """The price of a whole request with this much input, by the package's rule: the last tier that starts below."""
    if isinstance(value, Decimal):
        return value
    price: Decimal = value.base
    for tier in value.tiers:
        if total_input > tier.start:
            price = tier.price
    return price


def _rates(prices: Mapping[str, Any], total_input: int) -> dict[str, int]:
    return {ours: nano(_at(prices[theirs], total_input)) for theirs, ours in CLASSES.items() if theirs in prices}


def _units(prices: Mapping[str, Any]) -> dict[str, int]:
    return {ours: nano(_at(prices[theirs], 0) * times) for theirs, (ours, times) in UNITS.items() if theirs in prices}


def _is_free(model: Any) -> bool:
    """Whether the package says in words what it has no number for."""
    words = f"{model.description} {model.price_comments}".lower()
    return model.id.endswith(":free") or "free of charge" in words


def _clauses(match: Any, exact: list[str], rules: list[Rule]) -> None:
    """Splits a top-level match into whole names and rules; an `or` is the union of its members."""
    kind = type(match).__name__
    if kind == "ClauseOr":
        for member in match.or_:
            _clauses(member, exact, rules)
    elif kind == "ClauseEquals":
        exact.append(match.equals.lower())
    else:
        rules.append(_rule(match))


def _rule(match: Any) -> Rule:
    kind = type(match).__name__
    for name, word in (
        ("starts_with", "starts"),
        ("ends_with", "ends"),
        ("contains", "contains"),
        ("equals", "equals"),
    ):
        if hasattr(match, name):
            return [word, getattr(match, name).lower()]
    if kind == "ClauseRegex":
        return ["regex", match.regex]
    if kind in ("ClauseAnd", "ClauseOr"):
        members = match.and_ if kind == "ClauseAnd" else match.or_
        return ["and" if kind == "ClauseAnd" else "or", *[_rule(member) for member in members]]  # type: ignore[list-item]
    raise TypeError(f"unknown clause {match!r}")
