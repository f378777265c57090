"""`/admin/api/keys` and `/admin/api/accounts`."""

import time
from typing import Any

from fastapi import APIRouter
from msgspec.structs import replace

from posthouse.accounts.budgets import BUDGET, BUDGETS, Stood
from posthouse.accounts.forms import (
    account_changes_of,
    account_to_json,
    created_to_json,
    key_changes_of,
    key_to_json,
    new_account_of,
    new_key_of,
)
from posthouse.accounts.model import Account, Key, NewKey, Page
from posthouse.accounts.narrow import narrowed
from posthouse.api.control.door import Asking, Within, is_member
from posthouse.api.control.parameters import PREFIX, Form, In, Paged, Settled
from posthouse.api.control.records import AccountName, Under, account_id
from posthouse.api.control.schemas import ACCOUNT_CHANGES, KEY_CHANGES, NEW_ACCOUNT, NEW_KEY, body
from posthouse.api.services import Services
from posthouse.billing.standings import all_committed
from posthouse.core.caller import Caller
from posthouse.core.errors import Forbidden

router = APIRouter(prefix=PREFIX, tags=["keys"])


@router.post("/keys", status_code=201, openapi_extra=body(NEW_KEY))
def create_key(services: In, form: Form, asking: Asking) -> dict[str, Any]:
    """Makes a key. Its secret is in this answer and nowhere else. A member makes keys of its own account, no wider than
    its own."""
    new = new_key_of(form)
    if is_member(asking):
        new = narrowed(new, asking, BUDGET if form.get(BUDGET) is not None else BUDGETS)
        new = _own_key(services, new, asking, said=form.get("account") is not None)
    return created_to_json(services.directory.create_key(new), time.time())


def _own_key(services: Services, new: NewKey, asking: Caller, *, said: bool) -> NewKey:
    if said and services.directory.get_account(new.account, asking.account_id).id != asking.account_id:
        raise Forbidden("A member makes keys of its own account only.", code="role_not_allowed", param="account")
    return replace(new, account=asking.account_id)


@router.get("/keys")
def list_keys(
    services: In, page: Paged, confined: Within, account: AccountName = None, under: Under = None
) -> dict[str, Any]:
    """Keys, the newest first, revoked ones too."""
    directory = services.directory
    within, own = account_id(directory, under) or confined, account_id(directory, account)
    listing = directory.list_keys(Page(page.limit, page.cursor), within, own)
    now = time.time()
    return {"data": [key_to_json(key, now) for key in listing.items], "next": listing.next}


@router.get("/keys/{key_id}")
def get_key(services: Settled, key_id: str) -> dict[str, Any]:
    """One key, by its id, with what is spent and left of each of its budgets."""
    key = services.directory.get_key(key_id)
    return key_to_json(key, time.time(), _stood(services, key))


@router.patch("/keys/{key_id}", openapi_extra=body(KEY_CHANGES))
def update_key(services: In, key_id: str, form: Form) -> dict[str, Any]:
    """Changes what the body names: what is absent stays, null takes away. Holds at once."""
    return key_to_json(services.directory.update_key(key_id, key_changes_of(form)), time.time())


@router.delete("/keys/{key_id}")
def revoke_key(services: In, key_id: str, asking: Asking) -> dict[str, Any]:
    """Revokes: the key is refused from now on; its records stay. A member revokes keys of its own account that may no
    more than it."""
    if is_member(asking):
        key = services.directory.get_key(key_id, asking.account_id)
        if key.account_id != asking.account_id or key.role not in (None, asking.role):
            raise Forbidden("A member may not revoke this key.", code="role_not_allowed")
    return key_to_json(services.directory.revoke_key(key_id), time.time())


@router.post("/accounts", status_code=201, openapi_extra=body(NEW_ACCOUNT))
def create_account(services: In, form: Form) -> dict[str, Any]:
    """Makes an owner of keys."""
    return _shown(services, services.directory.create_account(new_account_of(form)))


@router.get("/accounts")
def list_accounts(services: In, page: Paged, confined: Within, under: Under = None) -> dict[str, Any]:
    """Accounts, the newest first, disabled ones too."""
    within = account_id(services.directory, under) or confined
    listing = services.directory.list_accounts(Page(page.limit, page.cursor), within)
    return {"data": [account_to_json(account) for account in listing.items], "next": listing.next}


@router.get("/accounts/{account}")
def get_account(services: Settled, account: str, confined: Within) -> dict[str, Any]:
    """One account, by its id or its name, with its path from its root, the number of those right below it, and what is
    spent and left of each of its budgets."""
    found = services.directory.get_account(account)
    return account_to_json(found, services.directory.place_of(found.id, confined), _stood(services, found))


@router.patch("/accounts/{account}", openapi_extra=body(ACCOUNT_CHANGES))
def update_account(services: In, account: str, form: Form) -> dict[str, Any]:
    """As for keys; `disabled` stops every key of the account and of all below it, or lets them work again."""
    return _shown(services, services.directory.update_account(account, account_changes_of(form)))


def _shown(services: Services, account: Account) -> dict[str, Any]:
    return account_to_json(account, services.directory.place_of(account.id))


def _stood(services: Services, owner: Account | Key) -> list[Stood]:
    """How its budgets stand by what has been recorded, all at one moment."""
    if not owner.budgets:
        return []
    now_ms = int(time.time() * 1000)
    with services.database.snapshot() as connection:
        spent = all_committed(connection, owner.id, owner.budgets, now_ms)
    return [Stood(budget, nano) for budget, nano in zip(owner.budgets, spent, strict=True)]
