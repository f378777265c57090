"""How long the console waits in a house that has served a million requests.

    python -m bench.records DATABASE_URL [--requests 1000000] [--days 30] [--check] [--only TEXT] [--verify]

Fills an empty database with requests of a hundred keys and twenty accounts, among 10,000 keys and 2,000 accounts, by
the journal's own appliers, and prints for each kind of query the best of five in milliseconds, of the query of its kind
that took longest, our part of the CPU, and the worst of all. A database that has records already is only measured.
`--check` makes it an exit status of 1 where a query takes more than 50 ms at best, or a statement more than 2 s.
"""

import argparse
import sys
import time
from typing import Final

from msgspec import Struct

from bench.records_house import make
from bench.records_queries import STATEMENTS, Query, house_of, queries
from posthouse.billing.folds import rebuild
from posthouse.billing.verify import verify
from posthouse.storage.database import Database

MOST_MS: Final = 50.0
MOST_STATEMENT_MS: Final = 2_000.0
_REPEATS: Final = 5


class Slowest(Struct):
    """Of a kind of queries: how many there are, and the one that took longest at best. `cpu` is our own, which on
    SQLite is all of it."""

    count: int = 0
    best: float = 0.0
    cpu: float = 0.0
    worst: float = 0.0
    name: str = ""


def measure(database: Database, query: Query) -> list[tuple[float, float]]:
    """Milliseconds and those of our CPU, one by one; the first run warms the cache and is not counted."""
    times = []
    for _ in range(_REPEATS + 1):
        began, worked = time.perf_counter(), time.process_time()
        with database.snapshot() as connection:
            query.ask(connection)
        times.append(((time.perf_counter() - began) * 1000, (time.process_time() - worked) * 1000))
    return times[1:]


def table(database: Database, only: str) -> dict[str, Slowest]:
    kinds: dict[str, Slowest] = {}
    for query in queries(house_of(database)):
        if only not in f"{query.kind} {query.name}":
            continue
        times = measure(database, query)
        kind = kinds.setdefault(query.kind, Slowest())
        kind.count += 1
        best = min(wall for wall, _ in times)
        kind.worst = max(kind.worst, *(wall for wall, _ in times))
        kind.cpu = max(kind.cpu, min(cpu for _, cpu in times))
        if best >= kind.best:
            kind.best, kind.name = best, query.name
    return kinds


def sound(database: Database) -> None:
    """How long the ledger takes to be verified, and to be compared by a rebuild that finds nothing."""
    for name, work in (
        ("verify", lambda: verify(database, time.time()).ok),
        ("rebuild", lambda: not rebuild(database).differences),
    ):
        times = []
        for _ in range(2):
            began = time.perf_counter()
            right = work()
            times.append(time.perf_counter() - began)
        print(f"ledger {name}: {min(times):.1f} s, at worst {max(times):.1f} s; sound: {right}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.records")
    parser.add_argument("url")
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--only", default="", help="queries whose kind or name has this in it")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--verify", action="store_true", help="`ledger verify` and `ledger rebuild` too")
    given = parser.parse_args()
    database = Database(given.url)
    database.upgrade()
    spent = make(database, given.requests, given.days)
    if spent:
        print(f"applied, {spent:.1f} us of CPU a request on our side")
    kinds = table(database, given.only)
    late = False
    print(f"{database.kind}\n\n| query | queries | best, ms | CPU, ms | worst, ms | slowest |")
    print("|---|---:|---:|---:|---:|---|")
    for name, kind in kinds.items():
        late |= kind.best > (MOST_STATEMENT_MS if name.startswith(STATEMENTS) else MOST_MS)
        print(f"| {name} | {kind.count} | {kind.best:.1f} | {kind.cpu:.1f} | {kind.worst:.1f} | {kind.name} |")
    if given.verify:
        sound(database)
    database.close()
    return int(given.check and late)


if __name__ == "__main__":
    sys.exit(main())
