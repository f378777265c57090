"""What a key or an account may hold."""

import pytest

from posthouse.accounts.model import AccountChanges, KeyChanges, NewAccount, NewKey, Page
from posthouse.accounts.rules import (
    check_account_changes,
    check_key_changes,
    check_new_account,
    check_new_key,
    check_page,
)
from posthouse.core.caller import Budget, Limits
from posthouse.core.errors import InvalidRequest

START = 1_790_000_000.0


@pytest.mark.parametrize(
    ("new", "param"),
    [
        (NewKey(name=""), "name"),
        (NewKey(name=" k"), "name"),
        (NewKey(name="k\n"), "name"),
        (NewKey(name="k\x00"), "name"),
        (NewKey(name="k\ud800"), "name"),
        (NewKey(name="k" * 129), "name"),
        (NewKey(name="k", account="\x00"), "account"),
        (NewKey(name="k", models=()), "models"),
        (NewKey(name="k", models=("m",) * 1001), "models"),
        (NewKey(name="k", models=("m", "a b")), "models[1]"),
        (NewKey(name="k", models=("",)), "models[0]"),
        (NewKey(name="k", models=("m\x00",)), "models[0]"),
        (NewKey(name="k", limits=Limits(rpm=0)), "limits.rpm"),
        (NewKey(name="k", limits=Limits(tpm=-1)), "limits.tpm"),
        (NewKey(name="k", limits=Limits(concurrency=10**7)), "limits.concurrency"),
        (NewKey(name="k", budgets=(Budget(-1, "USD", "day"),)), "budgets[0].amount"),
        (NewKey(name="k", budgets=(Budget(2**63, "USD", "day"),)), "budgets[0].amount"),
        (NewKey(name="k", budgets=(Budget(1, "usd", "day"),)), "budgets[0].currency"),
        (NewKey(name="k", budgets=(Budget(1, "USDT", "day"),)), "budgets[0].currency"),
        (NewKey(name="k", expires_at=START), "expires_at"),
        (NewKey(name="k", expires_at=1e15), "expires_at"),
        (NewKey(name="k", expires_at=float("nan")), "expires_at"),
        (NewKey(name="k", expires_at=float("inf")), "expires_at"),
        (NewKey(name="k", defaults={"": 1}), "defaults"),
        (NewKey(name="k", defaults={"a b": 1}), "defaults"),
        (NewKey(name="k", defaults={"a" * 65: 1}), "defaults"),
        (NewKey(name="k", defaults={"stop": "\ud800"}), "defaults"),
        (NewKey(name="k", defaults={"stop": "x" * 20_000}), "defaults"),
        (NewKey(name="k", defaults={"stream": True}), "defaults.stream"),
        (NewKey(name="k", defaults={"model": "m"}), "defaults.model"),
        (NewKey(name="k", aliases={"": "m"}), "aliases"),
        (NewKey(name="k", aliases={"a": "b c"}), "aliases"),
        (NewKey(name="k", aliases={"a\x00": "m"}), "aliases"),
        (NewKey(name="k", aliases={"a": "b", "b": "c"}), "aliases"),
        (NewKey(name="k", aliases={"a": "a"}), "aliases"),
        (NewKey(name="k", aliases={f"a{number}": "m" for number in range(1001)}), "aliases"),
    ],
)
def test_a_key_that_cannot_be_is_refused_by_the_name_of_its_field(new: NewKey, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_new_key(new, START)
    assert caught.value.param == param
    assert f"`{param}" in caught.value.message


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        (KeyChanges(name=""), "name"),
        (KeyChanges(models=()), "models"),
        (KeyChanges(defaults={"messages": []}), "defaults.messages"),
        (KeyChanges(aliases={"a": "b", "b": "c"}), "aliases"),
        (KeyChanges(rpm=0), "limits.rpm"),
        (KeyChanges(budgets=(Budget(1, "", "day"),)), "budgets[0].currency"),
        (KeyChanges(expires_at=-1), "expires_at"),
    ],
)
def test_a_change_that_cannot_be_is_refused_by_the_name_of_its_field(changes: KeyChanges, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_key_changes(changes)
    assert caught.value.param == param


@pytest.mark.parametrize("name", ["", "acc_1", "x" * 129, "\t"])
def test_an_accounts_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as on_create:
        check_new_account(NewAccount(name=name))
    with pytest.raises(InvalidRequest) as on_update:
        check_account_changes(AccountChanges(name=name))
    assert on_create.value.param == on_update.value.param == "name"


@pytest.mark.parametrize("page", [Page(limit=0), Page(limit=1001), Page(after=""), Page(after="\x00")])
def test_a_page_that_cannot_be_is_refused(page: Page) -> None:
    with pytest.raises(InvalidRequest):
        check_page(page)


def test_an_expiry_may_be_moved_into_the_past_but_not_made_there() -> None:
    check_key_changes(KeyChanges(expires_at=START - 1))
    check_new_key(NewKey(name="k", expires_at=START + 1), START)
    with pytest.raises(InvalidRequest, match="passed already"):
        check_new_key(NewKey(name="k", expires_at=START), START)
