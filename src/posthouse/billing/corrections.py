"""Corrections: what somebody has put right in the money of an account, as entries of their own.

Nothing that has happened is changed. A correction is two entries that cancel out (`account:ID` and HOUSE), with a
reason, an author and an idempotency key; it counts as spent by the account, and by the key where one is named, on the
UTC day on which it is made, in the transaction that writes it. A running server hears of it within a second, or at once
where it has made it itself.

Above: the control plane, the command line. Below: the tables.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Connection, Table, TextClause, func, select, text

from posthouse.billing.balances import DAY_MS, day_of
from posthouse.billing.store import FIRST_PAGE, Page, cut
from posthouse.billing.transfers import Transfer, write_entries
from posthouse.core.errors import PosthouseError
from posthouse.core.ids import IdMaker
from posthouse.storage import revisions, sums
from posthouse.storage.database import Database
from posthouse.storage.rollups import CORRECTION, HOUR_MS
from posthouse.storage.tables import ROLLED_BY, corrections, spend, usage_days, usage_hours

ROOM: Final = "corrections"
# The other side of every correction. No provider is owed it.
HOUSE: Final = "house:corrections"


class KeyReused(PosthouseError):
    """An idempotency key came again with something else."""

    status = 409
    type = "invalid_request_error"
    code = "correction_exists"


class NewCorrection(Struct, frozen=True):
    """`amount` in nano-units of `currency`, never 0: what the account owes more, or less where it is negative."""

    account_id: str
    key_id: str | None
    amount: int
    currency: str
    reason: str
    author: str
    idempotency_key: str


class Correction(NewCorrection, frozen=True):
    """`number` counts corrections in the order of their commits; `created_at` in ms since the epoch."""

    id: str
    number: int
    created_at: int

    @property
    def subjects(self) -> tuple[str, ...]:
        """Whose spending it moves."""
        return (self.account_id,) if self.key_id is None else (self.key_id, self.account_id)


class CorrectionDesk:
    """Makes and lists corrections. Blocks: use threads. `clock` gives seconds since the epoch."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._make_id = IdMaker(clock).make

    def make(self, new: NewCorrection) -> Correction:
        """Writes it, or gives the one that this idempotency key of the account has made already. KeyReused where that
        was another."""
        with self._database.write() as connection:
            # First of all: on PostgreSQL its row is the lock behind which all other corrections wait.
            number = revisions.bumped(connection, ROOM)
            known = connection.execute(
                select(corrections).where(
                    corrections.c.account_id == new.account_id,
                    corrections.c.idempotency_key == new.idempotency_key,
                )
            ).first()
            if known is not None:
                made = Correction(**known._mapping)
                if any(getattr(made, name) != value for name, value in asdict(new).items()):
                    raise KeyReused(
                        f"The idempotency key {new.idempotency_key!r} has made another correction already ({made.id}).",
                        param="idempotency_key",
                    )
                return made
            at = int(self._clock() * 1000)
            made = Correction(**asdict(new), id=self._make_id("cor"), number=number, created_at=at)
            _write(connection, made)
            return made

    def after(self, number: int) -> list[Correction]:
        """Those that were made after the one of this number, in their order."""
        with self._database.read() as connection:
            if revisions.read(connection).get(ROOM, 0) <= number:
                return []
            query = select(corrections).where(corrections.c.number > number).order_by(corrections.c.number)
            return [Correction(**row._mapping) for row in connection.execute(query)]

    def listed(self, account_id: str, page: Page = FIRST_PAGE) -> tuple[list[Correction], str | None]:
        """An account's, the newest first, and the next cursor or None."""
        c = corrections.c
        query = select(corrections).where(c.account_id == account_id).order_by(c.id.desc()).limit(page.size + 1)
        if page.cursor is not None:
            query = query.where(c.id < page.cursor)
        with self._database.read() as connection:
            rows = [Correction(**row._mapping) for row in connection.execute(query)]
        return cut(rows, page.size, lambda row: row.id)


def newest(connection: Connection) -> int:
    """The number of the last correction; 0 where there is none."""
    number: int = connection.execute(select(func.coalesce(func.max(corrections.c.number), 0))).scalar_one()
    return number


def _write(connection: Connection, made: Correction) -> None:
    connection.execute(corrections.insert().values(**asdict(made)))
    write_entries(
        connection,
        Transfer(made.id, made.account_id, HOUSE, made.amount, made.currency, made.created_at),
    )
    day = day_of(made.created_at).number
    for subject_id in made.subjects:
        values = {"subject_id": subject_id, "day": day, "currency": made.currency, "model": "", "amount": made.amount}
        connection.execute(_adding(spend, ("subject_id", "day", "currency", "model"), "amount"), values)
    given = {"key_id": made.key_id or "", "account_id": made.account_id, "currency": made.currency, "usage_source": ""}
    by: Mapping[str, Any] = {name: given.get(name, CORRECTION) for name in ROLLED_BY} | {"cost": made.amount}
    connection.execute(text(sums.noted(":day")), {"day": made.created_at // DAY_MS})
    for table, unit, size in ((usage_hours, "hour", HOUR_MS), (usage_days, "day", DAY_MS)):
        connection.execute(_adding(table, (unit, *ROLLED_BY), "cost"), {**by, unit: made.created_at // size})


def _adding(table: Table, place: tuple[str, ...], sum_: str) -> TextClause:
    """Text, since Core has an upsert only per dialect (storage/revisions.py)."""
    names = (*place, sum_)
    values = ", ".join(f":{name}" for name in names)
    return text(
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({values})"  # noqa: S608  names of ours
        f" ON CONFLICT ({', '.join(place)}) DO UPDATE SET {sum_} = {table.name}.{sum_} + excluded.{sum_}"
    )
