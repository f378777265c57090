"""From a deployment to its price line, asked of billing once and kept: the hot path looks a price up in 0.3 us."""

from collections.abc import Callable, Iterable
from typing import Final

from posthouse.billing.estimate import reserve_for, reserve_of
from posthouse.billing.model import Price
from posthouse.billing.prices import PriceBook, PriceKey, PriceLine
from posthouse.core.money import Money
from posthouse.core.usage import Usage
from posthouse.providers.model import Deployment, ProviderAccount

_MAX_LINES: Final = 8192
UNNAMED: Final = "passthrough"  # what a call is priced and recorded as that names no model


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


def estimates(prices: Iterable[Price | None], rough: int, output: int, expected: Usage | None) -> list[Money | None]:
    """What a request may cost by each price, None where there is none: the amounts that are reserved for it. It has
    about `rough` tokens of input and at most `output` of output, or says itself what is `expected`."""
    if expected is None:
        return [None if price is None else reserve_of(price, rough, output) for price in prices]
    return [None if price is None else reserve_for(price, expected) for price in prices]


class Pricing:
    """Prices by deployment. Bounded; forgotten when the catalog changes (`clear`)."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book
        self._lines: dict[str, PriceLine] = {}

    def at(self, deployment: Deployment, now: float) -> Price | None:
        """The price at `now` (seconds since the epoch) of what is charged by tokens; None is Unpriced."""
        line = self._lines.get(deployment.id)
        if line is None:
            line = self._line(deployment)
        return line.at(now)

    def of(self, expected: Usage) -> Callable[[Deployment, float], Price | None]:
        """As `at`, for a use that says what it may consume."""

        def price_of(deployment: Deployment, now: float) -> Price | None:
            price = self.listed(deployment, now)
            return price if price is not None and price.covers(expected) else None

        return price_of

    def listed(self, deployment: Deployment, now: float) -> Price | None:
        """The price at `now`, whatever it measures calls by; None where none is known."""
        return (self._lines.get(deployment.id) or self._line(deployment)).listed(now)

    def below(self, account: ProviderAccount, upstream: str, public: str | None) -> PriceLine:
        """Of a model that is asked for at the account itself, by the provider's own name; `public` is ours, if it has
        one."""
        id = f"{account.name}:{upstream}"  # no deployment has a colon behind its account
        line = self._lines.get(id)
        if line is None:
            row = account.row
            names = (upstream,) if public is None or public == upstream else (public, upstream)
            key = PriceKey(account.name, names, row.price_provider, (upstream,), free=row.free, currency=row.currency)
            line = self._keep(id, self._book.line(key))
        return line

    def clear(self) -> None:
        self._lines.clear()

    def _line(self, deployment: Deployment) -> PriceLine:
        return self._keep(deployment.id, self._book.line(price_key(deployment)))

    def _keep(self, id: str, line: PriceLine) -> PriceLine:
        if len(self._lines) >= _MAX_LINES:
            self._lines.clear()
        self._lines[id] = line
        return line
