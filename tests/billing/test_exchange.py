"""Rates between currencies."""

import datetime as dt
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from posthouse.billing.estimate import reserve_of
from posthouse.billing.exchange import Exchange, ExchangeBook
from posthouse.billing.model import Price, rates_of
from posthouse.core.money import NANO
from posthouse.core.usage import Usage
from posthouse.settings.model import RateSettings

amounts = st.integers(0, 10**15)
fractions = st.integers(1, 10**13)


def rate(base: str, quote: str, value: str, day: str) -> RateSettings:
    return RateSettings(base=base, quote=quote, rate=value, date=dt.date.fromisoformat(day))  # type: ignore[arg-type]


def at(day: str) -> float:
    return dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC).timestamp()


def exchange(numerator: int, denominator: int) -> Exchange:
    return Exchange("CNY", "USD", numerator, denominator, "2026-11-01")


@given(amounts, fractions, fractions)
def test_an_exchange_is_exact_and_rounded_once_and_half_up(nano: int, numerator: int, denominator: int) -> None:
    exact = Fraction(nano * numerator, denominator)
    assert exchange(numerator, denominator).of(nano) == int(exact + Fraction(1, 2))


@given(amounts, amounts, fractions, fractions)
def test_an_exchange_is_never_negative_and_more_never_becomes_less(
    nano: int, more: int, numerator: int, denominator: int
) -> None:
    rate = exchange(numerator, denominator)
    assert 0 <= rate.of(nano) <= rate.of(nano + more)
    assert rate.of(0) == 0


@given(amounts, st.integers(10**6, 10**12))
def test_there_and_back_again_is_at_most_half_a_nano_unit_of_the_other_currency_away(nano: int, quoted: int) -> None:
    there, back = exchange(quoted, NANO), exchange(NANO, quoted)
    assert abs(back.of(there.of(nano)) - nano) <= NANO // quoted // 2 + 1


def test_a_rate_holds_from_its_date_until_the_next_one_in_both_directions() -> None:
    book = ExchangeBook([rate("CNY", "USD", "0.14", "2026-11-01"), rate("CNY", "USD", "0.15", "2026-11-10")])
    assert book.find("CNY", "USD", at("2026-10-31T23:59")) is None
    for day, expected in (("2026-11-01", "0.14"), ("2026-11-09T23:59", "0.14"), ("2026-11-10", "0.15")):
        found = book.find("CNY", "USD", at(day))
        assert found is not None
        assert str(found) == expected
    back = book.find("USD", "CNY", at("2026-11-20"))
    assert back is not None
    assert (str(back), back.of(15 * NANO)) == ("1/0.15", 100 * NANO)


def test_a_rate_of_the_very_direction_goes_before_one_of_the_other() -> None:
    book = ExchangeBook([rate("USD", "CNY", "7", "2026-11-10"), rate("CNY", "USD", "0.14", "2026-11-01")])
    found = book.find("CNY", "USD", at("2026-11-20"))
    assert found is not None
    assert str(found) == "0.14"


def test_rates_are_not_chained_and_never_made_up() -> None:
    book = ExchangeBook([rate("CNY", "USD", "0.14", "2026-11-01"), rate("USD", "EUR", "0.9", "2026-11-01")])
    assert book.find("CNY", "EUR", at("2026-11-20")) is None
    assert ExchangeBook().find("CNY", "USD", at("2026-11-20")) is None


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**12))
def test_a_price_that_is_paid_in_another_currency_is_rounded_in_its_own_and_then_once_more(
    fresh: int, output: int, quoted: int
) -> None:
    price = Price("CNY", "test", "m", rates_of({"input": 1_234_567, "output": 7_654_321}), per_request=3)
    paid = price.paid_by(exchange(quoted, NANO))
    usage = Usage(input=fresh, output=output)
    assert paid.currency == "USD"
    assert paid.listed(usage) == price.cost(usage)
    assert paid.cost(usage) == exchange(quoted, NANO).of(price.cost(usage))
    assert reserve_of(paid, fresh, output).nano >= paid.cost(usage)
    assert reserve_of(paid, fresh, output).currency == "USD"
