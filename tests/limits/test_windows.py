"""Limits of hours and days, of images, and of one request."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.caller import Caller, Limits, Subject
from posthouse.limits.model import Grant, LimitReached
from posthouse.limits.service import Limiter

MIDNIGHT = 1_795_046_400.0  # UTC


class Clocks:
    """A clock that only counts, and one of the wall, moved together."""

    def __init__(self) -> None:
        self.wall_now = MIDNIGHT + 36_000.0
        self.now = 5.0

    def clock(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.wall_now

    def go(self, seconds: float) -> None:
        self.now += seconds
        self.wall_now += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def limiter(clocks: Clocks) -> Limiter:
    return Limiter(clocks.clock, clocks.wall)


def caller(**limits: Any) -> Caller:
    return Caller("key_1", "test", "acc_1", (Subject("key_1", "key", "test", Limits(**limits)),))


def refused(limiter: Limiter, who: Caller, tokens: int = 0, images: int = 0) -> LimitReached:
    with pytest.raises(LimitReached) as caught:
        limiter.admit(who, tokens, images)
    return caught.value


def heads(grant: Grant) -> dict[str, str]:
    return {name.decode().removeprefix("x-ratelimit-"): value.decode() for name, value in grant.headers()}


@pytest.mark.req("LIMIT-023")
def test_requests_of_an_hour_leak_over_the_hour(limiter: Limiter, clocks: Clocks) -> None:
    who = caller(rph=60)
    for _ in range(60):
        limiter.admit(who, 0).release()
    error = refused(limiter, who)
    assert error.dimension == "requests"
    assert error.retry_after == pytest.approx(60.0, abs=1e-3)
    assert "on requests per hour: limit 60" in str(error)
    clocks.go(60.1)
    limiter.admit(who, 0).release()
    refused(limiter, who)


@pytest.mark.req("LIMIT-024")
def test_requests_of_a_day_come_back_at_midnight(limiter: Limiter, clocks: Clocks) -> None:
    who = caller(rpd=3)
    for _ in range(3):
        limiter.admit(who, 0).release()
    clocks.go(10 * 3600)
    error = refused(limiter, who)
    assert error.retry_after == pytest.approx(4 * 3600)
    assert "per day" in str(error)
    assert int(dict(error.headers())["retry-after"]) in (14_400, 14_401)
    clocks.go(4 * 3600)
    assert heads(limiter.admit(who, 0)) == {
        "limit-requests": "3",
        "remaining-requests": "2",
        "reset-requests": "24h0m0s",
    }


@pytest.mark.req("LIMIT-025")
def test_tokens_of_a_day_are_settled_on_the_day_of_the_charge(limiter: Limiter, clocks: Clocks) -> None:
    who = caller(tpd=1000)
    late = limiter.admit(who, 900)
    refused(limiter, who, 101)
    clocks.go(14 * 3600)
    new = limiter.admit(who, 1000)
    late.settle(100)  # gives 800 back to yesterday, none of it to today
    refused(limiter, who, 1)
    new.settle(400)
    limiter.admit(who, 600)
    refused(limiter, who, 1)


@pytest.mark.req("LIMIT-026")
def test_images_have_limits_of_their_own(limiter: Limiter, clocks: Clocks) -> None:
    who = caller(ipm=4, ipd=6)
    grant = limiter.admit(who, 0, 4)
    error = refused(limiter, who, 0, 1)
    assert error.dimension == "images"
    assert error.retry_after == pytest.approx(15.0, abs=1e-3)
    limiter.admit(who, 10**6).release()  # no image, no matter
    grant.settle(0, 2)
    limiter.admit(who, 0, 2).settle(0, 2)
    assert refused(limiter, who, 0, 7).retry_after == math.inf
    clocks.go(3600)
    limiter.admit(who, 0, 2)
    error = refused(limiter, who, 0, 2)
    assert error.retry_after > 3600
    assert "images per day" in str(error)


@pytest.mark.req("LIMIT-027")
def test_one_request_may_be_too_large_for_ever(limiter: Limiter) -> None:
    who = caller(request_tokens=100)
    limiter.admit(who, 100).release()
    error = refused(limiter, who, 101)
    assert error.retry_after == math.inf
    assert dict(error.headers())["x-should-retry"] == "false"
    assert "tokens per request: limit 100, wanted 101" in str(error)


@pytest.mark.req("LIMIT-028")
def test_a_refusal_takes_nothing_of_any_window(limiter: Limiter) -> None:
    who = caller(rpm=100, rph=100, rpd=100, tpm=10**6, tpd=500, ipm=9, concurrency=5)
    for _ in range(20):
        refused(limiter, who, 501, 1)
    grant = limiter.admit(who, 500, 1)
    assert heads(grant)["remaining-requests"] == "99"
    assert heads(grant)["remaining-tokens"] == "0"


@pytest.mark.req("LIMIT-029")
def test_changed_limits_keep_what_was_taken(limiter: Limiter) -> None:
    limiter.admit(caller(rpd=5, tpd=100), 80).release()
    assert heads(limiter.admit(caller(rpd=3, tpd=200), 20))["remaining-requests"] == "1"
    refused(limiter, caller(rpd=3, tpd=200), 101)
    refused(limiter, caller(rpd=2), 0)


@pytest.mark.req("LIMIT-030")
@settings(max_examples=60)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 9_000), st.integers(0, 120), st.integers(0, 3), st.integers(0, 150)), max_size=40
    )
)
def test_no_window_ever_lets_more_through_than_it_says(steps: list[tuple[int, int, int, int]]) -> None:
    """Every request is settled at once, above or below what was charged ahead; what was let in is counted by hand."""
    clocks = Clocks()
    limiter = Limiter(clocks.clock, clocks.wall)
    who = caller(rph=6, rpd=15, tpd=1000, ipm=3, ipd=12)
    taken: list[tuple[float, int, int]] = []  # when, tokens, images
    for wait, tokens, images, actual in steps:
        clocks.go(wait)
        at = clocks.wall_now
        today = [one for one in taken if one[0] // 86_400 == at // 86_400]
        fits = len(today) < 15 and (not tokens or sum(one[1] for one in today) + tokens <= 1000)
        fits = fits and (not images or sum(one[2] for one in today) + images <= 12)
        try:
            grant = limiter.admit(who, tokens, images)
        except LimitReached:
            continue
        assert fits
        grant.settle(actual, images)
        grant.release()
        taken.append((at, actual, images))
    for index, (start, _, _) in enumerate(taken):
        hour = [one for one in taken[index:] if one[0] <= start + 3600]
        assert len(hour) <= 6 * 2
