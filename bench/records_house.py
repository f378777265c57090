"""A house that has served for a while: its accounts, keys, records and corrections, made by what makes them ever."""

import random
import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from sqlalchemy import func, insert, select

from posthouse.billing.corrections import CorrectionDesk, NewCorrection
from posthouse.storage.appliers import APPLIERS
from posthouse.storage.database import Database
from posthouse.storage.rows import END, HOLD, REQUEST, EndRow, HoldRow, RequestRow
from posthouse.storage.sums import LOCK, fold
from posthouse.storage.tables import accounts, corrections, keys, requests, usage_changed

END_MS: Final = 1_796_083_200_000  # 2026-12-01
DAY_MS: Final = 86_400_000
# Those that ask, and those that are only there.
BUSY_KEYS: Final = 100
BUSY_ACCOUNTS: Final = 20
ALL_KEYS: Final = 10_000
ALL_ACCOUNTS: Final = 2_000
CORRECTIONS: Final = 500
MODELS: Final = (("main", "fast"), ("main", "large"), ("other", "fast"), ("other", "vision"), ("third", "small"))
_BATCH: Final = 2_000


def key_of(number: int) -> str:
    return f"key_{number:022x}"


def account_of(number: int) -> str:
    return f"acc_{number:022x}"


def make(database: Database, count: int, days: int) -> float:
    """Fills an empty database with so many requests over so many days, and gives the CPU seconds of applying each
    million of them; of one that has requests it makes only what else is missing."""
    with database.read() as connection:
        there = connection.execute(select(func.count()).select_from(requests)).scalar_one()
        owners = connection.execute(select(func.count()).select_from(accounts)).scalar_one()
    spent = 0.0
    if owners < ALL_ACCOUNTS:
        _owners(database)
        _corrections(database)
    if not there:
        spent = _fill(database, count, END_MS - days * DAY_MS, days * DAY_MS)
    _sum(database)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if database.kind == "postgresql":
            connection.exec_driver_sql("ANALYZE")
    return spent * 1_000_000 / count


def _owners(database: Database) -> None:
    """A company (account 0), its teams 1 to 4, and everybody else below one of these."""
    with database.write() as connection:
        for first in range(0, ALL_ACCOUNTS, 500):
            rows: list[dict[str, Any]] = [
                {
                    "id": account_of(number),
                    "name": f"account {number}",
                    "created_at": number,
                    "parent_id": None if number == 0 else account_of(0 if number < 5 else 1 + number % 4),
                }
                for number in range(first, min(first + 500, ALL_ACCOUNTS))
            ]
            connection.execute(insert(accounts), rows)
        for first in range(0, ALL_KEYS, 500):
            rows = [
                {
                    "id": key_of(number),
                    "hash": number.to_bytes(32, "big"),
                    "hint": "sk-ph-...",
                    "name": f"key {number}",
                    "account_id": account_of(number % BUSY_ACCOUNTS if number < BUSY_KEYS else number % ALL_ACCOUNTS),
                    "created_at": number,
                }
                for number in range(first, min(first + 500, ALL_KEYS))
            ]
            connection.execute(insert(keys), rows)


def _corrections(database: Database) -> None:
    with database.read() as connection:
        done = connection.execute(select(func.count()).select_from(corrections)).scalar_one()
    moment = [END_MS / 1000 - 20 * 86_400]
    desk = CorrectionDesk(database, lambda: moment[0])
    for number in range(done, CORRECTIONS):
        moment[0] += 3_000
        key = key_of(3) if number % 2 else None
        desk.make(NewCorrection(account_of(3), key, 1 - number * 1_000, "USD", "goodwill", "bench", f"bench-{number}"))


def _fill(database: Database, count: int, begin: int, length: int) -> float:
    """Requests in the order of time; one in fifty failed, one key and one model are rare."""
    applier = APPLIERS[database.kind](database)
    chance = random.Random(4)
    lines: dict[str, list[bytes]] = {HOLD: [], END: [], REQUEST: []}
    spent = 0.0
    for number in range(count):
        for kind, row in _request(number, begin + number * length // count, chance):
            lines[kind].append(msgspec.json.encode(row))
        if len(lines[HOLD]) == _BATCH or number == count - 1:
            began = time.process_time()
            applier.begin()
            applier.apply(lines)
            applier.commit()
            spent += time.process_time() - began
            lines = {HOLD: [], END: [], REQUEST: []}
    applier.close()
    return spent


def _sum(database: Database) -> None:
    """What appliers do every half minute: whoever fills a year in a minute would leave it to the next ones."""
    with database.read() as connection:
        left = connection.execute(select(func.count()).select_from(usage_changed)).scalar_one()
    while left > 1:
        with database.write() as connection:
            if database.kind == "postgresql":
                connection.exec_driver_sql(LOCK)
            left = fold(connection.exec_driver_sql)


def _request(number: int, moment: int, chance: random.Random) -> Iterator[tuple[str, msgspec.Struct]]:
    key = 0 if number % 50_000 == 7 else 1 + chance.randrange(BUSY_KEYS - 1)
    key_id, account_id = key_of(key), account_of(key % BUSY_ACCOUNTS)
    provider, model = ("third", "rare") if number % 25_000 == 3 else chance.choice(MODELS)
    request_id = f"req_{moment:012x}{number & 0xFFFFFF:06x}be4c4be4c4"
    failed = chance.random() < 0.02
    tokens = (chance.randrange(50, 4_000), chance.randrange(1, 800))
    cost = 0 if failed else tokens[0] * 150 + tokens[1] * 600
    yield HOLD, HoldRow(request_id, key_id, account_id, model, 3_000_000, "USD", moment)
    state: Any = "released" if failed else "settled"
    source: Any = None if failed else "provider"
    yield (
        END,
        EndRow(
            *(request_id, state, moment + 900, cost, "USD", source, key_id, account_id, provider),
            *(int(time.strftime("%Y%m%d", time.gmtime(moment // 1000))), None),
        ),
    )
    yield (
        REQUEST,
        RequestRow(
            *(request_id, moment, key_id, account_id, "chat.completions", model, model, provider),
            *(f"{provider}/{model}", True, 429 if number % 10_000 == 5 else 502 if failed else 200),
            attempts=1,
            input=0 if failed else tokens[0],
            output=0 if failed else tokens[1],
            usage_source=source,
            cost=None if failed else cost,
            currency=None if failed else "USD",
            priced=not failed,
            hold_amount=3_000_000,
            hold_state=state,
            ttft_ms=420,
            duration_ms=2_100,
        ),
    )
