"""From the operator's settings to offers: accounts with an address, a credential and a transport.

Above: the composition root. Below: settings, and the registry of providers. Touches the network only in
`found_locally`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from msgspec.structs import replace

from posthouse.core.errors import ConfigError
from posthouse.providers.model import Provider, ProviderAccount
from posthouse.providers.registry import Registry
from posthouse.routing.model import ModelName, ModelRoute, Offer
from posthouse.settings import (
    Loaded,
    Problem,
    ProviderSettings,
    RouteSettings,
    Settings,
    UpstreamSettings,
    WellKnown,
    credentials_from,
)
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
    """One offer each. ConfigError names the provider whose settings cannot stand, and in `param` the key."""
    for index, settings in enumerate(providers):
        wrong = problem_of(settings, registry)
        if wrong is not None:
            raise ConfigError(f"{settings.name!r}: {wrong[1]}", param=f"providers[{index}].{wrong[0]}")
    return tuple(_offer(settings, registry, transport) for settings in providers)


def problem_of(settings: ProviderSettings, registry: Registry) -> tuple[str, str] | None:
    """The key that is missing to a provider of a known type, and why it is needed."""
    row = registry.get(settings.type)
    if settings.base_url is None and row.base_url is None:
        return "base_url", f"the type {settings.type!r} needs a base_url"
    if settings.credential is None and not settings.credentials and row.auth != "none":
        return "credential", f"a credential is missing{f', such as env:{row.env[0]}' if row.env else ''}"
    return None


def missing_in(loaded: Loaded, registry: Registry) -> list[Problem]:
    """What `offers_of` would refuse, all of it."""
    found = []
    for index, settings in enumerate(loaded.settings.providers):
        wrong = problem_of(settings, registry) if settings.type in registry.by_name else None
        if wrong is not None:
            found.append(
                Problem("error", loaded.where(("providers", index)), f"providers[{index}].{wrong[0]}", wrong[1])
            )
    return found


async def find_offers(settings: Settings, registry: Registry, transport: Transport) -> tuple[Offer, ...]:
    """What answers: the providers of the settings, else those found on this machine, else those in this process."""
    offers = offers_of(settings.providers, registry, transport)
    if not offers and settings.routing.discover:
        offers = tuple(built_in(row, transport) for row in await found_locally(registry))
    return offers or in_process(registry, transport)


def routes_of(routes: Sequence[RouteSettings]) -> tuple[ModelRoute, ...]:
    return tuple(ModelRoute(route.name, route.models, route.strategy, route.fallbacks) for route in routes)


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
    assert base_url is not None  # `problem_of` has looked
    secrets = settings.credentials or (() if settings.credential is None else (settings.credential,))
    timeout = settings.timeout
    account = ProviderAccount(
        name=settings.name,
        row=row,
        base_url=base_url,
        credential=secrets[0].reveal() if secrets else None,
        proxy=settings.proxy.reveal() if settings.proxy is not None else None,
        timeouts=Timeouts(timeout.connect, timeout.first_byte, timeout.idle, timeout.total),
        on_disconnect=settings.on_disconnect,
        headers=tuple((name, value.reveal()) for name, value in settings.headers.items()),
        api_version=settings.api_version,
        wires=settings.wires,
        passthrough=settings.passthrough,
    )
    models = None
    if settings.models is not None:
        models = tuple(ModelName(model.name, model.upstream) for model in settings.models)
    made = transport if row.transport is None else row.transport()
    others = tuple(replace(account, credential=secret.reveal()) for secret in secrets[1:])
    return Offer(account, models, made, settings.priority, settings.weight, others)
