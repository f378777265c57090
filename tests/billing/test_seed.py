"""The seed answers as the package it was made from does."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from posthouse.billing.model import FALLBACK, Rates, rates_of
from posthouse.billing.prices import PriceBook, PriceKey
from posthouse.billing.seed import SEED_FILE, Seed
from posthouse.core.usage import Usage

ORACLE = Path(__file__).parent / "price_oracle.json"


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook()


@pytest.fixture(scope="module")
def oracle() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(ORACLE.read_text(encoding="utf-8"))
    return loaded


def usage_of(case: dict[str, Any], usages: list[list[int]]) -> Usage:
    numbers = usages[case["usage"]]
    fresh, read, write, hour, output, reasoning, audio_in, audio_out, image_in, image_out = numbers[:10]
    cached_audio, cached_image, seconds, characters, searches, web_searches, file_searches = numbers[10:]
    if case.get("input_only"):
        output = reasoning = audio_out = image_out = 0
    return Usage(
        input=fresh,
        cache_read=read,
        cache_write=write,
        cache_write_1h=hour,
        output=output,
        reasoning=reasoning,
        audio_input=audio_in,
        audio_output=audio_out,
        image_input=image_in,
        image_output=image_out,
        audio_ms=seconds * 1000,
        characters=characters,
        searches=searches,
        audio_cache_read=cached_audio if case.get("cached_audio") else 0,
        image_cache_read=cached_image if case.get("cached_image") else 0,
        web_searches=web_searches,
        file_searches=file_searches,
        tier=case.get("tier", ""),
    )


def test_every_answer_of_the_seed_equals_that_of_its_source(book: PriceBook, oracle: dict[str, Any]) -> None:
    wrong: list[tuple[Any, object]] = []
    for case in oracle["cases"]:
        key = PriceKey("main", ("m",), case["provider"], (case["name"],))
        price = book.quote(key, case["at"])
        if case["model"] is None:
            if price is not None:
                wrong.append((case, price.model))
        elif price is None or (price.model, price.cost(usage_of(case, oracle["usages"]))) != (
            case["model"],
            case["cost"],
        ):
            wrong.append((case, price))
    assert wrong == []
    assert len(oracle["cases"]) > 1500


def test_the_seed_says_where_it_comes_from() -> None:
    headers = Seed().sources
    assert [(one.source, one.license) for one in headers] == [
        ("genai-prices", "MIT"),
        ("models.dev", "MIT"),
        ("litellm", "MIT"),
    ]
    assert all(one.version and one.date.startswith("20") and one.url.startswith("https://") for one in headers)


def test_the_seed_is_not_read_before_it_is_asked(tmp_path: Path) -> None:
    book = PriceBook(seed=Seed(tmp_path / "missing.json"))
    assert book.quote(PriceKey("main", ("m",)), 0.0) is None
    with pytest.raises(FileNotFoundError):
        book.quote(PriceKey("main", ("m",), "someone", ("m",)), 0.0)


def test_a_seed_beyond_its_bound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    path.write_bytes(b" " * ((8 << 20) + 1))
    with pytest.raises(ValueError, match="8 MiB"):
        _ = Seed(path).sources


def test_an_unknown_provider_and_an_unknown_model_have_no_price(book: PriceBook) -> None:
    assert book.quote(PriceKey("main", ("m",), "nobody", ("gpt-4o",)), 1.8e9) is None
    assert book.quote(PriceKey("main", ("m",), "openai", ("no-such-model",)), 1.8e9) is None


def test_a_row_without_a_price_is_unpriced_and_one_marked_free_is_zero(book: PriceBook) -> None:
    assert book.quote(PriceKey("main", ("m",), "cerebras", ("qwen-3-coder-480b",)), 1.8e9) is None
    free = book.quote(PriceKey("main", ("m",), "openrouter", ("openai/gpt-oss-20b:free",)), 1.8e9)
    assert free is not None
    assert free.free
    assert free.cost(Usage(input=10**6, output=10**6)) == 0
    said = book.quote(PriceKey("main", ("m",), "openai", ("omni-moderation-latest",)), 1.8e9)
    assert said is not None
    assert said.free


@pytest.mark.parametrize(
    ("provider", "name", "usage", "cost"),
    [
        ("openai", "whisper-1", Usage(audio_ms=90_500), "0.00905"),
        ("openai", "tts-1-hd", Usage(characters=4_096), "0.12288"),
        ("groq", "whisper-large-v3", Usage(audio_ms=3_600_000), "0.111"),
        ("groq", "whisper-large-v3-turbo", Usage(audio_ms=9_000), "0.000111111"),  # each call is ten seconds at least
        ("groq", "whisper-large-v3-turbo", Usage(), "0"),
        ("mistral", "voxtral-small-24b-2507", Usage(input=1_000, audio_ms=60_000), "0.0041"),
    ],
)
def test_the_seed_prices_sound_by_time_and_speech_by_characters(
    provider: str, name: str, usage: Usage, cost: str, book: PriceBook
) -> None:
    price = book.quote(PriceKey("main", ("m",), provider, (name,)), 1.8e9)
    assert price is not None
    assert price.covers(usage)
    assert Decimal(price.cost(usage)) / 10**9 == Decimal(cost)


def test_a_model_that_the_seed_sells_by_time_alone_is_unpriced_for_a_chat(book: PriceBook) -> None:
    line = book.line(PriceKey("main", ("m",), "openai", ("whisper-1",)))
    assert line.at(1.8e9) is None
    assert line.listed(1.8e9) is not None


def units_in(path: Path) -> list[dict[str, Any]]:
    """The units of every row that has some."""
    providers = json.loads(path.read_text(encoding="utf-8"))["providers"].values()
    rows = [
        row
        for provider in providers
        for model in (*provider.get("models", ()), *provider.get("more", {}).values())
        for row in model["prices"]
    ]
    return [row["units"] for row in rows if "units" in row]


def test_every_rate_in_the_seed_is_a_whole_number_of_nano_units_and_not_negative() -> None:
    def rates(value: Any) -> list[Any]:
        if isinstance(value, dict):
            return [one for key, child in value.items() for one in (child.values() if key == "rates" else rates(child))]
        return [one for child in value for one in rates(child)] if isinstance(value, list) else []

    everything = rates(json.loads(SEED_FILE.read_text(encoding="utf-8"))["providers"])
    for row in units_in(SEED_FILE):
        everything += [*row.pop("image_kinds", {}).values(), *row.values()]
    assert len(everything) > 5000
    assert all(type(rate) is int and 0 <= rate < 10**15 for rate in everything)


def test_a_missing_rate_falls_back_to_the_class_that_it_is_part_of() -> None:
    assert rates_of({"input": 2, "output": 8}) == Rates(2, 2, 2, 2, 8, 8, 2, 8, 2, 8, 2, 2)
    assert rates_of({"input": 2}) == Rates(2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2)
    most = {"input": 2, "cache_read": 1, "cache_write": 3, "output": 8, "reasoning": 5}
    assert rates_of(most) == Rates(2, 1, 3, 3, 8, 5, 2, 8, 2, 8, 1, 1)
    assert {*FALLBACK, "input"} == set(Rates.__struct_fields__)
    assert Rates.__struct_fields__ == Usage.__struct_fields__[: len(Rates.__struct_fields__)]


def test_a_cost_is_rounded_once_and_half_up() -> None:
    key = PriceKey("main", ("m",), "openai", ("gpt-5.6-sol",))
    price = PriceBook().quote(key, 1.795e9)
    assert price is not None
    usage = Usage(input=1_000, cache_read=8_000, cache_write=1_000, output=500)
    assert Decimal(price.cost(usage)) / 10**9 == Decimal("0.0222")  # the worked example of the price list's own source


def test_a_cost_keeps_half_units_until_the_end() -> None:
    price = PriceBook().quote(PriceKey("main", ("m",), "openai", ("gpt-5.6-sol",)), 1.795e9)
    assert price is not None
    half = rates_of({"input": 500_000, "output": 500_000})  # half a nano-unit a token
    from_halves = type(price)(currency="USD", source="test", model="m", rates=half)
    assert [from_halves.cost(Usage(input=n, output=m)) for n, m in ((1, 0), (1, 1), (1, 2), (0, 0))] == [1, 1, 2, 0]
