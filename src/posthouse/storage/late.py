"""Ends that come late: of holds that other servers gave up, because their own had not been heard of for so long.

Such a hold is expired for the reason LOST and charged nothing. When the journal of its server is applied after all, the
hold is open again and ends as the journal says, in one transaction (docs/billing.md HOLD-8). What Redis knows of its
budgets is then too little: the key and the account are noted in the same transaction, and taken off the list by
whichever server has had Redis forget their purses (gateway/replica.py).

Above: appliers, billing, the gateway. Below: the tables.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, delete, select

from posthouse.storage.tables import meta

LOST: Final = "replica_lost"
"""The reason of a hold that was expired because nothing was heard of its server."""

REOPEN: Final = (
    "UPDATE holds SET state = 'held', ended_at = NULL, charged = NULL, reason = NULL"  # noqa: S608  a constant of ours
    f" WHERE id = ? AND state = 'expired' AND reason = '{LOST}' RETURNING key_id, account_id"
)
# The value is the hold, so that a note that is made again while it is being told is another one.
NOTE: Final = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

_PREFIX: Final = "late:"
_MOST: Final = 1_000  # told in one round


def noted_as(subject_id: str) -> str:
    """The name under which a key or an account is noted."""
    return _PREFIX + subject_id


def noted(connection: Connection) -> dict[str, str]:
    """The keys and accounts of which Redis has not been told yet, for `told`; some of them, where they are many."""
    query = select(meta.c.name, meta.c.value).where(meta.c.name.startswith(_PREFIX, autoescape=True)).limit(_MOST)
    return {row.name.removeprefix(_PREFIX): row.value for row in connection.execute(query)}


def told(connection: Connection, notes: Mapping[str, str]) -> None:
    """Redis knows of these, as `noted` gave them."""
    for subject_id, value in notes.items():
        connection.execute(delete(meta).where(meta.c.name == noted_as(subject_id), meta.c.value == value))
