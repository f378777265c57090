"""Keys and accounts as people manage them. Instants are seconds since the epoch; None is not set."""

from collections.abc import Mapping
from typing import Any, Final, Generic, Literal, TypeVar, get_args

from msgspec import UNSET, Struct, UnsetType

from posthouse.core.caller import Budget, Limits, OwnCredential, Role, Unpriced

DEFAULT_ACCOUNT: Final = "default"  # the id and first name of the account that always exists
KEY_PREFIX: Final = "sk-ph-"
PAGE_LIMIT: Final = 1000

MAX_DEPTH: Final = 16  # accounts from a root down to any other, both counted

T = TypeVar("T")
NO_LIMITS: Final = Limits()
AccountKind = Literal["person", "team", "app"]
ACCOUNT_KINDS: Final[tuple[AccountKind, ...]] = get_args(AccountKind)
ROLES: Final[tuple[Role, ...]] = get_args(Role)


class Account(Struct, frozen=True):
    """An owner of keys and of other accounts. Its limits and budget hold for all that is below it together; its models
    and scopes (core.requests.SCOPES) are the only ones for it (None: all). `unpriced`: what it says of models without a
    price. `parent_id` None is a root. `model_limits`: limits for single models."""

    id: str
    name: str
    limits: Limits
    budgets: tuple[Budget, ...]
    created_at: float
    disabled_at: float | None
    parent_id: str | None = None
    kind: AccountKind = "team"
    models: tuple[str, ...] | None = None
    model_limits: Mapping[str, Limits] = {}
    scopes: tuple[str, ...] | None = None
    unpriced: Unpriced | None = None


class Place(Struct, frozen=True):
    """Where an account stands: `path` from its root down to itself, as (id, name), and how many are right below it."""

    path: tuple[tuple[str, str], ...]
    children: int


class Key(Struct, frozen=True):
    """A credential that we issued; only its holder knows the secret. `hint` is its end. `models` None means all.

    `defaults`: members that are set where a request lacks them. `aliases`: other names for models. `strict`: what
    cannot be passed on is refused. (core.caller.Wishes) `role`: what it may do on the control plane; None: nothing.
    `scopes`, `unpriced`: as of an account. `own`: whose place a credential of its holder's may take; None: nobody's.
    """

    id: str
    name: str
    hint: str
    account_id: str
    account_name: str
    models: tuple[str, ...] | None
    limits: Limits
    budgets: tuple[Budget, ...]
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    defaults: dict[str, Any] | None = None
    aliases: dict[str, str] | None = None
    strict: bool = False
    role: Role | None = None
    model_limits: Mapping[str, Limits] = {}
    scopes: tuple[str, ...] | None = None
    unpriced: Unpriced | None = None
    own: OwnCredential | None = None

    def status(self, now: float) -> Literal["active", "expired", "revoked"]:
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "active"


class CreatedKey(Struct, frozen=True):
    """A new key with its secret, which exists nowhere else."""

    key: Key
    secret: str

    def __repr__(self) -> str:
        return f"CreatedKey(key={self.key!r}, secret=***)"


class NewKey(Struct, frozen=True, kw_only=True):
    """What to make. `account` is an id or a name."""

    name: str
    account: str = DEFAULT_ACCOUNT
    models: tuple[str, ...] | None = None
    limits: Limits = NO_LIMITS
    budgets: tuple[Budget, ...] = ()
    expires_at: float | None = None
    defaults: dict[str, Any] | None = None
    aliases: dict[str, str] | None = None
    strict: bool = False
    role: Role | None = None
    model_limits: Mapping[str, Limits] = {}
    scopes: tuple[str, ...] | None = None
    unpriced: Unpriced | None = None
    own: OwnCredential | None = None


class NewAccount(Struct, frozen=True, kw_only=True):
    """`parent` is an id or a name; None makes a root."""

    name: str
    limits: Limits = NO_LIMITS
    budgets: tuple[Budget, ...] = ()
    parent: str | None = None
    kind: AccountKind = "team"
    models: tuple[str, ...] | None = None
    model_limits: Mapping[str, Limits] = {}
    scopes: tuple[str, ...] | None = None
    unpriced: Unpriced | None = None


class Changes(Struct, frozen=True, kw_only=True):
    """What to change of a key or an account: UNSET stays as it is, None takes it away."""

    name: str | UnsetType = UNSET
    rpm: int | UnsetType | None = UNSET
    tpm: int | UnsetType | None = UNSET
    concurrency: int | UnsetType | None = UNSET
    rph: int | UnsetType | None = UNSET
    rpd: int | UnsetType | None = UNSET
    tpd: int | UnsetType | None = UNSET
    ipm: int | UnsetType | None = UNSET
    ipd: int | UnsetType | None = UNSET
    request_tokens: int | UnsetType | None = UNSET
    request_nano: int | UnsetType | None = UNSET
    request_currency: str | UnsetType | None = UNSET
    budgets: tuple[Budget, ...] | UnsetType = UNSET
    models: tuple[str, ...] | UnsetType | None = UNSET
    model_limits: Mapping[str, Limits] | UnsetType = UNSET
    scopes: tuple[str, ...] | UnsetType | None = UNSET
    unpriced: Unpriced | UnsetType | None = UNSET


class KeyChanges(Changes, frozen=True, kw_only=True):
    expires_at: float | UnsetType | None = UNSET
    defaults: dict[str, Any] | UnsetType | None = UNSET
    aliases: dict[str, str] | UnsetType | None = UNSET
    strict: bool | UnsetType = UNSET
    role: Role | UnsetType | None = UNSET
    own: OwnCredential | UnsetType | None = UNSET


class AccountChanges(Changes, frozen=True, kw_only=True):
    """`disabled` True stops every key of the account and of all below it at once; False lets them work again. `parent`
    moves it with all below it; None makes it a root."""

    disabled: bool | UnsetType = UNSET
    parent: str | UnsetType | None = UNSET
    kind: AccountKind | UnsetType = UNSET


class Page(Struct, frozen=True):
    """Which part of a listing: at most `limit` items, older than the one whose id is `after`."""

    limit: int = 100
    after: str | None = None


class Listing(Struct, Generic[T], frozen=True):
    """One page, the newest first. `next` is the `after` of the page behind it, None at the end."""

    items: tuple[T, ...]
    next: str | None
