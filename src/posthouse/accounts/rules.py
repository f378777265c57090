"""What a key or an account may hold. Each complaint is InvalidRequest and names the field as the API spells it."""

import re
from typing import Any, Final

import msgspec
from msgspec import UNSET
from msgspec.structs import asdict

from posthouse.accounts.budgets import check_budgets
from posthouse.accounts.limits import UNPRINTABLE, check_limits, is_model
from posthouse.accounts.model import PAGE_LIMIT, AccountChanges, Changes, KeyChanges, NewAccount, NewKey, Page
from posthouse.accounts.rights import check_own, check_scopes
from posthouse.core.caller import Limits
from posthouse.core.errors import InvalidRequest

MAX_NAME: Final = 128
MAX_MODELS: Final = 1000
MAX_ID: Final = 128
MAX_DEFAULTS: Final = 16 * 1024
MAX_EXPIRY: Final = 253_402_300_799  # the last second of the year 9999
_MEMBER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")
# What a request is about, and how its answer is to come: a client that did not say so would not understand it.
_NO_DEFAULTS: Final = frozenset({"model", "messages", "input", "prompt", "contents", "stream", "stream_options"})


def check_new_key(new: NewKey, now: float) -> None:
    check_name(new.name)
    if not is_reference(new.account):
        raise InvalidRequest("`account` is not the id or name of an account.", param="account")
    _check_models(new.models)
    check_limits(asdict(new.limits), new.model_limits)
    check_budgets(new.budgets, paid_in=False)
    check_scopes(new.scopes)
    check_own(new.own)
    _check_expiry(new.expires_at)
    _check_defaults(new.defaults)
    _check_aliases(new.aliases)
    if new.expires_at is not None and new.expires_at <= now:
        raise InvalidRequest("`expires_at` has passed already.", param="expires_at")


def check_key_changes(changes: KeyChanges) -> None:
    """An expiry in the past is a way to end a key."""
    _check_changes(changes)
    if changes.expires_at is not UNSET:
        _check_expiry(changes.expires_at)
    if changes.defaults is not UNSET:
        _check_defaults(changes.defaults)
    if changes.aliases is not UNSET:
        _check_aliases(changes.aliases)
    if changes.own is not UNSET:
        check_own(changes.own)


def check_new_account(new: NewAccount) -> None:
    _check_account_name(new.name)
    if new.parent is not None:
        check_parent(new.parent)
    _check_models(new.models)
    check_limits(asdict(new.limits), new.model_limits)
    check_budgets(new.budgets, paid_in=True)
    check_scopes(new.scopes)


def check_account_changes(changes: AccountChanges) -> None:
    _check_changes(changes)
    if changes.name is not UNSET:
        _check_account_name(changes.name)
    if changes.parent is not UNSET and changes.parent is not None:
        check_parent(changes.parent)


def check_parent(parent: str) -> None:
    if not is_reference(parent):
        raise InvalidRequest("`parent` is not the id or name of an account.", param="parent")


def check_page(page: Page) -> None:
    if not 1 <= page.limit <= PAGE_LIMIT:
        raise InvalidRequest(f"`limit` must be from 1 to {PAGE_LIMIT}.", param="limit")
    if page.after is not None and not is_reference(page.after):
        raise InvalidRequest("`after` is not a cursor of this listing.", param="after")


def check_name(name: str) -> None:
    if not name.strip() or len(name) > MAX_NAME or name != name.strip() or UNPRINTABLE.search(name):
        raise InvalidRequest(
            f"`name` must be 1 to {MAX_NAME} printable characters without space around them.", param="name"
        )


def is_reference(text: str) -> bool:
    """Whether `text` can be an id or a name at all; what cannot is not worth asking the database, which might choke."""
    return 0 < len(text) <= MAX_ID and not UNPRINTABLE.search(text)


def _check_account_name(name: str) -> None:
    check_name(name)
    if name.startswith("acc_"):
        raise InvalidRequest("`name` must not begin with acc_, as ids do.", param="name")


def _check_changes(changes: Changes) -> None:
    if changes.name is not UNSET:
        check_name(changes.name)
    if changes.models is not UNSET:
        _check_models(changes.models)
    values = {name: getattr(changes, name) for name in Limits.__struct_fields__}
    said = {name: value for name, value in values.items() if value is not UNSET}
    check_limits(said, None if changes.model_limits is UNSET else changes.model_limits)
    if changes.budgets is not UNSET:
        check_budgets(changes.budgets, paid_in=isinstance(changes, AccountChanges))
    if changes.scopes is not UNSET:
        check_scopes(changes.scopes)


def _check_models(models: tuple[str, ...] | None) -> None:
    if models is None:
        return
    if not models:
        raise InvalidRequest("`models` must name at least one model; leave it out for all.", param="models")
    if len(models) > MAX_MODELS:
        raise InvalidRequest(f"`models` must not name more than {MAX_MODELS} models.", param="models")
    for index, model in enumerate(models):
        if not is_model(model):
            raise InvalidRequest(f"`models[{index}]` is not the name of a model.", param=f"models[{index}]")


def _check_defaults(defaults: dict[str, Any] | None) -> None:
    if defaults is None:
        return
    for name in defaults:
        if not _MEMBER.match(name):
            raise InvalidRequest("`defaults` has a member that no request can have.", param="defaults")
        if name in _NO_DEFAULTS:
            raise InvalidRequest(f"`defaults.{name}`: only the client can say that.", param=f"defaults.{name}")
    try:
        size = len(msgspec.json.encode(defaults))
    except (UnicodeEncodeError, RecursionError):
        raise InvalidRequest("`defaults` holds what no JSON can say.", param="defaults") from None
    if size > MAX_DEFAULTS:
        raise InvalidRequest(f"`defaults` must not be longer than {MAX_DEFAULTS} bytes of JSON.", param="defaults")


def _check_aliases(aliases: dict[str, str] | None) -> None:
    if aliases is None:
        return
    if len(aliases) > MAX_MODELS:
        raise InvalidRequest(f"`aliases` must not have more than {MAX_MODELS} names.", param="aliases")
    for name, model in aliases.items():
        if not is_model(name) or not is_model(model):
            raise InvalidRequest("`aliases` holds what is not the name of a model.", param="aliases")
        if model in aliases:
            raise InvalidRequest(f"`aliases.{name}` leads to another alias; it must name a model.", param="aliases")


def _check_expiry(expires_at: float | None) -> None:
    if expires_at is not None and not 0 <= expires_at <= MAX_EXPIRY:  # false for NaN too
        raise InvalidRequest("`expires_at` must be seconds since the epoch, before the year 10000.", param="expires_at")
