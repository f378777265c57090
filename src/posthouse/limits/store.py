"""What was used since a day began, by the records: for limits of a calendar day, which are counted in memory.

A request counts for the key that it came with, for the account of that and every one above, for its model with each of
these, and for its model alone, as the limiter counts it: once it was admitted, with the tokens and images that it was
settled at. One that is not recorded yet is not known here.

Above: recall.py. Below: the tables. Everything here blocks.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, or_, select

from posthouse.core.caller import Subject
from posthouse.core.usage import COUNTS
from posthouse.limits.calendar import NOTHING, Used
from posthouse.storage.tables import accounts, holds, keys, requests
from posthouse.storage.trees import subtree

TOKENS: Final = COUNTS[: COUNTS.index("image_cache_read") + 1]
_DAILY: Final = ("rpd", "tpd", "ipd")
# An id is made when a request comes, its hold when it is admitted, and a long upload lies between.
_SLACK_MS: Final = 3_600_000


def _sum(names: Iterable[str]) -> ColumnElement[Any]:
    columns = [requests.c[name] for name in names]
    return func.sum(sum(columns[1:], start=columns[0]))


_COUNTED: Final = (func.count(), _sum(TOKENS), func.sum(requests.c.images))
_ADMITTED: Final = requests.c.hold_state.is_not(None)


def any_daily(connection: Connection) -> bool:
    """Whether any key or account has a limit per day, also one of a single model."""
    for table in (keys, accounts):
        models = [table.c.model_limits.contains(f'"{name}"') for name in _DAILY]
        limited = or_(*(table.c[name].is_not(None) for name in _DAILY), *models)
        if connection.execute(select(table.c.id).where(limited).limit(1)).first() is not None:
            return True
    return False


def used_by_all(connection: Connection, starts: int, before: int) -> dict[str, Used]:
    """What every subject used between two instants (ms since the epoch), by the ids of subjects. One pass over the
    records of that time."""
    parents: Mapping[str, str | None] = {
        row.id: row.parent_id for row in connection.execute(select(accounts.c.id, accounts.c.parent_id))
    }
    by = (requests.c.key_id, requests.c.account_id, requests.c.model_asked)
    query = (
        select(*by, *_COUNTED)
        .where(requests.c.id >= _id_at(starts - _SLACK_MS), requests.c.created_at >= starts)
        .where(requests.c.created_at < before, _ADMITTED)
        .group_by(*by)
    )
    found: dict[str, Used] = {}
    for key_id, account_id, model, *counts in connection.execute(query):
        used = _used(counts)
        names = [key_id, f"model:key:{key_id}:{model}", f"model:{model}"]
        seen: set[str] = set()
        at: str | None = account_id
        while at is not None and at not in seen:
            seen.add(at)
            names += [at, f"model:account:{at}:{model}"]
            at = parents.get(at)
        for name in names:
            found[name] = found.get(name, NOTHING) + used
    return found


def used_by(connection: Connection, subject: Subject, starts: int, before: int) -> Used:
    """What one subject used of what was admitted between two instants. By its index, as far back as the day."""
    query = (
        select(*_COUNTED)
        .select_from(requests.join(holds, holds.c.id == requests.c.id))
        .where(requests.c.id >= _id_at(starts - _SLACK_MS), _ADMITTED, *_of(subject))
        .where(holds.c.created_at >= starts, holds.c.created_at < before)
    )
    return _used(connection.execute(query).one())


def _of(subject: Subject) -> list[ColumnElement[bool]]:
    """Which records are a subject's."""
    if subject.kind != "model":
        return [_whose(subject.kind, subject.id)]
    model = requests.c.model_asked == subject.name
    kind, _, owner = subject.id.removeprefix("model:").removesuffix(subject.name).removesuffix(":").partition(":")
    return [model, _whose(kind, owner)] if owner else [model]


def _whose(kind: str, owner: str) -> ColumnElement[bool]:
    return requests.c.key_id == owner if kind == "key" else requests.c.account_id.in_(subtree(owner))


def _used(counts: Iterable[Any]) -> Used:
    number, tokens, images = (int(one or 0) for one in counts)
    return Used(number, tokens, images)


def _id_at(ms: int) -> str:
    return f"req_{max(0, ms):012x}"
