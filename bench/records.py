"""How long the console waits in a house that has served a million requests.

    python -m bench.records DATABASE_URL [REQUESTS]

Fills an empty database with a month of requests of a hundred keys and twenty accounts, by the journal's own appliers,
and prints the median and the worst of each query in milliseconds. A database that has records already is only measured.
"""

import random
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, func, select

from posthouse.billing.dashboard import usage_of_key
from posthouse.billing.span import Span
from posthouse.billing.statements import month_of, statement
from posthouse.billing.store import ALWAYS, GROUPS, Page, RequestFilter, list_entries, list_requests, usage
from posthouse.storage.appliers import APPLIERS
from posthouse.storage.database import Database
from posthouse.storage.rows import END, HOLD, REQUEST, EndRow, HoldRow, RequestRow
from posthouse.storage.tables import requests

BEGIN: Final = 1_793_491_200_000  # 2026-11-01
MONTH_MS: Final = 30 * 86_400_000
KEYS: Final = 100
ACCOUNTS: Final = 20
MODELS: Final = (("main", "fast"), ("main", "large"), ("other", "fast"), ("other", "vision"), ("third", "small"))
_BATCH: Final = 2_000
_REPEATS: Final = 7

Query = Callable[[Connection], object]


def fill(database: Database, count: int) -> None:
    """Requests in the order of time; one in fifty failed, one key in a hundred has only a few."""
    applier = APPLIERS[database.kind](database)
    chance = random.Random(4)
    lines: dict[str, list[bytes]] = {HOLD: [], END: [], REQUEST: []}
    for number in range(count):
        moment = BEGIN + number * MONTH_MS // count
        for kind, row in request(number, moment, chance):
            lines[kind].append(msgspec.json.encode(row))
        if len(lines[HOLD]) == _BATCH or number == count - 1:
            applier.begin()
            applier.apply(lines)
            applier.commit()
            lines = {HOLD: [], END: [], REQUEST: []}
    applier.close()
    if database.kind == "postgresql":
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")


def request(number: int, moment: int, chance: random.Random) -> Iterator[tuple[str, msgspec.Struct]]:
    key = 0 if number % 50_000 == 7 else 1 + chance.randrange(KEYS - 1)
    key_id, account_id = f"key_{key:022x}", f"acc_{key % ACCOUNTS:022x}"
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


def queries() -> dict[str, Query]:
    month = Span(BEGIN, BEGIN + MONTH_MS)
    odd = Span(BEGIN + 12_345_678, BEGIN + MONTH_MS - 9_876_543)
    early = Span(BEGIN, BEGIN + 86_400_000)
    filters = {
        "newest": RequestFilter(),
        "rare key": RequestFilter(key_id=f"key_{0:022x}"),
        "busy key": RequestFilter(key_id=f"key_{5:022x}"),
        "account": RequestFilter(account_id=f"acc_{3:022x}"),
        "account, rare model": RequestFilter(account_id=f"acc_{3:022x}", model="rare"),
        "model": RequestFilter(model="large"),
        "rare model": RequestFilter(model="rare"),
        "unknown model": RequestFilter(model="none such"),
        "status 502": RequestFilter(status=502),
        "rare status": RequestFilter(status=429),
        "absent status": RequestFilter(status=418),
        "first day": RequestFilter(span=early),
        "rare key, first day": RequestFilter(key_id=f"key_{0:022x}", span=early),
        "rare model, first day": RequestFilter(model="rare", span=early),
    }
    found: dict[str, Query] = {
        f"requests: {name}": lambda connection, one=one: list_requests(connection, one)  # type: ignore[misc]
        for name, one in filters.items()
    }
    spans = {"month": month, "all": ALWAYS, "odd span": odd}
    for by in GROUPS:
        for name, span in spans.items():
            found[f"usage by {by}, {name}"] = lambda connection, by=by, span=span: usage(  # type: ignore[misc]
                connection, by, span, Page(100)
            )
    for zone in ("UTC", "Asia/Shanghai", "Asia/Kolkata"):
        for name, account in (("an account", f"acc_{3:022x}"), ("the one with most", f"acc_{1:022x}")):
            chosen = month_of("2026-11", zone)
            found[f"statement of {name}, {zone}"] = lambda connection, account=account, chosen=chosen: statement(  # type: ignore[misc]
                connection, account, chosen
            )
    found["balance of a key"] = lambda connection: usage_of_key(connection, f"key_{5:022x}", month, None)
    found["entries: newest"] = lambda connection: list_entries(connection)
    account = f"account:acc_{3:022x}"
    found["entries: an account"] = lambda connection: list_entries(connection, account)
    found["entries: nobody's"] = lambda connection: list_entries(connection, "account:nobody")
    return found


def measure(database: Database, query: Query) -> list[float]:
    """Milliseconds, one by one; the first run warms the cache and is not counted."""
    times = []
    for _ in range(_REPEATS + 1):
        began = time.perf_counter()
        with database.read() as connection:
            query(connection)
        times.append((time.perf_counter() - began) * 1000)
    return times[1:]


def main(url: str, count: int = 1_000_000) -> None:
    database = Database(url)
    database.upgrade()
    with database.read() as connection:
        there = connection.execute(select(func.count()).select_from(requests)).scalar_one()
    if not there:
        began = time.perf_counter()
        fill(database, count)
        there = count
        print(f"filled in {time.perf_counter() - began:.0f} s")
    print(f"{database.kind}, {there} requests; ms: median, worst of {_REPEATS}")
    for name, query in queries().items():
        times = measure(database, query)
        print(f"{median(times):9.1f} {max(times):9.1f}  {name}")
    database.close()


if __name__ == "__main__":
    main(sys.argv[1], *(int(one) for one in sys.argv[2:]))
