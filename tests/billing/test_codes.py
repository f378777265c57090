"""Redemption codes: each good once, whoever comes at once, and for as long as its batch says."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import Connection, select, text

from posthouse.billing.codes import CodeDesk, CodeSpent, NewBatch, NotPrepaid, Redeemer
from posthouse.billing.credit_forms import new_batch_of
from posthouse.billing.credits import Balance, Credit, CreditDesk, Maker, NewCredit
from posthouse.billing.points import Points
from posthouse.billing.store import Page
from posthouse.billing.tickets import ALPHABET, LENGTH, digest_of, hint_of, new_ticket
from posthouse.core.errors import InvalidRequest, NotFound
from posthouse.storage.tables import codes
from tests.billing.fakes import NOW
from tests.billing.stored import StoredHouse

BATCH = NewBatch("spring", 500, "USD", 3, None, "olga")
HOLDER = Redeemer("acc_1", {"USD"}, "key_1")


@pytest.fixture
def maker(stored: StoredHouse) -> Maker:
    return Maker(stored.clock)


@pytest.fixture
def desk(stored: StoredHouse, maker: Maker) -> CodeDesk:
    return CodeDesk(stored.database, maker)


def balances(stored: StoredHouse, account_id: str = "acc_1") -> list[Balance]:
    return CreditDesk(stored.database, Maker(stored.clock)).balances(account_id)


def test_a_code_is_long_and_of_letters_that_nobody_mistakes() -> None:
    made = {new_ticket() for _ in range(200)}
    assert len(made) == 200
    assert set("".join(made)) <= {*ALPHABET, "-"}
    assert not {*"OILU"} & set(ALPHABET)
    assert len(ALPHABET) ** LENGTH >= 2**100


@given(st.data(), st.text(ALPHABET, min_size=LENGTH, max_size=LENGTH))
def test_a_code_is_known_however_it_is_typed(data: Any, plain: str) -> None:
    typed = ""
    for letter in plain:
        same = {"0": "0oO", "1": "1iIlL"}.get(letter, letter + letter.lower())
        typed += data.draw(st.sampled_from(["", "", "-", " "])) + data.draw(st.sampled_from(same))
    assert digest_of(typed) == digest_of(plain) is not None


@pytest.mark.parametrize("typed", ["", "A", "U" * 25, "0" * 24, "0" * 26, "é" * 25, "0" * 1000, None, 5, ["0" * 25]])
def test_what_cannot_be_a_code_is_none(typed: object) -> None:
    assert digest_of(typed) is None


def test_only_the_hash_of_a_code_is_kept(stored: StoredHouse, desk: CodeDesk) -> None:
    _, made = desk.make(BATCH)
    with stored.database.read() as connection:
        rows = [dict(row) for row in connection.execute(select(codes)).mappings()]
    assert sorted(bytes(row["hash"]) for row in rows) == sorted(digest_of(one) or b"" for one in made)
    plain = [one.replace("-", "") for one in made]
    assert not any(one in str(row) or whole in str(row) for row in rows for one, whole in zip(plain, made, strict=True))
    assert {row["hint"] for row in rows} == {hint_of(one) for one in made}


def test_a_redeemed_code_is_a_credit_of_what_its_batch_is_worth(stored: StoredHouse, desk: CodeDesk) -> None:
    batch, made = desk.make(BATCH)
    credit = desk.redeem(made[1], HOLDER)
    assert (credit.account_id, credit.amount, credit.currency, credit.kind) == ("acc_1", 500, "USD", "code")
    assert credit.author == "key_1"
    found, _ = desk.listed(batch.id, "redeemed")
    assert [(one.redeemed_by, f"code:{one.id}") for one in found] == [("acc_1", credit.source)]
    assert balances(stored) == [Balance("USD", 500, 0)]
    stored.assert_sound()


def refused(act: Callable[[], object], kind: type[Exception] = CodeSpent) -> str | None:
    with pytest.raises(kind) as caught:
        act()
    code: str | None = getattr(caught.value, "code", None)
    return code


def test_a_code_is_good_once(stored: StoredHouse, desk: CodeDesk) -> None:
    _, made = desk.make(BATCH)
    desk.redeem(made[0], HOLDER)
    assert refused(lambda: desk.redeem(made[0], HOLDER)) == "code_used"
    assert refused(lambda: desk.redeem(made[0].lower(), replace(HOLDER, account_id="acc_2"))) == "code_used"
    assert balances(stored) == [Balance("USD", 500, 0)]
    assert balances(stored, "acc_2") == []


def test_what_is_no_code_of_ours_is_unknown(desk: CodeDesk) -> None:
    desk.make(BATCH)
    for typed in (new_ticket(), "", "nonsense", None):
        assert refused(lambda typed=typed: desk.redeem(typed, HOLDER), NotFound) == "code_unknown"  # type: ignore[misc]


def test_a_code_is_good_until_its_batch_expires(stored: StoredHouse, desk: CodeDesk) -> None:
    batch, made = desk.make(replace(BATCH, expires_at=int(NOW * 1000) + 60_000))
    stored.clock.now += 59.999
    desk.redeem(made[0], HOLDER)
    stored.clock.now += 0.001
    assert refused(lambda: desk.redeem(made[1], HOLDER)) == "code_expired"
    assert desk.batch(batch.id).states == {"open": 0, "redeemed": 1, "revoked": 0, "expired": 2}
    assert [one.state for one in desk.listed(batch.id, "expired")[0]] == ["expired", "expired"]


def test_the_rest_of_a_batch_is_revoked_and_what_was_redeemed_stays(stored: StoredHouse, desk: CodeDesk) -> None:
    batch, made = desk.make(BATCH)
    other, others = desk.make(BATCH)
    desk.redeem(made[0], HOLDER)
    stand = desk.revoke(batch.id)
    assert stand.states == {"open": 0, "redeemed": 1, "revoked": 2, "expired": 0}
    assert desk.revoke(batch.id) == stand
    assert refused(lambda: desk.redeem(made[1], HOLDER)) == "code_revoked"
    assert refused(lambda: desk.redeem(made[0], HOLDER)) == "code_used"
    assert desk.batch(other.id).states["open"] == 3
    desk.redeem(others[0], HOLDER)
    assert refused(lambda: desk.revoke("cbt_none"), NotFound) is None
    assert balances(stored) == [Balance("USD", 1_000, 0)]
    stored.assert_sound()


def test_an_account_that_could_not_spend_it_keeps_its_code(stored: StoredHouse, desk: CodeDesk) -> None:
    _, made = desk.make(BATCH)
    assert refused(lambda: desk.redeem(made[0], replace(HOLDER, prepaid={"CNY"})), NotPrepaid) == "not_prepaid"
    assert refused(lambda: desk.redeem(made[0], replace(HOLDER, prepaid=())), NotPrepaid) == "not_prepaid"
    assert balances(stored) == []
    desk.redeem(made[0], HOLDER)
    assert balances(stored) == [Balance("USD", 500, 0)]


def at_once(acts: list[Callable[[], object]]) -> list[object]:
    """What each gives, or the error that it raises, all begun together."""
    barrier = threading.Barrier(len(acts))
    found: list[object] = [None] * len(acts)

    def run(number: int) -> None:
        barrier.wait(20)
        try:
            found[number] = acts[number]()
        except Exception as error:  # the test's to see
            found[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return found


def test_of_many_who_redeem_one_code_at_once_one_gets_it(stored: StoredHouse, desk: CodeDesk) -> None:
    _, made = desk.make(BATCH)
    holders = [replace(HOLDER, account_id=f"acc_{number}") for number in range(8)]
    found = at_once([lambda holder=holder: desk.redeem(made[0], holder) for holder in holders])  # type: ignore[misc]
    won = [one for one in found if isinstance(one, Credit)]
    assert len(won) == 1
    assert {getattr(one, "code", None) for one in found if not isinstance(one, Credit)} == {"code_used"}
    assert [len(balances(stored, holder.account_id)) for holder in holders].count(1) == 1
    stored.assert_sound()


def test_of_redeeming_and_revoking_at_once_one_holds(stored: StoredHouse, desk: CodeDesk) -> None:
    for _ in range(5):
        batch, made = desk.make(replace(BATCH, count=1))
        before = sum(one.paid_in for one in balances(stored))
        redeemed, _ = at_once([lambda m=made: desk.redeem(m[0], HOLDER), lambda b=batch: desk.revoke(b.id)])  # type: ignore[misc]
        states = desk.batch(batch.id).states
        paid = sum(one.paid_in for one in balances(stored)) - before
        if isinstance(redeemed, Credit):
            assert (states["redeemed"], paid) == (1, 500)
        else:
            assert (states["revoked"], paid, getattr(redeemed, "code", None)) == (1, 0, "code_revoked")
        stored.assert_sound()


class Broken(Maker):
    """Writes the credit, and then fails."""

    def make(self, connection: Connection, new: NewCredit) -> tuple[Credit, bool]:
        super().make(connection, new)
        raise OSError("the machine goes away")


def test_what_fails_halfway_leaves_the_code_as_good_as_before(stored: StoredHouse, desk: CodeDesk) -> None:
    batch, made = desk.make(BATCH)
    with pytest.raises(OSError, match="goes away"):
        CodeDesk(stored.database, Broken(stored.clock)).redeem(made[0], HOLDER)
    assert desk.batch(batch.id).states["open"] == 3
    assert balances(stored) == []
    stored.assert_sound()
    desk.redeem(made[0], HOLDER)
    assert balances(stored) == [Balance("USD", 500, 0)]


def test_codes_and_batches_are_listed_newest_first_page_by_page(stored: StoredHouse, desk: CodeDesk) -> None:
    batches = []
    for number in range(3):
        stored.clock.now += 1
        batches.append(desk.make(replace(BATCH, name=f"b{number}", count=4))[0])
    first, cursor = desk.batches(Page(2))
    rest, end = desk.batches(Page(2, cursor))
    assert [one.batch for one in first + rest] == batches[::-1]
    assert end is None
    whole, _ = desk.listed()
    page, cursor = desk.listed(page=Page(5))
    others, _ = desk.listed(page=Page(100, cursor))
    assert page + others == whole
    assert len(whole) == 12
    assert {one.batch_id for one in desk.listed(batches[0].id)[0]} == {batches[0].id}
    assert [one.id for one in whole] == sorted([one.id for one in whole], reverse=True)


def test_ten_thousand_codes_are_one_batch(stored: StoredHouse, desk: CodeDesk) -> None:
    batch, made = desk.make(replace(BATCH, count=10_000))
    assert len(set(made)) == 10_000
    assert desk.batch(batch.id).states["open"] == 10_000
    desk.redeem(made[-1], HOLDER)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE codes SET redeemed_by = 'acc_9'",
        "UPDATE codes SET redeemed_at = NULL, redeemed_by = NULL",
        "UPDATE code_batches SET amount = 501",
        "UPDATE code_batches SET currency = 'EUR'",
        "DELETE FROM code_batches",
        "DELETE FROM codes",
        "UPDATE credits SET source = 'code:other'",
        "DELETE FROM credits",
    ],
)
def test_a_code_and_its_credit_that_differ_are_a_problem(stored: StoredHouse, desk: CodeDesk, statement: str) -> None:
    _, made = desk.make(replace(BATCH, count=1))
    desk.redeem(made[0], HOLDER)
    stored.assert_sound()
    with stored.database.write() as connection:
        connection.execute(text(statement))
    assert "CODE-1" in stored.rules()


FORM: dict[str, Any] = {"name": "spring", "count": 3, "amount": "5.00", "currency": "USD", "expires_at": "2027-01-01"}


def test_a_form_becomes_a_batch() -> None:
    at = int(NOW * 1000)
    made = new_batch_of(FORM, "key_9", None, at)
    assert made == NewBatch("spring", 5_000_000_000, "USD", 3, 1_798_761_600_000, "key_9")
    in_points = {"name": "n", "count": 1, "points": 500, "author": "olga"}
    assert new_batch_of(in_points, "key_9", Points("p", "CNY", 100), at) == NewBatch(
        "n", 5_000_000_000, "CNY", 1, None, "olga"
    )


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"count": 0}, "count"),
        ({"count": 10_001}, "count"),
        ({"count": True}, "count"),
        ({"count": "3"}, "count"),
        ({"count": None}, "count"),
        ({"amount": "-5"}, "amount"),
        ({"amount": "0"}, "amount"),
        ({"currency": None}, "currency"),
        ({"points": 5}, "points"),
        ({"expires_at": "2020-01-01"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"expires_at": -1}, "expires_at"),
        ({"expires_at": True}, "expires_at"),
        ({"other": 1}, "other"),
    ],
)
def test_a_form_that_says_no_batch_is_refused_by_name(change: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        new_batch_of(FORM | change, "key_9", None, int(NOW * 1000))
    assert caught.value.param == param
