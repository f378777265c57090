"""`/admin/api/requests`, `/admin/api/usage` and `/admin/api/ledger`: what happened and what it cost."""

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from msgspec.structs import replace

from posthouse.accounts.service import Directory
from posthouse.api.control.door import Within
from posthouse.api.control.parameters import PREFIX, Between, In, Paged, Settled, Word, is_word
from posthouse.api.services import Services
from posthouse.billing import store
from posthouse.billing.forms import (
    detail_to_json,
    entry_to_json,
    request_to_json,
    usage_to_json,
    verification_to_json,
)
from posthouse.billing.store import GroupBy, RequestDetail, RequestFilter
from posthouse.billing.verify import verify
from posthouse.core.errors import NotFound
from posthouse.gateway.explain import Sources, explained_to_json, limits_of

router = APIRouter(prefix=PREFIX, tags=["records"])

AccountName = Annotated[Word | None, Query(description="Id or name of an account.")]
Under = Annotated[Word | None, Query(description="Id or name of an account: it and all below it.")]


def chosen(
    services: In,
    key: Annotated[Word | None, Query(description="Id of a key.")] = None,
    account: AccountName = None,
    model: Annotated[Word | None, Query(description="Name that was asked for, or that answered.")] = None,
    status: Annotated[int | None, Query(ge=100, le=599)] = None,
) -> RequestFilter:
    own = account_id(services.directory, account)
    return RequestFilter(key_id=key, account_id=own, model=model, status=status)


@router.get("/requests")
def list_requests(
    services: Settled,
    chosen: Annotated[RequestFilter, Depends(chosen)],
    span: Between,
    page: Paged,
    confined: Within,
) -> dict[str, Any]:
    """Records, the newest first."""
    with services.database.read() as connection:
        rows, following = store.list_requests(connection, replace(chosen, span=span, within=confined), page)
    return {"data": [request_to_json(row) for row in rows], "next": following}


@router.get("/requests/{request_id}")
def get_request(services: Settled, request_id: str, confined: Within) -> dict[str, Any]:
    """One record, by the `x-request-id` of its answer, with its hold, its entries and its failed attempts."""
    detail = _detail_of(services, request_id)
    owner = detail.request or detail.hold
    if confined is not None and (owner is None or not services.directory.is_within(owner.account_id, confined)):
        raise _no_record()
    return detail_to_json(detail)


@router.get("/requests/{request_id}/explain")
async def explain_request(services: Settled, request_id: str) -> dict[str, Any]:
    """Why it went where it went: every candidate, the attempts with their times, the price and the limits."""
    detail = await asyncio.to_thread(_detail_of, services, request_id)
    limits = await asyncio.to_thread(limits_of, detail, services.directory, time.time())
    return explained_to_json(detail, Sources(services.router.catalog.offers, services.prices, limits))


def _detail_of(services: Services, request_id: str) -> RequestDetail:
    detail = None
    if is_word(request_id):
        with services.database.read() as connection:
            detail = store.request_detail(connection, request_id)
    if detail is None:
        raise _no_record()
    return detail


def _no_record() -> NotFound:
    return NotFound("There is no record of a request with this id.")


@router.get("/usage")
def usage(
    services: Settled,
    span: Between,
    page: Paged,
    confined: Within,
    group_by: Annotated[GroupBy, Query(description="What the rows stand for.")] = "model",
) -> dict[str, Any]:
    """What was consumed and what it cost. A group that was charged in several currencies has a row for each."""
    with services.database.read() as connection:
        rows, following = store.usage(connection, group_by, span, page, confined)
    return {"data": [usage_to_json(row, group_by) for row in rows], "next": following}


@router.get("/ledger")
def list_entries(
    services: Settled,
    page: Paged,
    ledger_account: Annotated[
        Word | None, Query(description="`account:` and an account's id, or `provider:` and its name.")
    ] = None,
) -> dict[str, Any]:
    """Entries, the newest first: each charge is two of them, which add up to zero."""
    with services.database.read() as connection:
        rows, following = store.list_entries(connection, ledger_account, page)
    return {"data": [entry_to_json(row) for row in rows], "next": following}


@router.get("/ledger/verify")
def verify_ledger(services: Settled) -> dict[str, Any]:
    """Whether the money adds up: `ok`, the holds that are open now, and each problem with the rule that it breaks."""
    return verification_to_json(verify(services.database, time.time()))


def account_id(directory: Directory, reference: str | None) -> str | None:
    """The id of an account given by id or name. NotFound where there is none."""
    return None if reference is None else directory.get_account(reference).id
