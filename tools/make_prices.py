"""Makes src/posthouse/billing/data/prices.json from the installed `genai-prices` package (MIT). Development only.

    python tools/make_prices.py [--date 2026-11-20]

Beside it goes tests/billing/price_oracle.json: what the package itself answers for some thousand questions, so that a
test can hold the seed to it where the package is not installed.

The seed keeps, for every provider, the models in the package's own order, since its rule is "the first model that
matches": names that are matched as a whole go into one dictionary (name -> index of the model), everything else into a
short list of rules with the index they stand for. So a lookup is one dictionary access and a walk over the few rules
that come before it, and gives the same row as the package.

Of units it takes hours of sound that is heard, millions of characters that are spoken, and thousands of searches of a
rerank; prices by image the package has none.

What is left out, and counted under `left_out` in the header:
* other units (hours of a whole session, pages, web searches, storage searches, citations, messages) and video, and
  cached audio and cached image tokens, for which `core.usage` has no class: a row with a price that is taken keeps it,
  any other is dropped and its model stays unpriced;
* price variants (batch, flex, priority, fast, regions): the standard price stands;
* rows without any price, unless the name ends in `:free` or the package says `free of charge`: unknown is not zero.
"""

import argparse
import datetime as dt
import json
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices.data import providers
from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
    Usage,
)

ROOT = Path(__file__).resolve().parent.parent
SEED = ROOT / "src/posthouse/billing/data/prices.json"
ORACLE = ROOT / "tests/billing/price_oracle.json"
NANO = 1_000_000_000
# The package's key -> our usage class.
CLASSES = {
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
}
# The package's key -> our unit, and how many of a million it prices: rates are for a million of each.
UNITS = {
    "input_audio_hours": ("audio_second", Decimal(1_000_000) / 3600),
    "input_mchars": ("character", Decimal(1)),
    "rerank_searches_kcount": ("search", Decimal(1000)),
}
# Who charges each call for ten seconds of sound at least; the package has it as code (types.py, ModelInfo.calc_price).
LEAST_AUDIO = {("groq", name): {"least_audio_ms": 10_000} for name in ("whisper-large-v3", "whisper-large-v3-turbo")}


def nano(price: Decimal, per: int = 1) -> int:
    """Nano-units of a price, divided by `per`, half up: some rows carry the dust of a float (0.18000000000000002)."""
    return int((price * NANO / per).quantize(Decimal(1), ROUND_HALF_UP))


def at(value: Decimal | TieredPrices, total_input: int) -> Decimal:
    """The price of a whole request with this much input, by the package's rule: the last tier that starts below."""
    if isinstance(value, Decimal):
        return value
    price = value.base
    for tier in value.tiers:
        if total_input > tier.start:
            price = tier.price
    return price


def rates(prices: dict[str, Decimal | TieredPrices], total_input: int) -> dict[str, int]:
    return {ours: nano(at(prices[theirs], total_input)) for theirs, ours in CLASSES.items() if theirs in prices}


def units(prices: dict[str, Decimal | TieredPrices]) -> dict[str, int]:
    return {ours: nano(at(prices[theirs], 0) * times) for theirs, (ours, times) in UNITS.items() if theirs in prices}


def is_free(model: ModelInfo) -> bool:
    """Whether the package says in words what it has no number for."""
    words = f"{model.description} {model.price_comments}".lower()
    return model.id.endswith(":free") or "free of charge" in words


def row(model: ModelInfo, price: ModelPrice, left_out: Counter[str]) -> dict[str, Any] | None:
    prices = {key: value for key, value in vars(price).items() if value is not None}
    if "input_audio_hours" in prices:
        prices.pop("audio_hours", None)  # the same under a wider name
    for key in prices.keys() - CLASSES.keys() - UNITS.keys() - {"requests_kcount"}:
        left_out[key] += 1
    if not prices and is_free(model):
        return {"rates": {"input": 0, "output": 0}}
    result: dict[str, Any] = {}
    if "input_mtok" in prices:
        result["rates"] = rates(prices, 0)
    if found := units(prices):
        result["units"] = found
    if not result:
        left_out["without an input price"] += 1
        return None
    starts = sorted(
        {tier.start for value in prices.values() if isinstance(value, TieredPrices) for tier in value.tiers}
    )
    if starts:
        result["tiers"] = [{"above": start, "rates": rates(prices, start + 1)} for start in starts]
    if "requests_kcount" in prices:
        result["per_request"] = nano(at(prices["requests_kcount"], 0), per=1000)
    return result


def constraint(value: StartDateConstraint | TimeOfDateConstraint | None) -> dict[str, str]:
    match value:
        case None:
            return {}
        case StartDateConstraint(start_date=day):
            return {"start": day.isoformat()}
        case TimeOfDateConstraint(start_time=start, end_time=end):
            if start.utcoffset() or end.utcoffset():
                raise ValueError("a time of day that is not in UTC")
            return {"from": start.strftime("%H:%M"), "to": end.strftime("%H:%M")}


def rows(model: ModelInfo, left_out: Counter[str]) -> list[dict[str, Any]]:
    prices = model.prices
    conditional = prices if isinstance(prices, list) else [ConditionalPrice(prices=prices)]
    result = []
    for one in conditional:
        made = row(model, one.prices, left_out)
        if made is None:
            return []
        result.append(constraint(one.constraint) | made)
    return result


def clauses(match: Any, exact: list[str], rules: list[list[Any]]) -> None:
    """Splits a top-level match into whole names and rules; an `or` is the union of its members."""
    match match:
        case ClauseOr(or_=members):
            for member in members:
                clauses(member, exact, rules)
        case ClauseEquals(equals=text):
            exact.append(text.lower())
        case other:
            rules.append(rule(other))


def rule(match: Any) -> list[Any]:  # noqa: PLR0911 - one return for each kind of clause
    match match:
        case ClauseStartsWith(starts_with=text):
            return ["starts", text.lower()]
        case ClauseEndsWith(ends_with=text):
            return ["ends", text.lower()]
        case ClauseContains(contains=text):
            return ["contains", text.lower()]
        case ClauseEquals(equals=text):
            return ["equals", text.lower()]
        case ClauseRegex(regex=text):
            return ["regex", text]
        case ClauseAnd(and_=members):
            return ["and", *[rule(member) for member in members]]
        case ClauseOr(or_=members):
            return ["or", *[rule(member) for member in members]]
        case _:
            raise TypeError(f"unknown clause {match!r}")


def provider_seed(provider: Provider, left_out: Counter[str]) -> dict[str, Any]:
    names: dict[str, int] = {}
    matchers: list[list[Any]] = []
    models: list[dict[str, Any]] = []
    for index, model in enumerate(provider.models):
        exact: list[str] = []
        rules: list[list[Any]] = []
        clauses(model.match, exact, rules)
        for name in exact:
            names.setdefault(name, index)
        matchers += [[index, *one] for one in rules]
        prices = rows(model, left_out)
        for one in prices:
            one.get("units", {}).update(LEAST_AUDIO.get((provider.id, model.id), {}))
        models.append({"id": model.id, "prices": prices})
        left_out["variants"] += len(model.price_variants or ())
    fallback = provider.fallback_model_providers or []
    return {"fallback": fallback, "names": dict(sorted(names.items())), "rules": matchers, "models": models}


def seed(day: str) -> dict[str, Any]:
    left_out: Counter[str] = Counter()
    made = {provider.id: provider_seed(provider, left_out) for provider in sorted(providers, key=lambda one: one.id)}
    return {
        "source": "genai-prices",
        "version": version("genai-prices"),
        "date": day,
        "license": "MIT",
        "url": "https://github.com/pydantic/genai-prices",
        "currency": "USD",
        "left_out": dict(sorted(left_out.items())),
        "providers": made,
    }


def write(data: dict[str, Any], output: Path) -> None:
    """One provider a line, so that a change of prices can be read in a diff."""
    header = {key: value for key, value in data.items() if key != "providers"}
    text = json.dumps(header, separators=(",", ":"))[:-1] + ',"providers":{\n'
    lines = [
        f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'))}" for name, value in data["providers"].items()
    ]
    output.write_text(text + ",\n".join(lines) + "\n}}\n", encoding="utf-8")


MOMENTS = [dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC), dt.datetime(2026, 9, 5, 2, 30, tzinfo=dt.UTC)]
MOMENTS += [dt.datetime(2026, 11, 20, hour, tzinfo=dt.UTC) for hour in (0, 1, 4, 9, 17)]
# In the order of core.usage.Usage: input, cache read, cache write, 1 h, output, reasoning, audio in, out, image in,
# out; then seconds of sound, characters and searches.
USAGES = [
    [1000, 0, 0, 0, 333, 0, 0, 0, 0, 0, 61, 17, 1],
    [12_345, 65_432, 777, 99, 4_321, 1_234, 0, 0, 0, 0, 0, 0, 0],
    [128_001, 100_000, 30_000, 15_001, 8_191, 7, 0, 0, 0, 0, 7_201, 4_096, 3],
    [271_999, 1, 0, 0, 11, 0, 0, 0, 0, 0, 1, 1_000_003, 0],
    [900_000, 0, 0, 0, 64_000, 0, 0, 0, 0, 0, 0, 0, 0],
    [101, 0, 0, 0, 53, 0, 211, 307, 401, 503, 13, 999, 2],
]


def names_of(match: Any) -> list[str]:
    """Names that a match was made for, and some that just miss."""
    exact: list[str] = []
    rules: list[list[Any]] = []
    clauses(match, exact, rules)
    texts = [str(one[1]) for one in rules if one[0] in ("starts", "ends", "contains", "equals")]
    return [*exact[:2], *texts[:2], *[f"{text}-20251211" for text in texts[:1]], *[f"x{text}" for text in texts[:1]]]


def ask(provider: Provider, name: str, number: int) -> dict[str, Any]:
    moment = MOMENTS[number % len(MOMENTS)]
    case: dict[str, Any] = {"provider": provider.id, "name": name, "at": int(moment.timestamp())}
    model = provider.find_model(name, all_providers=providers)
    if model is None or not rows(model, Counter()):
        return case | {"model": None}
    numbers = USAGES[number % len(USAGES)]
    fresh, read, write_, hour, output, reasoning, audio_in, audio_out, image_in, image_out = numbers[:10]
    seconds, characters, searches = numbers[10:]
    priced = model.get_prices(moment)
    if priced.output_mtok is None:
        output = reasoning = audio_out = image_out = 0  # nothing to compare: there the house bills as input
    whole_sessions = getattr(priced, "audio_hours", None) is not None and "input_audio_hours" not in vars(priced)
    usage = Usage(
        input_tokens=fresh + read + write_ + hour + audio_in + image_in,
        cache_read_tokens=read,
        cache_write_tokens=write_ + hour,
        cache_write_1h_tokens=hour,
        output_tokens=output + reasoning + audio_out + image_out,
        output_reasoning_tokens=reasoning,
        input_audio_tokens=audio_in,
        output_audio_tokens=audio_out,
        input_image_tokens=image_in,
        output_image_tokens=image_out,
        cache_audio_read_tokens=0,
        cache_image_read_tokens=0,
        audio_seconds=0 if whole_sessions else seconds,  # which are left out
        input_audio_seconds=0 if whole_sessions else seconds,
        input_characters=characters,
        rerank_searches=searches,
    )
    total = model.calc_price(usage, provider, genai_request_timestamp=moment).total_price
    cost = int((total * NANO).quantize(Decimal(1), ROUND_HALF_UP))
    case |= {"model": model.id, "usage": number % len(USAGES), "cost": cost}
    return case if priced.output_mtok is not None else case | {"input_only": True}


def oracle() -> list[dict[str, Any]]:
    """Every model of small providers, every eighth of the largest."""
    cases = []
    for provider in sorted(providers, key=lambda one: one.id):
        step = 8 if len(provider.models) > 200 else 1 if len(provider.models) < 60 else 3
        names = [name for model in provider.models[::step] for name in [model.id, *names_of(model.match)]]
        names += [f"no-such-model-of-{provider.id}"]
        cases += [ask(provider, name, len(cases) + number) for number, name in enumerate(dict.fromkeys(names))]
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the price seed from the installed genai-prices.")
    parser.add_argument("--date", default=dt.datetime.now(dt.UTC).date().isoformat())
    arguments = parser.parse_args()
    data = seed(arguments.date)
    write(data, SEED)
    cases = oracle()
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    ORACLE.write_text(f'{{"usages":{json.dumps(USAGES)},"cases":[\n{lines}\n]}}\n', encoding="utf-8")
    models = sum(len(one["models"]) for one in data["providers"].values())
    print(f"{len(data['providers'])} providers, {models} models, {len(cases)} questions; left out {data['left_out']}")


if __name__ == "__main__":
    main()
