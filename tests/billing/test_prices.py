"""Which price a call has."""

import datetime as dt
from pathlib import Path

import pytest

from posthouse.billing.model import Price, Tier, rates_of
from posthouse.billing.prices import PriceBook, PriceKey
from posthouse.core.errors import ConfigError
from posthouse.core.usage import Usage
from posthouse.settings.model import PriceSettings

NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC).timestamp()
KEY = PriceKey("main", ("fast", "gpt-5.6-luna"), "openai", ("gpt-5.6-luna",))


def table(model: str = "fast", **values: object) -> PriceSettings:
    return PriceSettings(model=model, **({"currency": "USD"} | values))  # type: ignore[arg-type]


def quoted(book: PriceBook, key: PriceKey = KEY, now: float = NOW) -> Price:
    price = book.quote(key, now)
    assert price is not None
    return price


def test_the_operators_price_wins_over_the_seed() -> None:
    price = quoted(PriceBook([table(input="0.15", cached_input="0.075", output="0.60")]))
    assert price.source == "configuration"
    assert price.rates == rates_of({"input": 150_000_000, "cache_read": 75_000_000, "output": 600_000_000})


def test_a_price_for_one_account_wins_over_one_for_all() -> None:
    book = PriceBook([table(input="1", provider="main"), table(input="2"), table(input="3", provider="other")])
    assert quoted(book).rates.input == 10**9
    assert quoted(book, PriceKey("third", ("fast",))).rates.input == 2 * 10**9


def test_an_override_may_use_the_upstreams_name_but_the_public_one_wins() -> None:
    assert quoted(PriceBook([table("gpt-5.6-luna", input="7")])).rates.input == 7 * 10**9
    both = PriceBook([table("gpt-5.6-luna", input="7"), table("fast", input="8")])
    assert quoted(both).rates.input == 8 * 10**9


def test_an_override_holds_from_its_day_on_and_the_latest_wins() -> None:
    book = PriceBook(
        [
            table(input="2", effective_from=dt.date(2026, 11, 21)),
            table(input="3", effective_from=dt.date(2026, 12, 1)),
        ]
    )
    midnight = dt.datetime(2026, 11, 21, tzinfo=dt.UTC).timestamp()
    assert quoted(book, now=midnight - 0.001).source.startswith("genai-prices")
    assert quoted(book, now=midnight).rates.input == 2 * 10**9
    assert quoted(book, now=midnight).effective_from == "2026-11-21"
    assert quoted(book, now=midnight + 11 * 86_400).rates.input == 3 * 10**9


def test_a_self_hosted_model_costs_zero_and_says_so() -> None:
    price = quoted(PriceBook(), PriceKey("local", ("llama",), None, (), free=True))
    assert (price.source, price.free, price.cost(Usage(input=10**9, output=10**9))) == ("self-hosted", True, 0)
    priced = quoted(PriceBook([table("llama", input="1")]), PriceKey("local", ("llama",), None, (), free=True))
    assert priced.cost(Usage(input=1_000)) == 10**6


def test_without_any_source_a_model_is_unpriced_and_never_zero() -> None:
    assert PriceBook().quote(PriceKey("main", ("mystery",)), NOW) is None


def test_a_public_alias_is_not_looked_up_in_the_seed() -> None:
    assert PriceBook().quote(PriceKey("main", ("gpt-4o", "their-own"), "openai", ("their-own",)), NOW) is None


def test_names_for_the_seed_are_tried_in_order() -> None:
    key = PriceKey("main", ("gpt-5.6-sol", "my-deployment"), "azure", ("my-deployment", "gpt-5.6-sol"))
    assert quoted(PriceBook(), key).model == "gpt-5.6-sol"


def test_a_price_by_time_of_day_changes_at_its_minute() -> None:
    book = PriceBook()
    key = PriceKey("main", ("m",), "deepseek", ("deepseek-v4-flash",))
    one = dt.datetime(2026, 11, 20, 1, tzinfo=dt.UTC).timestamp()
    cheap, dear = quoted(book, key, one - 1), quoted(book, key, one)
    assert dear.rates.input == 2 * cheap.rates.input
    assert quoted(book, key, one + 3 * 3600) == cheap


def test_a_long_request_is_billed_at_the_rates_of_its_tier_as_a_whole() -> None:
    tier = Tier(above=200, rates=rates_of({"input": 2_000_000, "output": 3_000_000}))
    price = Price("USD", "test", "m", rates_of({"input": 1_000_000, "output": 2_000_000}), (tier,))
    assert price.cost(Usage(input=200, output=10)) == 220
    assert price.cost(Usage(input=100, cache_read=101, output=10)) == 432
    assert price.rates_for(201) is tier.rates


def test_a_price_for_each_request_is_added_once() -> None:
    assert quoted(PriceBook([table(request="0.01")])).cost(Usage(input=10**6)) == 10**7
    both = quoted(PriceBook([table(request="0.01", input="1", output="2")]))
    assert both.cost(Usage(input=10**6, output=10**6)) == 10**7 + 3 * 10**9


@pytest.mark.parametrize("values", [{}, {"output": "1"}, {"cached_input": "1", "request": "1"}])
def test_an_override_without_an_input_rate_is_refused_with_its_place(values: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"prices\[1\]\.input"):
        PriceBook([table(input="1"), table(**values)])


def test_the_same_deployment_has_one_line_and_lines_are_bounded() -> None:
    book = PriceBook()
    assert book.line(KEY) is book.line(PriceKey("main", ("fast", "gpt-5.6-luna"), "openai", ("gpt-5.6-luna",)))
    for number in range(9000):
        book.line(PriceKey("main", (f"model-{number}",)))
    assert len(book._lines) <= 8192


def test_the_seed_file_is_part_of_the_package() -> None:
    assert (Path(PriceBook.__init__.__code__.co_filename).parent / "data" / "prices.json").is_file()
