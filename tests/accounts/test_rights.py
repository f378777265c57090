"""Scopes, use without a price and a credential of one's own: as JSON, by the rules, kept, and down the tree."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.accounts.forms import (
    account_changes_of,
    account_to_json,
    key_changes_of,
    key_to_json,
    new_account_of,
    new_key_of,
)
from posthouse.accounts.model import AccountChanges, KeyChanges, NewKey
from posthouse.accounts.rights import own_of, own_to_json
from posthouse.accounts.rules import check_account_changes, check_key_changes, check_new_key
from posthouse.accounts.service import Directory
from posthouse.core.caller import OwnCredential, Unpriced
from posthouse.core.errors import InvalidRequest
from posthouse.core.requests import OPERATIONS, SCOPE_OF, SCOPES, TEXTS, operations_of
from tests.accounts.conftest import START, Open

OWN = OwnCredential(frozenset({"openai-main", "azure"}), 25_000)

NO_FEES: list[object] = [True, "", "x", "-1", -1, "1000.0001", 1001, 10**5000, "0.00001", 1e-5, [], "1e3", "٢", " 1"]
NO_FEES += [float("nan"), float("inf"), -0.5, 1e300, "9" * 5000]


def test_every_operation_has_one_scope() -> None:
    listed = [operation for operations in SCOPES.values() for operation in operations]
    assert sorted(listed) == sorted({*OPERATIONS, "passthrough"}) == sorted(SCOPE_OF)
    assert operations_of(["chat", "rerank"]) == frozenset((*TEXTS, "rerank"))
    assert operations_of([]) == frozenset()
    assert operations_of(None) is None


@pytest.mark.parametrize(
    ("fee", "ppm", "shown"),
    [
        ("2.5", 25_000, "2.5"),
        (2.5, 25_000, "2.5"),
        (0.1, 1_000, "0.1"),
        ("0.0001", 1, "0.0001"),
        (0.0001, 1, "0.0001"),
        ("1.50000", 15_000, "1.5"),
        (10, 100_000, "10"),
        ("1000.0", 10_000_000, "1000"),
        (0, 0, "0"),
        (None, 0, "0"),
    ],
)
def test_a_fee_is_a_percentage_exact_to_four_decimal_places(fee: object, ppm: int, shown: str) -> None:
    own = own_of({"accounts": ["a"], "fee_percent": fee})
    assert own == OwnCredential(frozenset({"a"}), ppm)
    assert own_to_json(own) == {"accounts": ["a"], "fee_percent": shown}


@given(st.integers(0, 10_000_000))
def test_every_fee_is_shown_and_read_back_as_it_was(ppm: int) -> None:
    shown = own_to_json(OwnCredential(frozenset({"a"}), ppm))
    assert shown is not None
    for fee in (shown["fee_percent"], float(shown["fee_percent"])):
        assert own_of({**shown, "fee_percent": fee}) == OwnCredential(frozenset({"a"}), ppm)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"scopes": "chat"}, "scopes"),
        ({"scopes": ["chat", "video"]}, "scopes[1]"),
        ({"scopes": [3]}, "scopes[0]"),
        ({"scopes": [["chat"]]}, "scopes[0]"),
        ({"scopes": ["models"]}, "scopes[0]"),
        ({"unpriced": "auto"}, "unpriced"),
        ({"unpriced": True}, "unpriced"),
        ({"own_credential": True}, "own_credential"),
        ({"own_credential": {}}, "own_credential.accounts"),
        ({"own_credential": {"accounts": "a"}}, "own_credential.accounts"),
        ({"own_credential": {"accounts": [3]}}, "own_credential.accounts[0]"),
        ({"own_credential": {"accounts": ["a"], "fee": 1}}, "own_credential.fee"),
        *(
            ({"own_credential": {"accounts": ["a"], "fee_percent": fee}}, "own_credential.fee_percent")
            for fee in NO_FEES
        ),
    ],
)
def test_what_cannot_be_is_refused_by_the_name_of_its_field(more: dict[str, Any], param: str) -> None:
    readers = [new_key_of, key_changes_of]
    if "own_credential" not in more:
        readers += [new_account_of, account_changes_of]
    for read in readers:
        with pytest.raises(InvalidRequest) as caught:
            read({"name": "n", **more})
        assert caught.value.param == param


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        (KeyChanges(scopes=()), "scopes"),
        (KeyChanges(scopes=("video",)), "scopes[0]"),
        (KeyChanges(own=OwnCredential(frozenset())), "own_credential.accounts"),
        (KeyChanges(own=OwnCredential(frozenset({""}))), "own_credential.accounts"),
        (KeyChanges(own=OwnCredential(frozenset({"a b"}))), "own_credential.accounts"),
        (KeyChanges(own=OwnCredential(frozenset({"a" * 65}))), "own_credential.accounts"),
        (KeyChanges(own=OwnCredential(frozenset(f"a{n}" for n in range(101)))), "own_credential.accounts"),
        (KeyChanges(own=OwnCredential(frozenset({"a"}), 10_000_001)), "own_credential.fee_percent"),
        (KeyChanges(own=OwnCredential(frozenset({"a"}), -1)), "own_credential.fee_percent"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_the_name_of_its_field(changes: KeyChanges, param: str) -> None:
    with pytest.raises(InvalidRequest) as on_change:
        check_key_changes(changes)
    new = NewKey(
        name="k",
        scopes=changes.scopes if isinstance(changes.scopes, tuple) else None,
        own=changes.own if isinstance(changes.own, OwnCredential) else None,
    )
    with pytest.raises(InvalidRequest) as on_create:
        check_new_key(new, START)
    assert (on_change.value.param, on_create.value.param) == (param, param)


def test_an_account_has_at_least_one_scope_too() -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_account_changes(AccountChanges(scopes=()))
    assert caught.value.param == "scopes"


def test_they_are_kept_shown_changed_and_taken_away(directory: Directory) -> None:
    own = {"accounts": ["openai-main", "azure", "azure"], "fee_percent": "2.50"}
    rights = {"scopes": ["embeddings", "chat", "chat"], "unpriced": "allow"}
    made = directory.create_key(new_key_of({"name": "k", **rights, "own_credential": own}))
    shown = key_to_json(directory.get_key(made.key.id), START)
    assert (shown["scopes"], shown["unpriced"]) == (["embeddings", "chat"], "allow")
    assert shown["own_credential"] == {"accounts": ["azure", "openai-main"], "fee_percent": "2.5"}
    caller = directory.authenticate(made.secret)
    assert (caller.scopes, caller.unpriced, caller.own) == (frozenset((*TEXTS, "embeddings")), "allow", OWN)
    directory.update_key(made.key.id, key_changes_of({"own_credential": {"accounts": ["b"]}}))
    caller = directory.authenticate(made.secret)
    assert (caller.scopes, caller.own) == (frozenset((*TEXTS, "embeddings")), OwnCredential(frozenset({"b"})))
    nothing = dict.fromkeys((*rights, "own_credential"))
    directory.update_key(made.key.id, key_changes_of(nothing))
    caller = directory.authenticate(made.secret)
    assert (caller.scopes, caller.unpriced, caller.own) == (None, None, None)
    assert {name: key_to_json(directory.get_key(made.key.id), START)[name] for name in nothing} == nothing

    account = directory.create_account(new_account_of({"name": "team", **rights}))
    assert directory.get_account("team") == account
    assert {name: account_to_json(account)[name] for name in rights} == {**rights, "scopes": ["embeddings", "chat"]}
    changed = directory.update_account("team", account_changes_of({"scopes": None, "unpriced": "refuse"}))
    assert (changed.scopes, changed.unpriced) == (None, "refuse")


@pytest.mark.req("ACCOUNT-010")
def test_scopes_are_those_that_everybody_above_allows(opened: Open) -> None:
    directory, other = opened(), opened()
    directory.create_account(new_account_of({"name": "company", "scopes": ["chat", "images"]}))
    directory.create_account(new_account_of({"name": "team", "parent": "company"}))
    secret = directory.create_key(new_key_of({"name": "k", "account": "team", "scopes": ["chat", "audio"]})).secret
    assert directory.authenticate(secret).scopes == frozenset(TEXTS)
    directory.update_account("team", AccountChanges(scopes=("images", "audio")))
    other.refresh_if_changed()
    assert directory.authenticate(secret).scopes == other.authenticate(secret).scopes == frozenset()
    directory.update_account("company", AccountChanges(scopes=None))
    assert directory.authenticate(secret).scopes == SCOPES["audio"]


@pytest.mark.req("ACCOUNT-011")
@pytest.mark.parametrize(
    ("company", "team", "key", "effective"),
    [
        (None, None, None, None),
        ("allow", None, None, "allow"),
        (None, "allow", "refuse", "refuse"),
        ("refuse", "allow", "allow", "refuse"),
        (None, "refuse", "allow", "refuse"),
        (None, None, "allow", "allow"),
    ],
)
def test_whoever_refuses_what_has_no_price_has_the_last_word(
    opened: Open, company: Unpriced | None, team: Unpriced | None, key: Unpriced | None, effective: Unpriced | None
) -> None:
    directory = opened()
    directory.create_account(new_account_of({"name": "company", "unpriced": company}))
    directory.create_account(new_account_of({"name": "team", "parent": "company", "unpriced": team}))
    secret = directory.create_key(new_key_of({"name": "k", "account": "team", "unpriced": key})).secret
    assert directory.authenticate(secret).unpriced == effective
