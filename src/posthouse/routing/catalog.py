"""The catalog: which models there are, and which candidates serve each.

Built from configuration at once, and from the providers' own lists in the background: never at import, never on the
path of a request that names a known model. A provider whose list cannot be had keeps the list it gave last.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote

from msgspec.structs import replace

from posthouse.core.errors import ConfigError, NotFound, PosthouseError, UpstreamFailure
from posthouse.core.requests import OPERATIONS, Operation
from posthouse.providers.discovery import MAX_MODELS, MAX_PAGES, models_of, next_page
from posthouse.providers.failures import failure_of
from posthouse.providers.model import Deployment, ProviderAccount
from posthouse.providers.prepare import Prepared, models_request, prepare, wires_of
from posthouse.routing.model import Candidate, Listed, ModelName, ModelRoute, Offer, Strategy

logger = logging.getLogger("posthouse.routing")

_LIST_LIMIT: Final = 8 << 20
_LIST_SECONDS: Final = 10.0
_FIRST_LIST_SECONDS: Final = 5.0
_PLAIN: Final = "/:@._-+~ !#$&'()*,;=?[]"


class Catalog:
    """`created` is what `/v1/models` gives as every model's time: the providers' own are not comparable."""

    def __init__(self, offers: Sequence[Offer], routes: Sequence[ModelRoute], created: int) -> None:
        self._offers: tuple[Offer, ...] = ()
        self._routes: tuple[ModelRoute, ...] = ()
        self._sealing = False
        self._created = created
        self._found: dict[str, tuple[ModelName, ...]] = {}
        self.problems: dict[str, str] = {}  # account -> why its list could not be had
        self._models: dict[str, tuple[Candidate, ...]] = {}
        self._below: dict[str, tuple[Candidate, ...]] = {}
        self._listed: tuple[Listed, ...] = ()
        self._strategies: dict[str, Strategy] = {}
        self._first = asyncio.Event()
        self.replace(offers, routes)

    def replace(self, offers: Sequence[Offer], routes: Sequence[ModelRoute]) -> None:
        """Other providers and routes, at once and for everybody; requests under way keep the candidates that they have.
        What a provider has listed is kept where it is the same one at the same address; call `refresh` for the rest."""
        before = {offer.account.name: offer.account for offer in self._offers}
        same = {offer.account.name for offer in offers if _same_address(before.get(offer.account.name), offer.account)}
        self._offers = tuple(offers)
        self._routes = tuple(routes)
        # Whether a request may hold state that was sealed here: only what is translated is sealed, and may still come
        # when nothing is translated any more.
        self._sealing = self._sealing or any(wires_of(offer.account) != ("chat.completions",) for offer in self._offers)
        self._found = {name: found for name, found in self._found.items() if name in same}
        self.problems = {name: problem for name, problem in self.problems.items() if name in same}
        if self._unasked():
            self._first.clear()
        else:
            self._first.set()
        self._build()

    def candidates(self, model: str) -> tuple[Candidate, ...]:
        """By rank, fallbacks behind all others. Empty where the model is unknown."""
        return self._models.get(model, ())

    def below(self, account: str) -> tuple[Candidate, ...]:
        """An account whose whole interface is open, once for each credential; empty where there is none. These
        candidates are of no model: their deployment is the account."""
        return self._below.get(account, ())

    async def resolve(self, model: str) -> tuple[Candidate, ...]:
        """As `candidates`; waits for the first lists to come where the model is not known yet. Raises NotFound."""
        found = self._models.get(model)
        if found is not None:
            return found
        if not self._first.is_set():
            await self.asked_once(_FIRST_LIST_SECONDS)
            found = self._models.get(model)
            if found is not None:
                return found
        raise self.unknown(model)

    async def asked_once(self, seconds: float) -> None:
        """Returns once every provider without a configured list has been asked for its own, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._first.wait(), seconds)

    def unknown(self, model: str) -> NotFound:
        hint = "GET /v1/models lists what there is."
        if self.problems:
            hint += f" The model list of {', '.join(sorted(self.problems))} could not be read."
        return NotFound(f"The model {model[:200]!r} does not exist. {hint}", param="model", code="model_not_found")

    def strategy(self, model: str) -> Strategy:
        """How the candidates of this name are put in order."""
        return self._strategies.get(model, "priority")

    def listed(self) -> tuple[Listed, ...]:
        return self._listed

    def deployments(self) -> list[Candidate]:
        """Every candidate once."""
        unique = {c.deployment.id: c for candidates in self._models.values() for c in candidates}
        return [unique[name] for name in sorted(unique)]

    def places(self) -> frozenset[str]:
        """The ids of all deployments, and of the accounts whose interface is open."""
        return frozenset({*(one.deployment.id for one in self.deployments()), *self._below})

    @property
    def offers(self) -> tuple[Offer, ...]:
        return self._offers

    async def refresh(self, *, unasked: bool = False) -> None:
        """Asks every provider without a configured list for its own, or only those that have given none yet. Never
        raises for what a provider does."""
        asked = self._unasked() if unasked else [offer for offer in self._offers if offer.models is None]
        if asked:
            await asyncio.gather(*(self._ask(offer) for offer in asked))
            self._build()
        self._first.set()

    def _unasked(self) -> list[Offer]:
        return [one for one in self._offers if one.models is None and one.account.name not in self._found]

    async def _ask(self, offer: Offer) -> None:
        name = offer.account.name
        try:
            found = tuple(ModelName(model, model) for model in await _any_list(offer))
        except PosthouseError as error:
            if self._has(offer):
                self.problems[name] = error.message
                logger.warning("no model list from %s: %s", name, error.message)
            return
        if self._has(offer):
            self._found[name] = found
            self.problems.pop(name, None)

    def _has(self, offer: Offer) -> bool:
        """Not any more, where others have taken its place while it was asked."""
        return any(one is offer for one in self._offers)

    def _build(self) -> None:
        models: dict[str, list[Candidate]] = {}
        for offer in self._offers:
            names = offer.models if offer.models is not None else self._found.get(offer.account.name, ())
            for name in names:
                try:
                    candidates = candidates_of(offer, name, sealing=self._sealing)
                except ConfigError as error:
                    logger.error("%s/%s is left out: %s", offer.account.name, name.name, error.message)
                    continue
                models.setdefault(name.name, []).extend(candidates)
                models.setdefault(f"{offer.account.name}/{name.name}", []).extend(candidates)
        listed = sorted({c.deployment.model for candidates in models.values() for c in candidates})
        owners = {name: models[name][0].deployment.account.name for name in listed}
        behind = {route.name: list(_behind(route, models)) for route in self._routes}  # routes lead to models only
        models.update(behind)
        owners.update(dict.fromkeys(behind, "posthouse"))
        # One assignment each: a request under way sees the old catalog or the new one, never half of both.
        self._models = {name: tuple(sorted(found, key=_order)) for name, found in models.items() if found}
        self._listed = tuple(Listed(name, owners[name], self._created) for name in sorted(owners) if models.get(name))
        self._below = {one.account.name: tuple(_accounts_of(one)) for one in self._offers if one.account.passthrough}
        self._strategies = {route.name: route.strategy for route in self._routes}


async def _any_list(offer: Offer) -> list[str]:
    """As `models_at`, with the first credential to which the list is given. Raises what the last one was told."""
    *first, last = offer.each()
    for one in first:
        with contextlib.suppress(UpstreamFailure):
            return await models_at(one)
    return await models_at(last)


async def models_at(offer: Offer) -> list[str]:
    """The names that a provider's own list has, all its pages. Raises UpstreamFailure, or NotFound where it keeps no
    list."""
    deadline = asyncio.get_running_loop().time() + _LIST_SECONDS
    names: dict[str, None] = {}
    page = ""
    for _ in range(MAX_PAGES):
        body = await _page_of_models(offer, deadline, page)
        names.update(dict.fromkeys(models_of(body)))
        following = next_page(body)
        if following in (None, page) or len(names) >= MAX_MODELS:
            break
        page = following
    return list(names)[:MAX_MODELS]


async def _page_of_models(offer: Offer, deadline: float, page: str) -> bytes:
    request = models_request(offer.account, deadline, page)
    if request is None:
        raise NotFound(f"The provider {offer.account.name!r} keeps no list of models: name them in the configuration.")
    response = await offer.transport.send(request)
    try:
        body = await response.read(_LIST_LIMIT)
    finally:
        response.close()
    if response.status != 200:
        raise failure_of(offer.account.row, response.status, response.headers, body, offer.account.credential)
    return body


def candidates_of(offer: Offer, name: ModelName, *, sealing: bool = True) -> list[Candidate]:
    """One for each credential. ConfigError where the account's settings cannot stand."""
    made = [_candidate_of(one, name, sealing=sealing) for one in offer.each()]
    if not offer.others:
        return made
    return [replace(one, credential=number) for number, one in enumerate(made, 1)]


def _accounts_of(offer: Offer) -> Iterable[Candidate]:
    for number, one in enumerate(offer.each(), 1):
        name = one.account.name
        deployment = Deployment(id=name, account=one.account, model="", upstream_model="")
        head = b"x-posthouse-deployment: %b\r\n" % name.encode()
        yield Candidate(deployment, offer.transport, {}, (0, 0), 1.0, head, credential=number if offer.others else 0)


def _candidate_of(offer: Offer, name: ModelName, *, sealing: bool) -> Candidate:
    account = offer.account
    deployment = Deployment(
        id=f"{account.name}/{name.name}",
        account=account,
        model=name.name,
        upstream_model=name.upstream,
        priority=offer.priority,
        weight=max(1, round(offer.weight)),
    )
    prepared: dict[Operation, Prepared] = {}
    for operation in OPERATIONS:
        try:
            prepared[operation] = prepare(deployment, operation, sealing=sealing)
        except NotFound:
            continue  # this provider does not offer the operation
    # Models are named by providers: what no header may hold is percent-encoded.
    head = b"x-posthouse-deployment: %b\r\n" % quote(deployment.id, safe=_PLAIN).encode()
    return Candidate(deployment, offer.transport, prepared, (-offer.priority, 0), offer.weight, head)


def _same_address(old: ProviderAccount | None, new: ProviderAccount) -> bool:
    return old is not None and old.row is new.row and old.base_url == new.base_url


def _behind(route: ModelRoute, models: dict[str, list[Candidate]]) -> Iterable[Candidate]:
    """The candidates of a route; none where its own models have none, since a fallback falls back from something."""
    halts = frozenset(kind for kind, behind in route.fallbacks.items() if not behind)
    own = list(_in_order(route.models, models))
    yield from (replace(candidate, halts=halts) for candidate in own)
    for kind, names in route.fallbacks.items() if own else ():
        yield from (replace(candidate, after=kind, halts=halts) for candidate in _in_order(names, models))


def _in_order(names: Iterable[str], models: dict[str, list[Candidate]]) -> Iterable[Candidate]:
    """Each once, by its first place: a route may name a model, and a deployment of it too."""
    seen: set[tuple[str, int]] = set()
    for place, model in enumerate(names):
        for candidate in models.get(model, ()):
            if candidate.key not in seen:
                seen.add(candidate.key)
                yield replace(candidate, rank=(place, candidate.rank[0]))


def _order(candidate: Candidate) -> tuple[bool, tuple[int, int]]:
    return candidate.after is not None, candidate.rank
