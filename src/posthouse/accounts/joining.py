"""A new account with its first key, within a transaction of the caller's: for those who accept an invitation.

Above: api/joining.py. Below: `store`. What `Directory` says of new accounts and keys holds here too. The caller reads
the directory again (`refresh_if_changed`) when the transaction is done.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from posthouse.accounts import rules, store
from posthouse.accounts.model import (
    DEFAULT_ACCOUNT,
    KEY_PREFIX,
    MAX_DEPTH,
    Account,
    CreatedKey,
    Key,
    NewAccount,
    NewKey,
)
from posthouse.accounts.snapshot import path_of
from posthouse.core.errors import InvalidRequest


class Source(Struct, frozen=True):
    """Where time (seconds since the epoch), ids and secrets (32 random bytes as URL-safe text) come from."""

    clock: Callable[[], float]
    make_id: Callable[[str], str]
    token: Callable[[], str]


class Newcomer(Struct, frozen=True):
    account: Account
    created: CreatedKey


def join(connection: Connection, account: NewAccount, key: NewKey, source: Source) -> Newcomer:
    """`key.account` is not heeded: it is this account's. InvalidRequest names the field that cannot stand."""
    now = source.clock()
    rules.check_new_account(account)
    rules.check_new_key(key, now)
    # The revision first: its row keeps others from moving or naming accounts until this is done.
    store.touch(connection)
    if account.name == DEFAULT_ACCOUNT or store.account_by(connection, account.name) is not None:
        raise _name_taken()
    made = Account(
        **_shared(account, Account),
        id=source.make_id("acc"),
        created_at=now,
        disabled_at=None,
        parent_id=_parent_of(connection, account.parent),
    )
    secret = KEY_PREFIX + source.token()
    first = Key(
        **_shared(key, Key),
        id=source.make_id("key"),
        hint=secret[-4:],
        account_id=made.id,
        account_name=made.name,
        created_at=now,
        revoked_at=None,
    )
    try:
        store.insert_account(connection, made)
    except IntegrityError:
        raise _name_taken() from None
    store.insert_key(connection, first, sha256(secret.encode()).digest())
    return Newcomer(made, CreatedKey(first, secret))


def _shared(new: NewAccount | NewKey, kind: type[Account] | type[Key]) -> dict[str, Any]:
    """What is said of a new one and kept as it is."""
    return {name: getattr(new, name) for name in new.__struct_fields__ if name in kind.__struct_fields__}


def _parent_of(connection: Connection, reference: str | None) -> str | None:
    if reference is None:
        return None
    parent = store.account_by(connection, reference)
    path = None if parent is None else path_of(store.all_accounts(connection), parent.id)
    if parent is None or path is None or any(account.disabled_at is not None for account in path):
        raise InvalidRequest("`parent` names no account, or one that is disabled.", param="parent")
    if len(path) >= MAX_DEPTH:
        raise InvalidRequest(f"`parent`: accounts stand at most {MAX_DEPTH} deep.", param="parent")
    return parent.id


def _name_taken() -> InvalidRequest:
    return InvalidRequest("There is an account with this `name` already.", param="name", code="name_taken")
