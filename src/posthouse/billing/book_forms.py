"""Corrections and statements as JSON and CSV: what the admin API takes and answers, and what the command line prints.

Money is a decimal string with a currency beside it, instants are ISO 8601 in UTC. Complaints are InvalidRequest and
name the field.
"""

import csv
import io
import re
from typing import Any, Final

from posthouse.billing.corrections import Correction, NewCorrection
from posthouse.billing.credit_forms import credit_to_json
from posthouse.billing.forms import iso
from posthouse.billing.points import Points
from posthouse.billing.statements import Statement
from posthouse.core.errors import InvalidRequest
from posthouse.core.money import format_nano, parse_nano
from posthouse.core.usage import COUNTS

MEMBERS: Final = ("key", "amount", "currency", "reason", "author", "idempotency_key")
_LONGEST: Final = {"key": 128, "amount": 40, "currency": 3, "reason": 1000, "author": 128, "idempotency_key": 255}
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
# A spreadsheet takes a cell that begins so for a formula (OWASP, CSV Injection).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_COUNTED: Final = ("requests", "failed", "unpriced", *COUNTS)
COLUMNS: Final = (
    *("kind", "day", "key", "model", "currency", "recorded", *_COUNTED, "cost"),
    *("id", "reason", "author", "created_at"),
)


def new_correction_of(raw: object, account_id: str) -> NewCorrection:
    """`{"key"?, "amount", "currency", "reason", "author", "idempotency_key"}`; a negative amount is given back."""
    if not isinstance(raw, dict):
        raise InvalidRequest("The body must be a JSON object.")
    for name in raw:
        if name not in MEMBERS:
            shown = _UNPRINTABLE.sub("?", str(name))[:200]
            raise InvalidRequest(f"Unknown member `{shown}`; known are {', '.join(MEMBERS)}.", param=shown)
    currency = _text(raw, "currency")
    if _CURRENCY.fullmatch(currency) is None:
        raise InvalidRequest("`currency` must be three capital letters, such as USD.", param="currency")
    return NewCorrection(
        account_id=account_id,
        key_id=None if raw.get("key") is None else _text(raw, "key"),
        amount=_amount(_text(raw, "amount")),
        currency=currency,
        reason=_text(raw, "reason"),
        author=_text(raw, "author"),
        idempotency_key=_text(raw, "idempotency_key"),
    )


def correction_to_json(made: Correction) -> dict[str, Any]:
    return {
        "id": made.id,
        "created_at": iso(made.created_at),
        "account": made.account_id,
        "key": made.key_id,
        "amount": format_nano(made.amount),
        "currency": made.currency,
        "reason": made.reason,
        "author": made.author,
        "idempotency_key": made.idempotency_key,
    }


def statement_to_json(found: Statement, points: Points | None = None) -> dict[str, Any]:
    """`lines` by day, key, model and currency (null where nothing was charged); `totals` by currency."""
    assert found.span.start_ms is not None and found.span.end_ms is not None  # a month has both
    return {
        "account": found.account_id,
        "month": found.month,
        "zone": found.zone,
        "from": iso(found.span.start_ms),
        "to": iso(found.span.end_ms),
        "lines": [
            {
                "day": line.day,
                "key": line.key_id,
                "model": line.model,
                **line.counts,
                "cost": format_nano(line.cost),
                "currency": line.currency or None,
                "recorded": line.recorded,
            }
            for line in found.lines
        ],
        "corrections": [correction_to_json(one) for one in found.corrections],
        "credits": [credit_to_json(one, points) for one in found.credits],
        "totals": [
            {
                "currency": one.currency,
                "opening": format_nano(one.opening),
                "usage": format_nano(one.usage),
                "corrections": format_nano(one.corrections),
                "total": format_nano(one.total),
                "paid_in": format_nano(one.paid_in),
                "closing": format_nano(one.closing),
            }
            for one in found.totals
        ],
    }


def statement_to_csv(found: Statement) -> str:
    """One table of COLUMNS: `opening` of each currency, `usage`, `correction` and `credit` lines (what is owed
    less, so negative where something was paid in), `total`, `paid_in` and `closing`. Text
    that a spreadsheet would take for a formula has an apostrophe before it."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    for one in found.totals:
        writer.writerow({"kind": "opening", "currency": one.currency, "cost": format_nano(one.opening)})
    for line in found.lines:
        row = {"kind": "usage", "day": line.day, "key": cell(line.key_id), "model": cell(line.model), **line.counts}
        money = {"currency": line.currency, "cost": format_nano(line.cost), "recorded": str(line.recorded).lower()}
        writer.writerow(row | money)
    for made in found.corrections:
        shown = correction_to_json(made)
        texts = {name: cell(shown[name] or "") for name in ("id", "key", "reason", "author")}
        row = {"kind": "correction", "currency": made.currency, "cost": shown["amount"], **texts}
        writer.writerow(row | {"created_at": shown["created_at"]})
    for paid in found.credits:
        texts = {name: cell(getattr(paid, name)) for name in ("id", "reason", "author")}
        row = {"kind": "credit", "currency": paid.currency, "cost": format_nano(-paid.amount), **texts}
        writer.writerow(row | {"created_at": iso(paid.created_at)})
    for kind in ("total", "paid_in", "closing"):
        for one in found.totals:
            if kind != "paid_in" or one.paid_in:
                writer.writerow({"kind": kind, "currency": one.currency, "cost": format_nano(getattr(one, kind))})
    return file.getvalue()


def cell(text: str) -> str:
    """Text from outside, as it may stand in a CSV."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _text(raw: dict[Any, Any], name: str) -> str:
    value = raw.get(name)
    if value is None:
        raise InvalidRequest(f"`{name}` is required.", param=name)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST[name] or _UNPRINTABLE.search(value):
        raise InvalidRequest(f"`{name}` must be 1 to {_LONGEST[name]} printable characters.", param=name)
    return value


def _amount(text: str) -> int:
    try:
        nano = parse_nano(text.removeprefix("-"))
    except ValueError as error:
        raise InvalidRequest(f"`amount`: {error}.", param="amount") from None
    if not nano:
        raise InvalidRequest("`amount` must not be zero.", param="amount")
    return -nano if text.startswith("-") else nano
