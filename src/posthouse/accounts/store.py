"""All SQL of accounts and keys. Every function runs inside a transaction of the caller's; values are bound.

Above: `service`. Below: storage.tables.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET
from msgspec.structs import asdict, replace
from sqlalchemy import ColumnElement, Connection, Row, Select, Table, func, insert, select, text, update

from posthouse.accounts.model import Account, AccountChanges, Changes, Key, KeyChanges, Listing, Page
from posthouse.core.caller import Budget, Limits, OwnCredential
from posthouse.storage import revisions
from posthouse.storage.tables import accounts, credits, keys, meta
from posthouse.storage.trees import subtree

REVISION: Final = "accounts"
_IN_ONE_QUERY: Final = 500  # ids that a query names
_LIMITS: Final = Limits.__struct_fields__  # each has a column of its name
# Text, since Core has an upsert only per dialect (see storage.revisions).
_FIRST_ACCOUNT: Final = text(
    "INSERT INTO accounts (id, name, created_at) VALUES (:id, :name, :now) ON CONFLICT (id) DO NOTHING"
)
_FIRST_META: Final = text("INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING")
_limits_by_model: Final = msgspec.json.Decoder(dict[str, Limits]).decode
_list_of_names: Final = msgspec.json.Decoder(tuple[str, ...]).decode
_own_credential: Final = msgspec.json.Decoder(OwnCredential).decode
_own_column: Final = msgspec.json.Encoder(order="deterministic").encode
_list_of_budgets: Final = msgspec.json.Decoder(tuple[Budget, ...]).decode
_KEYS: Final = select(keys, accounts.c.name.label("account_name")).join_from(keys, accounts)


class Stored(msgspec.Struct, frozen=True):
    """A key with the hash of its secret."""

    hash: bytes
    key: Key


# Revisions and small facts


def touch(connection: Connection) -> int:
    """Counts a change; gives the new revision."""
    revisions.bump(connection, REVISION)
    return revision(connection)


def revision(connection: Connection) -> int:
    return revisions.read(connection).get(REVISION, 0)


def fact(connection: Connection, name: str) -> str | None:
    value: str | None = connection.execute(select(meta.c.value).where(meta.c.name == name)).scalar()
    return value


def put_first_fact(connection: Connection, name: str, value: str) -> bool:
    """False where there is one already."""
    return connection.execute(_FIRST_META, {"name": name, "value": value}).rowcount == 1


def put_fact(connection: Connection, name: str, value: str) -> None:
    if not put_first_fact(connection, name, value):
        connection.execute(update(meta).where(meta.c.name == name).values(value=value))


# Accounts


def ensure_account(connection: Connection, account_id: str, now: float) -> None:
    """Makes the account of this id and name unless there is one."""
    connection.execute(_FIRST_ACCOUNT, {"id": account_id, "name": account_id, "now": _ms(now)})


def insert_account(connection: Connection, account: Account) -> None:
    """IntegrityError where the name is taken."""
    connection.execute(
        insert(accounts).values(
            id=account.id,
            name=account.name,
            created_at=_ms(account.created_at),
            parent_id=account.parent_id,
            kind=account.kind,
            models=_names_column(account.models),
            model_limits=_model_limits_column(account.model_limits),
            **_limit_columns(account.limits),
            budgets=_budgets_column(account.budgets),
            scopes=_names_column(account.scopes),
            unpriced=account.unpriced,
        )
    )


def account_by(connection: Connection, reference: str) -> Account | None:
    """By id, else by name."""
    for column in (accounts.c.id, accounts.c.name):
        row = connection.execute(select(accounts).where(column == reference)).first()
        if row is not None:
            return with_credits(connection, {row.id: _account(row)})[row.id]
    return None


def all_accounts(connection: Connection) -> dict[str, Account]:
    """By id; prepaid budgets without what has been paid in."""
    return {row.id: _account(row) for row in connection.execute(select(accounts))}


def with_credits(connection: Connection, found: Mapping[str, Account]) -> dict[str, Account]:
    """The same, each prepaid budget with the sum of what has been paid in."""
    prepaid = [account.id for account in found.values() if any(budget.prepaid for budget in account.budgets)]
    if not prepaid:
        return dict(found)
    query = select(credits.c.account_id, credits.c.currency, func.sum(credits.c.amount).label("paid"))
    if len(prepaid) <= _IN_ONE_QUERY:
        query = query.where(credits.c.account_id.in_(prepaid))
    rows = connection.execute(query.group_by(credits.c.account_id, credits.c.currency))
    paid = {(row.account_id, row.currency): int(row.paid) for row in rows}
    filled = dict(found)
    for account_id in prepaid:
        account = found[account_id]
        budgets = [
            replace(one, nano=paid.get((account_id, one.currency), 0)) if one.prepaid else one
            for one in account.budgets
        ]
        filled[account_id] = replace(account, budgets=tuple(budgets))
    return filled


def list_accounts(connection: Connection, page: Page, within: str | None) -> Listing[Account]:
    """`within` None lists all, else an account and those below it."""
    statement = select(accounts) if within is None else select(accounts).where(accounts.c.id.in_(subtree(within)))
    rows = _page(connection, statement, accounts.c.id, page)
    return _listing(list(with_credits(connection, {row.id: _account(row) for row in rows}).values()), page)


def is_within(connection: Connection, account_id: str, above: str) -> bool:
    """Whether an account is `above` or below it."""
    query = subtree(above)
    return connection.execute(query.where(query.selected_columns.id == account_id)).first() is not None


def children(connection: Connection, account_id: str) -> int:
    """How many accounts are right below this one."""
    query = select(func.count()).select_from(accounts).where(accounts.c.parent_id == account_id)
    return int(connection.execute(query).scalar_one())


def change_account(connection: Connection, account_id: str, changes: AccountChanges, now: float) -> None:
    """IntegrityError where the name is taken. An account disabled twice keeps the first date. `parent` is an id."""
    values = _columns(changes)
    if changes.parent is not UNSET:
        values["parent_id"] = changes.parent
    if changes.kind is not UNSET:
        values["kind"] = changes.kind
    _update(connection, accounts, account_id, values)
    if changes.disabled is UNSET:
        return
    if changes.disabled:
        statement = update(accounts).where(accounts.c.id == account_id, accounts.c.disabled_at.is_(None))
        connection.execute(statement.values(disabled_at=_ms(now)))
    else:
        connection.execute(update(accounts).where(accounts.c.id == account_id).values(disabled_at=None))


# Keys


def insert_key(connection: Connection, key: Key, digest: bytes) -> None:
    connection.execute(
        insert(keys).values(
            id=key.id,
            hash=digest,
            hint=key.hint,
            name=key.name,
            account_id=key.account_id,
            models=_names_column(key.models),
            expires_at=_ms_or_none(key.expires_at),
            created_at=_ms(key.created_at),
            defaults=_json_column(key.defaults),
            aliases=_json_column(key.aliases),
            strict=key.strict,
            role=key.role,
            model_limits=_model_limits_column(key.model_limits),
            **_limit_columns(key.limits),
            budgets=_budgets_column(key.budgets),
            scopes=_names_column(key.scopes),
            unpriced=key.unpriced,
            own_credential=_own_credential_column(key.own),
        )
    )


def key_by_id(connection: Connection, key_id: str, within: str | None) -> Key | None:
    """`within` None looks in every account, else in this one and those below it."""
    statement = _KEYS.where(keys.c.id == key_id)
    if within is not None:
        statement = statement.where(keys.c.account_id.in_(subtree(within)))
    row = connection.execute(statement).first()
    return None if row is None else _key(row)


def list_keys(connection: Connection, page: Page, within: str | None, account_id: str | None) -> Listing[Key]:
    """As `key_by_id`; `account_id` lists those of this account alone."""
    statement = _KEYS if account_id is None else _KEYS.where(keys.c.account_id == account_id)
    if within is not None:
        statement = statement.where(keys.c.account_id.in_(subtree(within)))
    rows = _page(connection, statement, keys.c.id, page)
    return _listing([_key(row) for row in rows], page)


def change_key(connection: Connection, key_id: str, changes: KeyChanges) -> None:
    values = _columns(changes)
    if changes.role is not UNSET:
        values["role"] = changes.role
    if changes.expires_at is not UNSET:
        values["expires_at"] = _ms_or_none(changes.expires_at)
    if changes.defaults is not UNSET:
        values["defaults"] = _json_column(changes.defaults)
    if changes.aliases is not UNSET:
        values["aliases"] = _json_column(changes.aliases)
    if changes.strict is not UNSET:
        values["strict"] = changes.strict
    if changes.own is not UNSET:
        values["own_credential"] = _own_credential_column(changes.own)
    _update(connection, keys, key_id, values)


def revoke_key(connection: Connection, key_id: str, now: float) -> None:
    """A key revoked twice keeps the first date."""
    statement = update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
    connection.execute(statement.values(revoked_at=_ms(now)))


def live_keys(connection: Connection, now: float) -> list[Stored]:
    """Every key that is neither revoked nor expired."""
    statement = _KEYS.where(keys.c.revoked_at.is_(None), keys.c.expires_at.is_(None) | (keys.c.expires_at > _ms(now)))
    return [Stored(row.hash, _key(row)) for row in connection.execute(statement)]


def stored_key(connection: Connection, key_id: str) -> Stored:
    """A key that exists."""
    row = connection.execute(_KEYS.where(keys.c.id == key_id)).one()
    return Stored(row.hash, _key(row))


def _update(connection: Connection, table: Table, row_id: str, values: dict[str, Any]) -> None:
    if values:
        connection.execute(update(table).where(table.c.id == row_id).values(**values))


def _page(connection: Connection, statement: Select[Any], column: ColumnElement[str], page: Page) -> list[Row[Any]]:
    """One row more than asked for tells whether there is a page behind."""
    if page.after is not None:
        statement = statement.where(column < page.after)
    return list(connection.execute(statement.order_by(column.desc()).limit(page.limit + 1)))


def _listing(items: list[Any], page: Page) -> Listing[Any]:
    more = len(items) > page.limit
    shown = tuple(items[: page.limit])
    return Listing(shown, shown[-1].id if more else None)


def _columns(changes: Changes) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in ("name", *_LIMITS):
        value = getattr(changes, name)
        if value is not UNSET:
            values[name] = value
    if changes.budgets is not UNSET:
        values["budgets"] = _budgets_column(changes.budgets)
    if changes.models is not UNSET:
        values["models"] = _names_column(changes.models)
    if changes.scopes is not UNSET:
        values["scopes"] = _names_column(changes.scopes)
    if changes.unpriced is not UNSET:
        values["unpriced"] = changes.unpriced
    if changes.model_limits is not UNSET:
        values["model_limits"] = _model_limits_column(changes.model_limits)
    return values


def _limit_columns(limits: Limits) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in _LIMITS}


def _model_limits_column(models: Mapping[str, Limits]) -> str | None:
    given = {
        model: {name: value for name, value in asdict(own).items() if value is not None}
        for model, own in models.items()
    }
    return msgspec.json.encode(given).decode() if given else None


def _budgets_column(budgets: tuple[Budget, ...]) -> str | None:
    return msgspec.json.encode(budgets).decode() if budgets else None


def _names_column(names: Iterable[str] | None) -> str | None:
    return None if names is None else msgspec.json.encode(list(names)).decode()


def _own_credential_column(own: OwnCredential | None) -> str | None:
    return None if own is None else _own_column(own).decode()


def _json_column(value: dict[str, Any] | None) -> str | None:
    return None if not value else msgspec.json.encode(value).decode()


def _account(row: Row[Any]) -> Account:
    return Account(
        id=row.id,
        name=row.name,
        limits=_limits(row),
        budgets=_budgets(row.budgets),
        created_at=row.created_at / 1000,
        disabled_at=_seconds(row.disabled_at),
        parent_id=row.parent_id,
        kind=row.kind,
        models=_names(row.models),
        model_limits=_model_limits(row.model_limits),
        scopes=_names(row.scopes),
        unpriced=row.unpriced,
    )


def _key(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        name=row.name,
        hint=row.hint,
        account_id=row.account_id,
        account_name=row.account_name,
        models=_names(row.models),
        limits=_limits(row),
        budgets=_budgets(row.budgets),
        created_at=row.created_at / 1000,
        expires_at=_seconds(row.expires_at),
        revoked_at=_seconds(row.revoked_at),
        defaults=None if row.defaults is None else msgspec.json.decode(row.defaults, type=dict[str, Any]),
        aliases=None if row.aliases is None else msgspec.json.decode(row.aliases, type=dict[str, str]),
        strict=bool(row.strict),
        role=row.role,
        model_limits=_model_limits(row.model_limits),
        scopes=_names(row.scopes),
        unpriced=row.unpriced,
        own=None if row.own_credential is None else _own_credential(row.own_credential),
    )


def _limits(row: Row[Any]) -> Limits:
    fields = row._mapping
    return Limits(*[fields[name] for name in _LIMITS])


def _model_limits(column: str | None) -> dict[str, Limits]:
    return {} if column is None else _limits_by_model(column)


def _names(column: str | None) -> tuple[str, ...] | None:
    return None if column is None else _list_of_names(column)


def _budgets(column: str | None) -> tuple[Budget, ...]:
    return () if column is None else _list_of_budgets(column)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _ms_or_none(seconds: float | None) -> int | None:
    return None if seconds is None else _ms(seconds)


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
