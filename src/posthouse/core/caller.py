"""Who is asking: what accounts knows of a key, in the form that limits, billing and routing read."""

from typing import Literal

from msgspec import Struct

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


class Caller(Struct, frozen=True):
    """An authenticated key. `models` None means all; `expires_at` in seconds since the epoch.

    `subjects` holds the key first, then its account: a request passes every one of them or none.
    """

    key_id: str
    key_name: str
    account_id: str
    subjects: tuple[Subject, ...]
    models: frozenset[str] | None = None
    expires_at: float | None = None
    admin: bool = False

    @property
    def has_budget(self) -> bool:
        return any(subject.budget is not None for subject in self.subjects)

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models
