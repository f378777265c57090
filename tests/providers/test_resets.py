"""When a limit begins anew, in the spellings that vendors use."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.providers import openai_compatible
from posthouse.providers.failures import MAX_RETRY_AFTER, failure_of
from posthouse.providers.resets import reset_of, seconds_of

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("1d0h0m5s", 86_405.0),
        ("59.70s", 59.7),
        ("7", 7.0),
        ("0.5", 0.5),
        ("1700000030", 30.0),
        ("1700000030500", 30.5),
        ("2023-11-14T22:13:50Z", 30.0),
        ("2023-11-14T22:13:50", 30.0),
        ("2023-11-14T22:13:10Z", -10.0),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("nan", None),
        ("3 minutes", None),
        ("5m", None),
    ],
)
def test_a_reset_is_read_in_every_way_in_which_one_is_written(text: str, seconds: float | None) -> None:
    assert seconds_of(text, NOW) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "12s"}, 12.0),
        (
            {
                "x-ratelimit-remaining-requests": "7",
                "x-ratelimit-reset-requests": "90s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            360.0,
        ),
        ({"vendor-ratelimit-tokens-remaining": "0", "vendor-ratelimit-tokens-reset": "2023-11-14T22:13:50Z"}, 30.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1700000060000"}, 60.0),
        ({"ratelimit-reset": "4"}, 4.0),
        ({"x-ratelimit-reset-tokens": "4s"}, None),
        ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "4s"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "yesterday"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1600000000"}, None),
        ({"date": "now"}, None),
    ],
)
def test_only_a_limit_of_which_nothing_remains_is_waited_for(headers: dict[str, str], seconds: float | None) -> None:
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert reset_of(lines, NOW) == (None if seconds is None else pytest.approx(seconds))


@given(st.lists(st.tuples(st.sampled_from(["x-ratelimit-remaining", "x-ratelimit-reset"]), st.binary(max_size=60))))
def test_whatever_the_headers_hold_nothing_is_raised(lines: list[tuple[str, bytes]]) -> None:
    found = reset_of([(name.encode(), value) for name, value in lines], NOW)
    assert found is None or (found >= 0 and not math.isnan(found))


def test_a_rate_limit_without_retry_after_waits_for_the_reset_and_nothing_else_does() -> None:
    reset = [(b"x-ratelimit-remaining-requests", b"0"), (b"x-ratelimit-reset-requests", b"30s")]
    row = openai_compatible.ROW
    assert failure_of(row, 429, reset, b"").retry_after == 30.0
    assert failure_of(row, 429, [*reset, (b"retry-after", b"5")], b"").retry_after == 5.0
    assert failure_of(row, 500, reset, b"").retry_after is None
    far = [(b"x-ratelimit-remaining-requests", b"0"), (b"x-ratelimit-reset-requests", b"99999999")]
    assert failure_of(row, 429, far, b"").retry_after == MAX_RETRY_AFTER
