"""Whether a caller may make requests of a kind at all.

Above: the spine and the door of what passes, which ask before anything else. Below: core.
"""

from posthouse.core.caller import Caller
from posthouse.core.errors import Forbidden
from posthouse.core.requests import SCOPE_OF, Operation


def check_scope(caller: Caller, operation: Operation) -> None:
    """Forbidden where it is not within the scopes of the key and of every account above it."""
    if caller.scopes is not None and operation not in caller.scopes:
        raise Forbidden(
            f"This key may not be used for {SCOPE_OF[operation]!r}: its `scopes`, or those of an account above it, do "
            "not name that.",
            code="scope_not_allowed",
        )
