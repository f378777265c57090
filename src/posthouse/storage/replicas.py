"""Which servers share a database, and how far the journal of each has been applied.

Every replica says so about once a second. Ages are by the database's clock, which is one for all; `applied_to` is by
Redis's, in milliseconds since the epoch.
"""

import secrets
from typing import Final

from sqlalchemy import BigInteger, Connection, cast, delete, extract, func, select, text

from posthouse.storage.tables import meta, replicas

ALIVE_MS: Final = 10_000
"""A replica that was not heard of for so long is taken for gone."""

# The database's clock, in milliseconds, as it goes on within a transaction.
_NOW: Final = cast(extract("epoch", func.clock_timestamp()) * 1000, BigInteger)
# Text, since Core has an upsert only per dialect (see storage.revisions).
_FIRST: Final = text("INSERT INTO meta (name, value) VALUES ('installation', :value) ON CONFLICT (name) DO NOTHING")
_BEAT: Final = text(
    "INSERT INTO replicas (name, seen_at, applied_to)"
    " VALUES (:name, CAST(extract(epoch from clock_timestamp()) * 1000 AS BIGINT), :applied_to)"
    " ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at,"
    # The last word counts: a clock that goes back must not leave a promise behind that nobody has made.
    " applied_to = CASE WHEN excluded.applied_to = 0 THEN replicas.applied_to ELSE excluded.applied_to END"
)
# Nobody has been heard of for half of the time: it was the database that was away, or all of them. Who lived then is
# heard out before anybody takes it for gone.
_HEAR_OUT: Final = text(
    "UPDATE replicas SET seen_at = heard.now FROM"
    " (SELECT one.name, newest.now FROM replicas AS one,"
    " (SELECT max(seen_at) AS seen_at, CAST(extract(epoch from clock_timestamp()) * 1000 AS BIGINT) AS now"
    " FROM replicas) AS newest"
    " WHERE newest.seen_at < newest.now - :half AND one.seen_at > newest.seen_at - :alive"
    " ORDER BY one.name FOR UPDATE OF one) AS heard"  # in one order: they all come back at the same time
    " WHERE replicas.name = heard.name"
)


def beat(connection: Connection, name: str, applied_to: int) -> bool:
    """Says, on PostgreSQL, that this replica lives, and that it vouches for all before `applied_to`: what it had
    admitted is in the database. Whether the others had taken it for gone."""
    connection.execute(_HEAR_OUT, {"half": ALIVE_MS // 2, "alive": ALIVE_MS})
    missed = known(connection, name) and not alive(connection, name)
    connection.execute(_BEAT, {"name": name, "applied_to": applied_to})
    return missed


def installation(connection: Connection) -> str:
    """What tells this installation from others on the same Redis: made once, and kept in the database."""
    connection.execute(_FIRST, {"value": secrets.token_hex(6)})
    name: str = connection.execute(select(meta.c.value).where(meta.c.name == "installation")).scalar_one()
    return name


def behind(connection: Connection, since: int) -> list[str]:
    """The living replicas of which not all that they had admitted before `since` is known to be in the database."""
    statement = select(replicas.c.name).where(replicas.c.seen_at > _NOW - ALIVE_MS, replicas.c.applied_to < since)
    return list(connection.execute(statement).scalars())


def known(connection: Connection, name: str) -> bool:
    """Whether this replica has been heard of, and has not left."""
    return connection.execute(select(replicas.c.name).where(replicas.c.name == name)).first() is not None


def alive(connection: Connection, name: str) -> bool:
    statement = select(replicas.c.name).where(replicas.c.seen_at > _NOW - ALIVE_MS, replicas.c.name == name)
    return connection.execute(statement).first() is not None


def gone(connection: Connection, ms: int) -> list[str]:
    """The replicas that have not been heard of for so long, and did not say that they leave."""
    return list(connection.execute(select(replicas.c.name).where(replicas.c.seen_at < _NOW - ms)).scalars())


def leave(connection: Connection, name: str) -> None:
    """Nobody waits for this replica any more."""
    connection.execute(delete(replicas).where(replicas.c.name == name))
