"""How much every key and account has spent and reserved, exact within this process, by UTC day.

One number a day is enough: a hold adds its amount to the day in which it began, and its end replaces that amount by the
charge, in the same day. So a budget's period is a sum over days, a hold never crosses into a period that it did not
begin in, and what is loaded at start (the `spend` table, which the journal folds by the same day) equals what was in
memory.

Bounded by the number of keys and accounts that ever spent; each keeps a total and at most 40 days.
"""

import datetime as dt
from typing import Final

from msgspec import Struct
from sqlalchemy import Connection, func, select

from posthouse.core.caller import Budget, Period
from posthouse.storage.tables import accounts, spend

DAY_MS: Final = 86_400_000
_TREE: Final = (accounts.c.id, accounts.c.parent_id)
_DAYS_KEPT: Final = 40  # a month and a few days for holds that began before midnight


class Day(Struct, frozen=True):
    """A UTC day: yyyymmdd, its bounds in ms since the epoch, and the first days of its week (Monday) and month."""

    number: int
    start_ms: int
    end_ms: int
    week: int
    month: int

    def first(self, period: Period) -> int:
        """The first day (yyyymmdd) of the period that this day lies in."""
        match period:
            case "day":
                return self.number
            case "week":
                return self.week
            case "month":
                return self.month
            case "total":
                return 0


def day_of(ms: int) -> Day:
    """The UTC day that an instant (ms since the epoch) lies in."""
    start = ms // DAY_MS * DAY_MS
    date = dt.date(1970, 1, 1) + dt.timedelta(days=ms // DAY_MS)
    monday = date - dt.timedelta(days=date.weekday())
    return Day(_number(date), start, start + DAY_MS, _number(monday), _number(date.replace(day=1)))


def instant_of(number: int) -> int:
    """When a UTC day (yyyymmdd) began, in ms since the epoch; 0 for 0, which is before all days."""
    if not number:
        return 0
    date = dt.date(number // 10_000, number // 100 % 100, number % 100)
    return (date - dt.date(1970, 1, 1)).days * DAY_MS


class Purse:
    """What one subject has spent and reserved in one currency, in nano-units."""

    __slots__ = ("days", "total")

    def __init__(self) -> None:
        self.total = 0
        self.days: dict[int, int] = {}

    def add(self, day: int, nano: int) -> None:
        self.total += nano
        days = self.days
        if day in days:
            days[day] += nano
            return
        days[day] = nano
        if len(days) > _DAYS_KEPT:
            for old in sorted(days)[:-_DAYS_KEPT]:
                del days[old]

    def committed(self, budget: Budget, today: Day) -> int:
        """Spent and reserved in the budget's current period."""
        if budget.period == "total":
            return self.total
        first = today.first(budget.period)
        # A day after today is there only if the clock went back; it counts, so that a period is never paid out twice.
        return sum([nano for day, nano in self.days.items() if day >= first])


class Balances:
    """The purses of all subjects."""

    def __init__(self) -> None:
        self._purses: dict[tuple[str, str], Purse] = {}

    def purse(self, subject_id: str, currency: str) -> Purse:
        key = (subject_id, currency)
        purse = self._purses.get(key)
        if purse is None:
            purse = self._purses[key] = Purse()
        return purse

    def load(self, connection: Connection, now_ms: int) -> None:
        """Starts from the `spend` table. Call it before the first hold: the journal applied, no hold open."""
        recent = _number(dt.date(1970, 1, 1) + dt.timedelta(days=now_ms // DAY_MS - _DAYS_KEPT))
        older = func.sum(spend.c.amount).filter(spend.c.day < recent)
        self._purses = {}
        parents: dict[str, str | None] = {row.id: row.parent_id for row in connection.execute(select(*_TREE))}

        def above(subject_id: str) -> list[str]:
            """The subject, and all accounts above it: what it spends, they spend."""
            found = [subject_id]
            while (parent := parents.get(found[-1])) is not None:
                found.append(parent)
            return found

        for subject_id, currency, amount in connection.execute(
            select(spend.c.subject_id, spend.c.currency, older).group_by(spend.c.subject_id, spend.c.currency)
        ):
            for one in above(subject_id):
                self.purse(one, currency).total += int(amount or 0)
        for subject_id, currency, day, amount in connection.execute(
            select(spend.c.subject_id, spend.c.currency, spend.c.day, spend.c.amount).where(spend.c.day >= recent)
        ):
            for one in above(subject_id):
                self.purse(one, currency).add(day, amount)


def _number(date: dt.date) -> int:
    return date.year * 10_000 + date.month * 100 + date.day
