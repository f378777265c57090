"""Accounts, on SQLite and on PostgreSQL: found, limited, and never two of one name."""

import pytest

from posthouse.accounts.forms import account_changes_of
from posthouse.accounts.model import AccountChanges, NewAccount, NewKey
from posthouse.accounts.service import Directory
from posthouse.core.caller import Budget, Limits
from posthouse.core.errors import InvalidRequest, NotFound
from tests.accounts.conftest import Open


def test_the_default_account_always_exists(opened: Open) -> None:
    opened()
    assert [account.id for account in opened().list_accounts().items] == ["default"]


def test_an_account_is_found_by_id_and_by_name(directory: Directory) -> None:
    made = directory.create_account(NewAccount(name="团队", limits=Limits(tpm=7), budgets=(Budget(3, "CNY", "week"),)))
    assert directory.get_account(made.id) == directory.get_account("团队") == made
    for reference in ("absent", "", "\x00"):
        with pytest.raises(NotFound):
            directory.get_account(reference)
    with pytest.raises(NotFound):
        directory.update_account("absent", AccountChanges(name="x"))


def test_an_accounts_limits_and_budget_hold_for_its_keys_at_once(directory: Directory) -> None:
    created = directory.create_key(NewKey(name="k"))
    changes = account_changes_of(
        {"name": "house", "limits": {"rpm": 3}, "budget": {"amount": "1", "currency": "USD", "period": "day"}}
    )
    account = directory.update_account("default", changes)
    assert (account.id, account.name) == ("default", "house")
    subject = directory.authenticate(created.secret).subjects[1]
    assert (subject.name, subject.limits) == ("house", Limits(rpm=3))
    assert subject.budgets == (Budget(1_000_000_000, "USD", "day"),)
    assert directory.get_key(created.key.id).account_name == "house"


def test_two_accounts_cannot_have_one_name(directory: Directory) -> None:
    directory.create_account(NewAccount(name="team"))
    other = directory.create_account(NewAccount(name="other"))
    with pytest.raises(InvalidRequest) as on_create:
        directory.create_account(NewAccount(name="team"))
    with pytest.raises(InvalidRequest) as on_update:
        directory.update_account(other.id, AccountChanges(name="team"))
    for caught in (on_create, on_update):
        assert (caught.value.param, caught.value.code) == ("name", "name_taken")
    assert directory.get_account(other.id).name == "other"


def test_no_other_account_can_pass_for_the_default_one(directory: Directory) -> None:
    directory.update_account("default", AccountChanges(name="house"))
    other = directory.create_account(NewAccount(name="other"))
    with pytest.raises(InvalidRequest, match="already"):
        directory.create_account(NewAccount(name="default"))
    with pytest.raises(InvalidRequest, match="already"):
        directory.update_account(other.id, AccountChanges(name="default"))
    assert directory.update_account("default", AccountChanges(name="default")).name == "default"
