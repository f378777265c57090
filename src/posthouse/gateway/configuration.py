"""The settings that hold, and how new ones come to hold while the house serves.

A reload reads every layer again and checks everything before it changes anything: a file that is broken, or a provider
that cannot stand, is told of and changes nothing. Then providers, models, routes, prices and the options of routing are
swapped at once, inside the objects that everybody holds, without an await in between: a request is served by the old
ones or by the new ones, never by half of both. What is under way keeps what it has and ends on it; connections of
providers that are gone are closed as soon as they are idle. The rest (sockets, storage, limits, ...) is made at the
start: where it has changed, a reload says that it needs a restart.

Above: the control plane and the signal. Below: settings, routing, billing's prices, the upstream client.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from posthouse.billing.exchange import ExchangeBook
from posthouse.billing.prices import PriceBook
from posthouse.core.errors import ConfigError
from posthouse.gateway.pricing import Pricing
from posthouse.providers.model import ProviderAccount
from posthouse.routing.catalog import Catalog, candidates_of
from posthouse.routing.model import Offer, RoutingOptions
from posthouse.routing.offers import routes_of
from posthouse.routing.service import Router
from posthouse.settings import Loaded, Problem, RoutingSettings, Settings
from posthouse.settings.forms import problem_to_json
from posthouse.settings.layers import TABLES, keys_of_sections
from posthouse.upstream.client import UpstreamClient

logger = logging.getLogger("posthouse.gateway")

# Sections and keys that are read anew; the tables are too. [upstream] has the timeouts of providers without their own.
_HOT_SECTIONS: Final = frozenset({"routing"})
_HOT_KEYS: Final = frozenset(
    {"upstream.connect_timeout", "upstream.first_byte_timeout", "upstream.idle_timeout", "upstream.total_timeout"}
)


class Reloaded(Struct, frozen=True):
    """What a reload has done. `changed`: the tables and keys that hold now and did not before, in their order;
    `needs_restart`: the keys whose values are others than those that the house was started with; `warnings`: what is
    doubtful about the new settings."""

    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]
    warnings: tuple[Problem, ...]


class Running(Struct, frozen=True, eq=False):
    """What a reload changes. `offers_of` makes the offers of some settings (ConfigError where they cannot stand)."""

    router: Router
    prices: PriceBook
    pricing: Pricing
    client: UpstreamClient
    offers_of: Callable[[Settings], Awaitable[tuple[Offer, ...]]]


class Configuration:
    """`read` gives all layers anew, complete and without an error, else raises ConfigError; it blocks. `types` are the
    known types of providers."""

    def __init__(self, loaded: Loaded, read: Callable[[], Loaded], types: frozenset[str], running: Running) -> None:
        self.loaded = loaded
        self._read = read
        self._types = types
        self._running = running
        self._started = loaded.settings
        self._lock = asyncio.Lock()

    async def reload(self) -> Reloaded:
        """ConfigError, with a line for each problem, where nothing was changed. One at a time."""
        async with self._lock:
            running = self._running
            loaded = await asyncio.to_thread(self._read)
            settings = loaded.settings
            offers = [self._kept(offer) for offer in await self._offers_of(loaded)]
            prices = PriceBook(settings.prices, running.prices.seed)
            rates = ExchangeBook(settings.rates)
            # All is checked. No await until all is swapped.
            changed = _differences(self.loaded.settings, settings)
            self.loaded = loaded
            kept = [offer for offer in offers if offer in running.router.catalog.offers]
            running.router.catalog.replace(offers, routes_of(settings.routes))
            running.router.use(routing_options(settings.routing))
            running.router.forget(_deployments_of(running.router.catalog, kept))
            running.prices.replace(prices)
            running.pricing.exchange_by(rates)
            running.pricing.clear()
            self._retire()
        await running.router.catalog.refresh(unasked=True)
        hot = tuple(key for key in changed if is_hot(key))
        logger.info("the settings were reloaded; other than before: %s", ", ".join(hot) or "nothing")
        if cold := self.needs_restart():
            logger.warning("needs a restart to hold: %s", ", ".join(cold))
        warnings = tuple(one for one in loaded.check(self._types) if one.level == "warning")
        return Reloaded(hot, cold, warnings)

    def needs_restart(self) -> tuple[str, ...]:
        """Keys that say something else than the house was started with, and that only a start heeds."""
        return tuple(key for key in _differences(self._started, self.loaded.settings) if not is_hot(key))

    async def _offers_of(self, loaded: Loaded) -> tuple[Offer, ...]:
        """ConfigError, with the place, where an account or one of its models cannot stand."""
        try:
            offers = await self._running.offers_of(loaded.settings)
            for index, offer in enumerate(offers):
                try:
                    for name in offer.models or ():
                        candidates_of(offer, name)
                except ConfigError as error:
                    raise ConfigError(error.message, param=f"providers[{index}]") from None
        except ConfigError as error:
            raise loaded.located(error) from None
        return offers

    def _kept(self, offer: Offer) -> Offer:
        """The offer that there is, if it says the same: its connections stay, and so does what is known of it."""
        for old in self._running.router.catalog.offers:
            if old.account.name == offer.account.name and _same_offer(old, offer):
                return old
        return offer

    def _retire(self) -> None:
        """Connections that no deployment and no account uses any more are closed once they are idle."""
        catalog = self._running.router.catalog
        live = set()
        for candidate in catalog.deployments():
            account = candidate.deployment.account
            for prepared in candidate.prepared.values():
                live |= {(name, prepared.origin, account.proxy) for name in (candidate.deployment.id, account.name)}
        self._running.client.retire(frozenset(live))


def routing_options(routing: RoutingSettings) -> RoutingOptions:
    """The options of routing that the settings have."""
    return RoutingOptions(
        max_attempts=routing.max_attempts,
        deadline=routing.deadline,
        backoff=routing.backoff_base,
        backoff_max=routing.backoff_max,
        cooldown=routing.cooldown,
        cooldown_max=routing.cooldown_max,
    )


def _deployments_of(catalog: Catalog, offers: list[Offer]) -> frozenset[str]:
    """Those of these accounts, and the accounts themselves, by whose names is known what just passes."""
    names = {offer.account.name for offer in offers}
    known = {one.deployment.id for one in catalog.deployments() if one.deployment.account.name in names}
    return frozenset(known | names)


def is_hot(key: str) -> bool:
    """Whether a reload brings a table (`providers`) or a key (`server.port`) into force."""
    return key in TABLES or key in _HOT_KEYS or key.partition(".")[0] in _HOT_SECTIONS


def _differences(old: Settings, new: Settings) -> list[str]:
    """Tables, and keys of sections, whose values are not the same."""
    keys = [
        f"{section}.{name}"
        for section, name in keys_of_sections()
        if _at(old, section, name) != _at(new, section, name)
    ]
    return [*(table for table in TABLES if getattr(old, table) != getattr(new, table)), *keys]


def _at(settings: Settings, section: str | int, name: str | int) -> Any:
    return getattr(getattr(settings, str(section)), str(name))


def _same_offer(old: Offer, new: Offer) -> bool:
    accounts = zip(old.each(), new.each(), strict=False)
    return (
        len(old.others) == len(new.others)
        and all(_same_account(one.account, other.account) for one, other in accounts)
        and (old.models, old.priority, old.weight) == (new.models, new.priority, new.weight)
    )


def _same_account(old: ProviderAccount, new: ProviderAccount) -> bool:
    return msgspec.structs.astuple(old) == msgspec.structs.astuple(new)


def reloaded_to_json(done: Reloaded) -> dict[str, Any]:
    """What the admin API answers, and `posthouse config reload --json` prints."""
    return {
        "changed": list(done.changed),
        "needs_restart": list(done.needs_restart),
        "problems": [problem_to_json(one) for one in done.warnings],
    }
