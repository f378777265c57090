"""A ledger over a real database, with a journal that the test itself flushes, applies and crashes."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from sqlalchemy import delete

from posthouse.billing.ledger import Hold, Ledger
from posthouse.billing.model import Price, Settlement, UnpricedPolicy
from posthouse.billing.verify import verify
from posthouse.core.caller import Caller
from posthouse.core.money import Money
from posthouse.core.usage import COUNTS, NO_USAGE, Usage
from posthouse.storage import tables
from posthouse.storage.appliers import APPLIERS
from posthouse.storage.database import Database
from posthouse.storage.rows import REQUEST, EndedBy, EndState, JournalRow, RequestRow
from tests.billing.fakes import NOW, PRICE, Clock

_WRITTEN = (
    tables.holds,
    tables.entries,
    tables.requests,
    tables.spend,
    tables.usage_hours,
    tables.usage_days,
    tables.usage_sums,
    tables.usage_changed,
    tables.corrections,
    tables.credits,
    tables.code_batches,
    tables.codes,
    tables.invitations,
    tables.invitation_uses,
    tables.payments,
    tables.payment_events,
    tables.revisions,
)


class StoredJournal:
    """Lines go from `waiting` (in memory) to `flushed` (survive a crash) to the database."""

    def __init__(self, database: Database) -> None:
        self._applier = APPLIERS[database.kind](database)
        self.waiting: list[tuple[str, bytes]] = []
        self.flushed: list[tuple[str, bytes]] = []

    def append(self, kind: str, row: JournalRow) -> None:
        self.waiting.append((kind, msgspec.json.encode(row)))

    def flush(self) -> None:
        self.flushed += self.waiting
        self.waiting = []

    def apply(self) -> None:
        """What has been flushed is in the database afterwards."""
        lines: dict[str, list[bytes]] = {}
        for kind, line in self.flushed:
            lines.setdefault(kind, []).append(line)
        self.flushed = []
        self._applier.begin()
        self._applier.apply(lines)
        self._applier.commit()

    def close(self) -> None:
        self._applier.close()


class StoredHouse:
    """A house that keeps its books in a database; `restart` begins its next life, as after a kill."""

    def __init__(self, database: Database, unpriced: UnpricedPolicy = "auto") -> None:
        self.database = database
        self.clock = Clock()
        self.journal = StoredJournal(database)
        self._unpriced: UnpricedPolicy = unpriced
        self.ledger = Ledger.open(database, self.journal, unpriced, self.clock)
        self._next = 0

    def hold(self, caller: Caller, nano: int | None = 10, currency: str = "USD") -> Hold:
        self._next += 1
        request_id = f"req_{int(self.clock() * 1000):012x}{self._next:06x}0000000000"
        return self.ledger.hold(caller, request_id, "m", None if nano is None else Money(nano, currency))

    def settle(self, hold: Hold, tokens: int, price: Price | None = PRICE) -> Money | None:
        """Settles and records a request, as the gateway does."""
        usage = Usage(input=tokens)
        cost = hold.settle(Settlement(usage, "provider", price, "main", "complete"))
        self.record(hold, cost, usage=usage)
        return cost

    def release(self, hold: Hold) -> None:
        hold.release("nothing came")
        self.record(hold, None, ended_by="upstream")

    def record(
        self,
        hold: Hold,
        cost: Money | None,
        usage: Usage = NO_USAGE,
        ended_by: EndedBy = "complete",
    ) -> None:
        end: EndState | None = hold.state if hold.state != "held" else None
        row = RequestRow(
            id=hold.id,
            created_at=hold.created_at,
            key_id=hold.key_id,
            account_id=hold.account_id,
            operation="chat.completions",
            model_asked=hold_model(hold),
            model="m",
            provider="main",
            deployment="main/m",
            status=200 if ended_by == "complete" else 502,
            attempts=1,
            **{name: getattr(usage, name) for name in COUNTS},
            image_kind=usage.image_kind or None,
            service_tier=usage.tier or None,
            usage_source="provider" if hold.state == "settled" else None,
            cost=None if cost is None else cost.nano,
            currency=None if cost is None else cost.currency,
            priced=cost is not None,
            hold_amount=hold.amount,
            hold_state=end,
            ended_by=ended_by,
        )
        self.journal.append(REQUEST, row)

    def save(self) -> None:
        self.journal.flush()
        self.journal.apply()

    def restart(self) -> None:
        """The process dies and another begins: what was not flushed is gone, what was is applied."""
        self.journal.waiting = []
        self.journal.apply()
        self.ledger = Ledger.open(self.database, self.journal, self._unpriced, self.clock)

    def rules(self) -> set[str]:
        """The rules that are broken."""
        return {problem.rule for problem in verify(self.database, self.clock()).problems}

    def assert_sound(self) -> None:
        found = verify(self.database, self.clock())
        assert found.problems == ()
        assert found.ok

    def close(self) -> None:
        self.journal.close()


def hold_model(hold: Hold) -> str:
    return f"m-of-{hold.key_id}"


def empty(database: Database) -> None:
    with database.write() as connection:
        for table in _WRITTEN:
            connection.execute(delete(table))


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = Database(url)
    database.upgrade()
    try:
        yield database
    finally:
        database.close()


__all__ = ["NOW", "StoredHouse", "StoredJournal", "empty", "hold_model", "opened"]
