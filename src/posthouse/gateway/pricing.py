"""From a deployment to its price line, asked of billing once and kept: the hot path looks a price up in 0.3 us."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from msgspec import Raw, Struct

from posthouse.billing.estimate import reserve_for, reserve_of
from posthouse.billing.exchange import ExchangeBook
from posthouse.billing.model import Price, rates_of
from posthouse.billing.prices import PriceBook, PriceKey, PriceLine
from posthouse.billing.units import BY_ANYTHING
from posthouse.core.caller import Caller
from posthouse.core.money import Money
from posthouse.core.usage import Usage
from posthouse.providers.model import Deployment, ProviderAccount

_MAX_LINES: Final = 8192
# What a body asks for a service tier by, in one dialect or another.
TIER_MEMBERS: Final = ("service_tier", "serviceTier", "speed")
_WORD: Final = re.compile(rb"[a-z][a-z0-9_-]{0,31}\Z")
# What vendors call the tier that has the price of their list.
_USUAL: Final = frozenset({b"default", b"standard", b"standard_only", b"service_tier_unspecified", b"null"})
OWN: Final = "own-credential"  # the source of a price of which nothing is charged
_NOTHING: Final = rates_of({"input": 0})
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


class Size(Struct, frozen=True, gc=False):
    """How much a request may take: about `rough` tokens of input and at most `output` of output, or what it says itself
    (`expected`), at the service tier that it asks for."""

    rough: int
    output: int
    expected: Usage | None = None
    tier: str = ""

    def reserve(self, price: Price) -> Money:
        if self.expected is None:
            return reserve_of(price, self.rough, self.output, self.tier)
        return reserve_for(price, self.expected, self.tier)


def estimates(prices: Iterable[Price | None], size: Size) -> list[Money | None]:
    """What a request may cost by each price, None where there is none: the amounts that are reserved for it."""
    return [None if price is None else size.reserve(price) for price in prices]


def asked_tier(fields: Mapping[str, Raw] | Mapping[str, bytes]) -> str:
    """The service tier that a request asks for in any dialect, empty where it asks for none or for the usual one.
    `fields` has TIER_MEMBERS as they stand in the body."""
    raw = fields.get("service_tier") or fields.get("serviceTier") or fields.get("speed")
    if raw is None:
        return ""
    word = bytes(raw).strip(b'"').lower()
    if not _WORD.match(word) or word in _USUAL:
        return ""
    return word.decode("ascii").removeprefix("service_tier_")


def paid_in(caller: Caller) -> str | None:
    """The currency of a caller's budgets, None where it has none. Where they have several, none fits them all, and the
    ledger says so."""
    for subject in caller.subjects:
        if subject.budgets:
            return subject.budgets[0].currency
    return None


def by_own(price: Price | None, caller: Caller, deployment: Deployment) -> Price | None:
    """What a caller is charged that brings a credential: a part of the price (`core.caller.OwnCredential`), and zero
    where that is none of it, known or not."""
    assert caller.own is not None  # the door has looked
    if price is not None:
        return price.part(caller.own.fee_ppm)
    if caller.own.fee_ppm:
        return None
    currency = paid_in(caller) or deployment.account.row.currency
    return Price(currency, OWN, deployment.model, rates=_NOTHING, measures=BY_ANYTHING)


class Pricing:
    """Prices by deployment. Bounded; forgotten when the catalog changes (`clear`)."""

    def __init__(self, book: PriceBook, exchange: ExchangeBook | None = None) -> None:
        self._book = book
        self._exchange = exchange if exchange is not None else ExchangeBook()
        self._lines: dict[str, PriceLine] = {}
        self._exchanged: dict[tuple[str, str, int], Price] = {}

    def exchange_by(self, rates: ExchangeBook) -> None:
        """Other rates in place of those that there are."""
        self._exchange = rates

    def paid(self, price: Price, currency: str, now: float) -> Price:
        """The same price, paid in another currency at the rate of `now`; as it is where no rate is known."""
        if price.currency == currency or price.free:
            return price
        key = (price.id, currency, int(now // 86_400))
        found = self._exchanged.get(key)
        if found is None:
            exchange = self._exchange.find(price.currency, currency, now)
            if exchange is None:
                return price
            if len(self._exchanged) >= _MAX_LINES:
                self._exchanged.clear()
            found = self._exchanged[key] = price.paid_by(exchange)
        return found

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
        self._exchanged.clear()

    def _line(self, deployment: Deployment) -> PriceLine:
        return self._keep(deployment.id, self._book.line(price_key(deployment)))

    def _keep(self, id: str, line: PriceLine) -> PriceLine:
        if len(self._lines) >= _MAX_LINES:
            self._lines.clear()
        self._lines[id] = line
        return line
