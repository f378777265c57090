"""Invitations as they are made and accepted: an account of one's own with a first key, all of it or nothing."""

import json
import threading
from typing import Any

import pytest
from sqlalchemy import delete, func, select

from posthouse.accounts.model import AccountChanges, NewAccount
from posthouse.api.joining import ACCEPT, invitation_to_json, new_invitation_of
from posthouse.billing.verify import verify
from posthouse.core.caller import Budget
from posthouse.core.errors import InvalidRequest, NotFound, PosthouseError
from posthouse.settings import PointsSettings
from posthouse.storage.database import Database
from posthouse.storage.tables import accounts, credits, keys
from tests.api.counter import SETTINGS, Counter
from tests.billing.fakes import Clock

PREPAID = {"kind": "prepaid", "currency": "CNY"}
WISH: dict[str, Any] = {
    "name": "spring",
    "parent": "club",
    "account": {"budgets": [PREPAID], "models": ["m"], "limits": {"rpm": 60}},
    "key": {"role": "member", "limits": {"concurrency": 2}},
    "bonus": {"points": 500},
    "inviter": "old member",
    "inviter_bonus": {"amount": "1.50", "currency": "CNY"},
    "max_uses": 3,
}


class Scene:
    def __init__(self, database: Database) -> None:
        with database.write() as connection:
            connection.execute(delete(keys))
            connection.execute(delete(accounts).where(accounts.c.id != "default"))
        self.database = database
        self.clock = Clock()
        self.counter = Counter(database, self.clock, SETTINGS, PointsSettings(currency="CNY", per_unit=100))
        directory = self.counter.directory
        directory.refresh_if_changed()
        self.club = directory.create_account(NewAccount(name="club"))
        budget = Budget(0, "CNY", "total", prepaid=True)
        self.member = directory.create_account(NewAccount(name="old member", parent="club", budgets=(budget,)))

    def invite(self, **change: Any) -> str:
        """The code of an invitation."""
        counter = self.counter
        new, count = new_invitation_of({**WISH, **change}, counter.directory, counter.till, "olga")
        return counter.till.invitations.make(new, count)[0][1]

    def accept(self, code: object, name: object = "newcomer", peer: str = "10.0.0.1", **more: Any) -> tuple[int, Any]:
        return self.counter.post(ACCEPT, json.dumps({"code": code, "name": name, **more}).encode(), peer=peer)

    def counts(self) -> tuple[int, int, int]:
        """Accounts, keys and credits; and the books are sound."""
        assert verify(self.database, self.clock()).problems == ()
        with self.database.read() as connection:
            a, k, c = (
                connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (accounts, keys, credits)
            )
        return a, k, c


@pytest.fixture
def scene(books: Database) -> Scene:
    return Scene(books)


def test_who_accepts_has_an_account_below_with_a_key_that_works_at_once(scene: Scene) -> None:
    status, made = scene.accept(scene.invite().lower())
    assert status == 201
    account, key = made["account"], made["key"]
    assert (account["name"], account["parent"], account["kind"]) == ("newcomer", scene.club.id, "person")
    assert (account["models"], account["limits"]["rpm"]) == (["m"], 60)
    assert (key["account"], key["role"], key["limits"]["concurrency"]) == (account["id"], "member", 2)
    assert [(one["amount"], one["points"], one["kind"]) for one in made["credits"]] == [("5", "500", "invitation")]
    caller = scene.counter.directory.authenticate(key["key"])
    assert [subject.name for subject in caller.subjects] == ["newcomer", "newcomer", "club"]
    assert caller.subjects[1].budgets[0].nano == 5_000_000_000
    inviter = scene.counter.directory.get_account("old member")
    assert inviter.budgets[0].nano == 1_500_000_000
    assert scene.counts()[2] == 2


def test_the_key_is_shown_once_and_its_secret_is_kept_nowhere(scene: Scene, books: Database) -> None:
    _, made = scene.accept(scene.invite())
    with books.read() as connection:
        rows = [dict(row) for row in connection.execute(select(keys)).mappings()]
    assert len(rows) == 1
    assert made["key"]["key"] not in str(rows)
    assert made["key"]["hint"] == made["key"]["key"][-4:] == rows[0]["hint"]


def test_an_invitation_without_terms_makes_a_person_with_a_plain_key(scene: Scene) -> None:
    code = scene.invite(account=None, key=None, bonus=None, inviter=None, inviter_bonus=None, max_uses=None)
    status, made = scene.accept(code)
    assert (status, made["credits"], made["key"]["role"]) == (201, [], None)
    assert scene.accept(code, "another")[0] == 404  # once, where nothing is said


def test_without_an_invitation_the_route_does_not_exist(scene: Scene) -> None:
    for code in ("0" * 25, "", None):
        status, answer = scene.accept(code)
        assert (status, answer["error"]["message"]) == (404, f"Unknown request URL: POST {ACCEPT}.")
    code = scene.invite(max_uses=1)
    assert scene.accept("0" * 25)[1]["error"]["code"] == "invitation_unknown"
    assert scene.accept(code)[0] == 201
    assert scene.accept(code)[1]["error"]["message"] == f"Unknown request URL: POST {ACCEPT}."
    for number in range(20):  # who asks often hears no more
        status, answer = scene.accept("0" * 25, peer="10.0.0.9")
        assert (status, answer["error"]["message"]) == (404, f"Unknown request URL: POST {ACCEPT}."), number


@pytest.mark.parametrize("name", ["club", "default", "acc_1", "", " x", "a\nb", None, 5, "x" * 129])
def test_a_name_that_cannot_be_costs_no_use_and_makes_nothing(scene: Scene, name: object) -> None:
    code = scene.invite(max_uses=1)
    before = scene.counts()
    status, answer = scene.accept(code, name)
    assert (status, answer["error"]["param"]) == (400, "name")
    assert scene.counts() == before
    assert scene.accept(code)[0] == 201


def test_a_parent_that_is_disabled_or_too_deep_lets_nobody_in(scene: Scene) -> None:
    directory = scene.counter.directory
    code = scene.invite()
    directory.update_account("club", AccountChanges(disabled=True))
    before = scene.counts()
    assert scene.accept(code)[1]["error"]["param"] == "parent"
    directory.update_account("club", AccountChanges(disabled=False))
    at = "club"
    for depth in range(15):
        at = directory.create_account(NewAccount(name=f"d{depth}", parent=at)).name
    deep = scene.invite(parent=at)
    before = scene.counts()
    status, answer = scene.accept(deep)
    assert (status, answer["error"]["param"]) == (400, "parent")
    assert scene.counts() == before
    assert scene.accept(code)[0] == 201


def test_of_many_at_once_no_more_get_in_than_may_and_each_has_a_key(scene: Scene) -> None:
    code, barrier, found = scene.invite(max_uses=3), threading.Barrier(8), []
    before = scene.counts()

    def accept(number: int) -> None:
        barrier.wait(20)
        found.append(scene.accept(code, f"newcomer {number}", f"10.0.1.{number}"))

    threads = [threading.Thread(target=accept, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [status for status, _ in found].count(201) == 3
    assert {status for status, _ in found} <= {201, 404, 409}
    assert scene.counts() == (before[0] + 3, before[1] + 3, before[2] + 6)


def test_one_name_at_once_is_had_by_one(scene: Scene) -> None:
    code, barrier, found = scene.invite(max_uses=8), threading.Barrier(4), []

    def accept(number: int) -> None:
        barrier.wait(20)
        found.append(scene.accept(code, "the name", f"10.0.1.{number}"))

    threads = [threading.Thread(target=accept, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(status for status, _ in found) == [201, 400, 400, 400]
    assert {made["error"]["code"] for status, made in found if status == 400} == {"name_taken"}
    (one,) = scene.counter.till.invitations.listed()[0]
    assert one.uses == 1


def test_wrong_codes_are_bounded_for_each_network_and_over_all(scene: Scene) -> None:
    code = scene.invite(max_uses=100)
    for _ in range(10):
        assert scene.accept("0" * 25, peer="2001:db8::1")[0] == 404
    status, answer = scene.accept(code, peer="2001:db8::2")
    assert (status, answer["error"]["code"]) == (429, "rate_limit_exceeded")
    assert scene.accept(code, peer="2001:db8:0:1::1")[0] == 201
    for number in range(90):
        assert scene.accept("0" * 25, peer=f"10.2.0.{number}")[0] == 404
    assert scene.accept(code, "n", peer="10.3.0.1")[0] == 429


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"code": "a", "code": "b", "name": "n"}', b'{"code": "x", "name": "n", "role": "admin"}'],
)
def test_a_body_that_is_no_acceptance_is_refused(scene: Scene, body: bytes) -> None:
    scene.invite()
    assert scene.counter.post(ACCEPT, body)[0] == 400


def test_a_body_is_bounded(scene: Scene) -> None:
    code = scene.invite()
    assert scene.counter.post(ACCEPT, json.dumps({"code": code, "name": "n" * 5_000}).encode())[0] == 413


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"name": None}, "name"),
        ({"parent": None}, "parent"),
        ({"account": []}, "account"),
        ({"account": {"name": "n"}}, "account.name"),
        ({"account": {"parent": "club"}}, "account.parent"),
        ({"account": {"kind": "robot"}}, "account.kind"),
        ({"account": {"nonsense": 1}}, "account.nonsense"),
        ({"account": {"limits": {"rpm": 0}}}, "account.limits.rpm"),
        ({"account": {"models": []}}, "account.models"),
        ({"key": {"role": "admin"}}, "key.role"),
        ({"key": {"role": "billing"}}, "key.role"),
        ({"key": {"account": "default"}}, "key.account"),
        ({"key": {"expires_at": "2020-01-01"}}, "key.expires_at"),
        ({"bonus": 5}, "bonus"),
        ({"bonus": {"amount": "0", "currency": "CNY"}}, "bonus.amount"),
        ({"bonus": {"amount": "-1", "currency": "CNY"}}, "bonus.amount"),
        ({"bonus": {"amount": "1", "currency": "USD"}}, "bonus"),
        ({"account": None}, "bonus"),
        ({"inviter": None}, "inviter"),
        ({"inviter": "club"}, "inviter_bonus"),
        ({"max_uses": 0}, "max_uses"),
        ({"max_uses": 100_001}, "max_uses"),
        ({"count": 1_001}, "count"),
        ({"expires_at": "2020-01-01"}, "expires_at"),
        ({"other": 1}, "other"),
    ],
)
def test_an_invitation_that_cannot_stand_is_refused_by_name(scene: Scene, change: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        scene.invite(**change)
    assert caught.value.param == param


def test_an_invitation_below_or_by_nobody_is_refused(scene: Scene) -> None:
    for change in ({"parent": "nobody"}, {"inviter": "nobody"}):
        with pytest.raises(NotFound):
            scene.invite(**change)


def test_an_invitation_is_shown_without_its_code(scene: Scene) -> None:
    code = scene.invite()
    (one,) = scene.counter.till.invitations.listed()[0]
    shown = invitation_to_json(one, scene.counter.till.points, int(scene.clock() * 1000))
    assert code not in str(shown)
    assert code.replace("-", "") not in str(shown)
    assert (shown["hint"], shown["state"], shown["uses"], shown["max_uses"]) == (code[-4:], "open", 0, 3)
    assert shown["bonus"] == {"amount": "5", "currency": "CNY", "points": "500"}
    assert shown["inviter_bonus"]["amount"] == "1.5"
    assert (shown["parent"], shown["inviter"]) == (scene.club.id, scene.member.id)
    assert shown["account"] == WISH["account"]


def test_an_invitation_whose_terms_cannot_stand_any_more_makes_nothing(scene: Scene) -> None:
    code = scene.invite(key={"expires_at": scene.clock() + 60})
    scene.clock.now += 61
    before = scene.counts()
    status, answer = scene.accept(code)
    assert (status, answer["error"]["param"]) == (400, "key.expires_at")
    assert scene.counts() == before


def test_a_code_of_another_kind_is_no_invitation(scene: Scene) -> None:
    scene.invite()
    with pytest.raises(PosthouseError):
        scene.counter.till.invitations.accept("not a code", lambda connection, by: pytest.fail("let in"))
