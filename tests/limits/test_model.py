import math

import pytest

from posthouse.limits.model import LimitReached, Refusal, Standing, Window, duration


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, b"0s"),
        (1, b"1ms"),
        (12_000, b"12ms"),
        (999_000, b"999ms"),
        (999_001, b"1s"),
        (1_000_000, b"1s"),
        (7_660_000, b"7.66s"),
        (59_999_001, b"1m0s"),
        (60_000_000, b"1m0s"),
        (90_250_000, b"1m30.25s"),
        (360_000_000, b"6m0s"),
        (4_320_000_000, b"1h12m0s"),
    ],
)
def test_durations_are_written_as_openai_writes_them(us: int, text: bytes) -> None:
    assert duration(us) == text


def test_headers_name_limit_remaining_and_reset_of_each_kind() -> None:
    standing = Standing(Window(60, 59, 1_000_000), Window(40_000, 39_000, 1_500_000))
    assert standing.headers() == [
        (b"x-ratelimit-limit-requests", b"60"),
        (b"x-ratelimit-remaining-requests", b"59"),
        (b"x-ratelimit-reset-requests", b"1s"),
        (b"x-ratelimit-limit-tokens", b"40000"),
        (b"x-ratelimit-remaining-tokens", b"39000"),
        (b"x-ratelimit-reset-tokens", b"1.5s"),
    ]
    assert standing.head() == b"".join(name + b": " + value + b"\r\n" for name, value in standing.headers())


def test_a_kind_without_a_limit_has_no_headers() -> None:
    assert Standing(None, None).head() == b""
    names = [name for name, _ in Standing(None, Window(10, 10, 0)).headers()]
    assert names == [b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens"]


def test_a_refusal_tells_how_long_to_wait_and_where_things_stand() -> None:
    error = LimitReached(Refusal("key", "requests", 60, 1, 0.999), Standing(Window(60, 0, 60_000_000), None))
    assert (error.status, error.type, error.code) == (429, "requests", "rate_limit_exceeded")
    assert (error.scope, error.dimension) == ("key", "requests")
    assert "this key" in error.message
    assert "Try again in 999ms" in error.message
    assert error.headers() == [
        ("retry-after", "1"),
        ("retry-after-ms", "1000"),
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "1m0s"),
    ]


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal("key", "tokens", 100, 101, math.inf),
        Refusal("account", "requests", 0, 1, math.inf),
        Refusal("account", "concurrency", 0, 1, math.inf),
    ],
)
def test_what_no_wait_can_help_is_not_to_be_tried_again(refusal: Refusal) -> None:
    error = LimitReached(refusal, Standing(None, None))
    assert error.headers() == [("x-should-retry", "false")]
    assert "Try again" not in error.message
