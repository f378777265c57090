"""Keys and accounts as JSON: what the admin API takes and gives, and what `--json` prints.

Money is a decimal string with a currency beside it. Instants are given as ISO 8601 in UTC, and taken as ISO 8601 (UTC
where no zone is said) or as seconds since the epoch. Complaints are InvalidRequest and name the field.
"""

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from posthouse.accounts.budgets import (
    BUDGET,
    BUDGETS,
    Stood,
    budgets_of,
    budgets_to_json,
    said_twice,
    short_to_json,
    stood_to_json,
)
from posthouse.accounts.limits import limits_of, limits_to_json, members_of, none_of_all
from posthouse.accounts.model import (
    ACCOUNT_KINDS,
    DEFAULT_ACCOUNT,
    ROLES,
    Account,
    AccountChanges,
    CreatedKey,
    Key,
    KeyChanges,
    NewAccount,
    NewKey,
    Place,
)
from posthouse.accounts.rights import OWN, UNPRICED, own_of, own_to_json, scopes_of
from posthouse.core.caller import Budget, Limits, Unpriced
from posthouse.core.errors import InvalidRequest

_WISHES: Final = ("defaults", "aliases", "strict")
_BOUNDS: Final = ("models", BUDGET, BUDGETS, "limits", "scopes", "unpriced")
Word = TypeVar("Word", bound=str)


def new_key_of(raw: object) -> NewKey:
    """`{"name", "account"?, "models"?, "budgets"?, "limits"?, "scopes"?, "unpriced"?, "expires_at"?, "role"?,
    "defaults"?, "aliases"?, "strict"?, "own_credential"?}`; null is as good as absent."""
    body = members_of(raw, None, ("name", "account", *_BOUNDS, "expires_at", "role", *_WISHES, OWN))
    limits, model_limits = limits_of(body.get("limits"))
    return NewKey(
        name=_text(body, "name"),
        account=_text(body, "account") if body.get("account") is not None else DEFAULT_ACCOUNT,
        models=_models(body.get("models")),
        limits=Limits(**limits),
        model_limits=model_limits or {},
        budgets=budgets_of(body),
        expires_at=instant_of(body.get("expires_at")),
        role=_one_of(body, "role", ROLES) if body.get("role") is not None else None,
        defaults=_defaults(body.get("defaults")),
        aliases=_aliases(body.get("aliases")),
        strict=_flag(body, "strict") if body.get("strict") is not None else False,
        scopes=scopes_of(body.get("scopes")),
        unpriced=_unpriced(body),
        own=own_of(body.get(OWN)),
    )


def key_changes_of(raw: object) -> KeyChanges:
    """Any of the members of a key but its account; what is absent stays, null takes away."""
    body = members_of(raw, None, ("name", *_BOUNDS, "expires_at", "role", *_WISHES, OWN))
    changes = _changes(body)
    if "role" in body:
        changes["role"] = _one_of(body, "role", ROLES) if body["role"] is not None else None
    if "expires_at" in body:
        changes["expires_at"] = instant_of(body["expires_at"])
    if "defaults" in body:
        changes["defaults"] = _defaults(body["defaults"])
    if "aliases" in body:
        changes["aliases"] = _aliases(body["aliases"])
    if "strict" in body:
        changes["strict"] = _flag(body, "strict") if body["strict"] is not None else False
    if OWN in body:
        changes["own"] = own_of(body[OWN])
    return KeyChanges(**changes)


def new_account_of(raw: object) -> NewAccount:
    """`{"name", "parent"?, "kind"?, "models"?, "budgets"?, "limits"?, "scopes"?, "unpriced"?}`; null is as good as
    absent."""
    body = members_of(raw, None, ("name", "parent", "kind", *_BOUNDS))
    limits, model_limits = limits_of(body.get("limits"))
    return NewAccount(
        name=_text(body, "name"),
        parent=_text(body, "parent") if body.get("parent") is not None else None,
        kind=_one_of(body, "kind", ACCOUNT_KINDS) if body.get("kind") is not None else "team",
        models=_models(body.get("models")),
        limits=Limits(**limits),
        model_limits=model_limits or {},
        budgets=budgets_of(body),
        scopes=scopes_of(body.get("scopes")),
        unpriced=_unpriced(body),
    )


def account_changes_of(raw: object) -> AccountChanges:
    """`{"name"?, "parent"?, "kind"?, "models"?, "budgets"?, "limits"?, "scopes"?, "unpriced"?, "disabled"?}`; what is
    absent stays, null takes away."""
    body = members_of(raw, None, ("name", "parent", "kind", *_BOUNDS, "disabled"))
    changes = _changes(body)
    if "parent" in body:
        changes["parent"] = _text(body, "parent") if body["parent"] is not None else None
    if "kind" in body:
        changes["kind"] = _one_of(body, "kind", ACCOUNT_KINDS)
    if "disabled" in body:
        changes["disabled"] = _flag(body, "disabled")
    return AccountChanges(**changes)


def key_to_json(key: Key, now: float, stood: Sequence[Stood] | None = None) -> dict[str, Any]:
    """With how its budgets stand where that is given."""
    shown = {
        "id": key.id,
        "name": key.name,
        "hint": key.hint,
        "account": key.account_id,
        "account_name": key.account_name,
        "status": key.status(now),
        "models": None if key.models is None else list(key.models),
        **_budgets_to_json(key.budgets),
        "limits": limits_to_json(key.limits, key.model_limits),
        "scopes": None if key.scopes is None else list(key.scopes),
        "unpriced": key.unpriced,
        OWN: own_to_json(key.own),
        "role": key.role,
        "defaults": key.defaults,
        "aliases": key.aliases,
        "strict": key.strict,
        "created_at": _iso(key.created_at),
        "expires_at": _iso(key.expires_at),
        "revoked_at": _iso(key.revoked_at),
    }
    return shown if stood is None else {**shown, BUDGETS: stood_to_json(stood)}


def created_to_json(created: CreatedKey, now: float) -> dict[str, Any]:
    """The key with its secret as `key`: the one time that it is shown."""
    plain = key_to_json(created.key, now)
    return {"id": plain.pop("id"), "key": created.secret, **plain}


def account_to_json(
    account: Account, place: Place | None = None, stood: Sequence[Stood] | None = None
) -> dict[str, Any]:
    """With its place in the tree, and with how its budgets stand, where that is given."""
    shown: dict[str, Any] = {
        "id": account.id,
        "name": account.name,
        "kind": account.kind,
        "parent": account.parent_id,
        "status": "active" if account.disabled_at is None else "disabled",
        "models": None if account.models is None else list(account.models),
        **_budgets_to_json(account.budgets),
        "limits": limits_to_json(account.limits, account.model_limits),
        "scopes": None if account.scopes is None else list(account.scopes),
        "unpriced": account.unpriced,
        "created_at": _iso(account.created_at),
        "disabled_at": _iso(account.disabled_at),
    }
    if place is not None:
        shown["path"] = [{"id": id, "name": name} for id, name in place.path]
        shown["children"] = place.children
    return shown if stood is None else {**shown, BUDGETS: stood_to_json(stood)}


def instant_of(raw: object) -> float | None:
    """Seconds since the epoch of an `expires_at` as written."""
    complaint = "`expires_at` must be an ISO 8601 time such as 2027-01-31T00:00:00Z, or seconds since the epoch."
    if raw is None:
        return None
    # `isfinite` makes a float of a whole number first, which the largest ones overflow.
    if (isinstance(raw, int) and not isinstance(raw, bool)) or (isinstance(raw, float) and math.isfinite(raw)):
        return float(min(max(raw, -1), 10**15))  # far outside of what the rules allow, and inside of what a float holds
    if isinstance(raw, str) and len(raw) <= 40:
        try:
            moment = datetime.datetime.fromisoformat(raw)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=datetime.UTC)
            return moment.timestamp()
        except (ValueError, OverflowError):
            pass
    raise InvalidRequest(complaint, param="expires_at")


def _changes(body: Mapping[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if "name" in body:
        changes["name"] = _text(body, "name")
    if BUDGET in body and BUDGETS in body:
        raise said_twice()
    if BUDGET in body or BUDGETS in body:
        changes["budgets"] = budgets_of(body)
    if "models" in body:
        changes["models"] = _models(body["models"])
    if "scopes" in body:
        changes["scopes"] = scopes_of(body["scopes"])
    if "unpriced" in body:
        changes["unpriced"] = _unpriced(body)
    if "limits" in body:
        if body["limits"] is None:
            changes.update(none_of_all())
        else:
            limits, model_limits = limits_of(body["limits"])
            changes.update(limits)
            if model_limits is not None:
                changes["model_limits"] = model_limits
    return changes


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        raise InvalidRequest(f"`{name}` is required.", param=name)
    if not isinstance(value, str):
        raise InvalidRequest(f"`{name}` must be a string.", param=name)
    return value


def _models(raw: object) -> tuple[str, ...] | None:
    if raw is None:
        return None
    if not isinstance(raw, list | tuple):
        raise InvalidRequest("`models` must be a list of names.", param="models")
    for index, name in enumerate(raw):
        if not isinstance(name, str):
            raise InvalidRequest(f"`models[{index}]` must be a string.", param=f"models[{index}]")
    return tuple(dict.fromkeys(raw))


def _flag(body: Mapping[str, Any], name: str) -> bool:
    if not isinstance(body[name], bool):
        raise InvalidRequest(f"`{name}` must be true or false.", param=name)
    return bool(body[name])


def _defaults(raw: object) -> dict[str, Any] | None:
    if raw is not None and not isinstance(raw, dict):
        raise InvalidRequest("`defaults` must be a JSON object.", param="defaults")
    return raw or None


def _aliases(raw: object) -> dict[str, str] | None:
    if raw is None:
        return None
    if not isinstance(raw, dict):
        raise InvalidRequest("`aliases` must be a JSON object of names and models.", param="aliases")
    for name, model in raw.items():
        if not isinstance(model, str):
            raise InvalidRequest(f"`aliases.{name[:200]}` must be a string.", param=f"aliases.{name[:200]}")
    return raw or None


def _one_of(body: Mapping[str, Any], name: str, known: tuple[Word, ...]) -> Word:
    for word in known:
        if body[name] == word:
            return word
    raise InvalidRequest(f"`{name}` must be one of {', '.join(known)}.", param=name)


def _unpriced(body: Mapping[str, Any]) -> Unpriced | None:
    return None if body.get("unpriced") is None else _one_of(body, "unpriced", UNPRICED)


def _budgets_to_json(budgets: tuple[Budget, ...]) -> dict[str, Any]:
    return {BUDGET: short_to_json(budgets), BUDGETS: budgets_to_json(budgets)}


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
