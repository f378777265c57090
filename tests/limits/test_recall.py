"""Limits of a calendar day over a restart: what the records say was used, and how the limiter takes it up."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from posthouse.core.caller import Limits, Subject
from posthouse.core.usage import COUNTS, Usage
from posthouse.limits.calendar import NOTHING, Used
from posthouse.limits.model import LimitReached
from posthouse.limits.recall import DayReader
from posthouse.limits.service import Limiter
from posthouse.limits.store import TOKENS, any_daily, used_by, used_by_all
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal, JournalOptions
from posthouse.storage.tables import accounts, holds, keys, requests

SHANGHAI = ZoneInfo("Asia/Shanghai")
MIDNIGHT = dt.datetime(2026, 11, 21, tzinfo=SHANGHAI).timestamp()
NOW = MIDNIGHT + 15 * 3600.5
TREE = {"acc_root": None, "acc_team": "acc_root", "acc_else": None}
HOMES = {"key_1": "acc_team", "key_2": "acc_team", "key_3": "acc_root", "key_4": "acc_else"}


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    database.upgrade()
    with database.write() as connection:
        for name, parent in TREE.items():
            connection.execute(insert(accounts).values(id=name, name=name, parent_id=parent, created_at=1))
        for name, home in HOMES.items():
            values = {"id": name, "name": name, "hash": name.encode(), "hint": "", "account_id": home, "created_at": 1}
            connection.execute(insert(keys).values(**values))
    yield database
    database.close()


@pytest.fixture
async def journal(tmp_path: Path, database: Database) -> AsyncIterator[Journal]:
    journal = Journal(tmp_path / "journal", database, options=JournalOptions(gather=0.001, retry=0.01))
    await asyncio.to_thread(journal.start)
    yield journal
    await asyncio.to_thread(journal.close, 10.0)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def recorded(database: Database, number: int, at: float, key: str = "key_1", **more: Any) -> None:
    """A request that was admitted at `at`."""
    ms = int(at * 1000)
    name = f"req_{ms:012x}{number:06x}"
    held = more.pop("held", True)
    model = more.pop("model", "m")
    values = dict.fromkeys(COUNTS, 0) | {"input": 10, "output": 5} | more
    with database.write() as connection:
        connection.execute(
            insert(requests).values(
                id=name,
                created_at=ms,
                key_id=key,
                account_id=HOMES[key],
                operation="chat.completions",
                model_asked=model,
                stream=False,
                status=200 if held else 429,
                attempts=1,
                priced=True,
                duration_ms=1,
                ended_by="complete",
                hold_state="settled" if held else None,
                **values,
            )
        )
        if held:
            connection.execute(
                insert(holds).values(
                    id=name, key_id=key, account_id=HOMES[key], model=model, state="settled", created_at=ms
                )
            )


def subject(name: str, kind: Any = "key", **limits: Any) -> Subject:
    return Subject(name, kind, name, Limits(**limits))


def of_model(name: str, model: str) -> Subject:
    return Subject(name, "model", model, Limits(rpd=1))


SUBJECTS = (
    *(subject(name) for name in HOMES),
    *(subject(name, "account") for name in TREE),
    *(of_model(f"model:key:{name}:{model}", model) for name in HOMES for model in ("m", "a:b/c")),
    *(of_model(f"model:account:{name}:{model}", model) for name in TREE for model in ("m", "a:b/c")),
    *(of_model(f"model:{model}", model) for model in ("m", "a:b/c")),
)


def test_tokens_are_those_of_a_total() -> None:
    usage = Usage(**{name: 2**place for place, name in enumerate(COUNTS)})
    assert sum(getattr(usage, name) for name in TOKENS) == usage.total


@pytest.mark.req("LIMIT-031")
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.integers(-3 * 3600, 16 * 3600),
            st.sampled_from(sorted(HOMES)),
            st.sampled_from(("m", "a:b/c", "other")),
            st.booleans(),
            st.integers(0, 3),
        ),
        max_size=12,
    )
)
def test_every_subject_has_used_what_its_records_of_the_day_say(
    database: Database, rows: list[tuple[int, str, str, bool, int]]
) -> None:
    with database.write() as connection:
        connection.execute(requests.delete())
        connection.execute(holds.delete())
    wanted: dict[str, Used] = {}
    for number, (seconds, key, model, held, images) in enumerate(rows):
        recorded(database, number, MIDNIGHT + seconds, key, model=model, held=held, images=images)
        if not held or not 0 <= seconds < NOW - MIDNIGHT:
            continue
        above = [HOMES[key]]
        while (parent := TREE[above[-1]]) is not None:
            above.append(parent)
        names = [key, f"model:key:{key}:{model}", f"model:{model}"]
        names += [name for account in above for name in (account, f"model:account:{account}:{model}")]
        for name in names:
            wanted[name] = wanted.get(name, NOTHING) + Used(1, 15, images)
    starts, now = int(MIDNIGHT * 1000), int(NOW * 1000)
    with database.snapshot() as connection:
        assert used_by_all(connection, starts, now) == wanted
        for one in SUBJECTS:
            assert used_by(connection, one, starts, now) == wanted.get(one.id, NOTHING), one.id


@pytest.mark.req("LIMIT-031")
async def test_a_restart_forgets_nothing_of_the_day(database: Database, journal: Journal, clock: Clock) -> None:
    for number in range(3):
        recorded(database, number, NOW - number - 1, images=number)
    recorded(database, 9, MIDNIGHT - 1)
    limiter = Limiter(lambda: 0.0, clock, SHANGHAI)
    await DayReader(limiter, database, journal).start([Limits(rpd=1)])
    for kind, name in (("key", "key_1"), ("account", "acc_team"), ("account", "acc_root"), ("model", "model:m")):
        for limits in (Limits(rpd=4), Limits(tpd=55), Limits(ipd=4)):
            who = Subject(name, kind, name, limits)  # type: ignore[arg-type]
            limiter.admit_subjects([who], 10, 1).settle(0, 0)
            with pytest.raises(LimitReached, match="per day"):
                limiter.admit_subjects([who], 11, 2)
            limiter._states.clear()
    clock.now = MIDNIGHT + 24 * 3600
    for _ in range(4):
        limiter.admit_subjects([subject("key_1", rpd=4)], 0).release()


@pytest.mark.req("LIMIT-032")
async def test_a_limit_that_is_given_while_the_day_runs_counts_what_was_used_before(
    database: Database, journal: Journal, clock: Clock
) -> None:
    limiter = Limiter(lambda: 0.0, clock, SHANGHAI)
    reader = DayReader(limiter, database, journal)
    await reader.start()
    recorded(database, 1, NOW + 10)
    recorded(database, 2, NOW + 20, key="key_2")
    clock.now = NOW + 60
    free, limited = subject("key_1"), subject("key_1", rpd=3, tpd=1000)
    limiter.admit_subjects([free], 0).release()
    running = limiter.admit_subjects([limited], 100)
    recorded(database, 3, clock.now)  # its record is there before the question is put
    await read(reader)
    running.settle(40)
    running.release()
    grant = limiter.admit_subjects([limited], 0)
    assert dict(grant.headers())[b"x-ratelimit-remaining-tokens"] == b"945"
    with pytest.raises(LimitReached, match="requests per day: limit 3"):
        limiter.admit_subjects([limited], 0)


@pytest.mark.req("LIMIT-032")
async def test_a_limit_that_is_taken_and_given_again_counts_everything_once(
    database: Database, journal: Journal, clock: Clock
) -> None:
    recorded(database, 1, NOW - 5)
    limiter = Limiter(lambda: 0.0, clock, SHANGHAI)
    reader = DayReader(limiter, database, journal)
    await reader.start([Limits(rpd=1)])
    limiter.admit_subjects([subject("key_1", rpd=10)], 0).release()
    await read(reader)
    recorded(database, 2, clock.now)
    clock.now += 1
    limiter.admit_subjects([subject("key_1")], 0).release()
    limiter.admit_subjects([subject("key_1", rpm=9)], 0).release()
    clock.now += 1
    grant = limiter.admit_subjects([subject("key_1", rpd=10)], 0)
    await read(reader)
    assert dict(grant.headers())[b"x-ratelimit-remaining-requests"] == b"7"


@pytest.mark.req("LIMIT-031")
async def test_a_clock_that_goes_back_within_the_day_takes_nothing_off(
    database: Database, journal: Journal, clock: Clock
) -> None:
    for number in range(3):
        recorded(database, number, NOW - 10 * number)
    limiter = Limiter(lambda: 0.0, clock, SHANGHAI)
    reader = DayReader(limiter, database, journal)
    clock.now = NOW + 1
    await reader.start([Limits(rpd=1)])
    clock.now = NOW - 3600
    limiter.admit_subjects([subject("key_1", rpd=4)], 0).release()
    await read(reader)
    with pytest.raises(LimitReached, match="requests per day: limit 4"):
        limiter.admit_subjects([subject("key_1", rpd=4)], 0)


@pytest.mark.req("LIMIT-032")
async def test_an_address_is_not_looked_for(database: Database, journal: Journal, clock: Clock) -> None:
    limiter = Limiter(lambda: 0.0, clock, SHANGHAI)
    reader = DayReader(limiter, database, journal)
    await reader.start()
    limiter.admit_subjects([subject("address:192.0.2.1", "address", rpd=1)], 0)
    assert not reader._waiting


@pytest.mark.req("LIMIT-031")
def test_records_are_looked_through_only_where_somebody_is_limited_by_the_day(database: Database) -> None:
    def found() -> bool:
        with database.read() as connection:
            return any_daily(connection)

    assert not found()
    for table, values in (
        (keys, {"rpd": 5}),
        (keys, {"rpd": None, "model_limits": '{"m": {"rpm": 4}}'}),
        (accounts, {"model_limits": '{"m": {"tpd": 4}}'}),
        (accounts, {"model_limits": None, "ipd": 0}),
    ):
        with database.write() as connection:
            connection.execute(table.update().values(**values))
        assert found() is (values != {"rpd": None, "model_limits": '{"m": {"rpm": 4}}'})


async def read(reader: DayReader) -> None:
    async with asyncio.timeout(10):
        while reader._reading is not None:
            await asyncio.sleep(0.001)
