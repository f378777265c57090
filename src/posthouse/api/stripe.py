"""What Stripe's events say of money: payments that were made, and payments that go back.

Sources: docs.stripe.com/webhooks (signatures), docs.stripe.com/api/events/types (objects), docs.stripe.com/currencies
(amounts are whole numbers of the currency's smallest part, but for the lists below). Events that say nothing of money
for an account of ours are no error: the same endpoint may hear of everything that is sold.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from posthouse.billing.payments import Return
from posthouse.core.errors import InvalidRequest
from posthouse.core.money import NANO

_PAID: Final = frozenset({"checkout.session.completed", "checkout.session.async_payment_succeeded"})
_REFUNDED: Final = "charge.refunded"
_DISPUTED: Final = "charge.dispute.created"
_ID: Final = re.compile(r"[A-Za-z0-9_]{1,200}")
_CURRENCY: Final = re.compile(r"[a-z]{3}")
_MOST: Final = 10**12  # of the smallest parts
# Amounts in these are whole units. Of ISK and UGX, which have no smaller part either, Stripe wants hundredths.
_WHOLE: Final = frozenset(
    ("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf")
)
_THOUSANDTHS: Final = frozenset(("bhd", "jod", "kwd", "omr", "tnd"))


class Checkout(Struct, frozen=True):
    """A payment for an account, by whatever it is called. `amount` in nano-units of `currency`."""

    event: str
    id: str
    account: str
    amount: int
    currency: str


def read_event(event: Mapping[str, Any]) -> Checkout | Return | None:
    """None for what is none of our business. InvalidRequest names what is not as it must be."""
    event_id = f"stripe:{_id(event, 'id')}"
    kind, data = event.get("type"), event.get("data")
    found = data.get("object") if isinstance(data, dict) else None
    if not isinstance(kind, str) or not isinstance(found, dict):
        raise InvalidRequest("`type` and `data.object` are required.", param="data.object")
    if kind in _PAID:
        return _checkout(event_id, found)
    if kind == _REFUNDED:
        return _back(event_id, found, "amount_refunded", None)
    if kind == _DISPUTED:
        return _back(event_id, found, "amount", f"stripe:{_id(found, 'id')}")
    return None


def _checkout(event_id: str, session: Mapping[str, Any]) -> Checkout | None:
    account = _account(session)
    if account is None or session.get("payment_status") != "paid" or session.get("mode", "payment") != "payment":
        return None
    intent = "payment_intent" if session.get("payment_intent") is not None else "id"
    amount, currency = _money(session, "amount_total")
    if not amount:
        raise InvalidRequest("`amount_total` must not be zero.", param="amount_total")
    return Checkout(event_id, f"stripe:{_id(session, intent)}", account, amount, currency)


def _account(session: Mapping[str, Any]) -> str | None:
    """Whose payment it is: what two places say must be the same."""
    metadata = session.get("metadata")
    said = [session.get("client_reference_id")]
    if isinstance(metadata, dict):
        said.append(metadata.get("posthouse_account"))
    given = [one for one in said if one is not None]
    if not given:
        return None
    if any(not isinstance(one, str) or one != given[0] for one in given):
        raise InvalidRequest(
            "`client_reference_id` and `metadata.posthouse_account` name two accounts.", param="client_reference_id"
        )
    return str(given[0])


def _back(event_id: str, charge: Mapping[str, Any], name: str, dispute: str | None) -> Return | None:
    """Of a refund or a dispute, which name the payment alike."""
    of_dispute = "id" if dispute is None else "charge"
    intent = "payment_intent" if charge.get("payment_intent") is not None else of_dispute
    amount, currency = _money(charge, name)
    if not amount:
        return None
    return Return(event_id, f"stripe:{_id(charge, intent)}", dispute, amount, currency)


def _money(found: Mapping[str, Any], name: str) -> tuple[int, str]:
    """Nano-units and the currency in capital letters."""
    amount, currency = found.get(name), found.get("currency")
    if not isinstance(currency, str) or _CURRENCY.fullmatch(currency) is None:
        raise InvalidRequest("`currency` must be three small letters, such as usd.", param="currency")
    if type(amount) is not int or not 0 <= amount <= _MOST:
        raise InvalidRequest(f"`{name}` must be a whole number from 0 to {_MOST}.", param=name)
    parts = 1 if currency in _WHOLE else 1000 if currency in _THOUSANDTHS else 100
    return amount * (NANO // parts), currency.upper()


def _id(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or _ID.fullmatch(value) is None:
        raise InvalidRequest(f"`{name}` must be an id: letters, digits and underscores.", param=name)
    return value
