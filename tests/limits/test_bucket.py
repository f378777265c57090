"""The bucket against a plain replay of everything that was ever charged."""

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from posthouse.limits.bucket import MAX_MARKS, UNIT, Bucket, Mark

MINUTE = 60_000_000


class Charge(Struct):
    at: int
    units: int


class Replay:
    """The same bucket told the slow way: a list of charges, corrected in the past, added up afresh each time."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.charges: list[Charge] = []

    def charge(self, at: int, units: int) -> Charge:
        charge = Charge(at, units)
        self.charges.append(charge)
        return charge

    def level(self, now: int) -> int:
        level = at = 0
        for charge in self.charges:
            level = max(0, level - self.limit * (charge.at - at)) + charge.units
            at = charge.at
        return max(0, level - self.limit * (now - at))


# (microseconds that pass, tokens, which open charge to end or None to charge, share of it really used in percent)
steps = st.lists(
    st.tuples(
        st.one_of(st.just(0), st.integers(0, 2 * MINUTE)),
        st.integers(0, 100),
        st.none() | st.integers(0, 100),
        st.integers(0, 150),
    ),
    max_size=60,
)


@given(limit=st.integers(1, 100), steps=steps)
def test_a_settled_bucket_stands_where_it_would_had_only_the_actual_tokens_been_charged(
    limit: int, steps: list[tuple[int, int, int | None, int]]
) -> None:
    bucket, replay, now = Bucket(limit, 0), Replay(limit), 0
    pending: list[tuple[Mark, Charge]] = []
    for passed, tokens, ending, percent in steps:
        now += passed
        if ending is None:
            if bucket.fits(tokens * UNIT, now):
                pending.append((bucket.charge_ahead(tokens * UNIT), replay.charge(now, tokens * UNIT)))
        elif pending:
            mark, charge = pending.pop(ending % len(pending))
            actual = charge.units * percent // 100
            bucket.settle(mark, charge.units - actual, now)
            if actual > charge.units:
                replay.charge(now, actual - charge.units)
            else:
                charge.units = actual
        bucket.advance(now)
        assert bucket.level == replay.level(now)
    for mark, _ in pending:
        bucket.settle(mark, 0, now)
    bucket.advance(now + 10 * MINUTE * (1 + len(steps)))
    assert bucket.level == 0
    assert bucket.idle


@given(
    limit=st.integers(1, 50),
    steps=st.lists(st.tuples(st.integers(0, MINUTE // 4), st.integers(1, 20), st.integers(0, 100)), max_size=60),
)
def test_no_window_ever_uses_more_than_the_limit_and_what_leaks_in_it(
    limit: int, steps: list[tuple[int, int, int]]
) -> None:
    bucket, now = Bucket(limit, 0), 0
    used: list[tuple[int, int]] = []
    pending: list[tuple[Mark, int, int]] = []
    for passed, tokens, percent in steps:
        now += passed
        if bucket.fits(tokens * UNIT, now):
            actual = tokens * percent // 100
            used.append((now, actual * UNIT))
            pending.append((bucket.charge_ahead(tokens * UNIT), (tokens - actual) * UNIT, percent))
        if pending and percent % 2:
            mark, excess, _ = pending.pop(percent % len(pending))
            bucket.settle(mark, excess, now)
    for index, (start, _) in enumerate(used):
        for (end, _), total in zip(used[index:], accumulate(units for _, units in used[index:]), strict=True):
            assert total <= limit * UNIT + limit * (end - start)


def test_tokens_given_back_after_others_used_the_room_are_not_given_twice() -> None:
    bucket = Bucket(1000, 0)
    early = bucket.charge_ahead(1000 * UNIT)
    assert bucket.fits(1000 * UNIT, MINUTE)
    bucket.charge(1000 * UNIT)
    bucket.settle(early, 1000 * UNIT, MINUTE)
    assert bucket.level == 1000 * UNIT
    assert not bucket.fits(UNIT, MINUTE)


def test_charges_that_share_a_mark_give_back_too_little_at_worst() -> None:
    bucket, replay = Bucket(10_000, 0), Replay(10_000)
    open_charges = []
    for second in range(3 * MAX_MARKS):
        now = second * 100_000
        assert bucket.fits(10 * UNIT, now)
        open_charges.append((bucket.charge_ahead(10 * UNIT), replay.charge(now, 10 * UNIT)))
    for mark, charge in open_charges[::-1]:
        charge.units = UNIT
        bucket.settle(mark, 9 * UNIT, now)
        assert bucket.level >= replay.level(now)
    bucket.advance(now + MINUTE)
    assert bucket.idle


def test_a_request_that_used_more_than_was_charged_leaves_a_debt_that_time_pays() -> None:
    bucket = Bucket(60, 0)
    mark = bucket.charge_ahead(60 * UNIT)
    bucket.settle(mark, -30 * UNIT, 0)
    assert bucket.wait(UNIT) == 31_000_000
    assert not bucket.fits(UNIT, 30_999_999)
    assert bucket.fits(UNIT, 31_000_000)


def test_what_is_more_than_a_whole_bucket_never_fits() -> None:
    bucket = Bucket(60, 0)
    assert bucket.wait(61 * UNIT) is None
    assert bucket.wait(60 * UNIT) == 0
    assert Bucket(0, 0).wait(UNIT) is None


def test_a_changed_limit_keeps_what_was_taken() -> None:
    bucket = Bucket(60, 0)
    bucket.charge(60 * UNIT)
    bucket.change(90)
    assert bucket.fits(30 * UNIT, 0)
    assert not bucket.fits(31 * UNIT, 0)
    bucket.change(30)
    assert bucket.wait(30 * UNIT) == 2 * MINUTE
