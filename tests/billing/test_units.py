"""What is sold by other units than tokens: what it costs, what is held for it, and what has no price."""

import datetime as dt
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from posthouse.billing.estimate import reserve_for
from posthouse.billing.forms import price_to_json
from posthouse.billing.model import Price, Rates, Tier, rates_of
from posthouse.billing.prices import PriceBook, PriceKey
from posthouse.billing.units import BY_ANYTHING, BY_TOKENS, MEASURES, Measure, UnitRates, measures_of
from posthouse.core.errors import ConfigError
from posthouse.core.money import Money
from posthouse.core.usage import COUNTS, NO_USAGE, Usage
from posthouse.settings.model import PriceSettings

NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC).timestamp()
KEY = PriceKey("main", ("m",))
ALONE = {  # one unit each
    "images": Usage(images=3),
    "audio": Usage(audio_ms=1_500),
    "characters": Usage(characters=20),
    "searches": Usage(searches=2),
}
UNITS = ("images", "audio_ms", "characters", "searches")
BESIDE = ("web_searches", "file_searches", "sessions")
KINDS = ("", "1024x1024", "/high", "1024x1024/high", "1024x1024/low", "1024x1536/high", "512x512/low")


def table(**values: object) -> PriceSettings:
    return PriceSettings(model="m", **({"currency": "USD"} | values))  # type: ignore[arg-type]


def priced(**values: object) -> Price:
    """The price that a [[prices]] table makes."""
    price = PriceBook([table(**values)]).quote(KEY, NOW)
    assert price is not None
    return price


rate = st.integers(0, 10**12)
count = st.integers(0, 10**6)
kind = st.sampled_from(KINDS)
token_rates = st.builds(Rates, *[rate] * 12)
unit_rates = st.builds(
    UnitRates,
    rate,
    rate,
    rate,
    rate,
    st.dictionaries(st.sampled_from(["1024x1024/high", "1024x1024", "high", "low"]), rate),
    st.sampled_from([0, 10_000]),
    rate,
    rate,
    rate,
)
TIERS = ("", "flex", "priority", "default")
usages = st.builds(Usage, *[count] * 16, kind, count, count, count, st.sampled_from(TIERS))
measured = st.frozensets(st.sampled_from(["tokens", *MEASURES.values()]), min_size=1)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    """A price of any shape, with or without service tiers that cost something else."""
    measures: frozenset[Measure] = draw(measured)
    price = draw(shapes(measures))
    variants = {tier: draw(shapes(measures)) for tier in ("flex", "priority") if draw(st.booleans())}
    return replace(price, variants=variants)


@st.composite
def shapes(draw: st.DrawFn, measures: frozenset[Measure]) -> Price:
    """What it does not measure by has no rate."""
    tokens = "tokens" in measures
    given_units = draw(unit_rates)
    absent = {unit: 0 for unit, measure in MEASURES.items() if measure not in measures}
    units = replace(given_units, **absent, **({"image_kinds": {}} if "images" not in measures else {}))
    tiered = tokens and draw(st.booleans())
    tiers = tuple(Tier(above, draw(token_rates)) for above in (10**6, 2 * 10**6) if tiered)
    return Price(
        "USD",
        "test",
        "m",
        draw(token_rates) if tokens else rates_of({"input": 0}),
        tiers,
        draw(rate),
        units=units if measures != BY_TOKENS else None,
        measures=measures,
    )


def exactly(price: Price, usage: Usage) -> int:
    """The cost by fractions, summed class by class and rounded once, half up."""
    price = price.variants.get(usage.tier, price)
    total = Fraction(0)
    rates = price.rates_for(usage.total_input)
    for name in rates.__struct_fields__:
        total += Fraction(getattr(usage, name) * getattr(rates, name), 10**6)
    if price.units is not None:
        units = price.units
        image = units.of_image(usage.image_kind)
        sound = max(usage.audio_ms, units.least_audio_ms) if usage.audio_ms else 0
        total += Fraction(usage.images * image + usage.characters * units.character, 10**6)
        for name, unit in (("web_searches", "web_search"), ("file_searches", "file_search"), ("sessions", "session")):
            total += Fraction(getattr(usage, name) * getattr(units, unit), 10**6)
        total += Fraction(usage.searches * units.search, 10**6) + Fraction(sound * units.audio_second, 10**9)
    return price.per_request + int(total + Fraction(1, 2))


@given(prices(), usages)
def test_a_cost_is_the_exact_sum_over_tokens_and_units_rounded_once(price: Price, usage: Usage) -> None:
    assert price.cost(usage) == exactly(price, usage)


@given(prices(), usages, st.sampled_from(["output", "image_output", *UNITS, *BESIDE]), count)
def test_more_of_anything_never_costs_less(price: Price, usage: Usage, name: str, more: int) -> None:
    larger = replace(usage, **{name: getattr(usage, name) + more})
    assert price.cost(larger) >= price.cost(usage)


@given(prices(), usages, st.lists(st.fractions(0, 1), min_size=16, max_size=16), kind, st.data())
def test_a_reserve_covers_every_call_that_keeps_to_what_it_said(
    price: Price, expected: Usage, parts: list[Fraction], answered: str, data: st.DataObject
) -> None:
    asked = data.draw(st.sampled_from(["", "auto", "flex", "priority"]))
    served = data.draw(st.sampled_from(["", "default", *(["flex", "priority"] if asked == "auto" else [asked])]))
    expected = replace(expected, **dict.fromkeys(BESIDE, 0))
    if not price.covers(expected):
        with pytest.raises(ValueError, match="cover"):
            reserve_for(price, expected, asked)
        return
    used = {name: int(getattr(expected, name) * part) for name, part in zip(TOKENS_AND_UNITS, parts, strict=True)}
    # Of the input that was expected, some was read from a cache and some written to one; some of the output is thought.
    used["cache_read"] += expected.input - used["input"]
    used["reasoning"] += expected.output - used["output"]
    size, _, quality = expected.image_kind.partition("/")
    usage = Usage(**used, image_kind=expected.image_kind if size and quality else answered, tier=served)
    assert price.cost(usage) <= reserve_for(price, expected, asked).nano


TOKENS_AND_UNITS = [name for name in COUNTS if name not in BESIDE]


@pytest.mark.parametrize(
    ("values", "usage", "cost"),
    [
        ({"image": "0.04"}, Usage(images=2), 80_000_000),
        ({"audio_second": "0.0001"}, Usage(audio_ms=90_500), 9_050_000),
        ({"character": "15"}, Usage(characters=4_096), 61_440_000),
        ({"search": "0.002"}, Usage(searches=3), 6_000_000),
        ({"search": "0.002", "request": "0.001"}, Usage(searches=3), 7_000_000),
        ({"input": "5", "output": "0", "image": "0.04"}, Usage(input=1_000, images=1, image_output=9), 45_000_000),
    ],
)
def test_a_unit_costs_what_its_table_says_and_lines_add_up(values: dict[str, str], usage: Usage, cost: int) -> None:
    price = priced(**values)
    assert price.covers(usage)
    assert price.cost(usage) == cost


def test_a_part_of_a_second_costs_a_part_and_halves_are_kept_until_the_end() -> None:
    price = priced(audio_second="0.000000001")  # a nano-unit
    assert [price.cost(Usage(audio_ms=ms)) for ms in (0, 499, 500, 1_499, 1_500)] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("asked", "cost"),
    [
        ("1024x1536/high", 250),
        ("1024x1536/medium", 63),
        ("512x512/low", 11),
        ("/low", 11),
        ("1024x1024/medium", 40),
        ("1024x1024", 40),
        ("", 40),
    ],
)
def test_an_image_costs_what_its_most_exact_kind_says(asked: str, cost: int) -> None:
    kinds = {"1024x1536/HIGH": "0.250", "1024x1536": "0.063", "low": "0.011"}
    price = priced(image="0.040", image_kinds=kinds)
    assert price.cost(Usage(images=1, image_kind=asked)) == cost * 10**6


def test_images_that_leave_their_kind_open_are_held_at_the_dearest() -> None:
    price = priced(image="0.04", image_kinds={"1024x1536/high": "0.25", "low": "0.011"})
    held = [reserve_for(price, Usage(images=2, image_kind=asked)) for asked in ("", "1024x1024", "512x512/low")]
    assert held == [Money(nano, "USD") for nano in (500_000_000, 500_000_000, 22_000_000)]


@pytest.mark.parametrize("name", ALONE)
def test_a_price_by_tokens_alone_is_none_of_a_unit_and_a_price_by_a_unit_none_of_tokens(name: str) -> None:
    by_tokens = priced(input="1", output="2")
    assert by_tokens.covers(Usage(input=1, output=1))
    assert not by_tokens.covers(ALONE[name])
    for unit, measure in MEASURES.items():
        by_unit = priced(**{unit: "1"})
        assert not by_unit.covers(Usage(input=1, output=1))
        assert by_unit.covers(ALONE[name]) == (name == measure)
    assert measures_of(ALONE[name]) == {name}


def test_tokens_and_units_of_one_call_are_two_measures_and_one_with_a_price_is_enough() -> None:
    transcribed = Usage(audio_input=900, output=40, audio_ms=90_000)
    for price in (priced(input="1"), priced(audio_second="1"), priced(input="1", audio_second="1")):
        assert price.covers(transcribed)
    assert not priced(image="1").covers(transcribed)


def test_tokens_of_the_prompt_alone_are_no_measure_of_the_images_that_were_made() -> None:
    price = priced(input="5", output="40")
    assert not price.covers(Usage(input=12, images=1))
    assert price.covers(Usage(input=12, image_output=1_056, images=1))


def test_a_chat_with_a_model_that_is_sold_by_units_has_no_price() -> None:
    line = PriceBook([table(image="0.04", request="0.01")]).line(KEY)
    assert line.at(NOW) is None
    assert line.listed(NOW) is not None


def test_a_price_for_each_call_alone_and_a_model_of_ones_own_cover_every_use() -> None:
    own = PriceBook().quote(PriceKey("local", ("m",), free=True), NOW)
    flat = priced(request="0.01")
    assert own is not None
    for usage in (NO_USAGE, Usage(input=5), *ALONE.values()):
        assert (own.covers(usage), own.cost(usage)) == (True, 0)
        assert (flat.covers(usage), flat.cost(usage)) == (True, 10_000_000)
        assert reserve_for(flat, usage).nano == 10_000_000
    assert own.free
    assert priced(request="0").free
    assert flat.measures == BY_ANYTHING


def test_nothing_costs_nothing_and_is_covered_by_every_price() -> None:
    for price in (priced(input="1"), priced(image="1"), priced(audio_second="1", character="1")):
        assert (price.covers(NO_USAGE), price.cost(NO_USAGE)) == (True, 0)


def test_a_price_is_free_only_if_none_of_its_lines_costs_anything() -> None:
    assert priced(image="0", audio_second="0", input="0", output="0").free
    assert not priced(image="0", image_kinds={"high": "0.1"}).free
    for unit in MEASURES:
        assert not priced(**{"input": "0", unit: "0.01"}).free
    assert not priced(image="0", output="0.1", input="0").free


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ({"image_kinds": {"high": "1"}, "request": "1"}, "image"),
        ({"output": "1", "image": "1"}, "input"),
        ({"cached_input": "1", "audio_second": "1"}, "input"),
    ],
)
def test_a_table_that_lacks_what_its_lines_stand_on_is_refused(values: dict[str, object], missing: str) -> None:
    with pytest.raises(ConfigError, match=rf"prices\[0\]\.{missing} is missing"):
        priced(**values)


def test_a_price_is_shown_with_the_units_that_it_has_and_no_others() -> None:
    shown = price_to_json(priced(image="0.04", image_kinds={"low": "0.011"}, character="15"))
    assert shown["per_million"] == {}
    assert shown["units"] == {"image": "0.04", "character": "15", "image_kinds": {"low": "0.011"}}
    assert shown["measures"] == ["characters", "images"]
    assert price_to_json(priced(input="1"))["units"] == {}
    whisper = PriceBook().quote(PriceKey("main", ("m",), "groq", ("whisper-large-v3",)), NOW)
    assert whisper is not None
    assert price_to_json(whisper)["units"] == {"audio_second": "0.000030833333333", "least_audio_seconds": "10"}
