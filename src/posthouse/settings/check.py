"""What is wrong between settings that are each well written: names used twice, names that lead nowhere.

An error stops `serve`; a warning is printed by `config check` and `doctor`, because a model that no provider lists may
still be one that a provider offers when asked.
"""

import ipaddress
from collections.abc import Callable, Collection, Iterator, Sequence

from posthouse.core.hours import hours_of, zone_of
from posthouse.core.money import NANO, parse_nano
from posthouse.settings.locate import Path as KeyPath
from posthouse.settings.model import (
    LimitsSettings,
    PointsSettings,
    PriceSettings,
    ProviderSettings,
    RateSettings,
    RouteSettings,
    Settings,
    TopupSettings,
)
from posthouse.settings.problem import Level, Problem, did_you_mean, dotted

Where = Callable[[KeyPath], str]
_Found = tuple[Level, KeyPath, str]
_WHEN = ("service_tier", "effective_from", "effective_until", "daily_from", "daily_until", "days", "zone")
_BY_UNITS = ("image", "audio_second", "character", "search", "request")
_BESIDE = ("web_search", "file_search", "session")  # what is charged beside tokens, and never alone
_NO_TOKENS = {*("model", "provider", "currency", "multiplier", "image_kinds"), *_WHEN, *_BY_UNITS, *_BESIDE}
_BY_TOKENS = tuple(name for name in PriceSettings.__struct_fields__ if name not in _NO_TOKENS)
_AMOUNTS = (*_BY_TOKENS, *_BY_UNITS, *_BESIDE, "image_kinds")


def problems_of(settings: Settings, where: Where, known_types: Collection[str] | None) -> list[Problem]:
    """Every problem, in the order of the file. `known_types` None: the types of providers are not checked."""
    found = [
        *_provider_problems(settings.providers, known_types),
        *_route_problems(settings.routes, settings.providers),
        *_price_problems(settings.prices, settings.providers, settings.routes),
        *_rate_problems(settings.rates),
        *_limit_problems(settings.limits),
        *_points_problems(settings.points),
        *_topup_problems(settings.topup),
        *_scalar_problems(settings),
    ]
    return [Problem(level, where(path), dotted(path), message) for level, path, message in found]


def _provider_problems(providers: Sequence[ProviderSettings], known_types: Collection[str] | None) -> Iterator[_Found]:
    for index, provider in enumerate(providers):
        path: KeyPath = ("providers", index)
        if provider.name in [other.name for other in providers[:index]]:
            yield "error", (*path, "name"), f"there is a provider named {provider.name} already"
        if known_types is not None and provider.type not in known_types:
            hint = did_you_mean(provider.type, known_types)
            yield "error", (*path, "type"), f"there is no type of provider named {provider.type}{hint}"
        if provider.credential is not None and provider.credentials is not None:
            yield "error", (*path, "credentials"), "stands beside credential; one of the two is enough"
        secrets = provider.credentials or ()
        for position, secret in enumerate(secrets):
            if secret in secrets[:position]:
                yield "error", (*path, "credentials", position), "is the same as one before it"
        names = [model.name for model in provider.models or ()]
        for position, name in enumerate(names):
            if name in names[:position]:
                yield "error", (*path, "models", position), f"{name} is listed twice"
        if provider.models == ():
            yield "warning", (*path, "models"), "is empty, so this provider serves nothing; leave it out for all models"
        timeout = provider.timeout
        if timeout.total < max(timeout.connect, timeout.first_byte, timeout.idle):
            yield "warning", (*path, "timeout", "total"), "is shorter than a timeout inside it"


def _route_problems(routes: Sequence[RouteSettings], providers: Sequence[ProviderSettings]) -> Iterator[_Found]:
    listed = {model.name for provider in providers for model in provider.models or ()}
    lists_all = all(provider.models is not None for provider in providers)
    names = {route.name for route in routes}
    for index, route in enumerate(routes):
        path: KeyPath = ("routes", index)
        if route.name in [other.name for other in routes[:index]]:
            yield "error", (*path, "name"), f"there is a route named {route.name} already"
        if route.name in listed and route.name not in route.models:
            yield "warning", (*path, "name"), f"hides the model {route.name} of a provider"
        lists: list[tuple[KeyPath, Sequence[str]]] = [((*path, "models"), route.models)]
        lists += [((*path, "fallbacks", kind), models) for kind, models in route.fallbacks.items()]
        for place, models in lists:
            for position, model in enumerate(models):
                at = (*place, position)
                if model in models[:position]:
                    yield "error", at, f"{model} is listed twice"
                elif model in names and model not in listed:
                    yield "error", at, f"{model} is a route; a route leads to models only"
                elif model not in listed and lists_all:
                    yield "warning", at, f"no provider lists the model {model}{did_you_mean(model, listed)}"


def _price_problems(
    prices: Sequence[PriceSettings], providers: Sequence[ProviderSettings], routes: Sequence[RouteSettings]
) -> Iterator[_Found]:
    names = [provider.name for provider in providers]
    seen: set[tuple[object, ...]] = set()
    for index, price in enumerate(prices):
        path: KeyPath = ("prices", index)
        if price.provider is not None and price.provider not in names:
            hint = did_you_mean(price.provider, names)
            yield "error", (*path, "provider"), f"there is no provider named {price.provider}{hint}"
        yield from ((level, (*path, *at), message) for level, at, message in price_problems(price))
        identity = (price.model, price.provider, *(getattr(price, name) for name in _WHEN))
        if identity in seen:
            yield "error", (*path, "model"), f"there is a price of {price.model} for the same provider and date already"
        seen.add(identity)
        if price.model in {route.name for route in routes}:
            yield "warning", (*path, "model"), f"{price.model} is a route; what is billed is the model that it led to"


def price_problems(price: PriceSettings) -> Iterator[_Found]:
    """What is wrong with one table by itself."""
    amounts = [name for name in _AMOUNTS if getattr(price, name) not in (None, {}, ())]
    if price.multiplier is not None:
        if amounts:
            yield "error", ("multiplier",), f"stands beside {amounts[0]}; a price is either amounts or a multiplier"
    elif price.currency is None:
        yield "error", (), "`currency` is missing"
    else:
        given = any(getattr(price, name) not in (None, ()) for name in _BY_TOKENS)
        if price.input is None and (given or all(getattr(price, name) is None for name in _BY_UNITS)):
            yield "error", (), '`input` is missing; a model that costs nothing at all says request = "0"'
        if price.image_kinds and price.image is None:
            yield "error", ("image",), "is missing: what images of any other kind cost"
    thresholds = [tier.above for tier in price.tiers]
    if thresholds != sorted(set(thresholds)):
        yield "error", ("tiers",), "`above` must rise from one to the next"
    begins, ends = price.effective_from, price.effective_until
    if begins is not None and ends is not None and ends <= begins:
        yield "error", ("effective_until",), "is not after effective_from, so the price never holds"
    try:
        hours_of(price.daily_from, price.daily_until, price.zone, price.days)
        if price.daily_from is None and not price.days and price.zone != "UTC":
            yield "error", ("zone",), "says nothing without daily_from and daily_until, or days"
    except ValueError as error:
        yield "error", ("zone",) if price.daily_from and price.daily_until else ("daily_from",), str(error)


def _rate_problems(rates: Sequence[RateSettings]) -> Iterator[_Found]:
    seen: set[tuple[object, ...]] = set()
    for index, rate in enumerate(rates):
        path: KeyPath = ("rates", index)
        if rate.base == rate.quote:
            yield "error", (*path, "quote"), "is the same currency as base"
        if parse_nano(rate.rate) == 0:
            yield "error", (*path, "rate"), "must be above zero"
        identity = (rate.base, rate.quote, rate.date)
        if identity in seen:
            yield "error", (*path, "date"), f"there is a rate from {rate.base} to {rate.quote} of this date already"
        seen.add(identity)


def _limit_problems(limits: LimitsSettings) -> Iterator[_Found]:
    if (limits.request_spend is None) != (limits.request_currency is None):
        yield "error", ("limits", "request_spend"), "and request_currency go with each other"
    try:
        zone_of(limits.time_zone)
    except ValueError as error:
        yield "error", ("limits", "time_zone"), str(error)
    names = [model.name for model in limits.models]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield "error", ("limits", "models"), f"{name} is listed twice"


def _points_problems(points: PointsSettings) -> Iterator[_Found]:
    if (points.currency is None) != (points.per_unit is None):
        yield "error", ("points", "per_unit"), "and currency go with each other"
    elif points.per_unit is not None and NANO % points.per_unit:
        what = f"a point of {points.per_unit} for one unit is no whole number of nano-units"
        yield "error", ("points", "per_unit"), f"{what}; take a divisor of 1000000000, such as 100 or 500000"


def _topup_problems(topup: TopupSettings) -> Iterator[_Found]:
    least, most = (None if one is None else parse_nano(one) for one in (topup.minimum, topup.maximum))
    if most is not None and (not most or (least is not None and least > most)):
        yield "error", ("topup", "maximum"), "lets no payment pass"
    for amount in topup.amounts:
        nano = parse_nano(amount)
        if not nano or (least is not None and nano < least) or (most is not None and nano > most):
            yield "error", ("topup", "amounts"), f"{amount} is outside of what minimum and maximum let pass"


def _scalar_problems(settings: Settings) -> Iterator[_Found]:
    routing, storage = settings.routing, settings.storage
    for proxy in settings.server.trusted_proxies:
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            yield "error", ("server", "trusted_proxies"), f"{proxy} is neither an address nor a network"
    if routing.backoff_max < routing.backoff_base:
        yield "error", ("routing", "backoff_max"), "is smaller than backoff_base"
    if storage.journal_limit < 4 * storage.journal_segment:
        yield "error", ("storage", "journal_limit"), "must hold at least four segments (journal_segment)"
    if storage.redis_url is not None and storage.database_url is None:
        what = "is for servers that share a PostgreSQL: give storage.database_url too, or leave it out"
        yield "error", ("storage", "redis_url"), what
