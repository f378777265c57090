"""Credits: what has been paid in for an account, or taken back, as entries of their own.

A credit is two entries that cancel out (`account:ID`, which owes so much less, and HOUSE), with a reason and an author.
Its `source` says where it comes from, and makes one credit however often it is sent. What an account with a prepaid
budget may spend is the sum of its credits of that currency: whoever writes one counts the revision of the accounts up
in the same transaction, so that every server reads that sum again within a second. Credits are no spending: `spend` and
roll-ups know nothing of them.

Above: codes.py, invitations.py, payments.py, which write credits within transactions of their own; the control plane,
the command line. Below: the tables.
"""

import time
from collections.abc import Callable
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Connection, func, select

from posthouse.billing.spending import Place, spent_in
from posthouse.billing.store import FIRST_PAGE, Page, cut
from posthouse.billing.transfers import Transfer, write_entries
from posthouse.core.errors import InvalidRequest, PosthouseError
from posthouse.core.ids import IdMaker
from posthouse.core.money import NANO
from posthouse.storage import revisions
from posthouse.storage.database import Database
from posthouse.storage.tables import credits

Kind = Literal["manual", "code", "invitation", "topup", "refund"]
# The other side of every credit. No provider is owed it.
HOUSE: Final = "house:credits"
_MAX_SUM: Final = 4 * 10**9 * NANO  # of an account, either way: sums of BIGINTs stay BIGINTs


class SourceUsed(PosthouseError):
    """A source came again with something else."""

    status = 409
    type = "invalid_request_error"
    code = "credit_exists"


class NewCredit(Struct, frozen=True):
    """`amount` in nano-units of `currency`, never 0: what was paid in, or taken back where it is negative."""

    account_id: str
    amount: int
    currency: str
    kind: Kind
    source: str
    reason: str
    author: str


class Credit(NewCredit, frozen=True):
    """`created_at` in ms since the epoch."""

    id: str
    created_at: int


class Balance(Struct, frozen=True):
    """Nano-units of one currency: what was paid in for an account, and what it and all below it have spent."""

    currency: str
    paid_in: int
    spent: int

    @property
    def left(self) -> int:
        return self.paid_in - self.spent


class Maker:
    """Writes credits within transactions of others. `clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._make_id = IdMaker(clock).make

    def now_ms(self) -> int:
        return int(self._clock() * 1000)

    def make_id(self, prefix: str) -> str:
        return self._make_id(prefix)

    def make(self, connection: Connection, new: NewCredit) -> tuple[Credit, bool]:
        """The credit and whether it is new; else its source has made it before. SourceUsed where that was another."""
        # First of all: on PostgreSQL its row is the lock behind which all other credits wait.
        revisions.bump(connection, revisions.ACCOUNTS)
        known = connection.execute(select(credits).where(credits.c.source == new.source)).first()
        if known is not None:
            made = Credit(**known._mapping)
            if any(getattr(made, name) != value for name, value in asdict(new).items()):
                raise SourceUsed(f"The same has made another credit already ({made.id}).")
            return made, False
        if abs(_sum(connection, new.account_id, new.currency) + new.amount) > _MAX_SUM:
            raise InvalidRequest("`amount` is too large beside what was paid in before.", param="amount")
        made = Credit(**asdict(new), id=self._make_id("crd"), created_at=self.now_ms())
        _write(connection, made)
        return made, True


class CreditDesk:
    """Makes and lists credits. Blocks: use threads."""

    def __init__(self, database: Database, maker: Maker) -> None:
        self._database = database
        self._maker = maker

    def make(self, new: NewCredit) -> tuple[Credit, bool]:
        """As `Maker.make`, in a transaction of its own."""
        with self._database.write() as connection:
            return self._maker.make(connection, new)

    def listed(self, account_id: str, page: Page = FIRST_PAGE) -> tuple[list[Credit], str | None]:
        """An account's, the newest first, and the next cursor or None."""
        query = select(credits).where(credits.c.account_id == account_id)
        if page.cursor is not None:
            query = query.where(credits.c.id < page.cursor)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(credits.c.id.desc()).limit(page.size + 1))
            rows = [Credit(**row._mapping) for row in found]
        return cut(rows, page.size, lambda row: row.id)

    def balances(self, account_id: str) -> list[Balance]:
        """By currency, of those in which something was paid in."""
        with self._database.snapshot() as connection:
            query = select(credits.c.currency, func.sum(credits.c.amount)).where(credits.c.account_id == account_id)
            paid = connection.execute(query.group_by(credits.c.currency).order_by(credits.c.currency)).all()
            return [
                Balance(currency, int(amount), spent_in(connection, Place(account_id, currency, None, "UTC", 0, 0)))
                for currency, amount in paid
            ]


def _sum(connection: Connection, account_id: str, currency: str) -> int:
    c = credits.c
    query: Any = select(func.sum(c.amount)).where(c.account_id == account_id, c.currency == currency)
    return int(connection.execute(query).scalar() or 0)


def _write(connection: Connection, made: Credit) -> None:
    connection.execute(credits.insert().values(**asdict(made)))
    write_entries(
        connection,
        Transfer(made.id, made.account_id, HOUSE, -made.amount, made.currency, made.created_at),
    )
