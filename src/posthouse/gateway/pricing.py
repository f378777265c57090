"""From a deployment to its price line, asked of billing once and kept: the hot path looks a price up in 0.3 us."""

from typing import Final

from posthouse.billing.model import Price
from posthouse.billing.prices import PriceBook, PriceKey, PriceLine
from posthouse.providers.model import Deployment

_MAX_LINES: Final = 8192


def price_key(deployment: Deployment) -> PriceKey:
    """What billing looks a deployment's price up by."""
    row = deployment.account.row
    names = (deployment.model, deployment.upstream_model)
    return PriceKey(
        account=deployment.account.name,
        names=names if names[0] != names[1] else names[:1],
        seed_provider=row.price_provider,
        seed_names=(deployment.upstream_model,),
        free=row.free,
        currency=row.currency,
    )


class Pricing:
    """Prices by deployment. Bounded; forgotten when the catalog changes (`clear`)."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book
        self._lines: dict[str, PriceLine] = {}

    def at(self, deployment: Deployment, now: float) -> Price | None:
        """The price at `now` (seconds since the epoch); None is Unpriced."""
        line = self._lines.get(deployment.id)
        if line is None:
            if len(self._lines) >= _MAX_LINES:
                self._lines.clear()
            line = self._lines[deployment.id] = self._book.line(price_key(deployment))
        return line.at(now)

    def clear(self) -> None:
        self._lines.clear()
