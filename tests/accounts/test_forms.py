"""Keys and accounts as JSON."""

import pytest
from msgspec import UNSET

from posthouse.accounts.forms import (
    account_changes_of,
    account_to_json,
    created_to_json,
    instant_of,
    key_changes_of,
    key_to_json,
    new_account_of,
    new_key_of,
)
from posthouse.accounts.limits import COUNTS, limits_to_json
from posthouse.accounts.model import Account, CreatedKey, Key, KeyChanges, NewAccount, NewKey
from posthouse.core.caller import Budget, Limits
from posthouse.core.errors import InvalidRequest

KEY = Key(
    id="key_1",
    name="ci",
    hint="wxyz",
    account_id="default",
    account_name="house",
    models=("m",),
    limits=Limits(rpm=1),
    budgets=(Budget(5_500_000_000, "USD", "month"),),
    created_at=1_790_000_000.25,
    expires_at=1_800_000_000,
    revoked_at=None,
)

NO_LIMITS: dict[str, object] = {**dict.fromkeys((*COUNTS, "request_spend")), "models": {}}


def test_a_new_key_is_read_as_the_contract_writes_it() -> None:
    body = {
        "name": "ci",
        "account": "team",
        "models": ["a", "b", "a"],
        "budget": {"amount": "5.00", "currency": "USD", "period": "month"},
        "limits": {"rpm": 1, "tpm": None},
        "expires_at": "2027-01-01T00:00:00Z",
        "defaults": {"temperature": 0.2, "stop": ["x"]},
        "aliases": {"gpt-4": "smart"},
        "strict": True,
    }
    assert new_key_of(body) == NewKey(
        name="ci",
        account="team",
        models=("a", "b"),
        budgets=(Budget(5_000_000_000, "USD", "month"),),
        limits=Limits(rpm=1),
        expires_at=1_798_761_600,
        defaults={"temperature": 0.2, "stop": ["x"]},
        aliases={"gpt-4": "smart"},
        strict=True,
    )


def test_what_is_absent_or_null_is_not_set() -> None:
    nothing = dict.fromkeys(("account", "models", "budget", "limits", "expires_at", "defaults", "aliases", "strict"))
    assert new_key_of({"name": "ci"}) == new_key_of({"name": "ci", **nothing}) == NewKey(name="ci")
    assert new_account_of({"name": "team"}) == NewAccount(name="team")


def test_a_budget_is_for_ever_where_no_period_is_said() -> None:
    key = new_key_of({"name": "k", "budget": {"amount": 5, "currency": "CNY"}})
    assert key.budgets == (Budget(5_000_000_000, "CNY", "total"),)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": None}, "name"),
        ({"name": 3}, "name"),
        ({"name": "k", "role": "owner"}, "role"),
        ({"name": "k", "secret": "x"}, "secret"),
        ({"name": "k", "account": 3}, "account"),
        ({"name": "k", "models": "m"}, "models"),
        ({"name": "k", "models": ["m", 3]}, "models[1]"),
        ({"name": "k", "limits": 3}, "limits"),
        ({"name": "k", "limits": {"rps": 3}}, "limits.rps"),
        ({"name": "k", "limits": {"rpm": True}}, "limits.rpm"),
        ({"name": "k", "limits": {"rpm": 1.5}}, "limits.rpm"),
        ({"name": "k", "limits": {"rpm": "3"}}, "limits.rpm"),
        ({"name": "k", "budget": "5"}, "budget"),
        ({"name": "k", "budget": {"currency": "USD"}}, "budget.amount"),
        ({"name": "k", "budget": {"amount": 0.1, "currency": "USD"}}, "budget.amount"),
        ({"name": "k", "budget": {"amount": True, "currency": "USD"}}, "budget.amount"),
        ({"name": "k", "budget": {"amount": 10**9999, "currency": "USD"}}, "budget.amount"),
        ({"name": "k", "budget": {"amount": "-1", "currency": "USD"}}, "budget.amount"),
        ({"name": "k", "budget": {"amount": "1" * 50, "currency": "USD"}}, "budget.amount"),
        ({"name": "k", "budget": {"amount": "NaN", "currency": "USD"}}, "budget.amount"),
        ({"name": "k", "budget": {"amount": "1"}}, "budget.currency"),
        ({"name": "k", "budget": {"amount": "1", "currency": "USD", "period": "year"}}, "budget.period"),
        ({"name": "k", "budget": {"amount": "1", "currency": "USD", "per": "day"}}, "budget.per"),
        ({"name": "k", "expires_at": "tomorrow"}, "expires_at"),
        ({"name": "k", "expires_at": True}, "expires_at"),
        ({"name": "k", "expires_at": float("nan")}, "expires_at"),
        ({"name": "k", "expires_at": float("-inf")}, "expires_at"),
        ({"name": "k", "expires_at": []}, "expires_at"),
        ({"name": "k", "expires_at": "2" * 100}, "expires_at"),
        (["name"], None),
        (None, None),
    ],
)
def test_a_body_that_cannot_be_is_refused_by_the_name_of_its_field(body: object, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        new_key_of(body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2027-01-01", 1_798_761_600),
        ("2027-01-01T08:00:00+08:00", 1_798_761_600),
        ("2027-01-01T00:00:00", 1_798_761_600),
        (1_798_761_600, 1_798_761_600),
        (1_798_761_600.5, 1_798_761_600.5),
        (10**400, 10**15),
        (-5, -1),
        (None, None),
    ],
)
def test_an_instant_is_iso_8601_or_seconds(text: object, seconds: float | None) -> None:
    assert instant_of(text) == seconds


def test_changes_tell_absent_from_null() -> None:
    assert key_changes_of({}) == KeyChanges()
    changes = key_changes_of({"limits": {"rpm": None, "tpm": 3}, "expires_at": None, "models": ["m"]})
    assert (changes.rpm, changes.tpm, changes.concurrency) == (None, 3, UNSET)
    assert (changes.expires_at, changes.models, changes.budgets, changes.name) == (None, ("m",), UNSET, UNSET)
    cleared = key_changes_of({"limits": None, "budget": None})
    assert (cleared.rpm, cleared.tpm, cleared.concurrency, cleared.budgets) == (None, None, None, ())
    assert account_changes_of({"disabled": True, "name": "n"}).disabled is True


@pytest.mark.parametrize(
    ("body", "param"), [({"disabled": 1}, "disabled"), ({"name": None}, "name"), ({"account": "x"}, "account")]
)
def test_a_change_of_an_account_that_cannot_be_is_refused(body: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        account_changes_of(body)
    assert caught.value.param == param


def test_a_key_never_moves_to_another_account() -> None:
    with pytest.raises(InvalidRequest) as caught:
        key_changes_of({"account": "other"})
    assert caught.value.param == "account"


def test_a_key_is_shown_without_its_secret_and_a_new_one_with_it() -> None:
    shown = key_to_json(KEY, 1_790_000_001)
    assert shown == {
        "id": "key_1",
        "name": "ci",
        "hint": "wxyz",
        "account": "default",
        "account_name": "house",
        "status": "active",
        "models": ["m"],
        "budget": {"amount": "5.5", "currency": "USD", "period": "month"},
        "budgets": [
            {
                "amount": "5.5",
                "currency": "USD",
                "period": "month",
                "time_zone": "UTC",
                "model": None,
                "kind": "limit",
            }
        ],
        "limits": {**NO_LIMITS, "rpm": 1},
        "scopes": None,
        "unpriced": None,
        "own_credential": None,
        "role": None,
        "defaults": None,
        "aliases": None,
        "strict": False,
        "created_at": "2026-09-21T14:13:20Z",
        "expires_at": "2027-01-15T08:00:00Z",
        "revoked_at": None,
    }
    created = created_to_json(CreatedKey(KEY, "sk-ph-test-secret"), 1_790_000_001)
    assert list(created)[:2] == ["id", "key"]
    assert created == {**shown, "key": "sk-ph-test-secret"}


def test_an_account_is_shown_with_its_state() -> None:
    account = Account("acc_1", "team", Limits(), (), 1_790_000_000, 1_790_000_060)
    assert account_to_json(account) == {
        "id": "acc_1",
        "name": "team",
        "kind": "team",
        "parent": None,
        "status": "disabled",
        "models": None,
        "budget": None,
        "budgets": [],
        "limits": NO_LIMITS,
        "scopes": None,
        "unpriced": None,
        "created_at": "2026-09-21T14:13:20Z",
        "disabled_at": "2026-09-21T14:14:20Z",
    }


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"defaults": []}, "defaults"),
        ({"defaults": "temperature=1"}, "defaults"),
        ({"aliases": ["a"]}, "aliases"),
        ({"aliases": {"a": None}}, "aliases.a"),
        ({"aliases": {"a": {"b": "c"}}}, "aliases.a"),
        ({"strict": "yes"}, "strict"),
        ({"strict": 1}, "strict"),
    ],
)
def test_wishes_of_another_type_are_refused(body: dict[str, object], param: str) -> None:
    for read, more in ((new_key_of, {"name": "k"}), (key_changes_of, {})):
        with pytest.raises(InvalidRequest) as caught:
            read({**more, **body})
        assert caught.value.param == param


def test_wishes_are_changed_one_by_one_and_null_takes_them_away() -> None:
    assert key_changes_of({"defaults": {"n": 1}}) == KeyChanges(defaults={"n": 1})
    assert key_changes_of({"aliases": {"a": "b"}}) == KeyChanges(aliases={"a": "b"})
    assert key_changes_of({"strict": True}) == KeyChanges(strict=True)
    none = KeyChanges(defaults=None, aliases=None, strict=False)
    assert key_changes_of({"defaults": None, "aliases": None, "strict": None}) == none
    assert key_changes_of({"defaults": {}, "aliases": {}, "strict": False}) == none


def test_every_limit_is_read_and_shown_as_it_was_written() -> None:
    limits = {
        **{name: number for number, name in enumerate(COUNTS, 1)},
        "request_spend": {"amount": "0.5", "currency": "USD"},
        "models": {"gpt-5": {"rpm": 5, "tpd": 10}},
    }
    new = new_account_of({"name": "a", "limits": limits})
    assert new.limits.request_nano == 500_000_000
    assert new.model_limits == {"gpt-5": Limits(rpm=5, tpd=10)}
    assert limits_to_json(new.limits, new.model_limits) == limits


def test_changes_touch_only_the_limits_that_are_named() -> None:
    changes = account_changes_of({"limits": {"rpd": 3, "request_spend": None}})
    assert (changes.rpd, changes.request_nano, changes.request_currency) == (3, None, None)
    assert (changes.rpm, changes.model_limits) == (UNSET, UNSET)
    assert account_changes_of({"limits": {"models": None}}).model_limits == {}
    cleared = account_changes_of({"limits": None})
    assert all(getattr(cleared, name) is None for name in Limits.__struct_fields__)
    assert cleared.model_limits == {}


@pytest.mark.parametrize(
    ("limits", "param"),
    [
        ({"rpd": "5"}, "limits.rpd"),
        ({"request_spend": "0.5 USD"}, "limits.request_spend"),
        ({"request_spend": {"amount": "1"}}, "limits.request_spend.currency"),
        ({"request_spend": {"amount": 0.1, "currency": "USD"}}, "limits.request_spend.amount"),
        ({"models": []}, "limits.models"),
        ({"models": {"m": None}}, "limits.models.m"),
        ({"models": {"m": {"rps": 1}}}, "limits.models.m.rps"),
        ({"models": {"m": {"rpm": True}}}, "limits.models.m.rpm"),
        ({"models": {"m": {"request_spend": None}}}, "limits.models.m.request_spend"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_by_the_name_of_its_field(limits: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        account_changes_of({"limits": limits})
    assert caught.value.param == param


@pytest.mark.parametrize("body", [{"kind": "robot"}, {"kind": None}, {"parent": 3}])
def test_a_place_in_the_tree_that_cannot_be_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        account_changes_of(body)
    assert caught.value.param == next(iter(body))
