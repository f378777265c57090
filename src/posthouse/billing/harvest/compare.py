"""What one seed says other than another: model by model, the prices of today first."""

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from posthouse.billing.forms import rates_to_json, units_to_json
from posthouse.billing.model import Price
from posthouse.billing.seed import Seed, SeedModel

Kind = Literal["new", "gone", "changed"]


class Change(Struct, frozen=True):
    """`lines` are (what, before, after) with amounts as the price list has them; None where it is not there. A change
    without lines is of what does not hold today: other days, hours or service tiers."""

    kind: Kind
    provider: str
    model: str
    lines: tuple[tuple[str, str | None, str | None], ...] = ()

    def __str__(self) -> str:
        sign = {"new": "+", "gone": "-", "changed": "~"}[self.kind]
        told = ", ".join(f"{what} {before or '-'} -> {after or '-'}" for what, before, after in self.lines)
        return f"{sign} {self.provider}/{self.model}" + (f": {told}" if told else "")


def changes(old: Seed, new: Seed, now: dt.datetime) -> Iterator[Change]:
    """By provider and model; `now` must say its time zone. What a model is found by is no change of its price."""
    for provider in sorted({*old.file.providers, *new.file.providers}):
        before, after = _models(old, provider), _models(new, provider)
        for name in sorted({*before, *after}):
            was, is_ = before.get(name), after.get(name)
            if was is not None and is_ is not None and _said(was) == _said(is_):
                continue
            lines = tuple(_lines(_price(old, was, now), _price(new, is_, now)))
            kind: Kind = "new" if was is None else "gone" if is_ is None else "changed"
            yield Change(kind, provider, name, lines)


def _models(seed: Seed, provider: str) -> Mapping[str, SeedModel]:
    found = seed.provider(provider)
    if found is None:
        return {}
    models = [*found.models, *found.more.values()]
    return {model.id: model for model in reversed(models) if model.prices}


def _said(model: SeedModel) -> bytes:
    return msgspec.json.encode(model.prices)


def _price(seed: Seed, model: SeedModel | None, now: dt.datetime) -> Price | None:
    return None if model is None else seed.price(model, seed.sources[model.source], now)


def _lines(before: Price | None, after: Price | None) -> Iterator[tuple[str, str | None, str | None]]:
    was, is_ = _flat(before), _flat(after)
    for name in dict.fromkeys([*was, *is_]):
        if was.get(name) != is_.get(name):
            yield name, was.get(name), is_.get(name)


def _flat(price: Price | None) -> dict[str, str]:
    if price is None:
        return {}
    found = rates_to_json(price.rates) if "tokens" in price.measures else {}
    for tier in price.tiers:
        found |= {f"{name} above {tier.above}": rate for name, rate in rates_to_json(tier.rates).items()}
    found |= {name: str(rate) for name, rate in units_to_json(price).items() if name != "image_kinds"}
    for tier_name, variant in price.variants.items():
        found |= {f"{name} at {tier_name}": rate for name, rate in rates_to_json(variant.rates).items()}
    return found
