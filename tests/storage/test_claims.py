"""Claims and kept answers, on both databases: one wins, what is over is taken over, bounds hold."""

import threading

import pytest
from sqlalchemy import func, select

from posthouse.storage.claims import (
    BUSY,
    CLAIMED,
    REUSED,
    ClaimBounds,
    ClaimStore,
    Found,
    KeptAnswer,
    Scope,
)
from posthouse.storage.database import Database
from posthouse.storage.tables import idempotency

BOUNDS = ClaimBounds(keep=1_000, lease=100, per_account=4_000)
ANSWER = KeptAnswer(200, b"x-request-id: req_1\r\n", b'{"a":"\x00\xff"}')


def scope(name: str = "k", account: str = "acc_1", of: bytes = b"A" * 32) -> Scope:
    return Scope(name, account, of)


@pytest.fixture
def store(database: Database) -> ClaimStore:
    return ClaimStore(database, "life_1", BOUNDS)


@pytest.fixture
def other(database: Database) -> ClaimStore:
    """Another server of the same database."""
    return ClaimStore(database, "life_2", BOUNDS)


def rows(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(idempotency)).scalar_one())


def test_the_first_claims_others_wait_and_get_its_answer_byte_for_byte(store: ClaimStore, other: ClaimStore) -> None:
    assert store.claim(scope(), 0) is CLAIMED
    assert other.claim(scope(), 1) is BUSY
    assert store.keep(scope(), ANSWER, 2)
    assert other.claim(scope(), 3) == ANSWER
    assert store.claim(scope(), 3) == ANSWER


def test_another_request_is_told_so_while_the_first_is_answered_and_after(store: ClaimStore, other: ClaimStore) -> None:
    store.claim(scope(), 0)
    assert other.claim(scope(of=b"B" * 32), 1) is REUSED
    store.keep(scope(), ANSWER, 2)
    assert other.claim(scope(of=b"B" * 32), 3) is REUSED


def test_a_freed_claim_is_anyones(store: ClaimStore, other: ClaimStore) -> None:
    store.claim(scope(), 0)
    other.free(scope())  # not its own
    assert other.claim(scope(), 1) is BUSY
    store.free(scope())
    assert other.claim(scope(of=b"B" * 32), 2) is CLAIMED


@pytest.mark.req("IDEMPOTENCY-005")
def test_a_claim_of_a_dead_server_is_taken_over_after_its_lease_and_the_dead_one_keeps_nothing(
    store: ClaimStore, other: ClaimStore
) -> None:
    store.claim(scope(), 0)
    assert other.claim(scope(), 99) is BUSY
    assert other.claim(scope(), 100) is CLAIMED
    assert not store.keep(scope(), ANSWER, 101)
    store.free(scope())
    assert other.keep(scope(), ANSWER, 102)


def test_a_claim_that_is_renewed_holds_and_others_are_not_renewed(store: ClaimStore, other: ClaimStore) -> None:
    store.claim(scope("a"), 0)
    store.claim(scope("b"), 0)
    store.renew(["a"], 90)
    other.renew(["b"], 90)
    assert other.claim(scope("a"), 150) is BUSY
    assert other.claim(scope("b"), 150) is CLAIMED


def test_an_answer_is_forgotten_after_its_time(store: ClaimStore, database: Database) -> None:
    store.claim(scope(), 0)
    store.keep(scope(), ANSWER, 10)
    store.renew(["k"], 500)  # an answer is no claim
    assert store.claim(scope(), 1_009) == ANSWER
    assert store.claim(scope(of=b"B" * 32), 1_010) is CLAIMED
    store.sweep(1_109)
    assert rows(database) == 1
    store.sweep(1_110)
    assert rows(database) == 0


@pytest.mark.parametrize("how", ["trim", "sweep"])
def test_the_oldest_answers_of_an_account_go_where_it_has_too_many(store: ClaimStore, how: str) -> None:
    for number in range(6):  # 1,256 and a head each: three fit
        store.claim(scope(f"k{number}"), number)
        store.keep(scope(f"k{number}"), KeptAnswer(200, b"", bytes(1_000)), number)
    store.claim(scope("mine", "acc_2"), 0)
    store.keep(scope("mine", "acc_2"), ANSWER, 0)
    store.claim(scope("open"), 0)
    if how == "trim":
        store.trim("acc_1")
    else:
        store.sweep(6)
    found = [store.claim(scope(f"k{number}"), 7) for number in range(6)]
    assert [one is CLAIMED for one in found] == [True, True, True, False, False, False]
    assert store.claim(scope("mine", "acc_2"), 7) == ANSWER
    assert store.claim(scope("open"), 7) is BUSY


def test_of_many_that_claim_at_once_one_wins_even_what_is_over(database: Database) -> None:
    for now in (0, 200):  # the second time each finds a claim whose lease is over
        found: list[Found] = []
        stores = [ClaimStore(database, f"life_{now}_{number}", BOUNDS) for number in range(6)]
        start = threading.Barrier(len(stores))

        def claim(store: ClaimStore, now: int = now, found: list[Found] = found) -> None:
            start.wait(20)  # noqa: B023  this round's
            found.append(store.claim(scope(), now))

        threads = [threading.Thread(target=claim, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert [one is CLAIMED for one in found].count(True) == 1
        assert found.count(BUSY) == len(stores) - 1
