"""What a start does about the life before it: holds that are still open end, and balances are read.

Only the one process that serves may call this (it holds the journal's lock), after the journal has been applied: then
whatever is still `held` belongs to a request that died with its process.

A hold left open is expired and charged nothing. (docs/billing.md HOLD-6) A completed answer has its settlement on disk
before its last byte leaves, so an open hold never hides one; what a client saw of a broken answer is known to nobody,
and a number made up for it would be billed to someone whom our crash has already cost an answer.
"""

from sqlalchemy import or_, update

from posthouse.storage import replicas
from posthouse.storage.database import Database
from posthouse.storage.late import LOST
from posthouse.storage.tables import holds

CRASH = "crash"
GONE_MS = 3_600_000
"""Longer than any answer takes: a replica without a word for so long serves nobody."""


def expire_open(database: Database, now_ms: int, owner: str | None = None) -> int:
    """Ends every hold that a former life left open; the number of them. Idempotent, one statement.

    Of several replicas each ends its own, `owner`'s, and those of a time when there was only one server.
    """
    statement = (
        update(holds).where(holds.c.state == "held").values(state="expired", charged=0, ended_at=now_ms, reason=CRASH)
    )
    if owner is not None:
        statement = statement.where(or_(holds.c.owner == owner, holds.c.owner.is_(None)))
    with database.write() as connection:
        return connection.execute(statement).rowcount


def expire_of(database: Database, now_ms: int) -> int:
    """Ends the open holds of replicas that have not been heard of for GONE_MS, for the reason LOST; the number of them.
    Should one of them come back, what its journal says of such a hold holds after all (storage/late.py)."""
    with database.write() as connection:
        gone = replicas.gone(connection, GONE_MS)
        if not gone:
            return 0
        ended = update(holds).where(holds.c.state == "held", holds.c.owner.in_(gone))
        values = {"state": "expired", "charged": 0, "ended_at": now_ms, "reason": LOST}
        return connection.execute(ended.values(**values)).rowcount
