"""What is wrong between settings that are each well written: names used twice, names that lead nowhere.

An error stops `serve`; a warning is printed by `config check` and `doctor`, because a model that no provider lists may
still be one that a provider offers when asked.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

from posthouse.settings.locate import Path as KeyPath
from posthouse.settings.model import PriceSettings, ProviderSettings, RouteSettings, Settings
from posthouse.settings.problem import Level, Problem, did_you_mean, dotted

Where = Callable[[KeyPath], str]
_Found = tuple[Level, KeyPath, str]
_NO_TOKENS = {
    *("model", "provider", "currency", "effective_from"),
    *("image", "image_kinds", "audio_second", "character", "search", "request"),
}
_BY_TOKENS = tuple(name for name in PriceSettings.__struct_fields__ if name not in _NO_TOKENS)
_BY_UNITS = ("image", "audio_second", "character", "search", "request")


def problems_of(settings: Settings, where: Where, known_types: Collection[str] | None) -> list[Problem]:
    """Every problem, in the order of the file. `known_types` None: the types of providers are not checked."""
    found = [
        *_provider_problems(settings.providers, known_types),
        *_route_problems(settings.routes, settings.providers),
        *_price_problems(settings.prices, settings.providers, settings.routes),
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
        given = any(getattr(price, name) is not None for name in _BY_TOKENS)
        if price.input is None and (given or all(getattr(price, name) is None for name in _BY_UNITS)):
            yield "error", path, '`input` is missing; a model that costs nothing at all says request = "0"'
        if price.image_kinds and price.image is None:
            yield "error", (*path, "image"), "is missing: what images of any other kind cost"
        identity = (price.model, price.provider, price.effective_from)
        if identity in seen:
            yield "error", (*path, "model"), f"there is a price of {price.model} for the same provider and date already"
        seen.add(identity)
        if price.model in {route.name for route in routes}:
            yield "warning", (*path, "model"), f"{price.model} is a route; what is billed is the model that it led to"


def _scalar_problems(settings: Settings) -> Iterator[_Found]:
    routing, storage = settings.routing, settings.storage
    if routing.backoff_max < routing.backoff_base:
        yield "error", ("routing", "backoff_max"), "is smaller than backoff_base"
    if storage.journal_limit < 4 * storage.journal_segment:
        yield "error", ("storage", "journal_limit"), "must hold at least four segments (journal_segment)"
    if storage.redis_url is not None:
        yield "warning", ("storage", "redis_url"), "is not used yet: limits and budgets are kept in this one process"
