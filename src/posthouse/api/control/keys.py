"""`/admin/api/keys` and `/admin/api/accounts`."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request

from posthouse.accounts.forms import (
    account_changes_of,
    account_to_json,
    created_to_json,
    key_changes_of,
    key_to_json,
    new_account_of,
    new_key_of,
)
from posthouse.accounts.model import PAGE_LIMIT, Page
from posthouse.api.services import Services

router = APIRouter(tags=["keys"])


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


In = Annotated[Services, Depends(services_of)]
Form = Annotated[Any, Body()]
Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT)]


@router.post("/keys", status_code=201)
def create_key(services: In, form: Form) -> dict[str, Any]:
    """Makes a key. Its secret is in this answer and nowhere else."""
    return created_to_json(services.directory.create_key(new_key_of(form)), time.time())


@router.get("/keys")
def list_keys(services: In, account: str | None = None, cursor: str | None = None, limit: Limit = 100) -> dict[str, Any]:
    listing = services.directory.list_keys(Page(limit, cursor), account)
    now = time.time()
    return {"data": [key_to_json(key, now) for key in listing.items], "next": listing.next}


@router.get("/keys/{key_id}")
def get_key(services: In, key_id: str) -> dict[str, Any]:
    return key_to_json(services.directory.get_key(key_id), time.time())


@router.patch("/keys/{key_id}")
def update_key(services: In, key_id: str, form: Form) -> dict[str, Any]:
    return key_to_json(services.directory.update_key(key_id, key_changes_of(form)), time.time())


@router.delete("/keys/{key_id}")
def revoke_key(services: In, key_id: str) -> dict[str, Any]:
    """Revokes: the key is refused from now on; its records stay."""
    return key_to_json(services.directory.revoke_key(key_id), time.time())


@router.post("/accounts", status_code=201)
def create_account(services: In, form: Form) -> dict[str, Any]:
    return account_to_json(services.directory.create_account(new_account_of(form)))


@router.get("/accounts")
def list_accounts(services: In, cursor: str | None = None, limit: Limit = 100) -> dict[str, Any]:
    listing = services.directory.list_accounts(Page(limit, cursor))
    return {"data": [account_to_json(account) for account in listing.items], "next": listing.next}


@router.get("/accounts/{account_id}")
def get_account(services: In, account_id: str) -> dict[str, Any]:
    return account_to_json(services.directory.get_account(account_id))


@router.patch("/accounts/{account_id}")
def update_account(services: In, account_id: str, form: Form) -> dict[str, Any]:
    return account_to_json(services.directory.update_account(account_id, account_changes_of(form)))
