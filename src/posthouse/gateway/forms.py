"""Prices of deployments as JSON: what the admin API answers and what `posthouse prices --json` prints."""

from typing import Any

import msgspec

from posthouse.billing.forms import price_to_json
from posthouse.billing.model import Price
from posthouse.billing.prices import PriceBook
from posthouse.gateway.pricing import price_key
from posthouse.providers.model import Deployment


def priced_to_json(deployment: Deployment, price: Price | None) -> dict[str, Any]:
    """`price` null is Unpriced: not free, but unknown."""
    return {
        "deployment": deployment.id,
        "model": deployment.model,
        "provider": deployment.account.name,
        "price": None if price is None else price_to_json(price),
    }


def explanation_to_json(deployment: Deployment, book: PriceBook, now: float) -> dict[str, Any]:
    """`steps` are the places that were asked, in their order; one is `taken`, or none where the model is Unpriced."""
    line = book.line(price_key(deployment))
    steps = [msgspec.structs.asdict(step) for step in line.why(now)]
    return {**priced_to_json(deployment, line.listed(now)), "steps": steps}
