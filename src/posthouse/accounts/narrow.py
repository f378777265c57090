"""What the holder of a key may make: keys of its own account that are no wider than its own."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import asdict, replace

from posthouse.accounts.budgets import BUDGET, BUDGETS, what_of
from posthouse.accounts.limits import COUNTS, SPEND
from posthouse.accounts.model import NewKey
from posthouse.core.caller import Budget, Caller, Limits
from posthouse.core.errors import Forbidden
from posthouse.core.requests import SCOPES

_NONE: Final = Limits()


def narrowed(new: NewKey, by: Caller, budgets: str = BUDGETS) -> NewKey:
    """The same with what it does not say taken from the key that makes it. Forbidden, naming the field, where it says
    something wider; `budgets` is by which name budgets were said."""
    own = by.subjects[0]
    models = new.models
    if by.models is not None:
        models = tuple(sorted(by.models)) if models is None else models
        if not by.models.issuperset(models):
            raise _wider("models")
    scopes = new.scopes
    if by.scopes is not None:
        own_scopes = [scope for scope, operations in SCOPES.items() if operations <= by.scopes]
        scopes = tuple(own_scopes) if scopes is None else scopes
        if not set(own_scopes).issuperset(scopes):
            raise _wider("scopes")
    model_limits = dict(new.model_limits)
    for model, subject in own.models.items():
        model_limits[model] = _limits(model_limits.get(model, _NONE), subject.limits, f"limits.models.{model}")
    expires_at = new.expires_at
    if by.expires_at is not None:
        expires_at = by.expires_at if expires_at is None else expires_at
        if expires_at > by.expires_at:
            raise _wider("expires_at")
    return replace(
        new,
        models=models,
        scopes=scopes,
        unpriced="refuse" if by.unpriced == "refuse" else new.unpriced,
        limits=_limits(new.limits, own.limits, "limits"),
        model_limits=model_limits,
        budgets=_budgets(new.budgets, own.budgets, budgets),
        expires_at=expires_at,
    )


def _limits(wanted: Limits, own: Limits, path: str) -> Limits:
    given: Mapping[str, Any] = asdict(wanted)
    most: Mapping[str, Any] = asdict(own)
    found: dict[str, Any] = {}
    for name in COUNTS:
        found[name] = most[name] if given[name] is None else given[name]
        if most[name] is not None and found[name] > most[name]:
            raise _wider(f"{path}.{name}")
    spend = own if wanted.request_nano is None else wanted
    if own.request_nano is not None and spend is wanted:
        assert wanted.request_nano is not None
        if wanted.request_currency != own.request_currency or wanted.request_nano > own.request_nano:
            raise _wider(f"{path}.{SPEND}")
    return Limits(**found, request_nano=spend.request_nano, request_currency=spend.request_currency)


def _budgets(wanted: tuple[Budget, ...], own: tuple[Budget, ...], name: str) -> tuple[Budget, ...]:
    """Its own where none are wanted. Else every one of its own must have one for the same that is no larger."""
    if not wanted:
        return own
    given = {what_of(budget): index for index, budget in enumerate(wanted)}
    for budget in own:
        index = given.get(what_of(budget))
        if index is None or (name == BUDGET and wanted[index].nano > budget.nano):
            raise _wider(name)
        if wanted[index].nano > budget.nano:
            raise _wider(f"{name}[{index}].amount")
    return wanted


def _wider(path: str) -> Forbidden:
    return Forbidden(f"`{path}` must not be wider than that of the key that asks.", code="wider_than_own", param=path)
