"""`/admin/api/prices/...`: prices that the operator sets beside the file, and the seed.

What blocks runs in a thread; what is then put in force runs in the loop, to which the price book belongs.
"""

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from posthouse.api.control.parameters import PREFIX, Form, In
from posthouse.api.control.schemas import NEW_PRICE, SEED, body
from posthouse.api.services import Services
from posthouse.billing.desk import checked
from posthouse.billing.harvest.given import updated
from posthouse.billing.seed import Seed
from posthouse.billing.set_forms import set_price_to_json, update_to_json

router = APIRouter(prefix=PREFIX, tags=["prices"])


@router.post("/prices", status_code=201, openapi_extra=body(NEW_PRICE))
async def set_price(services: In, form: Form) -> dict[str, Any]:
    """Sets a price: a table of [[prices]], as JSON. It holds at once."""
    made = await asyncio.to_thread(services.desk.set, form)
    await put_in_force(services)
    return set_price_to_json(made)


@router.get("/prices/rows")
def list_set_prices(services: In) -> dict[str, Any]:
    """The prices that were set, the oldest first."""
    return {"data": [set_price_to_json(row) for row in services.desk.rows()], "next": None}


@router.delete("/prices/rows/{id}")
async def unset_price(services: In, id: str) -> dict[str, Any]:
    """Takes a price away that was set. What was billed by it keeps its snapshot."""
    gone = await asyncio.to_thread(services.desk.unset, id[:64])
    await put_in_force(services)
    return set_price_to_json(gone)


@router.get("/prices/snapshots/{id}")
def get_snapshot(services: In, id: str) -> dict[str, Any]:
    """A price that a request was billed with (`price_id` of its record), as it was then."""
    services.journal.wait_applied(1.0)
    return services.desk.snapshot(id[:64])


@router.post("/prices/update", openapi_extra=body(SEED))
async def update_prices(
    services: In,
    request: Request,
    apply: Annotated[bool, Query(description="Apply it; without, only what would change is told.")] = False,
) -> dict[str, Any]:
    """Takes newer prices in place of the built-in ones: a seed, LiteLLM's table, or models.dev's catalog, as JSON."""
    content = await request.body()

    def compared() -> dict[str, Any]:
        merged = updated([content], services.desk.kept().seed or Seed(), time.time())
        found = services.desk.differs(checked(merged.data))
        if apply and found:
            services.desk.replace_seed(merged.data)
        return update_to_json(found, merged, applied=apply)

    told = await asyncio.to_thread(compared)
    await put_in_force(services)
    return told


async def put_in_force(services: Services) -> None:
    """Every server's own follower does the same within a second; here it is to hold when the answer says so."""
    kept = await asyncio.to_thread(services.desk.changed)
    if kept is not None:
        services.prices.use(kept.rows, kept.seed)
        services.pricing.clear()
