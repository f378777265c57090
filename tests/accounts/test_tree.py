"""The tree of accounts: what is inherited downwards, and what it refuses to become."""

import pytest

from posthouse.accounts.model import MAX_DEPTH, Account, AccountChanges, KeyChanges, NewAccount, NewKey
from posthouse.accounts.service import Directory
from posthouse.accounts.snapshot import lines_of
from posthouse.core.caller import Budget, Limits
from posthouse.core.errors import InvalidRequest, NotFound
from tests.accounts.conftest import Open, is_known


def family(directory: Directory) -> list[str]:
    """The ids of company, team and person, each under the one before it."""
    ids: list[str] = []
    for name in ("company", "team", "person"):
        parent = ids[-1] if ids else None
        ids.append(directory.create_account(NewAccount(name=name, parent=parent)).id)
    return ids


@pytest.mark.req("ACCOUNT-001")
def test_a_caller_has_every_account_above_it(opened: Open) -> None:
    directory = opened()
    company, team, person = family(directory)
    created = directory.create_key(NewKey(name="k", account="person"))
    caller = directory.authenticate(created.secret)
    assert [subject.id for subject in caller.subjects] == [created.key.id, person, team, company]
    assert [subject.kind for subject in caller.subjects] == ["key", "account", "account", "account"]
    assert (caller.account_id, caller.root_id) == (person, company)


@pytest.mark.req("ACCOUNT-002")
def test_limits_and_budgets_of_all_that_is_above_come_with_the_caller(opened: Open) -> None:
    directory = opened()
    company, team, _ = family(directory)
    secret = directory.create_key(NewKey(name="k", account="person", limits=Limits(rpm=100))).secret
    budget = Budget(5, "USD", "day")
    directory.update_account(company, AccountChanges(budgets=(budget,), rpd=7))
    directory.update_account(team, AccountChanges(rpm=10, model_limits={"m": Limits(rpm=1)}))
    caller = directory.authenticate(secret)
    assert [subject.limits.rpm for subject in caller.subjects] == [100, None, 10, None]
    assert caller.subjects[3].limits.rpd == 7
    assert caller.subjects[3].budgets == (budget,)
    assert caller.by_model
    assert caller.subjects[2].models["m"].limits == Limits(rpm=1)
    assert caller.subjects[2].models["m"].kind == "model"


@pytest.mark.req("ACCOUNT-003")
def test_models_are_those_that_everybody_above_allows(opened: Open) -> None:
    directory = opened()
    company, _, person = family(directory)
    secret = directory.create_key(NewKey(name="k", account="person")).secret
    assert directory.authenticate(secret).models is None
    directory.update_account(company, AccountChanges(models=("a", "b")))
    assert directory.authenticate(secret).models == frozenset({"a", "b"})
    directory.update_account(person, AccountChanges(models=("b", "c")))
    assert directory.authenticate(secret).models == frozenset({"b"})
    own = directory.create_key(NewKey(name="own", account="person", models=("c",))).secret
    assert directory.authenticate(own).models == frozenset()


@pytest.mark.req("ACCOUNT-004")
def test_disabling_an_account_takes_what_is_below_it_along(opened: Open) -> None:
    directory, other = opened(), opened()
    company, _, person = family(directory)
    created = directory.create_key(NewKey(name="k", account=person))
    directory.update_account(company, AccountChanges(disabled=True))
    other.refresh_if_changed()
    assert not is_known(directory, created.secret)
    assert not is_known(other, created.secret)
    with pytest.raises(InvalidRequest) as caught:
        directory.create_key(NewKey(name="in vain", account=person))
    assert caught.value.param == "account"
    directory.update_key(created.key.id, KeyChanges(name="still"))  # a change of the key alone must not wake it
    assert not is_known(directory, created.secret)
    directory.update_account(company, AccountChanges(disabled=False))
    assert is_known(directory, created.secret)


@pytest.mark.req("ACCOUNT-005")
def test_an_account_moves_with_all_that_is_below_it(opened: Open) -> None:
    directory, other = opened(), opened()
    company, team, person = family(directory)
    secret = directory.create_key(NewKey(name="k", account=person)).secret
    elsewhere = directory.create_account(NewAccount(name="elsewhere"))
    assert directory.update_account(team, AccountChanges(parent="elsewhere")).parent_id == elsewhere.id
    other.refresh_if_changed()
    assert [one.id for one in other.authenticate(secret).subjects[1:]] == [person, team, elsewhere.id]
    assert other.authenticate(secret).root_id == elsewhere.id
    assert directory.update_account(team, AccountChanges(parent=None)).parent_id is None
    assert directory.authenticate(secret).root_id == team
    assert directory.place_of(company).children == 0


@pytest.mark.req("ACCOUNT-006")
def test_no_account_is_under_itself(opened: Open) -> None:
    directory = opened()
    ids = family(directory)
    for parent in ids:
        with pytest.raises(InvalidRequest) as caught:
            directory.update_account(ids[0], AccountChanges(parent=parent))
        assert caught.value.param == "parent"
    assert directory.get_account(ids[0]).parent_id is None


def test_the_account_above_must_be_there(opened: Open) -> None:
    directory = opened()
    for parent in ("nobody", "\x00", ""):
        with pytest.raises(InvalidRequest) as caught:
            directory.create_account(NewAccount(name="a", parent=parent))
        assert caught.value.param == "parent"
        with pytest.raises(InvalidRequest):
            directory.update_account("default", AccountChanges(parent=parent))


@pytest.mark.req("ACCOUNT-007")
def test_a_tree_is_so_deep_and_no_deeper(opened: Open) -> None:
    directory = opened()
    parent = None
    for depth in range(MAX_DEPTH):
        parent = directory.create_account(NewAccount(name=f"at {depth}", parent=parent)).id
    secret = directory.create_key(NewKey(name="k", account=str(parent))).secret
    assert len(directory.authenticate(secret).subjects) == MAX_DEPTH + 1
    with pytest.raises(InvalidRequest) as caught:
        directory.create_account(NewAccount(name="too deep", parent=parent))
    assert caught.value.param == "parent"
    directory.create_account(NewAccount(name="top"))
    with pytest.raises(InvalidRequest):  # itself it would fit, but not what is below it
        directory.update_account("at 0", AccountChanges(parent="top"))


@pytest.mark.req("ACCOUNT-008")
def test_a_subtree_is_listed_and_nothing_beside_it(opened: Open) -> None:
    directory = opened()
    company, team, person = family(directory)
    directory.create_account(NewAccount(name="stranger"))
    keys = {
        owner: directory.create_key(NewKey(name="k", account=owner)).key.id for owner in (company, person, "stranger")
    }
    assert {one.id for one in directory.list_accounts(within=company).items} == {company, team, person}
    assert {one.id for one in directory.list_keys(within=company).items} == {keys[company], keys[person]}
    assert {one.id for one in directory.list_keys(within=team).items} == {keys[person]}
    assert {one.id for one in directory.list_keys(within=company, account_id=company).items} == {keys[company]}
    assert directory.get_key(keys[person], within=company).account_id == person
    for reference in ("stranger", company):
        with pytest.raises(NotFound):
            directory.get_account(reference, within=team)
    with pytest.raises(NotFound):
        directory.get_key(keys[company], within=team)
    with pytest.raises(NotFound):
        directory.revoke_key(keys["stranger"], within=company)


def test_a_place_is_told_from_the_root_or_from_where_one_may_look(opened: Open) -> None:
    directory = opened()
    company, team, person = family(directory)
    place = directory.place_of(person)
    assert place.path == ((company, "company"), (team, "team"), (person, "person"))
    assert directory.place_of(person, within=team).path == ((team, "team"), (person, "person"))
    assert [directory.place_of(one).children for one in (company, team, person)] == [1, 1, 0]


def test_accounts_that_make_no_tree_let_nobody_in() -> None:
    accounts = {
        id: Account(id, id, Limits(), (), 0.0, None, parent_id=parent)
        for id, parent in (("a", "b"), ("b", "a"), ("c", "a"), ("d", "gone"), ("root", None), ("e", "root"))
    }
    lines = lines_of(accounts)
    assert set(lines) == {"root", "e"}
    assert lines["e"].root_id == "root"


def test_what_a_key_lacks_comes_from_the_house_also_of_the_newer_limits(opened: Open) -> None:
    directory = opened(Limits(rpd=9, request_nano=5, request_currency="USD"))
    plain = directory.create_key(NewKey(name="plain")).secret
    own = directory.create_key(NewKey(name="own", limits=Limits(rpd=3, request_nano=7, request_currency="CNY"))).secret
    assert directory.authenticate(plain).subjects[0].limits == Limits(rpd=9, request_nano=5, request_currency="USD")
    found = directory.authenticate(own).subjects[0].limits
    assert (found.rpd, found.request_nano, found.request_currency) == (3, 7, "CNY")
