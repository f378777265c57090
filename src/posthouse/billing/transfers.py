"""Transfers that no request makes: two entries that cancel out, of an account and of the house.

Above: corrections, credits, each within a transaction of its own. Below: the tables. What requests are charged is
written by the journal (storage/appliers.py).
"""

from msgspec import Struct
from sqlalchemy import Connection

from posthouse.storage.tables import entries


class Transfer(Struct, frozen=True):
    """`amount` in nano-units of `currency`: what the account owes more, or less where it is negative. `house` is the
    ledger account of the other side; `id` stands where entries of requests have their hold's; `created_at` in ms since
    the epoch."""

    id: str
    account_id: str
    house: str
    amount: int
    currency: str
    created_at: int


def write_entries(connection: Connection, transfer: Transfer) -> None:
    legs = ((f"account:{transfer.account_id}", transfer.amount), (transfer.house, -transfer.amount))
    connection.execute(
        entries.insert(),
        [
            {
                "hold_id": transfer.id,
                "leg": leg,
                "ledger_account": ledger_account,
                "amount": amount,
                "currency": transfer.currency,
                "usage_source": None,
                "created_at": transfer.created_at,
            }
            for leg, (ledger_account, amount) in enumerate(legs)
        ],
    )
