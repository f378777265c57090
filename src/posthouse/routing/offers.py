"""From the operator's settings to offers: accounts with an address, a credential and a transport.

Above: the composition root. Below: settings, and the registry of providers. Touches the network only in
`found_locally`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from posthouse.core.errors import ConfigError
from posthouse.providers.model import Provider, ProviderAccount
from posthouse.providers.registry import Registry
from posthouse.routing.model import ModelName, ModelRoute, Offer
from posthouse.settings import ProviderSettings, RouteSettings, Settings, UpstreamSettings, WellKnown, credentials_from
from posthouse.upstream.model import Timeouts, Transport

_PROBE_SECONDS: Final = 0.3


def well_known(registry: Registry) -> tuple[WellKnown, ...]:
    """The variables that make a provider by themselves, of every row."""
    return tuple(
        WellKnown(row.name, row.env, row.base_url_env, row.auth == "none")
        for row in registry.rows
        if row.env or (row.auth == "none" and row.base_url_env)
    )


def from_environment(
    environ: Mapping[str, str], registry: Registry, upstream: UpstreamSettings
) -> tuple[ProviderSettings, ...]:
    """Providers whose credential stands in a well-known variable."""
    return credentials_from(environ, well_known(registry), upstream)


def offers_of(providers: Sequence[ProviderSettings], registry: Registry, transport: Transport) -> tuple[Offer, ...]:
    """One offer each. ConfigError names the provider whose settings cannot stand."""
    return tuple(_offer(settings, registry, transport) for settings in providers)


async def find_offers(settings: Settings, registry: Registry, transport: Transport) -> tuple[Offer, ...]:
    """What answers: the providers of the settings, else those found on this machine, else those in this process."""
    offers = offers_of(settings.providers, registry, transport)
    if not offers and settings.routing.discover:
        offers = tuple(built_in(row, transport) for row in await found_locally(registry))
    return offers or in_process(registry, transport)


def routes_of(routes: Sequence[RouteSettings]) -> tuple[ModelRoute, ...]:
    """ConfigError for a strategy that there is not yet."""
    made = []
    for route in routes:
        if route.strategy not in ("priority", "weighted"):
            raise ConfigError(
                f"routes: {route.name!r}: the strategy {route.strategy!r} is not built yet; use priority or weighted."
            )
        made.append(ModelRoute(route.name, route.models, route.strategy))
    return tuple(made)


def built_in(row: Provider, transport: Transport) -> Offer:
    """An offer that needs no settings: a provider found on this machine, or one inside this process."""
    account = ProviderAccount(name=row.name, row=row, base_url=row.base_url or "http://localhost")
    return Offer(account, None, transport if row.transport is None else row.transport())


def in_process(registry: Registry, transport: Transport) -> tuple[Offer, ...]:
    """What answers where nothing is configured: the providers that live in this process."""
    return tuple(built_in(row, transport) for row in registry.rows if row.transport is not None)


async def found_locally(registry: Registry) -> tuple[Provider, ...]:
    """Rows that say where they usually listen on this machine, and do. At most 0.3 s."""
    rows = [row for row in registry.rows if row.found_locally and row.base_url is not None]
    answers = await asyncio.gather(*(_listens(row.base_url or "") for row in rows))
    return tuple(row for row, listens in zip(rows, answers, strict=True) if listens)


async def _listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", parts.port or 80), _PROBE_SECONDS)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _offer(settings: ProviderSettings, registry: Registry, transport: Transport) -> Offer:
    row = registry.get(settings.type)
    base_url = settings.base_url or row.base_url
    if base_url is None:
        raise ConfigError(f"providers: {settings.name!r}: the type {settings.type!r} needs a base_url.")
    credential = settings.credential.reveal() if settings.credential is not None else None
    if credential is None and row.auth != "none":
        hint = f", such as env:{row.env[0]}" if row.env else ""
        raise ConfigError(f"providers: {settings.name!r}: a credential is missing{hint}.")
    timeout = settings.timeout
    account = ProviderAccount(
        name=settings.name,
        row=row,
        base_url=base_url,
        credential=credential,
        proxy=settings.proxy.reveal() if settings.proxy is not None else None,
        timeouts=Timeouts(timeout.connect, timeout.first_byte, timeout.idle, timeout.total),
        on_disconnect=settings.on_disconnect,
        headers=tuple((name, value.reveal()) for name, value in settings.headers.items()),
        api_version=settings.api_version,
    )
    models = None
    if settings.models is not None:
        models = tuple(ModelName(model.name, model.upstream) for model in settings.models)
    made = transport if row.transport is None else row.transport()
    return Offer(account, models, made, settings.priority, settings.weight)
