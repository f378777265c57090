"""The arithmetic of prices, as properties."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from posthouse.billing.estimate import reserve_for, reserve_of
from posthouse.billing.exchange import Exchange
from posthouse.billing.model import Price, Rates, Tier
from posthouse.billing.units import BY_ANYTHING, UnitRates, multiplied
from posthouse.core.usage import COUNTS, Usage

CLASSES = Rates.__struct_fields__
rate = st.integers(0, 10**12)
count = st.integers(0, 10**7)
rates = st.builds(Rates, *[rate] * len(CLASSES))
usages = st.builds(Usage, *[count] * len(CLASSES))
INPUTS = [name for name in CLASSES if name not in ("output", "reasoning", "audio_output", "image_output")]


@st.composite
def prices(draw: st.DrawFn) -> Price:
    thresholds = sorted(draw(st.sets(st.integers(1, 10**8), max_size=3)))
    tiers = tuple(Tier(above, draw(rates)) for above in thresholds)
    return Price("USD", "test", "m", draw(rates), tiers, draw(st.integers(0, 10**9)))


@given(prices(), usages)
def test_a_cost_is_a_whole_number_and_never_negative(price: Price, usage: Usage) -> None:
    cost = price.cost(usage)
    assert type(cost) is int
    assert cost >= price.per_request >= 0
    assert price.cost(Usage()) == price.per_request


@given(rates, st.integers(0, 10**9), usages)
def test_the_parts_of_a_usage_cost_what_they_do_together_but_for_rounding(
    of: Rates, per_request: int, usage: Usage
) -> None:
    price = Price("USD", "test", "m", of, per_request=per_request)
    parts = [price.cost(replace(Usage(), **{name: getattr(usage, name)})) - per_request for name in CLASSES]
    exact = Fraction(sum(getattr(usage, name) * getattr(of, name) for name in CLASSES), 10**6)
    assert abs(sum(parts) + per_request - price.cost(usage)) <= len(CLASSES) // 2 + 1
    assert abs(price.cost(usage) - per_request - exact) <= Fraction(1, 2)


@given(rates, usages, st.sampled_from(CLASSES), count)
def test_more_tokens_of_any_class_never_cost_less(of: Rates, usage: Usage, name: str, more: int) -> None:
    price = Price("USD", "test", "m", of)
    assert price.cost(replace(usage, **{name: getattr(usage, name) + more})) >= price.cost(usage)


@given(rates, rates, usages, st.integers(1, 10**7), st.sampled_from(INPUTS))
def test_a_tier_begins_one_token_above_its_threshold_and_holds_for_the_whole(
    below: Rates, above: Rates, usage: Usage, threshold: int, name: str
) -> None:
    tiered = Price("USD", "test", "m", below, (Tier(threshold, above),))
    # All of the input in one class: exactly at the threshold, and one token more.
    at = replace(Usage(output=usage.output), **{name: threshold})
    over = replace(at, **{name: threshold + 1})
    assert at.total_input == threshold
    assert tiered.cost(at) == Price("USD", "test", "m", below).cost(at)
    assert tiered.cost(over) == Price("USD", "test", "m", above).cost(over)


@given(prices(), usages)
def test_the_highest_tier_that_is_reached_holds(price: Price, usage: Usage) -> None:
    reached = [tier.rates for tier in price.tiers if usage.total_input > tier.above]
    expected = Price("USD", "test", "m", reached[-1] if reached else price.rates, per_request=price.per_request)
    assert price.cost(usage) == expected.cost(usage)


@given(rate, st.integers(0, 10**12), st.integers(1, 10**12))
def test_a_multiplied_rate_is_exact_and_rounded_half_up(one: int, numerator: int, denominator: int) -> None:
    factor = Fraction(numerator, denominator)
    assert multiplied(one, factor) == int(one * factor + Fraction(1, 2))


@given(prices(), usages, st.integers(1, 20))
def test_a_price_times_a_whole_number_costs_so_many_times_as_much(price: Price, usage: Usage, times: int) -> None:
    assert abs(price.times(Fraction(times), "test").cost(usage) - times * price.cost(usage)) <= times


@given(usages)
def test_every_token_is_in_one_class_of_input_or_output(usage: Usage) -> None:
    counted = {name: value for name, value in asdict(usage).items() if name in COUNTS}
    assert usage.total == usage.total_input + usage.total_output == sum(counted.values())
    assert usage.total_input == sum(getattr(usage, name) for name in INPUTS)
    assert usage.total_cache_read == usage.cache_read + usage.audio_cache_read + usage.image_cache_read


# --- a part of a price, for callers that bring a credential -----------------------------------------------------------
fees = st.integers(0, 10**7) | st.sampled_from([0, 1, 500_000, 999_999, 10**6])
units = st.builds(UnitRates, image=rate, audio_second=rate, character=rate, search=rate, web_search=rate)
counted = st.builds(
    lambda usage, images, sound, searches: replace(usage, images=images, audio_ms=sound, searches=searches),
    usages,
    st.integers(0, 10**4),
    st.integers(0, 10**8),
    st.integers(0, 10**4),
)


def exact(price: Price, usage: Usage) -> Fraction:
    """Nano-units, not rounded."""
    of = price.rates_for(usage.total_input)
    tokens = sum(getattr(usage, name) * getattr(of, name) for name in CLASSES)
    assert price.units is not None
    return price.per_request + Fraction(tokens * 1000 + price.units.thousandths(usage, price.units.image), 10**9)


@given(prices(), units, usages | counted, fees)
def test_a_part_of_a_price_is_exact_and_rounded_once_and_half_up(
    price: Price, sold: UnitRates, usage: Usage, fee: int
) -> None:
    price = replace(price, units=sold, measures=BY_ANYTHING)
    assert price.part(fee).cost(usage) == int(exact(price, usage) * fee / 10**6 + Fraction(1, 2))
    assert price.part(10**6).cost(usage) == price.cost(usage)
    assert price.part(0).cost(usage) == 0


@given(prices(), units, usages | counted, fees, st.sampled_from(["", "flex"]))
def test_what_is_held_of_a_part_covers_it(price: Price, sold: UnitRates, usage: Usage, fee: int, tier: str) -> None:
    whole = replace(price, units=sold, measures=BY_ANYTHING)
    whole = replace(whole, variants={"flex": whole.times(Fraction(1, 3), "flex")})
    part = whole.part(fee)
    assert part.cost(replace(usage, tier=tier)) <= reserve_for(part, usage, tier).nano
    spoken = Usage(input=usage.input, output=usage.output, tier=tier)
    assert part.cost(spoken) <= reserve_of(part, usage.input, usage.output, tier).nano
    if not fee:
        assert part.free
        assert reserve_of(part, usage.input, usage.output, tier).nano == 0


@given(prices(), usages, fees)
def test_a_part_that_is_paid_in_another_currency_is_rounded_in_its_own_and_then_once_more(
    price: Price, usage: Usage, fee: int
) -> None:
    exchange = Exchange("USD", "CNY", 71, 10, "2026-11-20")
    part = price.paid_by(exchange).part(fee)
    own = price.part(fee).cost(usage)
    assert part.listed(usage) == own
    assert part.cost(usage) == exchange.of(own)
    assert part.currency == "CNY"


@given(prices(), fees)
def test_a_part_of_a_price_has_the_id_of_the_whole(price: Price, fee: int) -> None:
    known = price.identified()
    assert known.part(fee).id == known.id
    assert price.part(fee).id == ""
