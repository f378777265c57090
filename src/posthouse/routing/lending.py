"""Which candidates a caller's own credential may go to, and what they are with it.

A credential is of one provider, and nobody says of which: so all that it is sent to in one request is at one provider's
address, that of the first candidate by rank among those that the key allows. Which that is never depends on a draw.

Above: `plan.py`. Below: `providers.brought`, core.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from posthouse.core.errors import FailureKind, Forbidden, NotFound, PosthouseError
from posthouse.core.requests import Operation
from posthouse.providers.brought import Brought, can_be_brought, lent, lent_prepared
from posthouse.providers.model import ProviderAccount
from posthouse.routing.decision import PassedOver
from posthouse.routing.model import Candidate

# Where it fails so, it would at every other deployment: the credential is the same.
_VERDICTS: Final[frozenset[FailureKind]] = frozenset({"auth", "quota"})


class Lending(Struct, frozen=True):
    """`own`: with the caller's credential, in the order in which they came; `passed_over`: the others, and why."""

    own: list[Candidate]
    passed_over: list[tuple[Candidate, PassedOver]]


def lending_of(found: Sequence[Candidate], operation: Operation, own: Brought) -> Lending:
    """`found` by rank, as the catalog has them. Of an account with several credentials one candidate is left."""
    kept: list[Candidate] = []
    passed_over: list[tuple[Candidate, PassedOver]] = []
    first: ProviderAccount | None = None
    for one in found:
        if one.credential > 1:
            continue
        account = one.deployment.account
        why = _hindrance(one, operation, own)
        if why is None and first is None:
            first = account  # fallbacks stand behind all others
        if why is None and first is not None and not _same_place(account, first):
            why = "own_elsewhere"
        if why is None:
            kept.append(_lent(one, operation, own))
        else:
            passed_over.append((one, why))
    return Lending(kept, passed_over)


def nobody(model: str, operation: Operation, why: Iterable[PassedOver]) -> PosthouseError:
    """What to say where nothing is left."""
    reasons = set(why)
    if reasons <= {"lacks_operation"}:
        return NotFound(f"The model {model!r} does not offer {operation}.", param="model", code="model_not_found")
    if "own_unsupported" in reasons:
        return Forbidden(
            f"The provider of {model!r} is not known by a single credential here, so yours cannot take its place.",
            param="model",
            code="own_credential_unsupported",
        )
    return Forbidden(
        f"None of the provider accounts in whose place this key may bring a credential has {model!r} for {operation}.",
        param="model",
        code="own_credential_no_account",
    )


def _hindrance(one: Candidate, operation: Operation, own: Brought) -> PassedOver | None:
    if operation not in one.prepared:
        return "lacks_operation"
    if one.deployment.account.name not in own.accounts:
        return "own_not_allowed"
    return None if can_be_brought(one.deployment.account) else "own_unsupported"


def _same_place(one: ProviderAccount, other: ProviderAccount) -> bool:
    return one.row is other.row and one.base_url.rstrip("/") == other.base_url.rstrip("/")


def _lent(one: Candidate, operation: Operation, own: Brought) -> Candidate:
    account = lent(one.deployment.account, own)
    return replace(
        one,
        deployment=replace(one.deployment, account=account),
        prepared={operation: lent_prepared(one.prepared[operation], account, own)},
        halts=one.halts | _VERDICTS,
        credential=0,
    )
