"""Redemption codes: made in batches, each redeemed once, for a credit of what its batch is worth.

Whether a code is still good is asked and answered by one conditional UPDATE, in the transaction that writes the credit:
of any number that come at once one gets it, and where anything fails the code is as good as before.

Above: the control plane, the command line. Below: credits.py, the tables.
"""

from collections.abc import Collection
from typing import Any, Final, Literal, get_args

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, literal_column, select, update

from posthouse.billing.credits import Credit, Maker, NewCredit
from posthouse.billing.store import FIRST_PAGE, Page, cut
from posthouse.billing.tickets import digest_of, hint_of, new_ticket
from posthouse.core.errors import NotFound, PosthouseError
from posthouse.core.money import Money
from posthouse.storage import revisions
from posthouse.storage.database import Database
from posthouse.storage.tables import code_batches, codes

MAX_COUNT: Final = 10_000
State = Literal["open", "redeemed", "revoked", "expired"]
STATES: Final[tuple[State, ...]] = get_args(State)
_UNKNOWN: Final = "There is no such code. Check how it is written."


class CodeSpent(PosthouseError):
    """A code that there is, and that is good for nothing any more. `code` says why."""

    status = 409
    type = "invalid_request_error"


class NotPrepaid(PosthouseError):
    """An account that could not spend what would be paid in."""

    status = 409
    type = "invalid_request_error"
    code = "not_prepaid"


class NewBatch(Struct, frozen=True):
    """`amount` in nano-units of `currency`, more than 0, for each of `count` codes (1 to MAX_COUNT). `expires_at` in ms
    since the epoch; None: never."""

    name: str
    amount: int
    currency: str
    count: int
    expires_at: int | None
    author: str


class Batch(NewBatch, frozen=True):
    id: str
    created_at: int


class BatchStand(Struct, frozen=True):
    """A batch, and how many of its codes are in each state."""

    batch: Batch
    states: dict[State, int]


class Code(Struct, frozen=True):
    """`hint` is its end; the code itself nobody knows but who was given it. `redeemed_by` is an account."""

    id: str
    batch_id: str
    hint: str
    state: State
    amount: int
    currency: str
    expires_at: int | None
    redeemed_at: int | None
    redeemed_by: str | None


class Redeemer(Struct, frozen=True):
    """For which account, in which currencies it has a prepaid budget, and who asks."""

    account_id: str
    prepaid: Collection[str]
    author: str


class CodeDesk:
    """Blocks: use threads."""

    def __init__(self, database: Database, maker: Maker) -> None:
        self._database = database
        self._maker = maker

    def make(self, new: NewBatch) -> tuple[Batch, tuple[str, ...]]:
        """The batch and its codes: the only time that they are known."""
        batch = Batch(**asdict(new), id=self._maker.make_id("cbt"), created_at=self._maker.now_ms())
        made = tuple([new_ticket() for _ in range(new.count)])
        rows = [
            {
                "id": self._maker.make_id("cod"),
                "batch_id": batch.id,
                "hash": digest_of(one),
                "hint": hint_of(one),
                "redeemed_at": None,
                "redeemed_by": None,
                "revoked_at": None,
            }
            for one in made
        ]
        with self._database.write() as connection:
            connection.execute(code_batches.insert().values(**asdict(batch)))
            connection.execute(codes.insert(), rows)
        return batch, made

    def redeem(self, typed: object, redeemer: Redeemer) -> Credit:
        """NotFound for what is no code; CodeSpent; NotPrepaid, which leaves the code good."""
        digest = digest_of(typed)
        if digest is None:
            raise NotFound(_UNKNOWN, code="code_unknown", param="code")
        with self._database.read() as connection:
            # Who only guesses takes no lock.
            self._good(connection, digest, redeemer)
        with self._database.write() as connection:
            # In this order everywhere: the accounts' revision, then what is theirs.
            revisions.bump(connection, revisions.ACCOUNTS)
            row = self._good(connection, digest, redeemer)
            taken = connection.execute(
                update(codes)
                .where(codes.c.id == row.id, codes.c.redeemed_at.is_(None), codes.c.revoked_at.is_(None))
                .values(redeemed_at=self._maker.now_ms(), redeemed_by=redeemer.account_id)
            )
            if taken.rowcount != 1:  # between the two somebody has revoked it
                self._good(connection, digest, redeemer)
                raise CodeSpent("The code is not good any more.", code="code_revoked", param="code")
            credit, _ = self._maker.make(
                connection,
                NewCredit(
                    account_id=redeemer.account_id,
                    amount=row.amount,
                    currency=row.currency,
                    kind="code",
                    source=f"code:{row.id}",
                    reason=f"a code of the batch {row.batch_id}",
                    author=redeemer.author,
                ),
            )
            return credit

    def batches(self, page: Page = FIRST_PAGE) -> tuple[list[BatchStand], str | None]:
        """The newest first, and the next cursor or None."""
        query = select(code_batches).order_by(code_batches.c.id.desc()).limit(page.size + 1)
        if page.cursor is not None:
            query = query.where(code_batches.c.id < page.cursor)
        with self._database.snapshot() as connection:
            rows = [Batch(**row._mapping) for row in connection.execute(query)]
            shown, following = cut(rows, page.size, lambda row: row.id)
            return self._stands(connection, shown), following

    def batch(self, batch_id: str) -> BatchStand:
        """NotFound."""
        with self._database.snapshot() as connection:
            return self._stand(connection, batch_id)

    def listed(
        self, batch_id: str | None = None, state: State | None = None, page: Page = FIRST_PAGE
    ) -> tuple[list[Code], str | None]:
        """The newest first, and the next cursor or None."""
        state_now = self._state()
        columns = (codes, code_batches.c.amount, code_batches.c.currency, code_batches.c.expires_at)
        query = select(*columns, state_now.label("state")).join_from(codes, code_batches, _of_its_batch())
        if batch_id is not None:
            query = query.where(codes.c.batch_id == batch_id)
        if state is not None:
            query = query.where(state_now == state)
        if page.cursor is not None:
            query = query.where(codes.c.id < page.cursor)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(codes.c.id.desc()).limit(page.size + 1))
            rows = [Code(**{name: row._mapping[name] for name in Code.__struct_fields__}) for row in found]
        return cut(rows, page.size, lambda row: row.id)

    def revoke(self, batch_id: str) -> BatchStand:
        """All of a batch that nobody has redeemed, for good. NotFound."""
        with self._database.write() as connection:
            self._stand(connection, batch_id)
            rest = (codes.c.batch_id == batch_id, codes.c.redeemed_at.is_(None), codes.c.revoked_at.is_(None))
            connection.execute(update(codes).where(*rest).values(revoked_at=self._maker.now_ms()))
            return self._stand(connection, batch_id)

    def _good(self, connection: Connection, digest: bytes, redeemer: Redeemer) -> Row[Any]:
        """The code with its batch, where it may be redeemed."""
        columns = (codes, code_batches.c.amount, code_batches.c.currency, code_batches.c.expires_at)
        query = select(*columns).join_from(codes, code_batches, _of_its_batch()).where(codes.c.hash == digest)
        row = connection.execute(query).first()
        if row is None:
            raise NotFound(_UNKNOWN, code="code_unknown", param="code")
        if row.redeemed_at is not None:
            whose = "by this account " if row.redeemed_by == redeemer.account_id else ""
            raise CodeSpent(f"The code was redeemed {whose}before.", code="code_used", param="code")
        if row.revoked_at is not None:
            raise CodeSpent("The code was revoked.", code="code_revoked", param="code")
        if row.expires_at is not None and row.expires_at <= self._maker.now_ms():
            raise CodeSpent("The code has expired.", code="code_expired", param="code")
        if row.currency not in redeemer.prepaid:
            raise NotPrepaid(
                f"The code is worth {Money(row.amount, row.currency)}, but the account has no prepaid budget in "
                f"{row.currency}: what is paid in would change nothing. The code is as good as before."
            )
        return row

    def _state(self) -> ColumnElement[str]:
        return state_of(self._maker.now_ms())

    def _stands(self, connection: Connection, batches: list[Batch]) -> list[BatchStand]:
        state = self._state()
        query = select(codes.c.batch_id, state.label("state"), func.count()).join_from(
            codes, code_batches, _of_its_batch()
        )
        query = query.where(codes.c.batch_id.in_([batch.id for batch in batches])).group_by(codes.c.batch_id, state)
        counts = {(batch_id, name): int(count) for batch_id, name, count in connection.execute(query)}
        return [BatchStand(batch, {name: counts.get((batch.id, name), 0) for name in STATES}) for batch in batches]

    def _stand(self, connection: Connection, batch_id: str) -> BatchStand:
        row = connection.execute(select(code_batches).where(code_batches.c.id == batch_id)).first()
        if row is None:
            raise NotFound("There is no batch of codes with this id.")
        return self._stands(connection, [Batch(**row._mapping)])[0]


def state_of(now_ms: int) -> ColumnElement[str]:
    """As `_good` sees it, in SQL."""
    expired = and_(code_batches.c.expires_at.is_not(None), code_batches.c.expires_at <= literal_column(str(now_ms)))
    return case(
        (codes.c.redeemed_at.is_not(None), literal_column("'redeemed'")),
        (codes.c.revoked_at.is_not(None), literal_column("'revoked'")),
        (expired, literal_column("'expired'")),
        else_=literal_column("'open'"),
    )


def _of_its_batch() -> ColumnElement[bool]:
    return codes.c.batch_id == code_batches.c.id
