"""What the door knows by heart: callers by the hash of their secret, made in one pass over accounts and keys.

Above: `service`, which reads it. Below: `model`.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Raw, Struct

from posthouse.accounts.model import MAX_DEPTH, NO_LIMITS, Account, Key
from posthouse.core.caller import Caller, Limits, Subject, Unpriced, Wishes
from posthouse.core.requests import operations_of

_COUNTED: Final = tuple(name for name in Limits.__struct_fields__ if not name.startswith("request_"))


class Line(Struct, frozen=True):
    """What holds for all that is in an account: its own subject first, then those above it up to the root's; `models`
    that all of them allow, None where all do; `scopes`: operations, likewise. `live`: neither it nor one above it is
    disabled. `unpriced`: what they say together of models without a price."""

    subjects: tuple[Subject, ...]
    models: frozenset[str] | None
    live: bool
    scopes: frozenset[str] | None = None
    unpriced: Unpriced | None = None

    @property
    def root_id(self) -> str:
        return self.subjects[-1].id


def lines_of(accounts: Mapping[str, Account]) -> dict[str, Line]:
    """The line of every account. One whose ancestors are not all there, or go round in a circle, has none: what is not
    known to be allowed is not."""
    lines: dict[str, Line] = {}
    for account_id in accounts:
        below: list[Account] = []
        at: str | None = account_id
        while at is not None and at not in lines and at in accounts and len(below) <= MAX_DEPTH:
            below.append(accounts[at])
            at = accounts[at].parent_id
        if at is None or at in lines:
            above = None if at is None else lines[at]
            for account in reversed(below):
                above = lines[account.id] = _line(account, above)
    return lines


def caller_of(key: Key, line: Line, defaults: Limits) -> Caller:
    """`defaults`: what a key is limited to that says nothing of its own."""
    subjects = (subject_of(key, defaults), *line.subjects)
    return Caller(
        key_id=key.id,
        key_name=key.name,
        account_id=key.account_id,
        subjects=subjects,
        models=_both(None if key.models is None else frozenset(key.models), line.models),
        expires_at=key.expires_at,
        admin=key.role == "admin",
        wishes=_wishes_of(key),
        root_id=line.root_id,
        role=key.role,
        by_model=any([subject.models for subject in subjects]),
        apart=any([not budget.plain for subject in subjects for budget in subject.budgets]),
        scopes=_both(operations_of(key.scopes), line.scopes),
        unpriced=_stricter(key.unpriced, line.unpriced),
        own=key.own,
    )


def moved(former: Mapping[str, Line], lines: Mapping[str, Line]) -> set[str]:
    """Whoever is above an account now and was not before, or the other way round. A new account has spent nothing."""
    found: set[str] = set()
    for account_id, line in lines.items():
        if account_id in former:
            before = {subject.id for subject in former[account_id].subjects}
            found |= before ^ {subject.id for subject in line.subjects}
    return found


def subject_of(owner: Account | Key, defaults: Limits = NO_LIMITS) -> Subject:
    models = owner.model_limits
    kind = "account" if isinstance(owner, Account) else "key"
    return Subject(
        owner.id,
        "account" if isinstance(owner, Account) else "key",
        owner.name,
        _with_defaults(owner.limits, defaults),
        owner.budgets,
        {model: model_subject(f"{kind}:{owner.id}", model, own) for model, own in models.items()} if models else {},
    )


def model_subject(whose: str, model: str, limits: Limits) -> Subject:
    """One model of somebody, which is limited by itself."""
    return Subject(f"model:{whose}:{model}", "model", model, limits)


def _line(account: Account, above: Line | None) -> Line:
    own = subject_of(account)
    models = None if account.models is None else frozenset(account.models)
    live = account.disabled_at is None
    scopes = operations_of(account.scopes)
    if above is None:
        return Line((own,), models, live, scopes, account.unpriced)
    return Line(
        (own, *above.subjects),
        _both(models, above.models),
        live and above.live,
        _both(scopes, above.scopes),
        _stricter(account.unpriced, above.unpriced),
    )


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _stricter(one: Unpriced | None, other: Unpriced | None) -> Unpriced | None:
    """Whoever refuses has the last word, then whoever allows; None where nobody says anything."""
    return "refuse" if "refuse" in (one, other) else one or other


def _with_defaults(limits: Limits, defaults: Limits) -> Limits:
    if defaults is NO_LIMITS or defaults == NO_LIMITS:
        return limits
    values = {name: _or(getattr(limits, name), getattr(defaults, name)) for name in _COUNTED}
    spend = defaults if limits.request_nano is None else limits
    return Limits(
        **values,
        request_tokens=_or(limits.request_tokens, defaults.request_tokens),
        request_nano=spend.request_nano,
        request_currency=spend.request_currency,
    )


def _or(value: int | None, default: int | None) -> int | None:
    return default if value is None else value


def _wishes_of(key: Key) -> Wishes | None:
    """None where a key has none: then a request costs one look at that."""
    if not (key.defaults or key.aliases or key.strict):
        return None
    defaults = {name: Raw(msgspec.json.encode(value)) for name, value in (key.defaults or {}).items()}
    return Wishes(defaults, key.aliases or {}, key.strict)


def path_of(accounts: Mapping[str, Account], account_id: str) -> tuple[Account, ...] | None:
    """From the root down to an account; None where that is no tree."""
    path: list[Account] = []
    at: str | None = account_id
    while at is not None:
        if at not in accounts or len(path) > MAX_DEPTH:
            return None
        path.append(accounts[at])
        at = accounts[at].parent_id
    return tuple(reversed(path))


def height_of(accounts: Iterable[Account], account_id: str) -> int:
    """How many accounts there are from this one down to the lowest, both counted."""
    below: dict[str, list[str]] = {}
    for account in accounts:
        if account.parent_id is not None:
            below.setdefault(account.parent_id, []).append(account.id)
    height, level = 0, [account_id]
    while level and height <= MAX_DEPTH:
        height += 1
        level = [child for parent in level for child in below.get(parent, ())]
    return height
