"""Wrong codes are bounded, for each and for all, however many come at once."""

import threading

import pytest

from posthouse.api.guesses import Guesses
from posthouse.core.errors import NotFound, RateLimited, Unavailable
from tests.billing.fakes import Clock


def wrong(guesses: Guesses, who: str = "a", error: Exception | None = None) -> None:
    with pytest.raises(type(error) if error is not None else NotFound), guesses.guess(who):
        raise error if error is not None else NotFound("no such code")


def right(guesses: Guesses, who: str = "a") -> None:
    with guesses.guess(who):
        pass


def test_so_many_may_be_wrong_in_a_minute_and_the_next_one_is_told_when_to_come_again() -> None:
    clock = Clock(120.0)
    guesses = Guesses(3, clock=clock)
    for _ in range(3):
        wrong(guesses)
    clock.now += 20
    with pytest.raises(RateLimited) as caught:
        right(guesses)
    assert caught.value.retry_after == 40
    right(guesses, "b")
    clock.now += 40
    right(guesses)


def test_who_is_right_and_what_is_our_fault_is_not_counted() -> None:
    guesses = Guesses(1, clock=Clock(0.0))
    for _ in range(5):
        right(guesses)
        wrong(guesses, error=Unavailable("the database is away"))
    wrong(guesses)
    with pytest.raises(RateLimited):
        right(guesses)


def test_all_together_are_bounded_too() -> None:
    guesses = Guesses(3, 4, clock=Clock(0.0))
    for who in "abcd":
        wrong(guesses, who)
    with pytest.raises(RateLimited):
        right(guesses, "e")


def test_many_at_once_are_no_more_than_one_after_another() -> None:
    guesses, barrier = Guesses(5, clock=Clock(0.0)), threading.Barrier(20)
    refused, tried = [], []

    def guess() -> None:
        barrier.wait(20)
        try:
            with guesses.guess("a"):
                tried.append(1)
                raise NotFound("no such code")
        except RateLimited as error:
            refused.append(error)
        except NotFound:
            pass

    threads = [threading.Thread(target=guess) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(tried), len(refused)) == (5, 15)


def test_of_very_many_the_oldest_are_forgotten() -> None:
    guesses = Guesses(1, clock=Clock(0.0))
    for number in range(10_001):
        wrong(guesses, str(number))
    wrong(guesses, "0")
    with pytest.raises(RateLimited):
        right(guesses, "10000")
