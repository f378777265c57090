"""What a budget has spent in a period, by what the database says.

`spend` has it by UTC day. Where a period begins at another hour than midnight UTC, the rest of its first UTC day is
added up from the holds that began in it.

Above: stands.py (one server), truth.py (several), standings.py. Below: the tables.
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Connection, Select, func, or_, select

from posthouse.billing.balances import DAY_MS, day_of
from posthouse.billing.periods import starts_of
from posthouse.core.caller import Budget
from posthouse.storage.tables import corrections, entries, holds, spend
from posthouse.storage.trees import subtree

_CHUNK: Final = 500
# An id is made when a request comes, its hold begins when all of it is there, and that may be by another clock.
_LONGEST_MS: Final = DAY_MS


class Place(Struct, frozen=True):
    """Whose spending, in what currency, on which model (None: all), and since when: `first` is the day (yyyymmdd in
    `zone`; 0: ever), `starts` the same instant in ms since the epoch."""

    subject_id: str
    currency: str
    model: str | None
    zone: str
    first: int
    starts: int


def place_of(purse: str) -> Place:
    """What the name of a purse means (`name_of`)."""
    parts = purse.split("|", 5)
    subject, currency, _, first = parts[:4]
    zone, model = parts[4:] if len(parts) == 6 else ("UTC", "")
    return Place(subject, currency, model or None, zone, int(first), starts_of(zone, int(first)))


def name_of(subject_id: str, budget: Budget, first: int) -> str:
    """The name of a budget in the period that begins on the day `first`, for all servers: `key_1|USD|month|20261101`,
    and `key_1|USD|month|20261101|Asia/Shanghai|gpt-5`."""
    name = f"{subject_id}|{budget.currency}|{budget.period}|{first}"
    return name if budget.plain else f"{name}|{budget.zone}|{budget.model or ''}"


def spent_in(connection: Connection, place: Place) -> int:
    """Nano-units that were charged or corrected, of all that has ended. One snapshot's."""
    day = day_of(place.starts)
    whole = place.starts == day.start_ms or not place.starts
    since = 0 if not place.first else day.number if whole else day_of(day.end_ms).number
    query = select(func.sum(spend.c.amount)).where(
        or_(spend.c.subject_id == place.subject_id, spend.c.subject_id.in_(subtree(place.subject_id))),
        spend.c.currency == place.currency,
        spend.c.day >= since,
    )
    if place.model is not None:
        query = query.where(spend.c.model == place.model)
    spent = _number(connection, query)
    return spent if whole else spent + _of_the_first_day(connection, place, day.end_ms)


def newest_day(connection: Connection, place: Place) -> int:
    """The last UTC day (yyyymmdd) on which anything was charged or corrected; 0 where nothing was."""
    query = select(func.max(spend.c.day)).where(
        or_(spend.c.subject_id == place.subject_id, spend.c.subject_id.in_(subtree(place.subject_id))),
        spend.c.currency == place.currency,
    )
    return _number(connection, query)


def open_of(connection: Connection, place: Place) -> list[tuple[str, int]]:
    """The open holds with their amounts."""
    query = select(holds.c.id, holds.c.amount).where(
        holds.c.state == "held", holds.c.currency == place.currency, holds.c.created_at >= place.starts, _mine(place)
    )
    if place.model is not None:
        query = query.where(holds.c.model == place.model)
    return [(row.id, int(row.amount)) for row in connection.execute(query) if row.amount]


def charged_of(connection: Connection, names: Sequence[str], currency: str) -> int:
    """What these holds were charged, of those that have ended."""
    charged = 0
    for at in range(0, len(names), _CHUNK):
        some = entries.c.hold_id.in_(names[at : at + _CHUNK])
        query = select(func.sum(entries.c.amount)).where(some, entries.c.leg == 0, entries.c.currency == currency)
        charged += _number(connection, query)
    return charged


def _of_the_first_day(connection: Connection, place: Place, until: int) -> int:
    """From the period's beginning to the end of that UTC day. Ids sort by time, and are older than their holds."""
    charged = (
        select(func.sum(entries.c.amount))
        .select_from(holds.join(entries, (entries.c.hold_id == holds.c.id) & (entries.c.leg == 0)))
        .where(
            holds.c.id >= _id_at(place.starts - _LONGEST_MS),
            holds.c.id < _id_at(until + _LONGEST_MS),
            holds.c.created_at >= place.starts,
            holds.c.created_at < until,
            entries.c.currency == place.currency,
            _mine(place),
        )
    )
    if place.model is not None:
        return _number(connection, charged.where(holds.c.model == place.model))
    c = corrections.c
    corrected = select(func.sum(c.amount)).where(
        c.created_at >= place.starts,
        c.created_at < until,
        c.currency == place.currency,
        _of_whom(place, c.key_id, c.account_id),
    )
    return _number(connection, charged) + _number(connection, corrected)


def _mine(place: Place) -> Any:
    return _of_whom(place, holds.c.key_id, holds.c.account_id)


def _of_whom(place: Place, key: Any, account: Any) -> Any:
    """Of the subject, and where it is an account, of all that is below it."""
    return or_(key == place.subject_id, account == place.subject_id, account.in_(subtree(place.subject_id)))


def _id_at(ms: int) -> str:
    return f"req_{max(0, ms):012x}"


def _number(connection: Connection, query: Select[Any]) -> int:
    return int(connection.execute(query).scalar() or 0)
