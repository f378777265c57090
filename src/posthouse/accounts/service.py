"""Who may come in, and the verbs that change it.

Above: the HTTP door (`authenticate`, on its loop), the admin face and the command line (all else, in threads). Below:
`store`. Every change counts the room's revision up in its own transaction; a server that polls `refresh_if_changed`
knows within its interval what another process did.
"""

import hmac
import secrets
import threading
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Final

from msgspec import UNSET, Struct
from msgspec.structs import replace
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from posthouse.accounts import rules, store
from posthouse.accounts.model import (
    DEFAULT_ACCOUNT,
    KEY_PREFIX,
    MAX_DEPTH,
    NO_LIMITS,
    Account,
    AccountChanges,
    CreatedKey,
    Key,
    KeyChanges,
    Listing,
    NewAccount,
    NewKey,
    Page,
    Place,
)
from posthouse.accounts.snapshot import Line, caller_of, height_of, lines_of, moved, path_of
from posthouse.core.caller import Caller, Limits, Subject
from posthouse.core.errors import ConfigError, InvalidRequest, NotFound, Unauthenticated
from posthouse.core.ids import IdMaker
from posthouse.storage.database import Database

ADMIN_KEY_LENGTH: Final = 32
ADMIN_ID: Final = "admin"
MAX_SECRET: Final = 1024  # no key of ours comes near; hashing more would only let strangers spend our time
_ADMIN_FACT: Final = "admin_key_sha256"
_FIRST_PAGE: Final = Page()
_UNKNOWN: Final = "The API key is not known here, or it has expired or been revoked."


class Means(Struct, frozen=True):
    """Where time (seconds since the epoch), ids and secrets (32 random bytes as URL-safe text) come from."""

    clock: Callable[[], float]
    make_id: Callable[[str], str]
    token: Callable[[], str]


class _Snapshot(Struct, frozen=True):
    """What `authenticate` reads. A reload swaps the whole; a single change edits `callers`, one entry at a time.
    `lines` are of every account, by id."""

    revision: int
    callers: dict[bytes, Caller]
    lines: dict[str, Line]
    admin: Caller
    admin_hash: bytes  # empty where there is no admin key


class _Change(Struct, frozen=True):
    """What one write did to one key, and the revision that it made."""

    revision: int
    stored: store.Stored


class Directory:
    """Keys and accounts of one database. The database must be upgraded already; the account `default` is made here.
    `defaults`: the limits of a key that has none of its own."""

    def __init__(self, database: Database, defaults: Limits = NO_LIMITS, means: Means | None = None) -> None:
        self._database = database
        self._defaults = defaults
        if means is None:
            means = Means(time.time, IdMaker().make, partial(secrets.token_urlsafe, 32))
        self._means = means
        self._clock = means.clock
        self._admin_override = b""
        self._moved: set[str] = set()
        self._lock = threading.Lock()  # among threads that change the snapshot; readers take none
        with database.read() as connection:
            is_new = store.account_by(connection, DEFAULT_ACCOUNT) is None
        if is_new:
            with database.write() as connection:
                store.ensure_account(connection, DEFAULT_ACCOUNT, self._clock())
                store.touch(connection)
        self._snapshot = self._read()

    # The door

    def authenticate(self, secret: str) -> Caller:
        """The caller behind a secret. Unauthenticated, always in the same words, for whatever is not a live key."""
        if len(secret) > MAX_SECRET:
            raise Unauthenticated(_UNKNOWN)
        digest = sha256(secret.encode("utf-8", "surrogatepass")).digest()
        snapshot = self._snapshot
        caller = snapshot.callers.get(digest)
        if caller is None:
            if hmac.compare_digest(digest, snapshot.admin_hash):
                return snapshot.admin
            raise Unauthenticated(_UNKNOWN)
        if caller.expires_at is not None and self._clock() >= caller.expires_at:
            raise Unauthenticated(_UNKNOWN)
        return caller

    def above(self, account_id: str) -> tuple[str, ...]:
        """The ids of the accounts above one, the nearest first."""
        line = self._snapshot.lines.get(account_id)
        return () if line is None else tuple([subject.id for subject in line.subjects[1:]])

    def refresh_if_changed(self) -> bool:
        """Reads everything again if any process changed it; True if so. It blocks: call it from a thread."""
        with self._database.read() as connection:
            current = store.revision(connection)
        with self._lock:
            if current == self._snapshot.revision:
                return False
            former, self._snapshot = self._snapshot, self._read()
            self._moved |= moved(former.lines, self._snapshot.lines)
            return True

    def take_moved(self) -> set[str]:
        """The accounts that have got, or lost, others below them since this was asked last."""
        with self._lock:
            taken, self._moved = self._moved, set()
        return taken

    # The admin key

    def ensure_admin_key(self, given: str | None) -> str | None:
        """With `given` (from the settings), that is the admin key of this process. Else the stored one is, and where
        there is none a new one is made and returned: the only time that it is known. ConfigError if `given` is short.
        """
        if given is not None:
            if len(given) < ADMIN_KEY_LENGTH:
                raise ConfigError(f"the admin key needs at least {ADMIN_KEY_LENGTH} characters", param="admin.key")
            with self._lock:
                self._admin_override = _hash(given)
                self._snapshot = self._read()
            return None
        made = self._new_secret()
        with self._database.write() as connection:
            is_first = store.put_first_fact(connection, _ADMIN_FACT, _hash(made).hex())
            if is_first:
                store.touch(connection)
        self.refresh_if_changed()
        return made if is_first else None

    def reset_admin_key(self) -> str:
        """A new admin key in place of the stored one, which ends with it. One that the settings give still wins."""
        made = self._new_secret()
        with self._database.write() as connection:
            store.put_fact(connection, _ADMIN_FACT, _hash(made).hex())
            store.touch(connection)
        self.refresh_if_changed()
        return made

    # Keys. `within` is the account that a caller is confined to, with those below it; None sees all. Elsewhere an id
    # does not exist.

    def create_key(self, new: NewKey) -> CreatedKey:
        """InvalidRequest names the field that cannot stand."""
        now = self._clock()
        rules.check_new_key(new, now)
        secret = self._new_secret()
        with self._database.write() as connection:
            account = store.account_by(connection, new.account)
            path = None if account is None else path_of(store.all_accounts(connection), account.id)
            if account is None or path is None or any(above.disabled_at is not None for above in path):
                raise InvalidRequest("`account` names no account, or one that is disabled.", param="account")
            key = Key(
                id=self._means.make_id("key"),
                name=new.name,
                hint=secret[-4:],
                account_id=account.id,
                account_name=account.name,
                models=new.models,
                limits=new.limits,
                budgets=new.budgets,
                created_at=now,
                expires_at=new.expires_at,
                revoked_at=None,
                defaults=new.defaults,
                aliases=new.aliases,
                strict=new.strict,
                role=new.role,
                model_limits=new.model_limits,
                scopes=new.scopes,
                unpriced=new.unpriced,
                own=new.own,
            )
            store.insert_key(connection, key, _hash(secret))
            change = _Change(store.touch(connection), store.stored_key(connection, key.id))
        self._patch(change)
        return CreatedKey(change.stored.key, secret)

    def list_keys(
        self, page: Page = _FIRST_PAGE, within: str | None = None, account_id: str | None = None
    ) -> Listing[Key]:
        """The newest first, revoked ones too. `account_id`: only those of this account alone."""
        rules.check_page(page)
        with self._database.read() as connection:
            return store.list_keys(connection, page, within, account_id)

    def get_key(self, key_id: str, within: str | None = None) -> Key:
        """NotFound for an id that is not there, or another account's."""
        with self._database.read() as connection:
            return _found_key(connection, key_id, within)

    def update_key(self, key_id: str, changes: KeyChanges, within: str | None = None) -> Key:
        """InvalidRequest for a revoked key: it stays what it was."""
        rules.check_key_changes(changes)
        with self._database.write() as connection:
            if _found_key(connection, key_id, within).revoked_at is not None:
                raise InvalidRequest("The key is revoked and cannot be changed.")
            store.change_key(connection, key_id, changes)
            change = _Change(store.touch(connection), store.stored_key(connection, key_id))
        self._patch(change)
        return change.stored.key

    def revoke_key(self, key_id: str, within: str | None = None) -> Key:
        """For good. Revoking twice changes nothing."""
        with self._database.write() as connection:
            _found_key(connection, key_id, within)
            store.revoke_key(connection, key_id, self._clock())
            change = _Change(store.touch(connection), store.stored_key(connection, key_id))
        self._patch(change)
        return change.stored.key

    # Accounts, by id or name

    def create_account(self, new: NewAccount) -> Account:
        """InvalidRequest names the field that cannot stand, `name` where it is taken."""
        rules.check_new_account(new)
        _refuse_default_name(new.name, "")
        account_id = self._means.make_id("acc")
        account = Account(
            id=account_id,
            name=new.name,
            limits=new.limits,
            budgets=new.budgets,
            created_at=self._clock(),
            disabled_at=None,
            kind=new.kind,
            models=new.models,
            model_limits=new.model_limits,
            scopes=new.scopes,
            unpriced=new.unpriced,
        )
        try:
            with self._database.write() as connection:
                store.touch(connection)
                account = replace(account, parent_id=_parent_of(connection, account_id, new.parent))
                store.insert_account(connection, account)
        except IntegrityError:
            raise _name_taken() from None
        self.refresh_if_changed()
        return account

    def list_accounts(self, page: Page = _FIRST_PAGE, within: str | None = None) -> Listing[Account]:
        rules.check_page(page)
        with self._database.read() as connection:
            return store.list_accounts(connection, page, within)

    def get_account(self, reference: str, within: str | None = None) -> Account:
        """NotFound for what is not there, or not `within`."""
        account = None
        if rules.is_reference(reference):
            with self._database.read() as connection:
                account = store.account_by(connection, reference)
                if account is not None and within is not None and not store.is_within(connection, account.id, within):
                    account = None
        if account is None:
            raise NotFound("There is no account with this id or name.")
        return account

    def is_within(self, account_id: str, above: str) -> bool:
        """Whether an account is `above` or below it."""
        with self._database.read() as connection:
            return store.is_within(connection, account_id, above)

    def place_of(self, account_id: str, within: str | None = None) -> Place:
        """Where an account stands; of what is above `within` nothing is told."""
        with self._database.read() as connection:
            path = path_of(store.all_accounts(connection), account_id) or ()
            children = store.children(connection, account_id)
        told = [(account.id, account.name) for account in path]
        begins = next((index for index, (id, _) in enumerate(told) if id == within), 0)
        return Place(tuple(told[begins:]), children)

    def update_account(self, reference: str, changes: AccountChanges) -> Account:
        """Holds for its keys, and for those of all accounts below it, at once. InvalidRequest names the field."""
        rules.check_account_changes(changes)
        account_id = self.get_account(reference).id
        _refuse_default_name(changes.name, account_id)
        try:
            with self._database.write() as connection:
                # The revision first: its row keeps others from moving accounts until this is done, and two moves
                # that are each no circle could be one together.
                store.touch(connection)
                if changes.parent is not UNSET:
                    changes = replace(changes, parent=_parent_of(connection, account_id, changes.parent))
                store.change_account(connection, account_id, changes, self._clock())
        except IntegrityError:
            raise _name_taken() from None
        self.refresh_if_changed()
        return self.get_account(account_id)

    # The snapshot

    def _patch(self, change: _Change) -> None:
        """One key's change, without reading all others again; with a gap before it, everything is read."""
        stored = change.stored
        with self._lock:
            snapshot = self._snapshot
            if snapshot.revision >= change.revision:
                return
            if snapshot.revision != change.revision - 1:
                self._snapshot = self._read()
                return
            line = snapshot.lines.get(stored.key.account_id)
            if line is not None and line.live and stored.key.revoked_at is None:
                snapshot.callers[stored.hash] = caller_of(stored.key, line, self._defaults)
            else:
                snapshot.callers.pop(stored.hash, None)
            self._snapshot = replace(snapshot, revision=change.revision)

    def _read(self) -> _Snapshot:
        with self._database.read() as connection:
            # The revision first: a change that slips in behind it is read again, never missed.
            revision = store.revision(connection)
            admin_hash = store.fact(connection, _ADMIN_FACT)
            accounts = store.with_credits(connection, store.all_accounts(connection))
            keys = store.live_keys(connection, self._clock())
        lines = lines_of(accounts)
        callers: dict[bytes, Caller] = {}
        for stored in keys:
            # An account may be newer than the list above; then so is its revision.
            line = lines.get(stored.key.account_id)
            if line is not None and line.live:
                callers[stored.hash] = caller_of(stored.key, line, self._defaults)
        own = Subject(ADMIN_ID, "key", ADMIN_ID, Limits())
        line = lines.get(DEFAULT_ACCOUNT)
        above, root_id = ((), "") if line is None else (line.subjects, line.root_id)
        admin = Caller(ADMIN_ID, ADMIN_ID, DEFAULT_ACCOUNT, (own, *above), admin=True, root_id=root_id, role="admin")
        admin_key = self._admin_override or bytes.fromhex(admin_hash or "")
        return _Snapshot(revision, callers, lines, admin, admin_key)

    def _new_secret(self) -> str:
        return KEY_PREFIX + self._means.token()


def _found_key(connection: Connection, key_id: str, within: str | None) -> Key:
    key = store.key_by_id(connection, key_id, within) if rules.is_reference(key_id) else None
    if key is None:
        raise NotFound("There is no key with this id.")
    return key


def _parent_of(connection: Connection, account_id: str, reference: str | None) -> str | None:
    """The id of the account that this one is to be under. InvalidRequest where it cannot be."""
    if reference is None:
        return None
    parent = store.account_by(connection, reference)
    if parent is None:
        raise InvalidRequest("`parent` names no account.", param="parent")
    accounts = store.all_accounts(connection)
    path = path_of(accounts, parent.id)
    if path is None or account_id in [account.id for account in path]:
        raise InvalidRequest("`parent` is this account or one below it.", param="parent")
    if len(path) + height_of(accounts.values(), account_id) > MAX_DEPTH:
        raise InvalidRequest(f"`parent`: accounts stand at most {MAX_DEPTH} deep.", param="parent")
    return parent.id


def _hash(secret: str) -> bytes:
    """SHA-256 is enough: what is hashed is 32 random bytes, not a password that could be guessed."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _refuse_default_name(name: object, account_id: str) -> None:
    """The default account may be renamed, but no other may pass for it."""
    if name == DEFAULT_ACCOUNT and account_id != DEFAULT_ACCOUNT:
        raise _name_taken()


def _name_taken() -> InvalidRequest:
    return InvalidRequest("There is an account with this `name` already.", param="name", code="name_taken")
