"""`/admin/api/ledger/rebuild`, and of an account its corrections and statements."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import JSONResponse, Response

from posthouse.api.control.parameters import PREFIX, Form, In, Paged, Settled, Word
from posthouse.api.control.schemas import NEW_CORRECTION, body
from posthouse.billing.book_forms import correction_to_json, new_correction_of, statement_to_csv, statement_to_json
from posthouse.billing.corrections import Correction
from posthouse.billing.folds import rebuild
from posthouse.billing.forms import rebuilt_to_json
from posthouse.billing.statements import month_of, statement

router = APIRouter(prefix=PREFIX, tags=["ledger"])

_CSV = "text/csv"


@router.post("/ledger/rebuild")
def rebuild_folds(services: Settled) -> dict[str, Any]:
    """Makes spending and roll-ups anew from entries and records, and tells what was different. Writing waits."""
    return rebuilt_to_json(rebuild(services.database))


@router.post("/accounts/{account}/corrections", status_code=201, openapi_extra=body(NEW_CORRECTION))
async def correct(services: In, account: str, form: Form) -> dict[str, Any]:
    """Puts the money of an account right, by entries of their own. Holds at once; the same idempotency key again gives
    the same correction."""

    def made() -> Correction:
        directory = services.directory
        new = new_correction_of(form, directory.get_account(account).id)
        if new.key_id is not None:
            directory.get_key(new.key_id, new.account_id)
        return services.corrections.make(new)

    one = await asyncio.to_thread(made)
    # In the loop, to which the ledger belongs.
    services.ledger.heed(await asyncio.to_thread(services.corrections.after, services.ledger.corrected_to))
    return correction_to_json(one)


@router.get("/accounts/{account}/corrections")
def list_corrections(services: In, account: str, page: Paged) -> dict[str, Any]:
    """The corrections of an account, the newest first."""
    rows, following = services.corrections.listed(services.directory.get_account(account).id, page)
    return {"data": [correction_to_json(row) for row in rows], "next": following}


def wants_csv(
    request: Request,
    format: Annotated[Literal["json", "csv"] | None, Query(description="Without it, `Accept` decides.")] = None,
) -> bool:
    if format is not None:
        return format == "csv"
    return request.headers.get("accept", "").partition(";")[0].strip().lower() == _CSV


@router.get(
    "/accounts/{account}/statements/{month}",
    response_class=JSONResponse,
    responses={200: {"content": {_CSV: {"schema": {"type": "string"}}}}},
)
def get_statement(
    services: Settled,
    account: str,
    month: str,
    as_csv: Annotated[bool, Depends(wants_csv)],
    zone: Annotated[Word, Query(description="Whose days and month: an IANA time zone, or an offset.")] = "UTC",
) -> Response:
    """What an account owed before a month (`2026-11`), what it used by day, key and model, what was corrected, what
    was paid in."""
    account_id = services.directory.get_account(account).id
    chosen = month_of(month[:64], zone)
    with services.database.snapshot() as connection:
        found = statement(connection, account_id, chosen)
    if as_csv:
        name = f"statement-{account_id}-{chosen.name}.csv"
        disposition = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(statement_to_csv(found), 200, disposition, media_type=_CSV)
    return JSONResponse(statement_to_json(found, services.till.points))
