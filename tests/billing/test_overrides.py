"""Rows of [[prices]] that say when they hold, for which tier, or multiply."""

import datetime as dt
from typing import Any

import pytest

from posthouse.billing.forms import price_to_json
from posthouse.billing.model import Price
from posthouse.billing.prices import PriceBook, PriceKey, PriceStep
from posthouse.core.errors import ConfigError
from posthouse.core.usage import Usage
from posthouse.settings.model import PriceSettings, TierSettings

KEY = PriceKey("main", ("m",))
SOL = PriceKey("main", ("gpt-5.6-sol",), "openai", ("gpt-5.6-sol",))
NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC).timestamp()  # a Friday
MILLION = Usage(input=10**6)


def table(model: str = "m", **values: object) -> PriceSettings:
    if "multiplier" not in values:
        values = {"currency": "USD"} | values
    return PriceSettings(model=model, **values)  # type: ignore[arg-type]


def quoted(*tables: PriceSettings, key: PriceKey = KEY, now: float = NOW) -> Price:
    price = PriceBook(tables).quote(key, now)
    assert price is not None
    return price


def paid(*tables: PriceSettings, tier: str = "", now: float = NOW) -> str:
    nano = quoted(*tables, now=now).cost(Usage(input=10**6, tier=tier))
    return f"{nano / 10**9:g}"


def hour(text: str) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


def test_a_price_ends_with_its_last_day() -> None:
    tables = [
        table(input="2", effective_until=dt.date(2026, 12, 1)),
        table(input="1", effective_from=dt.date(2026, 1, 1)),
    ]
    book = PriceBook([table(input="2", effective_until=dt.date(2026, 12, 1))])
    midnight = hour("2026-12-01")
    assert book.quote(KEY, midnight - 1) is not None
    assert book.quote(KEY, midnight) is None
    # What began later holds as long as it holds.
    assert paid(*tables, now=midnight - 1) == "1"


def test_of_two_prices_that_hold_the_later_one_wins_and_the_former_returns_when_it_ends() -> None:
    usual = table(input="2")
    offer = table(input="1", effective_from=dt.date(2026, 11, 10), effective_until=dt.date(2026, 11, 20))
    days = ("2026-11-09", "2026-11-10", "2026-11-19", "2026-11-20")
    assert [paid(usual, offer, now=hour(day)) for day in days] == ["2", "1", "1", "2"]


def test_a_price_at_certain_hours_goes_before_one_at_any_hour() -> None:
    night = table(input="1", daily_from="18:00", daily_until="08:00", zone="Asia/Shanghai", days=("mon", "fri"))
    tables = (table(input="2"), night)
    moments = {
        "2026-11-20T09:59": "2",  # Friday, 17:59 there
        "2026-11-20T10:00": "1",
        "2026-11-20T15:59": "1",
        "2026-11-20T16:00": "2",  # Saturday there
        "2026-11-22T23:59": "1",  # Monday, 07:59 there
        "2026-11-23T00:00": "2",
    }
    assert {moment: paid(*tables, now=hour(moment)) for moment in moments} == moments


def test_one_line_follows_the_hour_by_the_minute() -> None:
    line = PriceBook([table(input="2"), table(multiplier="0.5", daily_from="16:30", daily_until="00:30")]).line(KEY)
    found = [line.at(hour(f"2026-11-20T{time}")) for time in ("16:29:59", "16:30", "00:29:59", "00:30")]
    assert [price and price.rates.input for price in found] == [2 * 10**9, 10**9, 10**9, 2 * 10**9]


def test_a_multiplier_multiplies_what_would_hold_without_it_at_every_tier_and_unit() -> None:
    usual, region = quoted(key=SOL), quoted(table("*", provider="main", multiplier="1.1"), key=SOL)
    for usage in (
        MILLION,
        Usage(input=300_000, output=10**6),
        Usage(input=10**6, tier="priority"),
        Usage(web_searches=1000),
    ):
        assert region.cost(usage) * 10 == usual.cost(usage) * 11
    assert usual.cost(Usage(input=10**6, tier="priority")) > usual.cost(MILLION)
    assert region.source == f"{usual.source}, times 1.1"


def test_multipliers_of_several_kinds_multiply_each_other_and_of_one_kind_the_newest_holds() -> None:
    region = table("*", provider="main", multiplier="1.5")
    newer = table("*", provider="main", multiplier="2", effective_from=dt.date(2026, 11, 1))
    night = table("*", multiplier="0.5", daily_from="10:00", daily_until="14:00")
    seed = quoted(key=SOL).cost(MILLION)
    assert quoted(region, night, key=SOL).cost(MILLION) * 4 == seed * 3
    assert quoted(region, newer, key=SOL).cost(MILLION) == seed * 2


def test_amounts_of_one_model_hide_what_is_said_of_every_model() -> None:
    assert paid(table("*", multiplier="3"), table(input="2")) == "2"
    assert paid(table(input="2"), table(multiplier="3", provider="main")) == "6"


def test_a_multiplier_of_nothing_is_no_price() -> None:
    assert PriceBook([table("*", multiplier="3")]).quote(KEY, NOW) is None


def test_a_service_tier_has_its_own_amounts_or_a_part_of_the_standard_price() -> None:
    tables = (
        table(input="2"),
        table(service_tier="priority", input="7"),
        table("*", service_tier="batch", multiplier="0.5"),
    )
    assert [paid(*tables, tier=tier) for tier in ("", "default", "flex", "priority", "batch")] == [
        "2",
        "2",
        "2",
        "7",
        "1",
    ]


def test_a_multiplier_of_a_tier_is_one_of_the_standard_price_whatever_the_seed_says_of_it() -> None:
    usual = quoted(key=SOL)
    halved = quoted(table("*", service_tier="flex", multiplier="0.25"), key=SOL)
    assert halved.cost(Usage(input=10**6, tier="flex")) * 4 == usual.cost(MILLION)


def test_the_operators_own_price_has_no_tiers_of_the_seed() -> None:
    own = quoted(table("gpt-5.6-sol", input="1"), key=SOL)
    assert own.cost(Usage(input=10**6, tier="priority")) == 10**9


def test_a_table_may_have_tiers_by_length_which_keep_what_they_leave_out() -> None:
    long = TierSettings(above=200_000, input="2", output="9")  # type: ignore[arg-type]
    price = quoted(table(input="1", cached_input="0.1", output="6", tiers=(long,)))
    assert price.cost(Usage(input=200_000, output=10**6)) == 6_200_000_000
    assert (
        price.cost(Usage(input=100_001, cache_read=100_000, output=10**6)) == 9_000_000_000 + 200_002_000 + 10_000_000
    )


def test_what_a_model_does_besides_is_charged_beside_its_tokens() -> None:
    price = quoted(table(input="1", web_search="10", file_search="2.5", session="0.03"))
    assert (
        price.cost(Usage(input=1000, web_searches=3, file_searches=2, sessions=1))
        == 10**6 + 30_000_000 + 5_000_000 + 30_000_000
    )
    assert price_to_json(price)["units"] == {"web_search": "10", "file_search": "2.5", "session": "0.03"}
    assert not PriceBook([table(input="1", web_search="10")]).quote(KEY, NOW).covers(Usage(images=1))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"multiplier": "2", "input": "1"}, r"multiplier: stands beside input"),
        (
            {"input": "1", "effective_from": dt.date(2026, 2, 1), "effective_until": dt.date(2026, 2, 1)},
            "effective_until",
        ),
        ({"input": "1", "daily_from": "08:00"}, "daily_from"),
        ({"input": "1", "daily_from": "08:00", "daily_until": "09:00", "zone": "Mars/Base"}, "zone"),
        ({"input": "1", "zone": "+08:00"}, "zone"),
        ({"web_search": "10"}, "input is missing"),
        ({"input": "1", "tiers": (TierSettings(above=2), TierSettings(above=1))}, "tiers"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        quoted(table(**values))


def test_a_table_with_amounts_needs_its_currency() -> None:
    with pytest.raises(ConfigError, match="currency"):
        PriceBook([PriceSettings(model="m", input="1")])  # type: ignore[arg-type]


def test_why_says_of_each_row_whether_it_had_a_part() -> None:
    tables = (
        table("*", multiplier="2"),
        table(input="2"),
        table(input="3", effective_from=dt.date(2027, 1, 1)),
        table(input="4", effective_until=dt.date(2026, 1, 1)),
        table(multiplier="0.5", provider="main", daily_from="01:00", daily_until="02:00"),
        table(service_tier="batch", multiplier="0.5"),
    )
    steps = PriceBook(tables).line(KEY).why(NOW)
    told = {step.detail: step.taken for step in steps if step.place == "configuration"}
    assert told == {
        "[[prices]] of 'm' for any provider": True,
        "[[prices]] of 'm' for any provider, at the service tier batch, times 0.5": True,
        "[[prices]] of 'm' for any provider, from 2027-01-01: not yet in force": False,
        "[[prices]] of 'm' for any provider, until 2026-01-01: no longer in force": False,
        "[[prices]] of 'm' for provider 'main', daily 01:00-02:00 UTC, times 0.5: not at this hour": False,
        "[[prices]] of '*' for any provider, times 2: a newer or more specific one goes before it": False,
    }
    assert steps[-1] == PriceStep("seed", False, "the seed knows no prices of this type of provider")


def test_the_same_price_has_the_same_id_and_another_one_another() -> None:
    one, same, other = quoted(table(input="1")), quoted(table(input="1")), quoted(table(input="1.000000001"))
    assert one.id == same.id != other.id
    assert one.id.startswith("price_")
    assert quoted(table(input="1"), table(service_tier="flex", input="2")).id != one.id
