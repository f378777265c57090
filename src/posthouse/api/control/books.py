"""`/admin/api/ledger/...` beyond what records.py shows: what is done about it."""

from typing import Any

from fastapi import APIRouter

from posthouse.api.control.parameters import PREFIX, Settled
from posthouse.billing.folds import rebuild
from posthouse.billing.forms import rebuilt_to_json

router = APIRouter(prefix=PREFIX, tags=["ledger"])


@router.post("/ledger/rebuild")
def rebuild_folds(services: Settled) -> dict[str, Any]:
    """Makes spending and roll-ups anew from entries and records, and tells what was different. Writing waits."""
    return rebuilt_to_json(rebuild(services.database))
