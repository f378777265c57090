"""Usage objects: overlapping counts in, disjoint classes out."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from posthouse.core.usage import MOST_TOKENS, Usage
from posthouse.dialects.openai_usage import usage_in, usage_of, usage_payload

_COUNT = st.integers(0, 10**6)
_ANY = st.none() | st.booleans() | st.integers(-5, 2**41) | st.floats() | st.text(max_size=3) | st.lists(st.integers())
_DETAILS = st.dictionaries(
    st.sampled_from(["cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "reasoning_tokens"]), _ANY
)


@pytest.mark.req("CHAT-USAGE-001")
@given(_COUNT, _COUNT, _DETAILS | _ANY, _DETAILS | _ANY)
def test_the_classes_add_up_to_what_was_reported(prompt: int, completion: int, into: Any, out: Any) -> None:
    usage = usage_of(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": into,
            "completion_tokens_details": out,
        }
    )
    assert usage is not None
    assert (usage.total_input, usage.total_output) == (prompt, completion)
    assert all(count >= 0 for count in _counts(usage))


@pytest.mark.req("CHAT-USAGE-001")
def test_details_are_taken_out_of_their_totals() -> None:
    payload = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {
            "cached_tokens": 40,
            "cache_write_tokens": 10,
            "audio_tokens": 5,
            "image_tokens": 15,
            "text_tokens": 80,
        },
        "completion_tokens_details": {
            "reasoning_tokens": 20,
            "audio_tokens": 6,
            "image_tokens": 4,
            "accepted_prediction_tokens": 3,
            "rejected_prediction_tokens": 2,
        },
    }
    assert usage_of(payload) == Usage(
        input=30,
        cache_read=40,
        cache_write=10,
        audio_input=5,
        image_input=15,
        output=20,
        reasoning=20,
        audio_output=6,
        image_output=4,
    )


@pytest.mark.req("CHAT-USAGE-001")
def test_a_detail_that_claims_too_much_is_cut() -> None:
    payload = {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 9},
    }
    assert usage_of(payload) == Usage(cache_read=8, audio_input=2, reasoning=4)


@pytest.mark.req("CHAT-USAGE-002")
@pytest.mark.parametrize(
    "payload",
    [
        None,
        5,
        "usage",
        [],
        {},
        {"total_tokens": 5},
        {"prompt_tokens": None, "completion_tokens": None},
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": 1, "completion_tokens": -1},
        {"prompt_tokens": 1.5, "completion_tokens": 1},
        {"prompt_tokens": "5", "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": MOST_TOKENS + 1, "completion_tokens": 1},
        {"prompt_tokens": 1, "completion_tokens": 2**63},
    ],
)
def test_what_makes_no_sense_is_no_usage(payload: Any) -> None:
    assert usage_of(payload) is None


@pytest.mark.req("CHAT-USAGE-002")
@pytest.mark.parametrize("total", [None, -1, 0, 17, 10**30, "18", 1.5, True, []])
def test_a_total_that_contradicts_its_parts_is_not_charged(total: Any) -> None:
    assert usage_of({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": total}) == Usage(input=11, output=7)


@pytest.mark.req("CHAT-USAGE-002")
def test_zero_is_zero_and_a_missing_half_is_zero() -> None:
    assert usage_of({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}) == Usage()
    assert usage_of({"prompt_tokens": 7, "total_tokens": 7}) == Usage(input=7)
    assert usage_of({"prompt_tokens": 7, "completion_tokens": None}) == Usage(input=7)


@pytest.mark.req("CHAT-USAGE-003")
@pytest.mark.parametrize(
    "more",
    [
        {"prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 4},
        {"cached_tokens": 6},
        {"prompt_tokens_details": {"cached_tokens": 6}, "cached_tokens": 6},
        {"prompt_tokens_details": None, "cached_tokens": 6},
    ],
)
def test_cached_tokens_are_found_under_other_names(more: dict[str, Any]) -> None:
    assert usage_of({"prompt_tokens": 10, "completion_tokens": 2, **more}) == Usage(input=4, cache_read=6, output=2)


@pytest.mark.req("CHAT-USAGE-003")
def test_tokens_written_to_a_cache_are_found_under_another_name() -> None:
    details = {"cached_tokens": 0, "cache_creation_input_tokens": 6}
    usage = usage_of({"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": details})
    assert usage == Usage(input=4, cache_write=6, output=2)


@pytest.mark.req("CHAT-USAGE-003")
def test_reasoning_beside_the_completion_is_told_by_the_total() -> None:
    details = {"reasoning_tokens": 94}
    beside = {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135, "completion_tokens_details": details}
    assert usage_of(beside) == Usage(input=32, output=9, reasoning=94)
    inside = {"prompt_tokens": 32, "completion_tokens": 103, "total_tokens": 135, "completion_tokens_details": details}
    assert usage_of(inside) == Usage(input=32, output=9, reasoning=94)


@given(st.builds(Usage, *[_COUNT] * 3, st.just(0), *[_COUNT] * 6))
def test_usage_written_as_a_payload_reads_the_same(usage: Usage) -> None:
    assert usage_of(usage_payload(usage)) == usage


def test_a_cache_write_of_an_hour_is_written_with_the_others() -> None:
    payload = usage_payload(Usage(cache_write=1, cache_write_1h=2))
    assert payload["prompt_tokens_details"]["cache_write_tokens"] == 3
    assert payload["prompt_tokens"] == 3


def _counts(usage: Usage) -> list[int]:
    values = (getattr(usage, name) for name in usage.__struct_fields__)
    return [value for value in values if isinstance(value, int)]


COUNTS = st.none() | st.integers(-2, 50) | st.just(2**41) | st.just("7") | st.just(1.5) | st.just(True)
DETAILS = st.none() | st.dictionaries(
    st.sampled_from(("cached_tokens", "cache_write_tokens", "audio_tokens", "reasoning_tokens", "image_tokens", "x")),
    COUNTS,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": COUNTS,
            "completion_tokens": COUNTS,
            "total_tokens": COUNTS,
            "prompt_tokens_details": DETAILS,
            "completion_tokens_details": DETAILS,
            "prompt_cache_hit_tokens": COUNTS,
            "cached_tokens": COUNTS,
            "cost": st.floats(0, 1),
        },
    )
    | st.none()
    | st.just([])
    | st.just("text")
)
def test_usage_reads_the_same_from_bytes_as_decoded(payload: object) -> None:
    assert usage_in(Raw(msgspec.json.encode(payload))) == usage_of(payload)


@pytest.mark.parametrize("raw", [b"1e400", b'{"prompt_tokens":1e400,"completion_tokens":1}', b'"\\ud83d"', b"\xff"])
def test_what_cannot_be_read_at_all_is_no_usage(raw: bytes) -> None:
    assert usage_in(Raw(raw)) is None
