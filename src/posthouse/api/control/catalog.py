"""`/admin/api/models`, `providers` and `prices`: what there is to ask, how it does, what it costs.

These run in the loop and not in threads: catalog, health and prices belong to the loop, and answer without waiting.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query

from posthouse.api.control.parameters import PREFIX, In, Paged, Word
from posthouse.billing.store import Page
from posthouse.core.errors import NotFound
from posthouse.gateway.forms import explanation_to_json, priced_to_json
from posthouse.routing.check import check_provider
from posthouse.routing.forms import check_to_json, model_to_json, provider_to_json

router = APIRouter(prefix=PREFIX, tags=["catalog"])


@router.get("/models")
async def list_models(services: In, page: Paged) -> dict[str, Any]:
    """Public names in their order, and for each its deployments in the order of preference, with their health."""
    catalog = services.router.catalog
    report = services.router.health.report(asyncio.get_running_loop().time())
    return cut([model_to_json(listed, catalog, report) for listed in catalog.listed()], "id", page)


@router.get("/providers")
async def list_providers(services: In, page: Paged) -> dict[str, Any]:
    """Provider accounts by name, how each does, and why its list of models could not be had."""
    catalog = services.router.catalog
    report = services.router.health.report(asyncio.get_running_loop().time())
    return cut([provider_to_json(offer, catalog, report) for offer in catalog.offers], "name", page)


@router.post("/providers/{name}/test")
async def test_provider(services: In, name: str) -> dict[str, Any]:
    """Asks the provider now, which costs nothing: is it reached, is its credential taken, how long did it need."""
    for offer in services.router.catalog.offers:
        if offer.account.name == name:
            return check_to_json(name, await check_provider(offer))
    raise NotFound("There is no provider of this name.")


@router.get("/prices")
async def list_prices(services: In, page: Paged) -> dict[str, Any]:
    """What each deployment costs now, by its id; `price` is null where none is known."""
    now = time.time()
    shown = [
        priced_to_json(candidate.deployment, services.pricing.listed(candidate.deployment, now))
        for candidate in services.router.catalog.deployments()
    ]
    return cut(shown, "deployment", page)


@router.get("/prices/explain")
async def explain_price(
    services: In, model: Annotated[Word, Query(description="A model's name, a route's, or a deployment's id.")]
) -> dict[str, Any]:
    """For every deployment behind a name: which price applies, where it was looked for, and what was found there."""
    candidates = services.router.catalog.candidates(model)
    if not candidates:
        raise services.router.catalog.unknown(model)
    now = time.time()
    data = [explanation_to_json(candidate.deployment, services.prices, now) for candidate in candidates]
    return {"model": model, "data": data, "next": None}


def cut(rows: Sequence[dict[str, Any]], name: str, page: Page) -> dict[str, Any]:
    """One page of rows, sorted by their member `name`."""
    rows = sorted(rows, key=lambda row: str(row[name]))
    if page.cursor is not None:
        rows = [row for row in rows if row[name] > page.cursor]
    shown = rows[: page.size]
    return {"data": shown, "next": shown[-1][name] if len(rows) > len(shown) else None}
