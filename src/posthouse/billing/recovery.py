"""What a start does about the life before it: holds that are still open end, and balances are read.

Only the one process that serves may call this (it holds the journal's lock), after the journal has been applied: then
whatever is still `held` belongs to a request that died with its process.

A hold left open is expired and charged nothing. (docs/billing.md HOLD-6) A completed answer has its settlement on disk
before its last byte leaves, so an open hold never hides one; what a client saw of a broken answer is known to nobody,
and a number made up for it would be billed to someone whom our crash has already cost an answer.
"""

from sqlalchemy import update

from posthouse.storage.database import Database
from posthouse.storage.tables import holds

CRASH = "crash"


def expire_open(database: Database, now_ms: int) -> int:
    """Ends every hold that a former life left open; the number of them. Idempotent, one statement."""
    statement = (
        update(holds).where(holds.c.state == "held").values(state="expired", charged=0, ended_at=now_ms, reason=CRASH)
    )
    with database.write() as connection:
        return connection.execute(statement).rowcount
