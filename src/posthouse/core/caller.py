"""Who is asking: what accounts knows of a key, in the form that limits, billing and routing read."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Raw, Struct

Period = Literal["total", "day", "week", "month"]
SubjectKind = Literal["key", "account", "model", "address"]
Unpriced = Literal["allow", "refuse"]
Role = Literal["member", "operator", "billing", "admin"]


class Limits(Struct, frozen=True, gc=False):
    """Limits of one subject; None is no limit.

    r, t, i: requests, tokens, images; pm, ph, pd: in any minute, in any hour, on a calendar day. `concurrency`:
    requests at once. `request_tokens`, `request_nano`: the most that one request may use, in tokens (its input and the
    most output asked for) and in nano-units of `request_currency`.
    """

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    rph: int | None = None
    rpd: int | None = None
    tpd: int | None = None
    ipm: int | None = None
    ipd: int | None = None
    request_tokens: int | None = None
    request_nano: int | None = None
    request_currency: str | None = None

    @property
    def daily(self) -> bool:
        """Whether anything is counted by the calendar day."""
        return self.rpd is not None or self.tpd is not None or self.ipd is not None

    @property
    def rated(self) -> bool:
        """Whether there is anything to count."""
        return not (
            self.rpm is None
            and self.tpm is None
            and self.concurrency is None
            and self.rph is None
            and self.rpd is None
            and self.tpd is None
            and self.ipm is None
            and self.ipd is None
            and self.request_tokens is None
        )


class Budget(Struct, frozen=True, gc=False):
    """The most a subject may spend in a period of its time zone's calendar (weeks begin on Monday). `nano` of
    `currency`.

    `model`: only what is asked of this model counts; None: everything. `prepaid`: `nano` is what has been paid in, all
    of it; the period is then `total`.
    """

    nano: int
    currency: str
    period: Period
    zone: str = "UTC"
    model: str | None = None
    prepaid: bool = False

    @property
    def plain(self) -> bool:
        """Whether what is kept by subject, currency and UTC day is enough to tell what is left of it."""
        return self.model is None and (self.zone == "UTC" or self.period == "total")

    def applies(self, model: str) -> bool:
        return self.model is None or self.model == model


class Subject(Struct, frozen=True):
    """One thing that limits and budgets hang on. `id` is unique over all kinds. `models`: what hangs on single models
    of it, by their names."""

    id: str
    kind: SubjectKind
    name: str
    limits: Limits
    budgets: tuple[Budget, ...] = ()
    models: Mapping[str, "Subject"] = {}


class Wishes(Struct, frozen=True):
    """What a key wants of every request of its own.

    `defaults`: top-level members, as JSON, that are set where the client did not send them. `aliases`: the model that
    is meant by another name. `strict`: a request of which something cannot be said to the provider is refused.
    """

    defaults: Mapping[str, Raw] = {}
    aliases: Mapping[str, str] = {}
    strict: bool = False


class OwnCredential(Struct, frozen=True):
    """That a key's holder may bring a credential of a provider.

    `accounts`: the names of the provider accounts in whose place it may stand. `fee_ppm`: what is charged for such a
    request, in millionths of the price; 0 is nothing.
    """

    accounts: frozenset[str]
    fee_ppm: int = 0


class Caller(Struct, frozen=True):
    """An authenticated key. `models` None means all; `expires_at` in seconds since the epoch; `wishes` None where it
    has none, as most. `admin`: it may do everything on the control plane; `role`: what the role may, None: nothing.

    `subjects` holds the key first, then its account, the account above that, and so on up to `root_id`: a request
    passes every one of them or none. `by_model`: one of them has limits for single models.
    """

    key_id: str
    key_name: str
    account_id: str
    subjects: tuple[Subject, ...]
    models: frozenset[str] | None = None
    expires_at: float | None = None
    admin: bool = False
    wishes: Wishes | None = None
    root_id: str = ""
    role: Role | None = None
    by_model: bool = False
    apart: bool = False
    scopes: frozenset[str] | None = None
    unpriced: Unpriced | None = None
    own: OwnCredential | None = None

    @property
    def has_budget(self) -> bool:
        """Whether its spending is bounded: by a budget, or request by request."""
        return any(subject.budgets or subject.limits.request_nano is not None for subject in self.subjects)

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models
