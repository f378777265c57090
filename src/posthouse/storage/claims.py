"""Answers that are kept for a repetition of their request, and claims of those who are still making one.

Above: `api/repeats.py`. Below: the table `idempotency`. A row is a claim until it has a `status`: then it is an answer.
It holds until `expires_at`, which for a claim is its lease: whoever dies holds nothing for long. A claim is one INSERT
that only one can win; what is over is taken over by comparing the owner and the end that were read.

Everything here blocks: call it from threads. `now` is in milliseconds since the epoch.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, delete, select, text, update

from posthouse.storage.database import Database
from posthouse.storage.tables import idempotency as table

_ROW_BYTES: Final = 256  # what a row takes besides its answer
_TRIES: Final = 3  # of a claim whose row goes away while it is looked at
_INSERT: Final = text(
    "INSERT INTO idempotency (id, account_id, fingerprint, owner, created_at, expires_at, size)"
    " VALUES (:id, :account_id, :fingerprint, :owner, :now, :until, 0) ON CONFLICT (id) DO NOTHING"
)
_CROWDED: Final = text(
    "SELECT account_id FROM idempotency WHERE status IS NOT NULL GROUP BY account_id HAVING sum(size) > :most"
)
# The newest that fit stay.
_EVICT: Final = text(
    "DELETE FROM idempotency WHERE id IN (SELECT id FROM (SELECT id, sum(size) OVER (ORDER BY created_at DESC, id DESC)"
    " AS total FROM idempotency WHERE account_id = :account_id AND status IS NOT NULL) AS kept WHERE total > :most)"
)


class Scope(Struct, frozen=True):
    """What is claimed: `id` names account, route and key; `fingerprint` is 32 bytes that are the same for the same
    request."""

    id: str
    account_id: str
    fingerprint: bytes


class KeptAnswer(Struct, frozen=True):
    """`head` is the header lines that belong to the answer, each ended; `body` its bytes without any framing."""

    status: int
    head: bytes
    body: bytes


class Claimed(Struct, frozen=True):
    """It is ours to answer."""


class Busy(Struct, frozen=True):
    """Another is answering it."""


class Reused(Struct, frozen=True):
    """The key stands for another request."""


Found = Claimed | Busy | Reused | KeptAnswer
CLAIMED: Final = Claimed()
BUSY: Final = Busy()
REUSED: Final = Reused()


class ClaimBounds(Struct, frozen=True):
    """`keep` and `lease` in milliseconds, `per_account` in bytes of kept answers."""

    keep: int = 86_400_000
    lease: int = 30_000
    per_account: int = 64 << 20


class ClaimStore:
    """`owner` is unique to this life of this process. Every verb raises Unavailable where the database does not
    answer."""

    def __init__(self, database: Database, owner: str, bounds: ClaimBounds) -> None:
        self._database = database
        self._owner = owner
        self._bounds = bounds

    def claim(self, scope: Scope, now: int) -> Found:
        """Who may answer, or the answer. A claim holds for the lease, unless `renew` lengthens it."""
        row = {
            "id": scope.id,
            "account_id": scope.account_id,
            "fingerprint": scope.fingerprint,
            "owner": self._owner,
            "now": now,
            "until": now + self._bounds.lease,
        }
        with self._database.write() as connection:
            for _ in range(_TRIES):
                if connection.execute(_INSERT, row).rowcount == 1:
                    return CLAIMED
                found = self._look(connection, scope, now)
                if found is not None:
                    return found
        return BUSY

    def keep(self, scope: Scope, answer: KeptAnswer, now: int) -> bool:
        """Ends our claim with its answer; False where it is ours no longer."""
        with self._database.write() as connection:
            done = connection.execute(
                update(table)
                .where(*self._ours(scope.id))
                .values(
                    status=answer.status,
                    head=answer.head,
                    body=answer.body,
                    size=len(answer.head) + len(answer.body) + _ROW_BYTES,
                    created_at=now,
                    expires_at=now + self._bounds.keep,
                )
            )
        return done.rowcount == 1

    def free(self, scope: Scope) -> None:
        """Ends our claim without an answer: the next one who asks may claim it."""
        with self._database.write() as connection:
            connection.execute(delete(table).where(*self._ours(scope.id)))

    def renew(self, ids: Sequence[str], now: int) -> None:
        """Those of our claims that are still worked for hold for another lease."""
        with self._database.write() as connection:
            for one in ids:
                connection.execute(
                    update(table).where(*self._ours(one)).values(expires_at=now + self._bounds.lease),
                )

    def trim(self, account_id: str) -> None:
        """The oldest answers of an account go, until what it has is within its bound."""
        with self._database.write() as connection:
            connection.execute(_EVICT, {"account_id": account_id, "most": self._bounds.per_account})

    def sweep(self, now: int) -> None:
        """What is over goes, of all accounts."""
        with self._database.write() as connection:
            connection.execute(delete(table).where(table.c.expires_at <= now))
            crowded = connection.execute(_CROWDED, {"most": self._bounds.per_account}).scalars().all()
            for account_id in crowded:
                connection.execute(_EVICT, {"account_id": account_id, "most": self._bounds.per_account})

    def _look(self, connection: Connection, scope: Scope, now: int) -> Found | None:
        """What is there already; None where it went away meanwhile."""
        row = connection.execute(select(table).where(table.c.id == scope.id)).one_or_none()
        if row is None:
            return None
        if row.expires_at <= now:
            taken = connection.execute(
                update(table)
                .where(table.c.id == scope.id, table.c.owner == row.owner, table.c.expires_at == row.expires_at)
                .values(
                    fingerprint=scope.fingerprint,
                    owner=self._owner,
                    created_at=now,
                    expires_at=now + self._bounds.lease,
                    status=None,
                    head=None,
                    body=None,
                    size=0,
                )
            )
            return CLAIMED if taken.rowcount == 1 else None
        if bytes(row.fingerprint) != scope.fingerprint:
            return REUSED
        if row.status is None:
            return BUSY
        return KeptAnswer(row.status, bytes(row.head), bytes(row.body))

    def _ours(self, claim_id: str) -> tuple[ColumnElement[bool], ...]:
        return table.c.id == claim_id, table.c.owner == self._owner, table.c.status.is_(None)
