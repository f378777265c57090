"""gemini's usageMetadata in disjoint classes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from posthouse.core.usage import Usage
from posthouse.dialects.gemini_usage import usage_in, usage_payload

_COUNT = st.integers(0, 10**6)


def _read(payload: Any) -> Usage | None:
    return usage_in(Raw(json.dumps(payload).encode()))


@pytest.mark.req("GEM-USAGE-001")
def test_the_prompt_includes_cached_tokens_and_the_candidates_no_thoughts() -> None:
    payload = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 60,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 7,
        "toolUsePromptTokenCount": 5,
        "totalTokenCount": 132,
        "trafficType": "ON_DEMAND",
    }
    usage = _read(payload)
    assert usage == Usage(input=45, cache_read=60, output=20, reasoning=7)
    assert usage.total == payload["totalTokenCount"]


@pytest.mark.req("GEM-USAGE-001")
def test_audio_and_images_are_classes_of_their_own() -> None:
    def details(**counts: int) -> list[dict[str, Any]]:
        return [{"modality": name, "tokenCount": count} for name, count in counts.items()]

    payload = {
        "promptTokenCount": 100,
        "promptTokensDetails": details(TEXT=40, AUDIO=30, IMAGE=20, VIDEO=6, DOCUMENT=4),
        "cachedContentTokenCount": 15,
        "cacheTokensDetails": details(TEXT=5, AUDIO=10),
        "toolUsePromptTokenCount": 8,
        "toolUsePromptTokensDetails": details(IMAGE=8),
        "candidatesTokenCount": 50,
        "candidatesTokensDetails": details(TEXT=5, AUDIO=15, IMAGE=30),
    }
    usage = _read(payload)
    assert usage == Usage(
        input=45,
        cache_read=5,
        audio_cache_read=10,
        audio_input=20,
        image_input=28,
        output=5,
        audio_output=15,
        image_output=30,
    )
    assert usage.total == 158


@pytest.mark.req("GEM-USAGE-002")
def test_thoughts_that_were_counted_among_the_candidates_are_told_by_the_total() -> None:
    inside = {"promptTokenCount": 10, "candidatesTokenCount": 9, "thoughtsTokenCount": 4, "totalTokenCount": 19}
    assert _read(inside) == Usage(input=10, output=5, reasoning=4)
    assert _read({**inside, "totalTokenCount": 23}) == Usage(input=10, output=9, reasoning=4)


@pytest.mark.req("GEM-USAGE-003")
@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        5,
        {"totalTokenCount": 5},
        {"promptTokenCount": -1},
        {"promptTokenCount": 1.5},
        {"promptTokenCount": "5"},
        {"promptTokenCount": 1, "candidatesTokenCount": 2**50},
        {"promptTokenCount": 100_000_001},
    ],
)
def test_counts_that_make_no_sense_count_for_nothing(payload: Any) -> None:
    assert _read(payload) is None


@pytest.mark.req("GEM-USAGE-003")
@pytest.mark.parametrize(
    "more",
    [
        {"promptTokensDetails": "AUDIO"},
        {"promptTokensDetails": [{"modality": "AUDIO", "tokenCount": "5"}]},
        {"cachedContentTokenCount": -5},
        {"cachedContentTokenCount": "5"},
        {"cachedContentTokenCount": 1.5},
        {"totalTokenCount": 10**30},
        {"totalTokenCount": "18"},
    ],
)
def test_what_is_no_count_beside_those_that_are_says_nothing(more: Any) -> None:
    counted = {"promptTokenCount": 11, "candidatesTokenCount": 7, **more}
    assert _read(counted) == Usage(input=11, output=7)


@pytest.mark.req("GEM-USAGE-003")
@given(
    st.dictionaries(st.sampled_from(["promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount"]), _COUNT)
)
def test_a_detail_never_claims_more_than_is_there(payload: dict[str, Any]) -> None:
    detail = [
        {"modality": "AUDIO", "tokenCount": 10**9},
        {"modality": "IMAGE", "tokenCount": -5},
        {"modality": "AUDIO"},
    ]
    usage = _read({**payload, "promptTokensDetails": detail, "candidatesTokensDetails": detail})
    if usage is not None:
        assert usage.total_input == payload.get("promptTokenCount", 0)
        assert usage.total_output == payload.get("candidatesTokenCount", 0)


@pytest.mark.req("GEM-USAGE-004")
@given(
    st.builds(
        Usage,
        input=_COUNT,
        cache_read=_COUNT,
        output=_COUNT,
        reasoning=_COUNT,
        audio_input=_COUNT,
        audio_output=_COUNT,
        image_input=_COUNT,
        image_output=_COUNT,
    )
)
def test_usage_survives_the_wire(usage: Usage) -> None:
    payload = usage_payload(usage)
    assert _read(payload) == usage
    assert payload["totalTokenCount"] == usage.total


def test_cache_writes_are_told_as_input() -> None:
    assert _read(usage_payload(Usage(input=1, cache_write=2, cache_write_1h=3, output=1))) == Usage(input=6, output=1)
