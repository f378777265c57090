"""Folds: what the ledger and the records add up to, compared with what is noted, and made anew.

`spend`, both roll-ups and their sums hold nothing that entries and records do not say; they are kept because adding
everything up takes seconds. Nothing here ever changes an entry or a record.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct
from sqlalchemy import Connection, Table, func, literal, select, text

from posthouse.billing.balances import DAY_MS, day_of
from posthouse.billing.comparing import FOLDS, differences, remake
from posthouse.billing.comparing import MAX_DIFFERENCES as MAX_DIFFERENCES
from posthouse.billing.comparing import Difference as Difference
from posthouse.storage.database import Database
from posthouse.storage.revisions import bump
from posthouse.storage.tables import (
    corrections,
    entries,
    holds,
    spend,
    usage_days,
    usage_hours,
)

REBUILT: Final = "spend"
"""What running servers hear of it by: what they know of budgets is not what is noted now."""
_debit: Final = entries.alias("debit")
_LOCKED: Final = "requests, entries, holds, corrections, spend, usage_hours, usage_days, usage_sums, usage_changed"


class Rebuilt(Struct, frozen=True):
    """What `rebuild` has found. `rows` counts the rows of each fold now; `differences` is bounded, `truncated` says
    whether there were more."""

    rows: dict[str, int]
    differences: tuple[Difference, ...]
    truncated: bool


def rebuild(database: Database) -> Rebuilt:
    """Makes every fold anew, in one transaction that nothing else can write beside. Writes only where something was
    different. A server that runs meanwhile waits; where spending was different it hears of it within a second, and
    reads each budget anew.
    """
    with database.write() as connection:
        if database.kind == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text(f"LOCK TABLE {_LOCKED} IN EXCLUSIVE MODE"))
        found = [*spend_differences(connection), *_rebuilt(connection)]
        if any(one.fold == "spend" for one in found):
            bump(connection, REBUILT)
            connection.execute(spend.delete())
            rows = [
                {"subject_id": subject, "day": day, "currency": currency, "model": model, "amount": amount}
                for (subject, day, currency, model), amount in sorted(expected_spend(connection).items())
            ]
            if rows:
                connection.execute(spend.insert(), rows)
        counts = {table.name: _count(connection, table) for table in (spend, usage_hours, usage_days)}
    return Rebuilt(counts, tuple(found[:MAX_DIFFERENCES]), len(found) > MAX_DIFFERENCES)


def spend_differences(connection: Connection) -> Iterator[Difference]:
    """Rows of `spend` that are not the sum of their entries. A row of zero is as good as none."""
    expected = expected_spend(connection)
    for row in connection.execute(select(spend)):
        right = expected.pop((row.subject_id, row.day, row.currency, row.model), 0)
        if row.amount != right:
            place = _place(row.subject_id, row.day, row.currency, row.model)
            yield Difference("spend", place, {"amount": row.amount}, {"amount": right} if right else None)
    for where, amount in expected.items():
        if amount:
            yield Difference("spend", _place(*where), None, {"amount": amount})


def _place(subject: str, day: int, currency: str, model: str) -> dict[str, str | int]:
    return {"subject": subject, "day": day, "currency": currency, "model": model}


def expected_spend(connection: Connection) -> dict[tuple[str, int, str, str], int]:
    """What each key and account spent on each model, by the UTC day (yyyymmdd) on which its holds began, and what was
    corrected on it, which is of no model."""
    folded: dict[tuple[str, int, str, str], int] = {}
    days: dict[int, int] = {}
    began, made = holds.c.created_at // DAY_MS, corrections.c.created_at // DAY_MS
    charged = (
        select(holds.c.key_id, holds.c.account_id, began, _debit.c.currency, holds.c.model, func.sum(_debit.c.amount))
        .select_from(_debit.join(holds, (_debit.c.hold_id == holds.c.id) & (_debit.c.leg == 0)))
        .group_by(holds.c.key_id, holds.c.account_id, began, _debit.c.currency, holds.c.model)
    )
    c = corrections.c
    corrected = select(c.key_id, c.account_id, made, c.currency, literal(""), c.amount)
    for query in (charged, corrected):
        for key_id, account_id, number, currency, model, amount in connection.execute(query):
            if number not in days:
                days[number] = day_of(number * DAY_MS).number
            for subject_id in (key_id, account_id):
                if subject_id is not None:
                    key = (subject_id, days[number], currency, model)
                    folded[key] = folded.get(key, 0) + int(amount)
    return folded


def usage_differences(connection: Connection) -> Iterator[Difference]:
    """Rows of the roll-ups that are not what records and corrections add up to; days by the hours that there are, sums
    by the roll-ups, where they are to be believed."""
    for fold in FOLDS:
        yield from differences(connection, fold)


def _rebuilt(connection: Connection) -> list[Difference]:
    found: list[Difference] = []
    for fold in FOLDS:
        wrong = list(differences(connection, fold))
        if wrong:
            remake(connection, fold)
        found += wrong
    return found


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()
