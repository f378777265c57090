"""A caller's own credential in the place of an account's: the same address, wires and quirks, and nothing left in it of
the operator's secret. So whatever is made of such an account cannot use that, nor say it.

Above: routing (plans), gateway.raw. Below: `prepare`, settings (Secret).
"""

import re
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from posthouse.dialects.codec import Maker
from posthouse.dialects.codecs import HEADERS
from posthouse.providers.model import Auth, ProviderAccount
from posthouse.providers.prepare import Prepared, header_block
from posthouse.settings import Secret

# The ways to be known by one secret in a header. What is signed, or changes its token for another, is none of them.
_SINGLE: Final[frozenset[Auth]] = frozenset({"bearer", "api-key", "x-api-key", "x-goog-api-key", "none"})
# Headers that an operator may have set to be known by, here or at something on the way.
_TELLING: Final = re.compile(r"auth|cookie|credential|key|password|secret|session|signature|token", re.IGNORECASE)


class Brought(Struct, frozen=True, eq=False):
    """A credential that a caller has brought. `accounts`: the names of those in whose place it may stand; `by`: the id
    of the caller's key."""

    secret: Secret
    accounts: frozenset[str]
    by: str


def can_be_brought(account: ProviderAccount) -> bool:
    """Whether a caller's secret can take the place of all that an account is known by."""
    return account.row.auth in _SINGLE and not any(_TELLING.search(name) for name, _ in account.headers)


def lent(account: ProviderAccount, own: Brought) -> ProviderAccount:
    """The account with the caller's credential, which failures are then told of."""
    return replace(account, credential=own.secret.reveal(), brought=True)


def lent_prepared(prepared: Prepared, account: ProviderAccount, own: Brought) -> Prepared:
    """The same for `account`, as `lent` gives it. State that a model seals for its caller goes back to it under a
    credential of the same key's only."""
    way, back, detour = prepared.way, prepared.own, prepared.detour
    return replace(
        prepared,
        deployment=replace(prepared.deployment, account=account),
        headers=header_block(account, HEADERS.get(prepared.wire, ())),
        way=None if way is None else replace(way, maker=_theirs(way.maker, own)),
        own=None if back is None else (back[0], _theirs(back[1], own)),
        detour=None if detour is None else (detour[0], lent_prepared(detour[1], account, own)),
    )


def _theirs(maker: Maker, own: Brought) -> Maker:
    return replace(maker, account=f"{maker.account}:{own.by}")
