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

from posthouse.core.errors import ConfigError, NotFound, PosthouseError
from posthouse.core.requests import OPERATIONS, Operation
from posthouse.providers.discovery import models_of
from posthouse.providers.failures import failure_of
from posthouse.providers.model import Deployment
from posthouse.providers.prepare import Prepared, models_request, prepare
from posthouse.routing.model import Candidate, Listed, ModelName, ModelRoute, Offer

logger = logging.getLogger("posthouse.routing")

_LIST_LIMIT: Final = 8 << 20
_LIST_SECONDS: Final = 10.0
_FIRST_LIST_SECONDS: Final = 5.0
_PLAIN: Final = "/:@._-+~ !#$&'()*,;=?[]"


class Catalog:
    """`created` is what `/v1/models` gives as every model's time: the providers' own are not comparable."""

    def __init__(self, offers: Sequence[Offer], routes: Sequence[ModelRoute], created: int) -> None:
        self._offers = tuple(offers)
        self._routes = tuple(routes)
        self._created = created
        self._found: dict[str, tuple[ModelName, ...]] = {}
        self.problems: dict[str, str] = {}  # account -> why its list could not be had
        self._models: dict[str, tuple[Candidate, ...]] = {}
        self._listed: tuple[Listed, ...] = ()
        self._weighted: frozenset[str] = frozenset()
        self._first = asyncio.Event()
        if all(offer.models is not None for offer in self._offers):
            self._first.set()
        self._build()

    def candidates(self, model: str) -> tuple[Candidate, ...]:
        """By rank. Empty where the model is unknown."""
        return self._models.get(model, ())

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

    def weighted(self, model: str) -> bool:
        """Whether the candidates of this name are drawn by weight over all ranks (a route of strategy `weighted`)."""
        return model in self._weighted

    def listed(self) -> tuple[Listed, ...]:
        return self._listed

    def deployments(self) -> list[Candidate]:
        """Every candidate once."""
        unique = {c.deployment.id: c for candidates in self._models.values() for c in candidates}
        return [unique[name] for name in sorted(unique)]

    @property
    def offers(self) -> tuple[Offer, ...]:
        return self._offers

    async def refresh(self) -> None:
        """Asks every provider without a configured list for its own. Never raises for what a provider does."""
        asked = [offer for offer in self._offers if offer.models is None]
        await asyncio.gather(*(self._ask(offer) for offer in asked))
        self._build()
        self._first.set()

    async def _ask(self, offer: Offer) -> None:
        name = offer.account.name
        try:
            self._found[name] = tuple(ModelName(model, model) for model in await models_at(offer))
            self.problems.pop(name, None)
        except PosthouseError as error:
            self.problems[name] = error.message
            logger.warning("no model list from %s: %s", name, error.message)

    def _build(self) -> None:
        models: dict[str, list[Candidate]] = {}
        for offer in self._offers:
            names = offer.models if offer.models is not None else self._found.get(offer.account.name, ())
            for name in names:
                candidate = candidate_of(offer, name)
                if candidate is not None:
                    models.setdefault(name.name, []).append(candidate)
                    models.setdefault(candidate.deployment.id, []).append(candidate)
        listed = sorted({c.deployment.model for candidates in models.values() for c in candidates})
        owners = {name: models[name][0].deployment.account.name for name in listed}
        weighted = set()
        for route in self._routes:
            models[route.name] = list(_behind(route, models))
            owners[route.name] = "posthouse"
            if route.strategy == "weighted":
                weighted.add(route.name)
        # One assignment each: a request under way sees the old catalog or the new one, never half of both.
        self._models = {name: tuple(sorted(found, key=lambda c: c.rank)) for name, found in models.items() if found}
        self._listed = tuple(Listed(name, owners[name], self._created) for name in sorted(owners) if models.get(name))
        self._weighted = frozenset(weighted)


async def models_at(offer: Offer) -> list[str]:
    """The names that a provider's own list has. Raises UpstreamFailure, or NotFound where it keeps no list."""
    request = models_request(offer.account, asyncio.get_running_loop().time() + _LIST_SECONDS)
    if request is None:
        raise NotFound(f"The provider {offer.account.name!r} keeps no list of models: name them in the configuration.")
    response = await offer.transport.send(request)
    try:
        body = await response.read(_LIST_LIMIT)
    finally:
        response.close()
    if response.status != 200:
        raise failure_of(offer.account.row, response.status, response.headers, body, offer.account.credential)
    return models_of(body)


def candidate_of(offer: Offer, name: ModelName) -> Candidate | None:
    """None, with a line in the log, where the account's settings cannot stand."""
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
            prepared[operation] = prepare(deployment, operation)
        except NotFound:
            continue  # this provider does not offer the operation
        except ConfigError as error:
            logger.error("%s is left out: %s", deployment.id, error.message)
            return None
    # Models are named by providers: what no header may hold is percent-encoded.
    head = b"x-posthouse-deployment: %b\r\n" % quote(deployment.id, safe=_PLAIN).encode()
    return Candidate(deployment, offer.transport, prepared, (-offer.priority, 0), offer.weight, head)


def _behind(route: ModelRoute, models: dict[str, list[Candidate]]) -> Iterable[Candidate]:
    for place, model in enumerate(route.models):
        for candidate in models.get(model, ()):
            priority = candidate.rank[0]
            yield replace(candidate, rank=(place, priority))
