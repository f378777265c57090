"""What the books of a house say: whether they are sound, and what is left of budgets in memory and by the entries."""

import json
import re
from collections import Counter
from decimal import Decimal
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, func, select

from posthouse.billing.verify import verify
from posthouse.storage.database import Database
from posthouse.storage.tables import entries, holds, requests
from posthouse.storage.trees import subtree
from tests.chaos_embedded.lives import Load
from tests.e2e.house import ADMIN_KEY, NANO, RunningHouse
from tests.e2e.wire import Wire, request

_LEFT: Final = re.compile(r"([\d.]+) USD are left")
_FAR: Final = 4_000_000_000.0  # seconds since the epoch: any hold that is open then has been forgotten


class Purse(NamedTuple):
    """A budget of `amount` nano-units, of a key or of an account by its id; `key` is a secret that it is spent with."""

    subject_id: str
    key: str
    amount: int


def sound(database: Database) -> None:
    """The ledger adds up, and every hold has ended."""
    result = verify(database, _FAR)
    assert (result.ok, result.problems, result.holds_open) == (True, (), 0)


class Books(NamedTuple):
    """Holds and records by their ids, as they stand in the database."""

    holds: dict[str, dict[str, Any]]
    records: dict[str, dict[str, Any]]


def billed(database: Database, load: Load) -> Books:
    """What clients saw whole is charged and recorded, exactly; nothing is charged that no answer was made for, and
    nothing twice."""
    with database.read() as connection:
        held = {row["id"]: dict(row) for row in connection.execute(select(holds)).mappings()}
        recorded = {row["id"]: dict(row) for row in connection.execute(select(requests)).mappings()}
    assert load.seen
    for seen in load.seen:
        assert (held[seen.id]["state"], held[seen.id]["charged"]) == ("settled", seen.nano)
        assert (recorded[seen.id]["status"], recorded[seen.id]["cost"]) == (200, seen.nano)
    assert {row["state"] for row in held.values()} <= {"settled", "released", "expired"}
    assert all(not row["charged"] for row in held.values() if row["state"] != "settled")
    # Every answer costs something else, so what is charged twice would stand there twice.
    told = Counter(row["cost"] for row in recorded.values() if row["usage_source"] == "provider")
    assert all(count == 1 for count in told.values()), told.most_common(3)
    assert len(held) <= load.asked
    assert load.statuses.keys() <= {200, 429, 502, 503}, load.statuses
    return Books(held, recorded)


def purses(wire: Wire, amounts: tuple[int, int, int]) -> list[Purse]:
    """A budget of a key, of an account, and of an account above the one that spends."""
    key, account, above = [{"amount": str(Decimal(amount) / NANO), "currency": "USD"} for amount in amounts]

    def made(what: str, **wish: Any) -> dict[str, Any]:
        answer = wire.ask(f"/admin/api/{what}", wish, ADMIN_KEY)
        assert answer.status == 201, answer
        found: dict[str, Any] = answer.json
        return found

    own = made("keys", name="own", budget=key)
    shared = made("accounts", name="shared", budget=account)["id"]
    top = made("accounts", name="top", budget=above)["id"]
    below = made("accounts", name="below", parent=top)["id"]
    return [
        Purse(own["id"], own["key"], amounts[0]),
        Purse(shared, made("keys", name="of shared", account=shared)["key"], amounts[1]),
        Purse(top, made("keys", name="of below", account=below)["key"], amounts[2]),
    ]


def spent(database: Database, subject_id: str) -> int:
    """Nano-units, by nothing but the entries: of a key, or of an account and all below it."""
    query: Select[Any] = select(func.sum(entries.c.amount)).where(entries.c.leg == 0)
    mine = holds.c.key_id == subject_id
    if not subject_id.startswith("key_"):
        mine = holds.c.account_id.in_(subtree(subject_id)) | (holds.c.account_id == subject_id)
    with database.read() as connection:
        return int(connection.execute(query.where(entries.c.hold_id.in_(select(holds.c.id).where(mine)))).scalar() or 0)


def left_in_memory(port: int, key: str) -> int:
    """Nano-units that a running house says are left, when it is asked for more than any budget has."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 10**9}
    with Wire(port) as wire:
        wire.send(request("/v1/chat/completions", body, key))
        answer = wire.response()
    assert (answer.status, answer.error["code"]) == (429, "insufficient_quota"), answer
    found = _LEFT.search(answer.error["message"])
    assert found is not None, json.dumps(answer.error)
    return int(Decimal(found[1]) * NANO)


def remembered(house: RunningHouse, found: list[Purse]) -> None:
    """What is left of every budget in memory is what the entries leave of it, and none is overspent."""
    for purse in found:
        left = purse.amount - spent(house.house.database, purse.subject_id)
        assert left >= 0, purse
        assert left_in_memory(house.port, purse.key) == left, purse
