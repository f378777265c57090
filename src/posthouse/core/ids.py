"""Ids: sortable by time, unique across processes and restarts, free of meaning.

`req_` + 12 hex digits of milliseconds + 6 of a counter + 10 of a nonce of this process. An id is a name, not a secret:
whoever asks for one is checked against its tenant. Since ids sort by time, they are the keyset of every listing and
need no second index.
"""

import secrets
import time
from collections.abc import Callable
from itertools import count


class IdMaker:
    """Makes ids. `clock` gives seconds since the epoch; `nonce` is 10 hex digits, random where not given."""

    def __init__(self, clock: Callable[[], float] = time.time, nonce: str | None = None) -> None:
        self._clock = clock
        self._nonce = nonce if nonce is not None else secrets.token_hex(5)
        self._next = count().__next__

    def make(self, prefix: str) -> str:
        """`prefix` without its underscore: `req`, `key`, `acc`."""
        return f"{prefix}_{int(self._clock() * 1000):012x}{self._next() & 0xFFFFFF:06x}{self._nonce}"
