"""What is asked of the shared gate, and what it asks of PostgreSQL. (ADR 8)"""

from collections.abc import Sequence
from typing import Final, Protocol

from msgspec import Struct

from posthouse.core.caller import Subject

LEASE: Final = "lease:"


class Purse(Struct, frozen=True, gc=False):
    """What a request wants of one budget in its current period.

    `id` names budget and period; `limit`, `amount` in nano-units; `least`: with as little as this it is content, None:
    only with all of it; `keep`: seconds for which Redis keeps the purse after it was touched.
    """

    id: str
    limit: int
    amount: int
    least: int | None = None
    keep: int = 86_400


class Demand(Struct, frozen=True, gc=False):
    """What a request needs. `root`: what all of its keys are tagged with, the installation; `request`: its id."""

    root: str
    request: str
    subjects: Sequence[Subject]
    tokens: int
    images: int = 0
    purses: Sequence[Purse] = ()


class Loaded(Protocol):
    """A purse as PostgreSQL knows it."""

    @property
    def spent(self) -> int:
        """Nano-units, in its period."""
        ...

    @property
    def holds(self) -> Sequence[tuple[str, int]]:
        """The open ones: requests with their amounts."""
        ...


class Truth(Protocol):
    """What PostgreSQL knows. Every verb may fail with Unavailable."""

    async def load(self, purse: str) -> Loaded: ...
    async def drained(self, since: float) -> bool:
        """Whether all that any living replica had admitted before `since` (seconds since the epoch, by Redis's clock)
        is in PostgreSQL."""
        ...

    async def ends(self, requests: Sequence[str]) -> dict[str, int | None]:
        """What these holds were charged: None while one is open; those that PostgreSQL does not know are left out."""
        ...

    async def alive(self, replica: str) -> bool:
        """Whether this replica has been heard of lately."""
        ...


def lease_of(replica: str, purse: str) -> str:
    """Under what name a replica holds its lease of a purse. No name of a replica has a colon."""
    return f"{LEASE}{replica}:{purse}"


class NotCovered(Exception):
    """A budget does not cover the demand: `purse` of it, `left` nano-units."""

    def __init__(self, purse: Purse, left: int) -> None:
        super().__init__(purse.id)
        self.purse = purse
        self.left = left
