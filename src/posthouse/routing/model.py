"""The words of routing, frozen.

A **candidate** is a deployment with all that an attempt needs, made once. A **plan** is candidates in the order in
which they are to be tried. A **trace** is what happened, kept with the request's record.
"""

from typing import Literal

from msgspec import Struct

from posthouse.core.errors import FailureKind
from posthouse.core.requests import Operation
from posthouse.providers.model import Deployment, ProviderAccount
from posthouse.providers.prepare import Prepared
from posthouse.upstream.model import Transport

Strategy = Literal["priority", "weighted"]


class ModelName(Struct, frozen=True):
    """One model of an account: the public name and the provider's own."""

    name: str
    upstream: str


class Offer(Struct, frozen=True, eq=False):
    """An account as configured. `models` None: whatever its own list says. `priority`: higher first."""

    account: ProviderAccount
    models: tuple[ModelName, ...] | None
    transport: Transport
    priority: int = 0
    weight: float = 1.0


class ModelRoute(Struct, frozen=True):
    """A name of the operator's own in front of several models."""

    name: str
    models: tuple[str, ...]
    strategy: Strategy = "priority"


class Candidate(Struct, frozen=True, eq=False):
    """`rank` sorts: lower first. Candidates of one rank share the load by `weight`. `head` is the response header line
    that names the deployment."""

    deployment: Deployment
    transport: Transport
    prepared: dict[Operation, Prepared]
    rank: tuple[int, int]
    weight: float
    head: bytes


class Listed(Struct, frozen=True):
    """A model as `/v1/models` shows it. `created` in seconds since the epoch."""

    id: str
    owned_by: str
    created: int


class AttemptRecord(Struct, frozen=True, gc=False, omit_defaults=True):
    """One attempt. `at_ms` counts from the beginning of the request; `kind` is None for the one that answered."""

    deployment: str
    at_ms: int
    duration_ms: int
    kind: FailureKind | None = None
    status: int | None = None
    message: str | None = None


class RoutingOptions(Struct, frozen=True):
    """`deadline` bounds everything from the first attempt on; seconds. Pauses double from `backoff` to
    `backoff_max`."""

    max_attempts: int = 4
    deadline: float = 600.0
    backoff: float = 0.25
    backoff_max: float = 8.0
    max_retry_after: float = 10.0  # a provider's longer wish is passed on to the caller instead of slept here
    cooldown: float = 5.0
    cooldown_max: float = 120.0
    failures_to_cool: int = 3
    refresh: float = 300.0
    response_limit: int = 64 << 20
