"""Prices of others as a seed: what is taken, from whom, and where they differ."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest

from posthouse.billing.harvest.compare import changes
from posthouse.billing.harvest.given import of_package, updated
from posthouse.billing.prices import PriceBook, PriceKey
from posthouse.billing.seed import Seed
from posthouse.core.errors import InvalidRequest
from posthouse.core.usage import Usage

NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)  # a Friday
LITELLM: dict[str, Any] = {
    "sample_spec": {"litellm_provider": "one of them", "input_cost_per_token": 0.0},
    "dashscope/new-chat": {
        "litellm_provider": "dashscope",
        "mode": "chat",
        "source": "https://example/prices",
        "input_cost_per_token": 2e-06,
        "output_cost_per_token": 4e-06,
        "cache_read_input_token_cost": 5e-07,
        "input_cost_per_token_above_200k_tokens": 3e-06,
        "input_cost_per_token_flex": 1e-06,
        "output_cost_per_token_flex": 2e-06,
        "input_cost_per_token_batches": 1e-06,
        "search_context_cost_per_query": {"search_context_size_medium": 0.01},
    },
    "dashscope/in-steps": {
        "litellm_provider": "dashscope",
        "tiered_pricing": [
            {"range": [0, 32000], "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
            {"range": [32000, 128000], "input_cost_per_token": 3e-06, "output_cost_per_token": 6e-06},
        ],
    },
    "dashscope/by-night": {
        "litellm_provider": "dashscope",
        "input_cost_per_token": 2e-06,
        "output_cost_per_token": 2e-06,
        "off_peak_pricing": {
            "input_cost_per_token": 1e-06,
            "output_cost_per_token": 1e-06,
            "weekday_timezone": "Asia/Shanghai",
            "windows": [
                {"hours_utc": ["10:00-00:00"], "weekdays": [1, 2, 3, 4, 5]},
                {"hours_utc": "00:00-00:00", "weekdays": [6, 7]},
            ],
        },
    },
    "dashscope/picture": {"litellm_provider": "dashscope", "mode": "image_generation", "output_cost_per_image": 0.03},
    "low/1024-x-1024/picture": {"litellm_provider": "dashscope", "input_cost_per_image": 0.01},
    "dashscope/both": {
        "litellm_provider": "dashscope",
        "mode": "image_generation",
        "input_cost_per_token": 5e-06,
        "output_cost_per_image_token": 4e-05,
        "output_cost_per_image": 0.03,
    },
    "dashscope/ranks": {"litellm_provider": "dashscope", "mode": "rerank", "input_cost_per_query": 0.002},
    "dashscope/heard": {"litellm_provider": "dashscope", "mode": "audio_transcription", "input_cost_per_second": 1e-04},
    "dashscope/spoken": {"litellm_provider": "dashscope", "mode": "audio_speech", "input_cost_per_character": 1.5e-05},
    "dashscope/unknown": {"litellm_provider": "dashscope", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
}
MODELS_DEV: dict[str, Any] = {
    "alibaba-cn": {
        "models": {
            "new-chat": {"cost": {"input": 2.5, "output": 4.02, "cache_read": 0.5, "cache_write": 0}},
            "Elsewhere": {
                "cost": {
                    "input": 1,
                    "output": 2,
                    "reasoning": 3,
                    "tiers": [{"input": 5, "output": 6, "tier": {"size": 200000, "type": "context"}}],
                }
            },
            "free": {"cost": {"input": 0, "output": 0}},
            "silent": {},
        }
    }
}
EMPTY = json.dumps(
    {
        "sources": [{"source": "x", "version": "1", "date": "2026-01-01", "license": "MIT", "url": "https://x"}],
        "currency": "USD",
        "providers": {},
    }
).encode()


def made(*tables: dict[str, Any], below: bytes = EMPTY) -> tuple[Seed, list[str]]:
    found = updated([json.dumps(table).encode() for table in tables], Seed(data=below), NOW.timestamp())
    return Seed(data=found.data), [str(doubt) for doubt in found.doubts]


def cost(seed: Seed, name: str, usage: Usage, now: dt.datetime = NOW) -> float | None:
    price = PriceBook(seed=seed).quote(PriceKey("main", ("m",), "qwen", (name,)), now.timestamp())
    return None if price is None or not price.covers(usage) else price.cost(usage) / 10**9


@pytest.mark.parametrize(
    ("name", "usage", "expected"),
    [
        ("new-chat", Usage(input=10**6, tier="default"), 3),
        ("new-chat", Usage(input=10**5, cache_read=10**5, output=10**5), 0.65),
        ("new-chat", Usage(input=10**5, output=10**5, tier="flex"), 0.3),
        ("new-chat", Usage(input=10**5, output=10**5, tier="batch"), 0.5),  # it says nothing of output: as usual
        ("new-chat", Usage(input=10**5, web_searches=3), 0.23),
        ("in-steps", Usage(input=32_000), 0.032),
        ("in-steps", Usage(input=32_001, output=1), 0.096009),
        ("picture", Usage(images=2), 0.06),
        ("picture", Usage(images=2, image_kind="1024x1024/low"), 0.02),
        ("both", Usage(input=10, image_output=1000, images=1), 0.04005),
        ("ranks", Usage(searches=3), 0.006),
        ("heard", Usage(audio_ms=1500), 0.00015),
        ("spoken", Usage(characters=1000), 0.015),
        ("unknown", Usage(input=1), None),
        ("sample_spec", Usage(input=1), None),
    ],
)
def test_the_table_of_litellm_is_taken_as_it_means(name: str, usage: Usage, expected: float | None) -> None:
    assert cost(made(LITELLM)[0], name, usage) == expected


def test_cheaper_hours_hold_by_the_weekday_of_their_zone() -> None:
    seed, _ = made(LITELLM)
    moments = {
        "2026-11-20T09:59": 2.0,  # Friday, 17:59 there
        "2026-11-20T10:00": 1.0,
        "2026-11-20T23:00": 1.0,  # Saturday there
        "2026-11-22T10:00": 1.0,
        "2026-11-23T01:00": 2.0,
    }
    found = {
        moment: cost(seed, "by-night", Usage(input=10**6), dt.datetime.fromisoformat(moment).replace(tzinfo=dt.UTC))
        for moment in moments
    }
    assert found == moments


def test_the_table_of_models_dev_is_taken_as_it_means() -> None:
    seed, _ = made(MODELS_DEV)
    assert cost(seed, "elsewhere", Usage(input=10**5, output=10**5, reasoning=10**5)) == 0.6
    assert cost(seed, "elsewhere", Usage(input=10**6)) == 5
    assert (cost(seed, "free", Usage(input=1)), cost(seed, "silent", Usage(input=1))) == (None, None)


def test_the_more_believed_source_decides_and_what_others_say_beyond_one_per_cent_is_told() -> None:
    seed, doubts = made(MODELS_DEV, LITELLM)
    assert cost(seed, "new-chat", Usage(input=10**6)) == 2.5
    assert cost(seed, "ranks", Usage(searches=1)) == 0.002
    assert doubts == ["qwen/new-chat input: models.dev 2.5, litellm 2 (20 %)"]  # 4.02 and 4 are near enough
    line = PriceBook(seed=seed).line(PriceKey("main", ("m",), "qwen", ("new-chat",)))
    (step,) = [step for step in line.why(NOW.timestamp()) if step.place == "seed"]
    assert step.detail.startswith("models.dev 2026-11-20 (2026-11-20): qwen/new-chat")
    assert step.detail.endswith("litellm 2026-11-20 says input 2, not 2.5")


def test_each_row_says_where_it_comes_from() -> None:
    seed, _ = made(MODELS_DEV, LITELLM)
    for name, source in (("elsewhere", "models.dev"), ("ranks", "litellm")):
        found = seed.rows("qwen", name)
        assert found is not None
        assert (found[1].source, found[1].date, found[1].license) == (source, "2026-11-20", "MIT")
    found = made(LITELLM)[0].rows("qwen", "new-chat")
    assert found is not None and found[0].url == "https://example/prices"


def test_what_a_source_says_nothing_of_stays_and_what_it_no_longer_says_goes() -> None:
    first, _ = made(MODELS_DEV, LITELLM)
    fewer = {key: row for key, row in LITELLM.items() if "ranks" not in key}
    second, _ = made(fewer, below=first.content())
    assert cost(second, "ranks", Usage(searches=1)) is None
    assert cost(second, "elsewhere", Usage(input=10**6)) == 5
    assert [str(change) for change in changes(first, second, NOW)] == ["- qwen/ranks: search 0.002 -> -"]


def test_a_change_is_told_with_what_it_was_and_what_it_is() -> None:
    dearer = {**LITELLM["dashscope/new-chat"], "output_cost_per_token": 5e-06}
    first, _ = made(LITELLM)
    second, _ = made(LITELLM | {"dashscope/new-chat": dearer, "dashscope/newest": dearer})
    told = {change.model: change for change in changes(first, second, NOW)}
    assert told["newest"].kind == "new"
    assert ("output", "4", "5") in told["new-chat"].lines
    assert all(before != after for change in told.values() for _, before, after in change.lines)
    assert list(changes(first, first, NOW)) == []


def test_the_seed_has_what_its_first_source_lacks() -> None:
    seed = Seed()
    for provider, name in (("qwen", "qwen3-max"), ("doubao", "doubao-seed-2-0-pro-260215"), ("tencent", "glm-5.3")):
        assert seed.rows(provider, name) is not None, (provider, name)
    assert seed.rows("siliconflow", "Qwen/Qwen2.5-72B-Instruct") is not None


class StartDateConstraint:
    start_date = dt.date(2027, 1, 1)


class Said:
    """Anything of the package: what it says is its attributes."""

    def __init__(self, **said: Any) -> None:
        vars(self).update(said)


class ClauseEquals(Said): ...


class ClauseStartsWith(Said): ...


class ClauseOr(Said): ...


def test_the_package_of_an_operator_is_read_by_the_names_of_its_classes() -> None:
    tiered = Said(base=Decimal(2), tiers=[Said(start=200_000, price=Decimal(3))])
    flex = Said(when={"service_tier": "flex"}, prices=Said(input_mtok=Decimal(1)), constraint=None)
    route = Said(when={"route": "eu"}, prices=Said(input_mtok=Decimal(9)), constraint=None)
    model = Said(
        id="sol",
        match=ClauseOr(or_=[ClauseEquals(equals="Sol"), ClauseStartsWith(starts_with="sol-")]),
        prices=[
            Said(constraint=None, prices=Said(input_mtok=tiered, output_mtok=Decimal(4), output_video_mtok=Decimal(5))),
            Said(constraint=StartDateConstraint(), prices=Said(input_mtok=Decimal(7))),
        ],
        price_variants=[flex, route],
        description=None,
        price_comments=None,
    )
    nothing = Said(
        id="no", match=ClauseEquals(equals="no"), prices=Said(), price_variants=None, description="", price_comments=""
    )
    vendor = Said(id="qwen", models=[model, nothing], fallback_model_providers=None)
    merged = updated([of_package([vendor], "9.9")], Seed(data=EMPTY), NOW.timestamp())
    seed = Seed(data=merged.data)
    assert cost(seed, "SOL", Usage(input=10**5, output=10**5)) == 0.6
    assert cost(seed, "sol-2026", Usage(input=10**6, output=10**5)) == 3.4
    assert cost(seed, "sol", Usage(input=10**6, output=10**5, tier="flex")) == 1.4
    assert cost(seed, "sol", Usage(input=10**6), dt.datetime(2027, 1, 1, tzinfo=dt.UTC)) == 7
    assert cost(seed, "no", Usage(input=1)) is None
    assert merged.left_out == {"output_video_mtok": 1, "variants": 1, "without an input price": 1}
    found = seed.rows("qwen", "sol")
    assert found is not None and (found[1].source, found[1].version) == ("genai-prices", "9.9")


@pytest.mark.parametrize(
    "content", [b"", b"5", b"[]", b"{}", b'{"a": 1}', b'{"a": {"b": 2}}', b"\xff", b"[" * 5000, b" " * ((8 << 20) + 1)]
)
def test_what_is_no_source_of_prices_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidRequest):
        updated([content], Seed(data=EMPTY), NOW.timestamp())


@pytest.mark.parametrize(
    "row",
    [
        {"tiered_pricing": [{"range": "all"}], "litellm_provider": "dashscope"},
        {"input_cost_per_token": 1e-6, "off_peak_pricing": {"windows": [5]}, "litellm_provider": "dashscope"},
        {"input_cost_per_token": float("1e300"), "litellm_provider": "dashscope"},
    ],
)
def test_a_table_with_a_row_of_another_form_is_refused_and_is_no_fault_of_ours(row: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        made({"dashscope/odd": row})
