"""Clocks that jump: forward by hours and days, back by hours, over midnights, while requests are under way."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from posthouse.accounts.model import NewAccount, NewKey
from posthouse.accounts.service import Directory
from posthouse.core.caller import Budget, Limits, Period
from posthouse.storage.database import Database
from posthouse.storage.tables import holds, requests
from posthouse.storage.trees import subtree
from tests.chaos_embedded.books import sound
from tests.chaos_embedded.clocked import CAP, Asked, Clocks, Life, live
from tests.chaos_embedded.rounds import seeds

LIVES: Final = 3
STEPS: Final = 120
HOUR: Final = 3_600.0
DAY: Final = 24 * HOUR
COST: Final = 3 * 1_000 + CAP * 10_000
HELD: Final = COST + 40_000  # what is held for one is a little more than it costs
START: Final = dt.datetime(2026, 11, 27, 22, 0, tzinfo=dt.UTC).timestamp()  # a Friday, three days before a month ends
RPD: Final = 4


class Budgeted(NamedTuple):
    """An account's budget, for so many answers, by which calendar."""

    name: str
    answers: int
    period: Period
    zone: str = "UTC"
    model: str | None = None

    @property
    def budget(self) -> Budget:
        return Budget(self.answers * HELD, "USD", self.period, self.zone, self.model)

    def period_of(self, ms: int) -> object:
        """Which one an instant lies in, told without the house."""
        date = dt.datetime.fromtimestamp(ms / 1000, ZoneInfo(self.zone)).date()
        match self.period:
            case "day":
                return date
            case "week":
                return date.isocalendar()[:2]
            case "month":
                return date.year, date.month
            case _:
                return ()


BUDGETS: Final = (
    Budgeted("daily", 3, "day"),
    Budgeted("weekly", 6, "week"),
    Budgeted("monthly", 12, "month"),
    Budgeted("there", 4, "day", "Asia/Shanghai"),
    Budgeted("of one model", 8, "week", model="m"),
    Budgeted("ever", 30, "total"),
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'posthouse.db'}")
    made.upgrade()
    try:
        yield made
    finally:
        made.close()


class People(NamedTuple):
    """Ids of accounts, and secrets of keys, by their names."""

    ids: dict[str, str]
    secrets: dict[str, str]


def people_of(directory: Directory) -> People:
    """A key of every account with a budget, and one with a limit per day."""
    made = {one.name: NewAccount(name=one.name, budgets=(one.budget,)) for one in BUDGETS}
    keys = [NewKey(name=one.name, account=one.name) for one in BUDGETS]
    keys.append(NewKey(name="limited", limits=Limits(rpd=RPD)))
    ids = {name: directory.create_account(new).id for name, new in made.items()}
    return People(ids, {new.name: directory.create_key(new).secret for new in keys})


class Walk:
    """Requests that begin and end, and clocks that jump, as a seed has it."""

    def __init__(self, random: Random, clocks: Clocks, people: People) -> None:
        self.random = random
        self.clocks = clocks
        self.people = people
        self.open: list[Asked] = []
        self.over: list[Asked] = []
        self.came: Counter[str] = Counter()
        # Of the limited key, by life and by the latest day that there was in it.
        self.days: Counter[tuple[int, dt.date]] = Counter()
        self._lives = 0
        self._latest = START

    async def go(self, life: Life, steps: int) -> None:
        self._lives += 1
        self._latest = life.look()
        for _ in range(steps):
            step = self.random.random()
            if step < 0.55:
                await self._ask(life)
            elif step < 0.85 and self.open:
                await self._end(life, self.open.pop(self.random.randrange(len(self.open))))
            else:
                self._jump()
                self._latest = max(self._latest, life.look())
        while self.open:
            await self._end(life, self.open.pop())

    async def _ask(self, life: Life) -> None:
        who = self.random.choice(sorted(self.people.secrets))
        asked = await life.begin(who, self.people.secrets[who], stream=self.random.random() < 0.5)
        if asked.task.done():
            self.came[await asked.task] += 1
            assert asked.task.result() != "admitted"
            return
        self.open.append(asked)
        if who == "limited":
            self.days[self._lives, dt.datetime.fromtimestamp(self._latest, dt.UTC).date()] += 1

    async def _end(self, life: Life, asked: Asked) -> None:
        life.answer(asked)
        self.came[await asked.task] += 1
        assert asked.task.result() == "admitted"
        self.over.append(asked)

    def _jump(self) -> None:
        clocks, random = self.clocks, self.random
        match random.randrange(6):
            case 0:
                clocks.go_on(random.uniform(1, 600))
            case 1:
                clocks.wall += random.choice((1, 5, 24, 48, 7 * 24)) * HOUR
            case 2 | 3:
                clocks.wall -= random.choice((0.1, 1, 5, 26)) * HOUR
            case 4:  # just before a midnight there or here, and over it
                clocks.wall = clocks.wall // DAY * DAY + random.choice((16 * HOUR, DAY)) - 1
                clocks.go_on(random.choice((0.5, 2.0)))
            case _:
                clocks.go_on(random.uniform(1, 12) * HOUR)


@pytest.mark.req("FAULT-005", "FAULT-006")
@pytest.mark.parametrize("seed", seeds(5))
async def test_no_period_is_paid_twice_and_no_hold_is_stuck_whatever_the_clock_does(
    tmp_path: Path, database: Database, seed: int
) -> None:
    directory, clocks = Directory(database), Clocks(START)
    walk = Walk(Random(seed), clocks, people_of(directory))
    for _ in range(LIVES):
        async with live(tmp_path, database, directory, clocks) as life:
            await walk.go(life, STEPS)
            told = [await life.left(walk.people.secrets[one.name]) for one in BUDGETS]
        async with live(tmp_path, database, directory, clocks) as life:
            assert [await life.left(walk.people.secrets[one.name]) for one in BUDGETS] == told
    assert walk.came["admitted"]
    sound(database)
    check_holds(database, walk)
    for budget in BUDGETS:
        paid = by_period(database, walk.people.ids[budget.name], budget)
        assert [when for when, nano in paid.items() if nano > budget.budget.nano] == [], budget
    assert [day for day, count in walk.days.items() if count > RPD] == []


@pytest.mark.req("FAULT-005")
async def test_a_limit_of_a_day_counts_over_a_restart_whose_clock_has_gone_back_within_it(
    tmp_path: Path, database: Database
) -> None:
    directory, clocks = Directory(database), Clocks(START)
    secret = people_of(directory).secrets["limited"]
    for _ in range(RPD):
        async with live(tmp_path, database, directory, clocks) as life:
            asked = await life.begin("limited", secret, stream=False)
            life.answer(asked)
            assert await asked.task == "admitted"
        clocks.wall -= HOUR
    async with live(tmp_path, database, directory, clocks) as life:
        asked = await life.begin("limited", secret, stream=False)
        assert asked.task.done()
        assert await asked.task == "limited"


def check_holds(database: Database, walk: Walk) -> None:
    """Each answer has one hold, begun when it was asked for and charged once; nothing else has one."""
    with database.read() as connection:
        held = {row["id"]: dict(row) for row in connection.execute(select(holds)).mappings()}
        recorded = {row["id"]: dict(row) for row in connection.execute(select(requests)).mappings()}
    expected: dict[str, Any] = {one.id: ("settled", COST, int(one.at * 1000)) for one in walk.over}
    assert {one: (row["state"], row["charged"], row["created_at"]) for one, row in held.items()} == expected
    assert {one for one, row in recorded.items() if row["cost"] is not None} == set(expected)
    assert all(recorded[one]["created_at"] == row["created_at"] for one, row in held.items())


def by_period(database: Database, account_id: str, budget: Budgeted) -> Counter[object]:
    """What was charged for requests that began in each period of a budget, nano-units."""
    paid: Counter[object] = Counter()
    with database.read() as connection:
        mine = holds.c.account_id.in_(subtree(account_id)) | (holds.c.account_id == account_id)
        for created_at, charged in connection.execute(select(holds.c.created_at, holds.c.charged).where(mine)):
            paid[budget.period_of(created_at)] += charged
    return paid
