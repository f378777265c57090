"""Invitations: no more get in than may, none halfway, and each bonus is credited once."""

import threading
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, func, select, text

from posthouse.billing.codes import CodeSpent
from posthouse.billing.credits import Balance, Credit, CreditDesk, Maker, NewCredit
from posthouse.billing.invitations import Accepted, Invitation, InvitationDesk, Joined, NewInvitation, Terms
from posthouse.billing.store import Page
from posthouse.billing.tickets import new_ticket
from posthouse.core.errors import InvalidRequest, NotFound
from posthouse.storage.tables import invitation_uses, meta
from tests.billing.fakes import NOW
from tests.billing.stored import StoredHouse

TERMS = Terms({"kind": "person"}, {"role": "member"}, 300, 50, "USD")
NEW = NewInvitation("friends", "acc_team", "acc_inviter", TERMS, 2, None, "olga")


@pytest.fixture
def desk(stored: StoredHouse) -> InvitationDesk:
    with stored.database.write() as connection:
        connection.execute(meta.delete().where(meta.c.name.like("joined-%")))
    return InvitationDesk(stored.database, Maker(stored.clock))


class Newcomers:
    """Makes accounts that are only a row, to see what a failure leaves."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self._lock = threading.Lock()
        self._count = 0

    def join(self, connection: Connection, by: Invitation) -> Joined[str]:
        with self._lock:
            self._count += 1
            account_id = f"joined-{self._count}"
        connection.execute(meta.insert().values(name=account_id, value=by.id))
        if self.failure is not None:
            raise self.failure
        return Joined(account_id, "made")


def joined(stored: StoredHouse) -> int:
    with stored.database.read() as connection:
        rows = select(func.count()).select_from(meta).where(meta.c.name.like("joined-%"))
        count: int = connection.execute(rows).scalar_one()
        uses: int = connection.execute(select(func.count()).select_from(invitation_uses)).scalar_one()
    assert uses == count
    return count


def balances(stored: StoredHouse, account_id: str) -> list[Balance]:
    return CreditDesk(stored.database, Maker(stored.clock)).balances(account_id)


def test_an_acceptance_makes_an_account_and_credits_both(stored: StoredHouse, desk: InvitationDesk) -> None:
    ((invitation, code),) = desk.make(NEW)
    done = desk.accept(code.lower().replace("-", " "), Newcomers().join)
    assert done.joined == Joined("joined-1", "made")
    assert [(one.account_id, one.amount, one.kind) for one in done.credits] == [
        ("joined-1", 300, "invitation"),
        ("acc_inviter", 50, "invitation"),
    ]
    assert balances(stored, "joined-1") == [Balance("USD", 300, 0)]
    assert balances(stored, "acc_inviter") == [Balance("USD", 50, 0)]
    (kept,), _ = desk.listed()
    assert kept == replace(invitation, uses=1)
    assert kept.terms == TERMS
    stored.assert_sound()


def test_without_a_bonus_nothing_is_credited(stored: StoredHouse, desk: InvitationDesk) -> None:
    ((_, code),) = desk.make(replace(NEW, inviter_id=None, terms=Terms()))
    assert desk.accept(code, Newcomers().join).credits == ()
    stored.assert_sound()


def code_of(desk: InvitationDesk, typed: object) -> str | None:
    with pytest.raises((CodeSpent, NotFound)) as caught:
        desk.accept(typed, Newcomers().join)
    return caught.value.code


def test_an_invitation_is_good_for_as_many_as_it_says(stored: StoredHouse, desk: InvitationDesk) -> None:
    ((_, code),) = desk.make(NEW)
    newcomers = Newcomers()
    for _ in range(2):
        desk.accept(code, newcomers.join)
    assert code_of(desk, code) == "invitation_used"
    assert joined(stored) == 2
    assert balances(stored, "acc_inviter") == [Balance("USD", 100, 0)]
    stored.assert_sound()


def test_an_invitation_that_is_over_is_told_as_what_it_is(stored: StoredHouse, desk: InvitationDesk) -> None:
    ((_, dated),) = desk.make(replace(NEW, expires_at=int(NOW * 1000) + 1_000))
    ((revoked, gone),) = desk.make(NEW)
    assert desk.revoke(revoked.id).state(0) == "revoked"
    stored.clock.now += 1
    assert code_of(desk, dated) == "invitation_expired"
    assert code_of(desk, gone) == "invitation_revoked"
    for typed in (new_ticket(), "", None, 5):
        assert code_of(desk, typed) == "invitation_unknown"
    with pytest.raises(NotFound):
        desk.revoke("inv_none")
    assert joined(stored) == 0


def test_whether_any_could_be_accepted_is_known(stored: StoredHouse, desk: InvitationDesk) -> None:
    assert not desk.any_open()
    ((dated, _),) = desk.make(replace(NEW, expires_at=int(NOW * 1000) + 1_000))
    assert desk.any_open()
    stored.clock.now += 1
    assert not desk.any_open()
    ((other, code),) = desk.make(replace(NEW, max_uses=1))
    assert desk.any_open()
    desk.accept(code, Newcomers().join)
    assert not desk.any_open()
    ((last, _),) = desk.make(NEW)
    desk.revoke(last.id)
    assert not desk.any_open()
    assert {one.id for one in desk.listed()[0]} == {dated.id, other.id, last.id}


def test_of_many_at_once_no_more_get_in_than_may(stored: StoredHouse, desk: InvitationDesk) -> None:
    ((invitation, code),) = desk.make(replace(NEW, max_uses=3))
    newcomers, barrier = Newcomers(), threading.Barrier(8)
    found: list[object] = []

    def accept() -> None:
        barrier.wait(20)
        try:
            found.append(desk.accept(code, newcomers.join))
        except CodeSpent as error:
            found.append(error)

    threads = [threading.Thread(target=accept) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [isinstance(one, Accepted) for one in found].count(True) == 3
    assert {one.code for one in found if isinstance(one, CodeSpent)} == {"invitation_used"}
    assert joined(stored) == 3
    assert balances(stored, "acc_inviter") == [Balance("USD", 150, 0)]
    assert [one.uses for one in desk.listed()[0] if one.id == invitation.id] == [3]
    stored.assert_sound()


class Broken(Maker):
    """Writes the first credit, and fails at the second."""

    count = 0

    def make(self, connection: Connection, new: NewCredit) -> tuple[Credit, bool]:
        self.count += 1
        if self.count == 2:
            raise OSError("the machine goes away")
        return super().make(connection, new)


def test_what_fails_halfway_leaves_no_account_no_use_and_no_credit(stored: StoredHouse, desk: InvitationDesk) -> None:
    ((_, code),) = desk.make(replace(NEW, max_uses=1))
    taken = InvalidRequest("taken", param="name")
    with pytest.raises(InvalidRequest):
        desk.accept(code, Newcomers(taken).join)
    with pytest.raises(OSError, match="goes away"):
        InvitationDesk(stored.database, Broken(stored.clock)).accept(code, Newcomers().join)
    assert joined(stored) == 0
    assert balances(stored, "joined-1") == balances(stored, "acc_inviter") == []
    stored.assert_sound()
    desk.accept(code, Newcomers().join)
    assert joined(stored) == 1


def test_many_are_made_at_once_and_listed_page_by_page(stored: StoredHouse, desk: InvitationDesk) -> None:
    made = desk.make(NEW, 5)
    assert len({code for _, code in made}) == 5
    first, cursor = desk.listed(Page(3))
    rest, end = desk.listed(Page(3, cursor))
    assert first + rest == [one for one, _ in made][::-1]
    assert end is None


@pytest.mark.parametrize("statement", ["UPDATE invitations SET uses = 0", "DELETE FROM invitation_uses"])
def test_uses_that_nobody_has_made_are_a_problem(stored: StoredHouse, desk: InvitationDesk, statement: str) -> None:
    ((_, code),) = desk.make(NEW)
    desk.accept(code, Newcomers().join)
    stored.assert_sound()
    with stored.database.write() as connection:
        connection.execute(text(statement))
    assert "INVITE-1" in stored.rules()


def test_the_terms_are_kept_as_they_were_said(desk: InvitationDesk) -> None:
    account: dict[str, Any] = {"models": ["m"], "limits": {"rpm": 5}}
    ((made, _),) = desk.make(replace(NEW, terms=Terms(account, {"role": None}, 1)))
    (kept,), _ = desk.listed()
    assert kept == made
    assert kept.terms == Terms(account, {"role": None}, 1)
