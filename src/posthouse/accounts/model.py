"""Keys and accounts as people manage them. Instants are seconds since the epoch; None is not set."""

from typing import Any, Final, Generic, Literal, TypeVar

from msgspec import UNSET, Struct, UnsetType

from posthouse.core.caller import Budget, Limits

DEFAULT_ACCOUNT: Final = "default"  # the id and first name of the account that always exists
KEY_PREFIX: Final = "sk-ph-"
PAGE_LIMIT: Final = 1000

T = TypeVar("T")
NO_LIMITS: Final = Limits()


class Account(Struct, frozen=True):
    """An owner of keys. Its limits and budget hold for all of its keys together."""

    id: str
    name: str
    limits: Limits
    budget: Budget | None
    created_at: float
    disabled_at: float | None


class Key(Struct, frozen=True):
    """A credential that we issued; only its holder knows the secret. `hint` is its end. `models` None means all.

    `defaults`: members that are set where a request lacks them. `aliases`: other names for models. `strict`: what
    cannot be passed on is refused. (core.caller.Wishes)
    """

    id: str
    name: str
    hint: str
    account_id: str
    account_name: str
    models: tuple[str, ...] | None
    limits: Limits
    budget: Budget | None
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    defaults: dict[str, Any] | None = None
    aliases: dict[str, str] | None = None
    strict: bool = False

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
    budget: Budget | None = None
    expires_at: float | None = None
    defaults: dict[str, Any] | None = None
    aliases: dict[str, str] | None = None
    strict: bool = False


class NewAccount(Struct, frozen=True, kw_only=True):
    name: str
    limits: Limits = NO_LIMITS
    budget: Budget | None = None


class Changes(Struct, frozen=True, kw_only=True):
    """What to change of a key or an account: UNSET stays as it is, None takes it away."""

    name: str | UnsetType = UNSET
    rpm: int | UnsetType | None = UNSET
    tpm: int | UnsetType | None = UNSET
    concurrency: int | UnsetType | None = UNSET
    budget: Budget | UnsetType | None = UNSET


class KeyChanges(Changes, frozen=True, kw_only=True):
    models: tuple[str, ...] | UnsetType | None = UNSET
    expires_at: float | UnsetType | None = UNSET
    defaults: dict[str, Any] | UnsetType | None = UNSET
    aliases: dict[str, str] | UnsetType | None = UNSET
    strict: bool | UnsetType = UNSET


class AccountChanges(Changes, frozen=True, kw_only=True):
    """`disabled` True stops every key of the account at once; False lets them work again."""

    disabled: bool | UnsetType = UNSET


class Page(Struct, frozen=True):
    """Which part of a listing: at most `limit` items, older than the one whose id is `after`."""

    limit: int = 100
    after: str | None = None


class Listing(Struct, Generic[T], frozen=True):
    """One page, the newest first. `next` is the `after` of the page behind it, None at the end."""

    items: tuple[T, ...]
    next: str | None
