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
from typing import Final, Protocol

import msgspec
from msgspec import Raw, Struct
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from posthouse.accounts import rules, store
from posthouse.accounts.model import (
    DEFAULT_ACCOUNT,
    KEY_PREFIX,
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
)
from posthouse.core.caller import Caller, Limits, Subject, Wishes
from posthouse.core.errors import ConfigError, InvalidRequest, NotFound, Unauthenticated
from posthouse.core.ids import IdMaker
from posthouse.storage.database import Database

ADMIN_KEY_LENGTH: Final = 32
ADMIN_ID: Final = "admin"
MAX_SECRET: Final = 1024  # no key of ours comes near; hashing more would only let strangers spend our time
_ADMIN_FACT: Final = "admin_key_sha256"
_FIRST_PAGE: Final = Page()
_UNKNOWN: Final = "The API key is not known here, or it has expired or been revoked."


class DefaultLimits(Protocol):
    """Limits of a key that has none of its own; the settings' `[limits]` has this shape."""

    @property
    def rpm(self) -> int | None: ...
    @property
    def tpm(self) -> int | None: ...
    @property
    def concurrency(self) -> int | None: ...


class Means(Struct, frozen=True):
    """Where time (seconds since the epoch), ids and secrets (32 random bytes as URL-safe text) come from."""

    clock: Callable[[], float]
    make_id: Callable[[str], str]
    token: Callable[[], str]


class _Snapshot(Struct, frozen=True):
    """What `authenticate` reads. A reload swaps the whole; a single change edits `callers`, one entry at a time."""

    revision: int
    callers: dict[bytes, Caller]
    admin: Caller
    admin_hash: bytes  # empty where there is no admin key


class _Change(Struct, frozen=True):
    """What one write did to one key, and the revision that it made."""

    revision: int
    stored: store.Stored


class Directory:
    """Keys and accounts of one database. The database must be upgraded already; the account `default` is made here."""

    def __init__(self, database: Database, defaults: DefaultLimits = NO_LIMITS, means: Means | None = None) -> None:
        self._database = database
        self._defaults = defaults
        if means is None:
            means = Means(time.time, IdMaker().make, partial(secrets.token_urlsafe, 32))
        self._means = means
        self._clock = means.clock
        self._admin_override = b""
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

    def refresh_if_changed(self) -> bool:
        """Reads everything again if any process changed it; True if so. It blocks: call it from a thread."""
        with self._database.read() as connection:
            current = store.revision(connection)
        with self._lock:
            if current == self._snapshot.revision:
                return False
            self._snapshot = self._read()
            return True

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

    # Keys. `within` is the account that a caller is confined to; None sees all. Elsewhere an id does not exist.

    def create_key(self, new: NewKey) -> CreatedKey:
        """InvalidRequest names the field that cannot stand."""
        now = self._clock()
        rules.check_new_key(new, now)
        secret = self._new_secret()
        with self._database.write() as connection:
            account = store.account_by(connection, new.account)
            if account is None or account.disabled_at is not None:
                raise InvalidRequest("`account` names no account, or one that is disabled.", param="account")
            key = Key(
                id=self._means.make_id("key"),
                name=new.name,
                hint=secret[-4:],
                account_id=account.id,
                account_name=account.name,
                models=new.models,
                limits=new.limits,
                budget=new.budget,
                created_at=now,
                expires_at=new.expires_at,
                revoked_at=None,
                defaults=new.defaults,
                aliases=new.aliases,
                strict=new.strict,
            )
            store.insert_key(connection, key, _hash(secret))
            change = _Change(store.touch(connection), store.stored_key(connection, key.id))
        self._patch(change)
        return CreatedKey(change.stored.key, secret)

    def list_keys(self, page: Page = _FIRST_PAGE, within: str | None = None) -> Listing[Key]:
        """The newest first, revoked ones too."""
        rules.check_page(page)
        with self._database.read() as connection:
            return store.list_keys(connection, page, within)

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
        account = Account(
            id=self._means.make_id("acc"),
            name=new.name,
            limits=new.limits,
            budget=new.budget,
            created_at=self._clock(),
            disabled_at=None,
        )
        try:
            with self._database.write() as connection:
                store.insert_account(connection, account)
                store.touch(connection)
        except IntegrityError:
            raise _name_taken() from None
        self.refresh_if_changed()
        return account

    def list_accounts(self, page: Page = _FIRST_PAGE) -> Listing[Account]:
        rules.check_page(page)
        with self._database.read() as connection:
            return store.list_accounts(connection, page)

    def get_account(self, reference: str) -> Account:
        account = None
        if rules.is_reference(reference):
            with self._database.read() as connection:
                account = store.account_by(connection, reference)
        if account is None:
            raise NotFound("There is no account with this id or name.")
        return account

    def update_account(self, reference: str, changes: AccountChanges) -> Account:
        """Limits and budget hold for its keys at once. InvalidRequest names the field."""
        rules.check_account_changes(changes)
        account_id = self.get_account(reference).id
        _refuse_default_name(changes.name, account_id)
        try:
            with self._database.write() as connection:
                store.change_account(connection, account_id, changes, self._clock())
                store.touch(connection)
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
            if stored.is_live:
                snapshot.callers[stored.hash] = self._caller(stored, _subject_of(stored.account))
            else:
                snapshot.callers.pop(stored.hash, None)
            self._snapshot = _Snapshot(change.revision, snapshot.callers, snapshot.admin, snapshot.admin_hash)

    def _read(self) -> _Snapshot:
        with self._database.read() as connection:
            # The revision first: a change that slips in behind it is read again, never missed.
            revision = store.revision(connection)
            admin_hash = store.fact(connection, _ADMIN_FACT)
            default = store.account_by(connection, DEFAULT_ACCOUNT)
            keys = store.live_keys(connection, self._clock())
        subjects: dict[str, Subject] = {}
        callers: dict[bytes, Caller] = {}
        for stored in keys:
            account = stored.account
            subject = subjects.get(account.id) or subjects.setdefault(account.id, _subject_of(account))
            callers[stored.hash] = self._caller(stored, subject)
        own = Subject(ADMIN_ID, "key", ADMIN_ID, Limits(), None)
        owner = () if default is None else (_subject_of(default),)
        admin = Caller(ADMIN_ID, ADMIN_ID, DEFAULT_ACCOUNT, (own, *owner), admin=True)
        return _Snapshot(revision, callers, admin, self._admin_override or bytes.fromhex(admin_hash or ""))

    def _caller(self, stored: store.Stored, account: Subject) -> Caller:
        key, defaults = stored.key, self._defaults
        limits = Limits(
            rpm=defaults.rpm if key.limits.rpm is None else key.limits.rpm,
            tpm=defaults.tpm if key.limits.tpm is None else key.limits.tpm,
            concurrency=defaults.concurrency if key.limits.concurrency is None else key.limits.concurrency,
        )
        return Caller(
            key_id=key.id,
            key_name=key.name,
            account_id=key.account_id,
            subjects=(Subject(key.id, "key", key.name, limits, key.budget), account),
            models=None if key.models is None else frozenset(key.models),
            expires_at=key.expires_at,
            wishes=_wishes_of(key),
        )

    def _new_secret(self) -> str:
        return KEY_PREFIX + self._means.token()


def _found_key(connection: Connection, key_id: str, within: str | None) -> Key:
    key = store.key_by_id(connection, key_id, within) if rules.is_reference(key_id) else None
    if key is None:
        raise NotFound("There is no key with this id.")
    return key


def _wishes_of(key: Key) -> Wishes | None:
    """None where a key has none: then a request costs one look at that."""
    if not (key.defaults or key.aliases or key.strict):
        return None
    defaults = {name: Raw(msgspec.json.encode(value)) for name, value in (key.defaults or {}).items()}
    return Wishes(defaults, key.aliases or {}, key.strict)


def _hash(secret: str) -> bytes:
    """SHA-256 is enough: what is hashed is 32 random bytes, not a password that could be guessed."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _subject_of(account: Account) -> Subject:
    return Subject(account.id, "account", account.name, account.limits, account.budget)


def _refuse_default_name(name: object, account_id: str) -> None:
    """The default account may be renamed, but no other may pass for it."""
    if name == DEFAULT_ACCOUNT and account_id != DEFAULT_ACCOUNT:
        raise _name_taken()


def _name_taken() -> InvalidRequest:
    return InvalidRequest("There is an account with this `name` already.", param="name", code="name_taken")
