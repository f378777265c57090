"""What payment providers tell of: payments, refunds and disputes, each heeded once.

An event is remembered with what it said: the same again changes nothing, something else under its id is refused. A
payment is credited once, by whatever event it comes. Of a refund providers tell the sum so far, so what is taken back
is the difference; of a payment never more than was paid. A refund that comes before its payment is kept for it. All of
one event is one transaction.

Above: the webhooks. Below: credits.py, the tables.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Row, select, update

from posthouse.billing.credits import Credit, Maker, NewCredit
from posthouse.core.errors import InvalidRequest, PosthouseError
from posthouse.storage import revisions
from posthouse.storage.database import Database
from posthouse.storage.tables import payment_events, payments

AUTHOR: Final = "webhook"


class EventReused(PosthouseError):
    """An event or a payment came again with something else."""

    status = 409
    type = "invalid_request_error"
    code = "event_reused"


class Payment(Struct, frozen=True):
    """`event` and `id` are the provider's own, with its name before them (`stripe:evt_1`). `amount` in nano-units of
    `currency`, more than 0."""

    event: str
    id: str
    account_id: str
    amount: int
    currency: str
    reason: str


class Return(Struct, frozen=True):
    """Money that goes back. `dispute` None: a refund, and `amount` is the sum of all refunds of the payment so far;
    else what is disputed, once for each id of a dispute."""

    event: str
    payment_id: str
    dispute: str | None
    amount: int
    currency: str


class PaymentDesk:
    """Blocks: use threads."""

    def __init__(self, database: Database, maker: Maker) -> None:
        self._database = database
        self._maker = maker

    def pay(self, payment: Payment) -> list[Credit]:
        """What it has credited now: nothing where it has before. EventReused."""
        with self._database.write() as connection:
            # First of all: on PostgreSQL its row is the lock behind which all other events wait.
            revisions.bump(connection, revisions.ACCOUNTS)
            if not self._is_first(connection, payment.event, payment):
                return []
            row = self._payment(connection, payment.id, payment.currency)
            if row.account_id is not None:
                if (row.account_id, row.paid) != (payment.account_id, payment.amount):
                    raise EventReused("The same payment was told of before, with something else.")
                return []
            values = {"account_id": payment.account_id, "paid": payment.amount}
            connection.execute(update(payments).where(payments.c.id == payment.id).values(**values))
            new = NewCredit(
                account_id=payment.account_id,
                amount=payment.amount,
                currency=payment.currency,
                kind="topup",
                source=payment.id,
                reason=payment.reason,
                author=AUTHOR,
            )
            credit, _ = self._maker.make(connection, new)
            return [credit, *self._take_back(connection, payment.id, payment.event)]

    def give_back(self, back: Return) -> list[Credit]:
        """What it has taken back now, a negative credit: nothing where that was done before, and as long as nobody
        knows whose payment it was. EventReused."""
        with self._database.write() as connection:
            revisions.bump(connection, revisions.ACCOUNTS)
            if not self._is_first(connection, back.event, back):
                return []
            row = self._payment(connection, back.payment_id, back.currency)
            mine = payments.c.id == row.id
            if back.dispute is None:
                refunded = max(row.refunded, back.amount)
                connection.execute(update(payments).where(mine).values(refunded=refunded))
            elif self._is_first(connection, back.dispute, (back.payment_id, back.amount, back.currency)):
                connection.execute(update(payments).where(mine).values(disputed=row.disputed + back.amount))
            return self._take_back(connection, back.payment_id, back.event)

    def _is_first(self, connection: Connection, event: str, said: Struct | Sequence[Any]) -> bool:
        digest = sha256(msgspec.json.encode(said)).digest()
        known = connection.execute(select(payment_events.c.digest).where(payment_events.c.id == event)).scalar()
        if known is None:
            values = {"id": event, "digest": digest, "created_at": self._maker.now_ms()}
            connection.execute(payment_events.insert().values(**values))
            return True
        if bytes(known) != digest:
            raise EventReused("The same event was told before, with something else.", param="id")
        return False

    def _payment(self, connection: Connection, payment_id: str, currency: str) -> Row[Any]:
        """Its row, made where nothing is known of it."""
        query = select(payments).where(payments.c.id == payment_id)
        row = connection.execute(query).first()
        if row is None:
            nothing = dict.fromkeys(("paid", "refunded", "disputed", "taken"), 0)
            values = {"id": payment_id, "account_id": None, "currency": currency, **nothing}
            connection.execute(payments.insert().values(**values, created_at=self._maker.now_ms()))
            return connection.execute(query).one()
        if row.currency != currency:
            raise InvalidRequest(f"The payment is in {row.currency}, not in {currency}.", param="currency")
        return row

    def _take_back(self, connection: Connection, payment_id: str, event: str) -> list[Credit]:
        row = connection.execute(select(payments).where(payments.c.id == payment_id)).one()
        due = min(row.paid, row.refunded + row.disputed)
        if row.account_id is None or due <= row.taken:
            return []
        connection.execute(update(payments).where(payments.c.id == payment_id).values(taken=due))
        new = NewCredit(
            account_id=row.account_id,
            amount=row.taken - due,
            currency=row.currency,
            kind="refund",
            source=f"{event}:back",
            reason=f"given back of {payment_id}",
            author=AUTHOR,
        )
        credit, _ = self._maker.make(connection, new)
        return [credit]
