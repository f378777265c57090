"""The tables of LiteLLM (`model_prices_and_context_window.json`) and models.dev (`api.json`) as models of the seed.

A row is taken where it has a price at all: one that says zero everywhere says nothing, since both write zero for what
they do not know. What a table offers as another measure of the same call (an image by tokens and by the piece, sound by
tokens and by the second) is taken once: tokens go first, else both would be charged.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from posthouse.billing.harvest.nano import nano
from posthouse.billing.seed import SeedModel, SeedPrice, SeedTier
from posthouse.billing.units import UnitRates
from posthouse.core.hours import DAYS

Table = dict[str, dict[str, SeedModel]]  # their provider -> name in lower case -> model

_MTOK: Final = Decimal(1_000_000)
_LITELLM: Final = {
    "input_cost_per_token": "input",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_token": "output",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
    "input_cost_per_image_token": "image_input",
    "output_cost_per_image_token": "image_output",
    "cache_read_input_audio_token_cost": "audio_cache_read",
    "cache_read_input_image_token_cost": "image_cache_read",
}
# How it writes a service tier at the end of a name.
_SUFFIXES: Final = {"_batches": "batch", "_flex": "flex", "_priority": "priority"}
_ABOVE: Final = re.compile(r"_above_(\d+)k_tokens\Z")
_SIZED: Final = re.compile(r"(?:(?P<quality>[a-z]+)/)?(?P<width>\d+)-x-(?P<height>\d+)/(?P<name>[^/]+)\Z")
_MODELS_DEV: Final = {
    "input": "input",
    "cache_read": "cache_read",
    "cache_write": "cache_write",
    "output": "output",
    "reasoning": "reasoning",
    "input_audio": "audio_input",
    "output_audio": "audio_output",
}
# What may be free though the rest is not; of all else a zero beside other numbers is believed.
_NEVER_ZERO: Final = frozenset({"cache_read", "cache_write", "cache_write_1h", "reasoning", "audio_input"})


def litellm(table: Mapping[str, Any]) -> Table:
    found: Table = {}
    kinds: dict[tuple[str, str], dict[str, int]] = {}
    for key, row in table.items():
        if not isinstance(row, dict) or not isinstance(row.get("litellm_provider"), str):
            continue
        provider = row["litellm_provider"]
        sized = _SIZED.match(key)
        if sized is not None:
            if price := _image(row):
                shape = f"{sized['width']}x{sized['height']}"
                kind = f"{shape}/{sized['quality']}" if sized["quality"] else shape
                kinds.setdefault((provider, sized["name"].lower()), {})[kind] = price
            continue
        name = key.removeprefix(f"{provider}/").lower()
        rows = list(_litellm_rows(row))
        if rows:
            url = row["source"] if isinstance(row.get("source"), str) else ""
            found.setdefault(provider, {})[name] = SeedModel(name, rows, url=url)
    for (provider, name), prices in kinds.items():
        _add_kinds(found.setdefault(provider, {}), name, prices)
    return found


def _litellm_rows(row: Mapping[str, Any]) -> Iterator[SeedPrice]:
    standard = _litellm_row(row, "")
    if not standard.rates and standard.units is None:
        return
    yield standard
    for index, window in enumerate(_windows(row)):
        cheaper = _litellm_row({**row, **window[0]}, "")
        cheaper.from_, cheaper.to, cheaper.zone, cheaper.days = window[1:]
        if index < 16:
            yield cheaper
    for suffix, tier in _SUFFIXES.items():
        made = _litellm_row(row, suffix)
        if made.rates:
            made.tier, made.units = tier, None
            yield made
    special = row.get("provider_specific_entry")
    if isinstance(special, dict) and isinstance(factor := special.get("fast"), int | float) and factor > 0:
        rates = {name: nano(Decimal(rate) / 10**9 * Decimal(str(factor))) for name, rate in standard.rates.items()}
        yield SeedPrice(rates=rates, tier="fast")


def _litellm_row(row: Mapping[str, Any], suffix: str) -> SeedPrice:
    ranges = row.get("tiered_pricing")
    if not suffix and isinstance(ranges, list) and ranges:
        steps = [(int(one["range"][0]), _rates(one, "", _LITELLM, 1)) for one in ranges if "range" in one]
        base = {**_rates(row, "", _LITELLM, 1), **steps[0][1]} if steps else {}
        tiers = [SeedTier(above, {**base, **rates}) for above, rates in steps[1:] if above]
    else:
        base = _rates(row, suffix, _LITELLM, 1)
        tiers = [SeedTier(above, {**base, **rates}) for above, rates in _thresholds(row, suffix)]
    if "input" not in base or not any(base.values()):
        base, tiers = {}, []
    units = {} if suffix else _litellm_units(row, by_tokens=bool(base))
    if not base and not set(units) - {"web_search", "file_search", "session"}:
        units = {}
    return SeedPrice(rates=base, tiers=tiers, units=msgspec.convert(units, UnitRates) if units else None)


def _rates(row: Mapping[str, Any], suffix: str, names: Mapping[str, str], per: int) -> dict[str, int]:
    """Nano-units for a million tokens; `per` is how many tokens a price of the table is for."""
    found: dict[str, int] = {}
    for theirs, ours in names.items():
        value = row.get(theirs + suffix)
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            rate = nano(Decimal(str(value)) * _MTOK / per)
            if rate or ours not in _NEVER_ZERO:
                found[ours] = rate
    return found


def _thresholds(row: Mapping[str, Any], suffix: str) -> Iterator[tuple[int, dict[str, int]]]:
    places = {int(match[1]) for key in row if (match := _ABOVE.search(key.removesuffix(suffix) if suffix else key))}
    for thousands in sorted(places):
        rates = _rates(row, f"_above_{thousands}k_tokens{suffix}", _LITELLM, 1)
        if rates:
            yield thousands * 1000, rates


def _litellm_units(row: Mapping[str, Any], *, by_tokens: bool) -> dict[str, int]:
    found: dict[str, int] = {}
    mode = row.get("mode")
    if not by_tokens:
        if mode in ("image_generation", "image_edit"):
            found["image"] = _image(row)
        elif mode == "audio_transcription":
            found["audio_second"] = _whole(row, "input_cost_per_second")
        elif mode == "audio_speech":
            found["character"] = _whole(row, "input_cost_per_character")
        elif mode == "rerank":
            found["search"] = _whole(row, "input_cost_per_query")
    searches = row.get("search_context_cost_per_query")
    if isinstance(searches, dict):
        found["web_search"] = _whole(searches, "search_context_size_medium")
    found["file_search"] = _whole(row, "file_search_cost_per_1k_calls") // 1000
    found["session"] = _whole(row, "code_interpreter_cost_per_session")
    return {name: rate for name, rate in found.items() if rate}


def _image(row: Mapping[str, Any]) -> int:
    return _whole(row, "output_cost_per_image") or _whole(row, "input_cost_per_image")


def _whole(row: Mapping[str, Any], name: str) -> int:
    """The rate for a million of a unit of which one has this price; 0 where it has none."""
    value = row.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        return 0
    return nano(Decimal(str(value)) * _MTOK)


def _add_kinds(models: dict[str, SeedModel], name: str, kinds: Mapping[str, int]) -> None:
    """Images that cost something else by size and quality, where the model is not sold by tokens."""
    known = models.get(name)
    if known is not None and known.prices[0].rates:
        return
    most = max(kinds.values())
    image = known.prices[0].units.image if known is not None and known.prices[0].units is not None else most
    units = UnitRates(image=image, image_kinds=dict(sorted(kinds.items())))
    models[name] = SeedModel(name, [SeedPrice(units=units)], url="" if known is None else known.url)


def _windows(row: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str, str, str, list[str]]]:
    """(prices, from, to, zone, days) of each time at which other prices hold."""
    cheaper = row.get("off_peak_pricing")
    if not isinstance(cheaper, dict):
        return
    zone = cheaper.get("weekday_timezone", "UTC")
    for window in cheaper.get("windows") or ():
        days = [DAYS[day - 1] for day in window.get("weekdays") or () if 1 <= day <= 7]
        hours = window.get("hours_utc") or ()
        for span in [hours] if isinstance(hours, str) else hours:
            start, _, end = span.partition("-")
            if zone == "UTC" or not days:
                yield cheaper, start, end, "UTC", days
            elif zone == "Asia/Shanghai":  # eight hours ahead of UTC, all year
                yield cheaper, _later(start, 8), _later(end, 8), "+08:00", days


def _later(time: str, hours: int) -> str:
    return f"{(int(time[:2]) + hours) % 24:02d}{time[2:]}"


def models_dev(table: Mapping[str, Any]) -> Table:
    found: Table = {}
    for provider, told in table.items():
        models = told.get("models") if isinstance(told, dict) else None
        for key, row in (models if isinstance(models, dict) else {}).items():
            cost = row.get("cost") if isinstance(row, dict) else None
            if not isinstance(cost, dict):
                continue
            rates = _rates(cost, "", _MODELS_DEV, 1_000_000)
            if "input" not in rates or not any(rates.values()):
                continue
            tiers = [
                SeedTier(one["tier"]["size"], {**rates, **_rates(one, "", _MODELS_DEV, 1_000_000)})
                for one in cost.get("tiers") or ()
                if one.get("tier", {}).get("type") == "context"
            ]
            tiers.sort(key=lambda one: one.above)
            name = str(key).lower()
            found.setdefault(str(provider), {})[name] = SeedModel(name, [SeedPrice(rates=rates, tiers=tiers)])
    return found
