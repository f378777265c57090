"""The limiter through its door: what callers get, what they are told, and that nothing is taken from the refused."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from posthouse.core.caller import Caller, Limits, Subject
from posthouse.limits.model import Grant, LimitReached
from posthouse.limits.service import NO_GRANT, Limiter

NO_LIMITS = Limits()


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


def caller(key: Limits = NO_LIMITS, account: Limits = NO_LIMITS, name: str = "1") -> Caller:
    subjects = (
        Subject(f"key_{name}", "key", "test", key),
        Subject("acc_1", "account", "default", account),
    )
    return Caller(f"key_{name}", "test", "acc_1", subjects)


def standing(grant: Grant | LimitReached) -> dict[str, str]:
    pairs: list[tuple[Any, Any]] = [*grant.headers()]
    text = [(name.decode(), value.decode()) if isinstance(name, bytes) else (name, value) for name, value in pairs]
    return {name.removeprefix("x-ratelimit-"): value for name, value in text if name.startswith("x-ratelimit-")}


def admitted(limiter: Limiter, who: Caller, tokens: int = 0) -> Grant | None:
    try:
        return limiter.admit(who, tokens)
    except LimitReached:
        return None


def refused(limiter: Limiter, who: Caller, tokens: int = 0) -> LimitReached:
    with pytest.raises(LimitReached) as caught:
        limiter.admit(who, tokens)
    return caught.value


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> Limiter:
    return Limiter(clock)


def test_without_limits_nothing_is_taken_and_nothing_remembered(limiter: Limiter) -> None:
    grant = limiter.admit(caller(), 10**9)
    assert grant is NO_GRANT
    assert grant.headers() == []
    assert grant.head() == b""
    grant.settle(5)
    grant.release()
    assert len(limiter) == 0


def test_sixty_a_minute_admits_sixty_at_once_and_then_one_a_second(limiter: Limiter, clock: Clock) -> None:
    who = caller(key=Limits(rpm=60))
    grants = [limiter.admit(who, 0) for _ in range(60)]
    assert standing(grants[-1]) == {"limit-requests": "60", "remaining-requests": "0", "reset-requests": "1m0s"}
    error = refused(limiter, who)
    assert error.retry_after == pytest.approx(1.0, abs=1e-5)
    clock.now += 1.0
    limiter.admit(who, 0)
    refused(limiter, who)
    clock.now += 0.5
    refused(limiter, who)
    clock.now += 0.5
    limiter.admit(who, 0)


def test_headers_count_down_and_reset_is_the_time_until_all_is_back(limiter: Limiter, clock: Clock) -> None:
    who = caller(key=Limits(rpm=60, tpm=6000))
    assert standing(limiter.admit(who, 50)) == {
        "limit-requests": "60",
        "remaining-requests": "59",
        "reset-requests": "1s",
        "limit-tokens": "6000",
        "remaining-tokens": "5950",
        "reset-tokens": "500ms",
    }
    clock.now += 0.25
    assert standing(limiter.admit(who, 0)) == {
        "limit-requests": "60",
        "remaining-requests": "58",
        "reset-requests": "1.75s",
        "limit-tokens": "6000",
        "remaining-tokens": "5975",
        "reset-tokens": "250ms",
    }


def test_header_lines_say_the_same_as_the_headers(limiter: Limiter) -> None:
    grant = limiter.admit(caller(key=Limits(rpm=60)), 0)
    assert grant.head() == b"".join(name + b": " + value + b"\r\n" for name, value in grant.headers())
    assert grant.head().startswith(b"x-ratelimit-limit-requests: 60\r\n")


def test_headers_are_those_of_the_tightest_subject(limiter: Limiter) -> None:
    grant = limiter.admit(caller(key=Limits(rpm=100, tpm=500), account=Limits(rpm=10, tpm=5000)), 100)
    found = standing(grant)
    assert (found["limit-requests"], found["remaining-requests"]) == ("10", "9")
    assert (found["limit-tokens"], found["remaining-tokens"]) == ("500", "400")


def test_a_refusal_names_the_subject_and_the_dimension(limiter: Limiter) -> None:
    who = caller(key=Limits(rpm=5), account=Limits(tpm=100))
    limiter.admit(who, 90)
    error = refused(limiter, who, 20)
    assert (error.scope, error.dimension, error.type) == ("account", "tokens", "tokens")
    assert "this account" in error.message
    assert "tokens per minute" in error.message
    assert standing(error)["remaining-tokens"] == "10"


def test_of_several_refusals_the_longest_wait_is_told(limiter: Limiter, clock: Clock) -> None:
    who = caller(key=Limits(rpm=60), account=Limits(rpm=2))
    limiter.admit(who, 0)
    limiter.admit(who, 0)
    other = caller(key=Limits(rpm=1), account=Limits(rpm=2), name="2")
    error = refused(limiter, other)
    assert error.scope == "account"
    assert error.retry_after == pytest.approx(30, abs=1e-5)
    clock.now += error.retry_after
    limiter.admit(other, 0)


def test_a_refused_request_takes_nothing_from_anybody(limiter: Limiter) -> None:
    who = caller(key=Limits(rpm=10, tpm=1000, concurrency=10), account=Limits(rpm=1))
    limiter.admit(who, 100)
    for _ in range(50):
        refused(limiter, who, 100)
    unbound = caller(key=Limits(rpm=10, tpm=1000, concurrency=10))
    found = standing(limiter.admit(unbound, 0))
    assert found["remaining-requests"] == "8"
    assert found["remaining-tokens"] == "900"


def test_a_request_larger_than_the_whole_limit_is_told_that_waiting_does_not_help(limiter: Limiter) -> None:
    error = refused(limiter, caller(key=Limits(tpm=1000)), 1001)
    assert ("x-should-retry", "false") in error.headers()
    assert not [value for name, value in error.headers() if name.startswith("retry-after")]
    assert "1000" in error.message
    assert "1001" in error.message
    limiter.admit(caller(key=Limits(tpm=1000)), 1000)


@pytest.mark.parametrize("limits", [Limits(rpm=0), Limits(concurrency=0), Limits(tpm=0)])
def test_a_limit_of_zero_admits_nothing_ever(limiter: Limiter, clock: Clock, limits: Limits) -> None:
    for _ in range(3):
        assert math.isinf(refused(limiter, caller(key=limits), 1).retry_after)
        clock.now += 3600


def test_places_are_freed_by_release_and_only_once(limiter: Limiter) -> None:
    who = caller(account=Limits(concurrency=2))
    first, second = limiter.admit(who, 0), limiter.admit(who, 0)
    error = refused(limiter, who)
    assert (error.scope, error.dimension) == ("account", "concurrency")
    assert error.retry_after > 0
    first.release()
    first.release()
    limiter.admit(who, 0)
    refused(limiter, who)
    second.release()
    limiter.admit(who, 0)


@given(reserved=st.integers(0, 1000), actual=st.integers(0, 1000))
def test_settle_moves_exactly_the_difference_and_counts_once(reserved: int, actual: int) -> None:
    limiter = Limiter(Clock())
    who = caller(key=Limits(tpm=1000), account=Limits(tpm=5000))
    grant = limiter.admit(who, reserved)
    grant.settle(actual)
    grant.settle(0)
    grant.release()
    assert standing(grant)["remaining-tokens"] == str(1000 - actual)
    assert standing(limiter.admit(caller(account=Limits(tpm=5000), name="2"), 0))["remaining-tokens"] == str(
        5000 - actual
    )


def test_released_without_a_settlement_the_charge_stands(limiter: Limiter) -> None:
    grant = limiter.admit(caller(key=Limits(tpm=1000)), 300)
    grant.release()
    grant.settle(0)
    assert standing(grant)["remaining-tokens"] == "700"


def test_a_limit_removed_or_changed_while_a_request_runs_harms_nothing(limiter: Limiter) -> None:
    grant = limiter.admit(caller(key=Limits(tpm=1000)), 600)
    limiter.admit(caller(key=Limits(rpm=5)), 0).release()
    grant.settle(100)
    grant.release()
    other = limiter.admit(caller(key=Limits(tpm=500, rpm=5)), 100)
    other.settle(50)
    assert standing(other)["remaining-tokens"] == "450"


def test_a_clock_that_goes_back_neither_gives_nor_locks(limiter: Limiter, clock: Clock) -> None:
    who = caller(key=Limits(rpm=60))
    for _ in range(60):
        limiter.admit(who, 0)
    clock.now -= 3600
    refused(limiter, who)
    clock.now += 1
    limiter.admit(who, 0)
    refused(limiter, who)


def test_a_debt_outlives_the_time_after_which_idle_subjects_are_forgotten(limiter: Limiter, clock: Clock) -> None:
    who = caller(key=Limits(tpm=60))
    grant = limiter.admit(who, 60)
    grant.settle(240)
    grant.release()
    clock.now += 150
    limiter.admit(caller(key=Limits(rpm=1), name="2"), 0)
    error = refused(limiter, who, 60)
    assert error.retry_after == pytest.approx(90, abs=1e-5)


def test_idle_subjects_are_forgotten_and_busy_ones_are_not(limiter: Limiter, clock: Clock) -> None:
    running = limiter.admit(caller(key=Limits(concurrency=1), name="busy"), 0)
    for number in range(10_000):
        clock.now += 0.1
        limiter.admit(caller(key=Limits(rpm=60), name=str(number)), 0).release()
    assert len(limiter) <= 603
    refused(limiter, caller(key=Limits(concurrency=1), name="busy"))
    running.release()
    limiter.admit(caller(key=Limits(concurrency=1), name="busy"), 0)


@given(
    key=st.integers(1, 20),
    account=st.integers(1, 20),
    steps=st.lists(st.integers(-30_000, 30_000), max_size=80),
)
def test_no_window_admits_more_requests_than_the_limit_and_what_refills_in_it(
    key: int, account: int, steps: list[int]
) -> None:
    clock = Clock()
    limiter = Limiter(clock)
    who = caller(key=Limits(rpm=key), account=Limits(rpm=account))
    forward = 0
    times: list[int] = []  # milliseconds that the clock went forward in all: what going back gives does not count
    for step in steps:
        clock.now += step / 1000
        forward += max(step, 0)
        if admitted(limiter, who) is not None:
            times.append(forward)
    limit = min(key, account)
    for first, start in enumerate(times):
        for last, end in enumerate(times[first:], first):
            # The clock is a float: a microsecond at each step.
            assert (last - first + 1) <= limit * (1 + (end - start) / 60_000 + len(steps) / 60_000_000)


class Requests(RuleBasedStateMachine):
    """Any order of admissions, settlements and releases by two keys of one account."""

    @initialize(rpm=st.integers(1, 30), tpm=st.integers(1, 300), key_tpm=st.integers(1, 300), places=st.integers(1, 5))
    def begin(self, rpm: int, tpm: int, key_tpm: int, places: int) -> None:
        self.clock = Clock()
        self.limiter = Limiter(self.clock)
        account = Limits(rpm=rpm, tpm=tpm, concurrency=places)
        self.callers = [caller(Limits(tpm=key_tpm), account, "1"), caller(Limits(), account, "2")]
        self.places = places
        self.running: list[Grant] = []

    @rule(which=st.integers(0, 1), tokens=st.integers(0, 300))
    def ask(self, which: int, tokens: int) -> None:
        try:
            grant = self.limiter.admit(self.callers[which], tokens)
        except LimitReached as error:
            assert error.retry_after > 0
            before = standing(error)
            again = refused(self.limiter, self.callers[which], tokens)
            assert (standing(again), again.dimension) == (before, error.dimension)
        else:
            self.running.append(grant)

    @rule(which=st.integers(0, 1), tokens=st.integers(0, 300))
    def ask_again_after_the_wait_that_was_told(self, which: int, tokens: int) -> None:
        try:
            self.running.append(self.limiter.admit(self.callers[which], tokens))
        except LimitReached as error:
            if error.dimension == "concurrency" or math.isinf(error.retry_after):
                return
            self.clock.now += error.retry_after
            if len(self.running) < self.places:
                self.running.append(self.limiter.admit(self.callers[which], tokens))

    @rule(seconds=st.floats(0, 90))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 4), actual=st.integers(0, 400), settled=st.booleans())
    def end(self, which: int, actual: int, settled: bool) -> None:
        grant = self.running.pop(which % len(self.running))
        if settled:
            grant.settle(actual)
        grant.release()

    @invariant()
    def no_more_run_than_there_are_places(self) -> None:
        assert len(self.running) <= self.places

    def teardown(self) -> None:
        if not hasattr(self, "limiter"):
            return
        for grant in self.running:
            grant.settle(0)
            grant.release()
        # More than every debt that the rules above can make.
        self.clock.now += 10**6
        found = standing(self.limiter.admit(caller(account=Limits(rpm=7, tpm=9, concurrency=1), name="3"), 0))
        assert (found["remaining-requests"], found["remaining-tokens"]) == ("6", "9")


TestRequests = Requests.TestCase
