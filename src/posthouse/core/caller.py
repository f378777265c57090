"""Who is asking: what accounts knows of a key, in the form that limits, billing and routing read."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Raw, Struct

Period = Literal["total", "day", "week", "month"]


class Limits(Struct, frozen=True, gc=False):
    """Rates of one subject; None is no limit. rpm and tpm per minute, concurrency in requests at once."""

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


class Budget(Struct, frozen=True, gc=False):
    """The most a subject may spend in a period (UTC calendar; weeks begin on Monday). `nano` of `currency`."""

    nano: int
    currency: str
    period: Period


class Subject(Struct, frozen=True):
    """One thing that limits and budgets hang on: a key or an account. `id` is unique over both kinds."""

    id: str
    kind: Literal["key", "account"]
    name: str
    limits: Limits
    budget: Budget | None


class Wishes(Struct, frozen=True):
    """What a key wants of every request of its own.

    `defaults`: top-level members, as JSON, that are set where the client did not send them. `aliases`: the model that
    is meant by another name. `strict`: a request of which something cannot be said to the provider is refused.
    """

    defaults: Mapping[str, Raw] = {}
    aliases: Mapping[str, str] = {}
    strict: bool = False


class Caller(Struct, frozen=True):
    """An authenticated key. `models` None means all; `expires_at` in seconds since the epoch; `wishes` None where it
    has none, as most.

    `subjects` holds the key first, then its account: a request passes every one of them or none.
    """

    key_id: str
    key_name: str
    account_id: str
    subjects: tuple[Subject, ...]
    models: frozenset[str] | None = None
    expires_at: float | None = None
    admin: bool = False
    wishes: Wishes | None = None

    @property
    def has_budget(self) -> bool:
        return any(subject.budget is not None for subject in self.subjects)

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models
