"""`CREDENTIAL:KEY`: what a caller says that brings a credential of its own for the provider, wherever keys are said.

The credential goes into the exchange and on to the provider, and nowhere else. Above: the door. Below: accounts (what a
key looks like), `providers.brought`.
"""

import re
from collections.abc import Callable
from typing import Final

from posthouse.accounts.model import KEY_PREFIX
from posthouse.core.caller import Caller
from posthouse.core.errors import Forbidden, InvalidRequest, Unauthenticated
from posthouse.providers.brought import Brought
from posthouse.settings import Secret

MAX_CREDENTIAL: Final = 4096
# What vendors make them of. Quotes and backslashes would be written in several ways where a provider repeats them.
_CREDENTIAL: Final = re.compile(rf"[!#-\[\]-~]{{8,{MAX_CREDENTIAL}}}")


def bringing(said: str, authenticate: Callable[[str], Caller]) -> tuple[Caller, Brought | None]:
    """The caller, and the credential before its key if there is one: a credential may hold colons, a key never does.

    Raises Unauthenticated where there is no key behind it, Forbidden where the key may bring none, InvalidRequest for
    what is none; nothing of it is repeated.
    """
    credential, _, key = said.rpartition(":")
    if not key.startswith(KEY_PREFIX):
        return authenticate(said), None
    try:
        return authenticate(said), None  # an operator's admin key may be anything
    except Unauthenticated:
        caller = authenticate(key)
    if caller.own is None:
        raise Forbidden(
            "This key may not bring a credential for a provider: send the key alone. An operator allows it with "
            "`own_credential`.",
            code="own_credential_not_allowed",
        )
    if not _CREDENTIAL.fullmatch(credential):
        raise InvalidRequest(
            f"The provider credential in front of the key must be 8 to {MAX_CREDENTIAL} printable ASCII characters, "
            "without spaces, quotes and backslashes.",
            code="invalid_own_credential",
        )
    return caller, Brought(Secret(credential), caller.own.accounts, caller.key_id)
