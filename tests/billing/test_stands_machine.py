"""Budgets of single models and of other calendars: any interleaving of holds, ends, corrections, days, crashes, and of
reading a budget in three steps between which anything may happen, against a model that adds holds up each time."""

import datetime as dt
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.billing.corrections import CorrectionDesk, NewCorrection
from posthouse.billing.ledger import Hold
from posthouse.billing.model import Price, Settlement
from posthouse.billing.stands import Stand, spent_without
from posthouse.core.caller import Budget, Caller, Limits, Period, Subject
from posthouse.core.errors import InsufficientQuota, Unavailable
from posthouse.core.money import Money
from posthouse.core.usage import Usage
from posthouse.storage.database import Database
from tests.billing.fakes import PRICE
from tests.billing.stored import StoredHouse, empty
from tests.billing.test_machine import ACCOUNTS, first_day

MODELS = ("m", "n")
PRICES = {"USD": PRICE, "CNY": Price("CNY", "test", "m", PRICE.rates)}
ZONES = ("UTC", "Asia/Shanghai", "America/New_York", "Asia/Kathmandu")
PERIODS: tuple[Period, ...] = ("total", "day", "week", "month")


def made(draw: Random) -> Budget:
    return Budget(draw.randint(20, 200), "USD", draw.choice(PERIODS), draw.choice(ZONES), draw.choice([None, "m"]))


class Known:
    def __init__(self, hold: Hold, currency: str) -> None:
        self.hold = hold
        self.charges = {currency: hold.amount or 0}
        self.open = True
        self.flushed: dict[str, int] | None = None

    def end(self, charges: dict[str, int]) -> None:
        self.open, self.charges = False, charges


class Reading:
    """A stand that is being read: begun; what the database said; not yet taken over."""

    def __init__(self, stand: Stand, budget: Budget) -> None:
        self.stand = stand
        self.budget = budget
        self.found: tuple[int, int] | None = None


class Budgets:
    def __init__(self, database: Database, draw: Random) -> None:
        empty(database)
        self.database = database
        self.house = StoredHouse(database)
        self.desk = CorrectionDesk(self.database, self.house.clock)
        self.known: list[Known] = []
        self.corrected: list[tuple[tuple[str, ...], int, float]] = []
        self.budgets: dict[str, tuple[Budget, ...]] = {"key_1": (made(draw),), "acc_1": (made(draw), made(draw))}
        self.readings: list[Reading] = []
        self.made = 0

    def edit(self, draw: Random) -> None:
        self.budgets[draw.choice(["key_1", "acc_1"])] = tuple(made(draw) for _ in range(draw.randrange(3)))

    def hold(self, draw: Random) -> None:
        self.hear_of_corrections(draw)
        model, amount = draw.choice(MODELS), draw.randint(1, 30)
        caller = self.caller(draw.choice(["key_1", "key_1", "key_2", "key_3"]))
        exceeded = [
            budget
            for subject in caller.subjects
            for budget in subject.budgets
            if budget.applies(model) and self.committed(subject.id, budget) + amount > budget.nano
        ]
        self.made += 1
        name = f"req_{int(self.house.clock() * 1000):012x}{self.made:06x}0000000000"
        try:
            hold = self.house.ledger.hold(caller, name, model, Money(amount, "USD"))
        except InsufficientQuota:
            assert exceeded, "refused though every budget covers it"
        except Unavailable:
            assert any(not self.is_read(one.id, budget) for one in caller.subjects for budget in one.budgets)
        else:
            assert not exceeded, "admitted beyond a budget"
            self.known.append(Known(hold, "USD"))

    def settle(self, draw: Random) -> None:
        if opened := self.opened():
            known, tokens, currency = (
                draw.choice(opened),
                draw.randint(0, 60),
                draw.choice(["USD", "USD", "USD", "CNY"]),
            )
            known.hold.settle(Settlement(Usage(input=tokens), "provider", PRICES[currency], "main", "complete"))
            known.end({currency: tokens})

    def release(self, draw: Random) -> None:
        if opened := self.opened():
            known = draw.choice(opened)
            known.hold.release()
            known.end({})

    # Reading in three steps, as StandReader does it

    def begin_reading(self, draw: Random) -> None:
        wanted = [
            (subject, budget)
            for subject, several in self.budgets.items()
            for budget in several
            if not budget.plain and not self.is_read(subject, budget) and not self.is_being_read(subject, budget)
        ]
        if wanted:
            subject, budget = draw.choice(wanted)
            self.readings.append(Reading(self.house.ledger.begin_stand(subject, budget), budget))
            self.flush(draw)

    def ask_the_database(self, draw: Random) -> None:
        for reading in self.readings:
            if reading.found is None:
                if draw.random() < 0.5:
                    self.flush(draw)
                self.house.journal.apply()
                with self.database.snapshot() as connection:
                    reading.found = spent_without(connection, reading.stand, reading.budget)
                return

    def take_over(self, _: Random) -> None:
        for reading in self.readings:
            if reading.found is not None:
                self.readings.remove(reading)
                reading.stand.read(*reading.found)
                return

    def forget(self, draw: Random) -> None:
        """As when its period ends and nobody has asked for it: it is read anew."""
        stands = [one for one in self.house.ledger.stands._stands.values() if one.loaded]
        if stands:
            self.house.ledger.stands.drop(draw.choice(stands))

    # What happens besides

    def correct(self, draw: Random) -> None:
        self.made += 1
        account, amount = draw.choice(["acc_1", "acc_2"]), draw.choice([-9, 7])
        key = next(key for key, owner in ACCOUNTS.items() if owner == account) if draw.random() < 0.5 else None
        self.desk.make(NewCorrection(account, key, amount, "USD", "test", "test", f"c{self.made}"))
        moved = (account,) if key is None else (account, key)
        self.corrected.append((moved, amount, self.house.clock()))

    def hear_of_corrections(self, _: Random) -> None:
        self.house.ledger.heed(self.desk.after(self.house.ledger.corrected_to))

    def time_passes(self, draw: Random) -> None:
        self.house.clock.now += draw.choice([1, 5, 5, 12, 24, 24 * 8, 24 * 32]) * 3600

    def flush(self, _: Random) -> None:
        self.house.journal.flush()
        for known in self.known:
            known.flushed = dict(known.charges) if not known.open else {}

    def apply(self, _: Random) -> None:
        self.house.journal.apply()

    def crash(self, _: Random) -> None:
        self.house.restart()
        self.readings = []
        self.known = [known for known in self.known if known.flushed is not None]
        for known in self.known:
            known.end(known.flushed or {})
            known.hold.state = "expired"

    # What must always hold

    def what_has_been_read_is_what_holds_and_corrections_add_up_to(self) -> int:
        """How many budgets there were to compare."""
        compared = 0
        if self.desk.after(self.house.ledger.corrected_to):
            return 0  # some of what was corrected has been read, and not heard of yet
        for subject, several in self.budgets.items():
            for budget in several:
                stand = None if budget.plain else self.stand_of(subject, budget)
                if stand is not None and stand.loaded and self.house.clock() * 1000 < stand.span.ends:
                    assert stand.committed == self.committed(subject, budget), (subject, budget)
                    compared += 1
        return compared

    # The model

    def opened(self) -> list[Known]:
        return [known for known in self.known if known.open]

    def is_read(self, subject: str, budget: Budget) -> bool:
        now_ms = int(self.house.clock() * 1000)
        return budget.plain or self.house.ledger.stands.committed(subject, budget, now_ms) is not None

    def is_being_read(self, subject: str, budget: Budget) -> bool:
        stand = self.stand_of(subject, budget)
        return any(one.stand is stand for one in self.readings)

    def stand_of(self, subject: str, budget: Budget) -> Any:
        key = (subject, budget.currency, budget.period, budget.zone, budget.model)
        return self.house.ledger.stands._stands.get(key)

    def committed(self, subject: str, budget: Budget) -> int:
        zone = ZoneInfo(budget.zone)
        first = first_day(budget.period, dt.datetime.fromtimestamp(self.house.clock(), zone).date())

        def since(seconds: float) -> bool:
            return dt.datetime.fromtimestamp(seconds, zone).date() >= first

        held = sum(
            known.charges.get(budget.currency, 0)
            for known in self.known
            if subject in (known.hold.key_id, known.hold.account_id)
            and budget.applies(known.hold.model)
            and since(known.hold.created_at / 1000)
        )
        corrections = (amount for moved, amount, at in self.corrected if subject in moved and since(at))
        return held + (0 if budget.model is not None else sum(corrections))

    def caller(self, key: str) -> Caller:
        account = ACCOUNTS[key]
        mine = [Subject(one, "key", one, Limits(), self.budgets.get(one, ())) for one in (key, account)]
        return Caller(key, key, account, tuple(mine), apart=True)


WEIGHTS = {
    Budgets.hold: 30,
    Budgets.settle: 22,
    Budgets.release: 3,
    Budgets.begin_reading: 10,
    Budgets.ask_the_database: 8,
    Budgets.take_over: 5,
    Budgets.forget: 4,
    Budgets.edit: 1,
    Budgets.correct: 3,
    Budgets.hear_of_corrections: 4,
    Budgets.time_passes: 5,
    Budgets.flush: 4,
    Budgets.apply: 3,
    Budgets.crash: 1,
}


def test_no_interleaving_overruns_a_budget_of_a_model_or_of_another_calendar(database: Database) -> None:
    read = 0

    @settings(max_examples=100 if database.kind == "sqlite" else 15, deadline=None)
    @given(st.integers(0, 2**32))
    def lives(seed: int) -> None:
        nonlocal read
        draw = Random(seed)
        world = Budgets(database, draw)
        try:
            for step in draw.choices(list(WEIGHTS), list(WEIGHTS.values()), k=120):
                step(world, draw)
                read += world.what_has_been_read_is_what_holds_and_corrections_add_up_to()
        finally:
            world.house.close()

    lives()
    assert read > 100  # a world in which nothing is ever read proves nothing
