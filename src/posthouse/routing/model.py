"""The words of routing, frozen.

A **candidate** is a deployment with all that an attempt needs, made once. A **plan** is candidates in the order in
which they are to be tried. A **trace** is what happened, kept with the request's record.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct, structs

from posthouse.core.errors import FailureKind
from posthouse.core.requests import Operation
from posthouse.providers.model import Deployment, ProviderAccount
from posthouse.providers.prepare import Prepared
from posthouse.routing.decision import Decision
from posthouse.upstream.model import Transport

Strategy = Literal["priority", "weighted", "latency", "cheapest"]


class ModelName(Struct, frozen=True):
    """One model of an account: the public name and the provider's own."""

    name: str
    upstream: str


class Offer(Struct, frozen=True, eq=False):
    """An account as configured. `models` None: whatever its own list says. `priority`: higher first. `others` are the
    same account with its other credentials."""

    account: ProviderAccount
    models: tuple[ModelName, ...] | None
    transport: Transport
    priority: int = 0
    weight: float = 1.0
    others: tuple[ProviderAccount, ...] = ()

    def each(self) -> "tuple[Offer, ...]":
        """An offer of its own for each credential."""
        if not self.others:
            return (self,)
        return tuple(structs.replace(self, account=one, others=()) for one in (self.account, *self.others))


class ModelRoute(Struct, frozen=True):
    """A name of the operator's own in front of several models.

    What is tried first: `priority` goes by the order of the models, `weighted` draws by weight over all of them,
    `latency` takes who begins to answer soonest, `cheapest` whom this request costs least. `fallbacks`: the models that
    are tried besides, once an attempt has failed so; an empty tuple lets such a failure be told at once.
    """

    name: str
    models: tuple[str, ...]
    strategy: Strategy = "priority"
    fallbacks: Mapping[FailureKind, tuple[str, ...]] = {}


class Candidate(Struct, frozen=True, eq=False):
    """`rank` sorts: lower first. Candidates of one rank share the load by `weight`. `head` is the response header line
    that names the deployment.

    `credential` counts from 1 where the account has several: then there is a candidate of the same deployment for each,
    of the same rank and weight. `after`: it is a fallback, tried only once another attempt has failed so. `halts`:
    where it fails so itself, nothing else is tried.
    """

    deployment: Deployment
    transport: Transport
    prepared: dict[Operation, Prepared]
    rank: tuple[int, int]
    weight: float
    head: bytes
    after: FailureKind | None = None
    halts: frozenset[FailureKind] = frozenset()
    credential: int = 0

    @property
    def key(self) -> tuple[str, int]:
        """Deployment and credential: no two candidates of a plan that do the same have different ones."""
        return self.deployment.id, self.credential


def can_serve(plan: Sequence[Candidate]) -> bool:
    """Whether a plan has more than fallbacks, which stand behind all others."""
    return bool(plan) and plan[0].after is None


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
    credential: int = 0  # counts from 1 where the account has several


class Trace:
    """What became of one request's attempts; bounded by `max_attempts`.

    `began` is the loop's time; `name` the request's id; `spent` the seconds spent on providers until one had begun to
    answer; `asking` whether a provider has been asked and has not failed: then it may charge for the prompt, whatever
    becomes of the answer. `measured` where the route goes by latency. `decision` where there was something to decide.
    """

    __slots__ = ("asking", "attempts", "began", "candidate", "decision", "failed", "measured", "name", "spent")

    def __init__(self, began: float, name: str = "") -> None:
        self.began = began
        self.name = name
        self.attempts = 0
        self.spent = 0.0
        self.asking = False
        self.measured = False
        self.decision: Decision | None = None
        self.failed: list[AttemptRecord] = []
        self.candidate: Candidate | None = None  # the one being tried, or the one that answered


class RoutingOptions(Struct, frozen=True):
    """`deadline` bounds everything from the first attempt on, but for the time that a form takes to be sent, which it
    bounds by itself; seconds. Pauses double from `backoff` to
    `backoff_max`."""

    max_attempts: int = 4
    deadline: float = 600.0
    backoff: float = 0.25
    backoff_max: float = 8.0
    max_retry_after: float = 10.0  # a provider's longer wish is passed on to the caller instead of slept here
    cooldown: float = 5.0
    cooldown_max: float = 120.0
    failures_to_cool: int = 3
    fade: float = 60.0  # the time constant with which measured latencies are forgotten
