"""What budgets of one model, or of another calendar than UTC's, have committed: one number for each and its period.

`Balances` keeps what every key and account spent by UTC day, which tells how plain budgets stand. Any other budget has
a stand, which is made when the first request comes that it applies to: from then on every hold of its subject is part
of it, and what was spent before is read from the database once (`read`, by `StandReader`). What was open at that
moment, or began while the database was asked, is counted here and left out of what is read, by name: nothing is there
twice. So it is with every budget of those whose balances are doubted: an account was moved, so that others are above
it now, or the folds were made anew.

Where the clock goes back into an earlier period, a stand is made anew, and so it is when the clock is over its end
again, also where only the database knows of what came later. What is read has no end: in the earlier period all that
came later counts too, as it does in `Balances`, so that no period is paid out twice.

Of one server with limits in memory; several servers ask Redis. Not for several threads: the event loop's.
"""

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Final, Protocol

from sqlalchemy import Connection

from posthouse.billing.balances import day_of
from posthouse.billing.corrections import Correction, newest
from posthouse.billing.periods import Periods, Span
from posthouse.billing.spending import Place, charged_of, newest_day, spent_in
from posthouse.core.caller import Budget, Caller, Subject
from posthouse.core.errors import Unavailable
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal

Key = tuple[str, str, str, str, str | None]
_APPLIED: Final = 2.0  # seconds to wait for the journal


class Begun(Protocol):
    """A hold, as far as it matters here."""

    id: str
    model: str
    created_at: int


class Stand:
    """One budget in one period. `committed`: nano-units spent and held, in all once `loaded`. `names`: the holds that
    are counted here while the database is asked. `newest`: the last UTC day (yyyymmdd) that it had anything of."""

    __slots__ = ("asked", "committed", "corrected", "corrected_to", "key", "loaded", "names", "newest", "span")

    def __init__(self, key: Key, span: Span, loaded: bool) -> None:
        self.key = key
        self.span = span
        self.committed = 0
        self.loaded = loaded
        self.asked = False
        self.newest = 0
        self.names: dict[str, None] = {}
        self.corrected: list[Correction] = []
        self.corrected_to = 0

    def add(self, day: int, nano: int) -> None:
        """As `Purse.add`; the day is that of the hold, which began in this period."""
        self.committed += nano

    def correct(self, one: Correction) -> None:
        """Counts a correction, unless what was read has it."""
        if not self.span.starts <= one.created_at:
            return
        if not self.loaded:
            self.corrected.append(one)
        elif one.number > self.corrected_to:
            self.committed += one.amount

    @property
    def behind(self) -> bool:
        """Whether something may have been spent after its period: the clock has been there before."""
        return bool(self.span.first) and self.newest >= day_of(self.span.ends).number

    def read(self, spent: int, corrected_to: int) -> None:
        """What the database had, without the holds of `names`, up to the correction of this number."""
        self.committed += spent + sum([one.amount for one in self.corrected if one.number > corrected_to])
        self.corrected_to = corrected_to
        self.loaded = True
        self.names = {}
        self.corrected = []


def key_of(subject_id: str, budget: Budget) -> Key:
    return (subject_id, budget.currency, budget.period, budget.zone, budget.model)


class Stands:
    """All of them. A stand that nobody asked for in its whole period is let go; so they are as many as there are
    budgets in use."""

    def __init__(self, periods: Periods) -> None:
        self._periods = periods
        self._stands: dict[Key, Stand] = {}
        self._of: dict[str, list[Budget]] = {}
        self._left: dict[Key, int] = {}  # when the latest period began that a clock has gone back from

    def __len__(self) -> int:
        return len(self._stands)

    def committed(self, subject_id: str, budget: Budget, now_ms: int) -> int | None:
        """Spent and held in the current period; None where that has not been read."""
        stand = self._current(subject_id, budget, now_ms)
        if stand is not None and now_ms < stand.span.starts:
            self._left[stand.key] = max(stand.span.starts, self._left.get(stand.key, 0))
            self.drop(stand)
            return None
        if stand is None or not stand.loaded:
            return None
        stand.asked = True
        return stand.committed

    def attached(self, subjects: Iterable[str], currency: str, hold: Begun) -> list[Stand]:
        """Those that a hold of these keys and accounts is part of."""
        model, now_ms, hold_id = hold.model, hold.created_at, hold.id
        found = []
        for subject_id in subjects:
            for budget in tuple(self._of.get(subject_id, ())):
                if budget.currency == currency and budget.applies(model):
                    stand = self._current(subject_id, budget, now_ms)
                    if stand is not None and now_ms >= stand.span.starts:
                        if not stand.loaded:
                            stand.names[hold_id] = None
                        found.append(stand)
        return found

    def correct(self, one: Correction, subjects: Iterable[str], now_ms: int) -> None:
        for subject_id in subjects:
            for budget in tuple(self._of.get(subject_id, ())):
                if budget.model is None and budget.currency == one.currency:
                    stand = self._current(subject_id, budget, now_ms)
                    if stand is not None:
                        stand.correct(one)

    def begin(self, subject_id: str, budget: Budget, now_ms: int) -> Stand:
        """A new one, for what is read into it."""
        key = key_of(subject_id, budget)
        stand = self._stands[key] = Stand(key, self._periods.now(budget, now_ms), loaded=False)
        budgets = self._of.setdefault(subject_id, [])
        if not any(key_of(subject_id, one) == key for one in budgets):
            budgets.append(budget)
        return stand

    def drop_of(self, subjects: Iterable[str] | None) -> None:
        """All of these keys and accounts; None: all."""
        kept = None if subjects is None else frozenset(subjects)
        for stand in tuple(self._stands.values()):
            if kept is None or stand.key[0] in kept:
                self.drop(stand)

    def drop(self, stand: Stand) -> None:
        if self._stands.get(stand.key) is stand:
            del self._stands[stand.key]
            subject_id = stand.key[0]
            kept = [one for one in self._of[subject_id] if key_of(subject_id, one) != stand.key]
            if kept:
                self._of[subject_id] = kept
            else:
                del self._of[subject_id]

    def _current(self, subject_id: str, budget: Budget, now_ms: int) -> Stand | None:
        stand = self._stands.get(key_of(subject_id, budget))
        if stand is None or now_ms < stand.span.ends:
            return stand
        if not stand.asked or not stand.loaded:
            self.drop(stand)
            return None
        span = self._periods.now(budget, now_ms)
        if stand.behind or span.starts <= self._left.get(stand.key, -1):
            self.drop(stand)
            return None
        self._left.pop(stand.key, None)
        # Every hold of its subject was part of it, and none began in the new period yet.
        after = Stand(stand.key, span, loaded=True)
        after.corrected_to = stand.corrected_to
        self._stands[stand.key] = after
        return after


class Books(Protocol):
    """The ledger, as far as it matters here."""

    stands: Stands

    def now_ms(self) -> int: ...
    def doubted(self, subject_id: str) -> bool:
        """Whether its balances are not what the database says."""
        ...

    def begin_stand(self, subject_id: str, budget: Budget) -> Stand:
        """A new one, with the open holds of its period in it."""
        ...


class NoStands:
    """Where several servers ask Redis, nothing is to be read here."""

    async def ready(self, caller: Caller, model: str) -> None:
        pass


class StandReader:
    """Reads stands from the database when a request needs them."""

    def __init__(self, books: Books, database: Database, journal: Journal) -> None:
        self._books = books
        self._database = database
        self._journal = journal
        self._reading: dict[Key, asyncio.Task[None]] = {}

    async def ready(self, caller: Caller, model: str) -> None:
        """Until every budget of this caller that applies to the model can be compared with. Unavailable."""
        now_ms = self._books.now_ms()
        for subject in caller.subjects:
            for budget in subject.budgets:
                if not budget.applies(model) or (budget.plain and not self._books.doubted(subject.id)):
                    continue
                if self._books.stands.committed(subject.id, budget, now_ms) is not None:
                    continue
                key = key_of(subject.id, budget)
                task = self._reading.get(key)
                if task is None:
                    task = asyncio.get_running_loop().create_task(self._read(subject, budget))
                    self._reading[key] = task
                    task.add_done_callback(partial(self._done, key))
                # One that leaves must not take it from those who wait for the same.
                await asyncio.shield(task)

    def _done(self, key: Key, task: asyncio.Task[None]) -> None:
        self._reading.pop(key, None)
        if not task.cancelled():
            task.exception()  # those who wait for it hear of it; there may be none left

    async def _read(self, subject: Subject, budget: Budget) -> None:
        stand = self._books.begin_stand(subject.id, budget)
        try:
            self._journal.flush()
            stand.read(*await asyncio.to_thread(self._queried, stand, budget))
        except BaseException:
            self._books.stands.drop(stand)
            raise

    def _queried(self, stand: Stand, budget: Budget) -> tuple[int, int]:
        """In a thread. What ended before the stand began is in the database then."""
        if not self._journal.wait_applied(_APPLIED):
            raise Unavailable("The budget of this key cannot be read now. Try again shortly.")
        with self._database.snapshot() as connection:
            stand.newest = newest_day(connection, _place(stand, budget))
            return spent_without(connection, stand, budget)


def spent_without(connection: Connection, stand: Stand, budget: Budget) -> tuple[int, int]:
    """What was spent in the period of a stand, without the holds that it counts itself, and the number of the last
    correction that is in it. One snapshot's."""
    spent = spent_in(connection, _place(stand, budget))
    # Only now: whatever of a hold this snapshot sees was counted before.
    names = list(stand.names)
    return spent - charged_of(connection, names, budget.currency), newest(connection)


def _place(stand: Stand, budget: Budget) -> Place:
    return Place(stand.key[0], budget.currency, budget.model, budget.zone, stand.span.first, stand.span.starts)
