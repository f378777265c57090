"""Credits and codes as JSON and CSV: what the admin API takes and answers, and what the command line prints.

Money is a decimal string with a currency beside it, and what it is in points where these are set up. Instants are ISO
8601 in UTC. Complaints are InvalidRequest and name the field.
"""

import csv
import io
import re
from collections.abc import Sequence
from typing import Any, Final

from posthouse.billing.codes import MAX_COUNT, Batch, BatchStand, Code, NewBatch
from posthouse.billing.credits import Balance, Credit, NewCredit
from posthouse.billing.forms import instant_ms, iso
from posthouse.billing.points import Points, money_of, shown_points
from posthouse.core.errors import InvalidRequest
from posthouse.core.money import format_nano

CREDIT_MEMBERS: Final = ("amount", "currency", "points", "reason", "author", "idempotency_key")
BATCH_MEMBERS: Final = ("name", "count", "amount", "currency", "points", "expires_at", "author")
_LONGEST: Final = {"reason": 1000, "author": 128, "idempotency_key": 255, "name": 128}
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def body_of(raw: object, known: Sequence[str]) -> dict[str, Any]:
    """A JSON object that has no members but these."""
    if not isinstance(raw, dict):
        raise InvalidRequest("The body must be a JSON object.")
    for name in raw:
        if name not in known:
            shown = _UNPRINTABLE.sub("?", str(name))[:200]
            raise InvalidRequest(f"Unknown member `{shown}`; known are {', '.join(known)}.", param=shown)
    return raw


def text_of(body: dict[str, Any], name: str, longest: int | None = None) -> str:
    most = _LONGEST[name] if longest is None else longest
    value = body.get(name)
    if value is None:
        raise InvalidRequest(f"`{name}` is required.", param=name)
    if not isinstance(value, str) or not 0 < len(value) <= most or _UNPRINTABLE.search(value):
        raise InvalidRequest(f"`{name}` must be 1 to {most} printable characters.", param=name)
    return value


def count_of(body: dict[str, Any], name: str, most: int, default: int | None = None) -> int:
    value = body.get(name, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise InvalidRequest(f"`{name}` must be a whole number from 1 to {most}.", param=name)
    return value


def expiry_of(body: dict[str, Any], now_ms: int) -> int | None:
    """Milliseconds since the epoch, later than now."""
    value = body.get("expires_at")
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12:
        value = str(value)
    if not isinstance(value, str):
        value = ""  # is no instant
    expires_at = instant_ms(value, "expires_at")
    if expires_at <= now_ms:
        raise InvalidRequest("`expires_at` has passed already.", param="expires_at")
    return expires_at


def new_credit_of(raw: object, account_id: str, points: Points | None) -> NewCredit:
    """`{"amount", "currency" | "points", "reason", "author", "idempotency_key"}`; a negative amount is taken back."""
    body = body_of(raw, CREDIT_MEMBERS)
    money = money_of(body, points, signed=True)
    return NewCredit(
        account_id=account_id,
        amount=money.nano,
        currency=money.currency,
        kind="manual",
        source=f"manual:{account_id}:{text_of(body, 'idempotency_key')}",
        reason=text_of(body, "reason"),
        author=text_of(body, "author"),
    )


def new_batch_of(raw: object, author: str, points: Points | None, now_ms: int) -> NewBatch:
    """`{"name", "count", "amount", "currency" | "points", "expires_at"?, "author"?}`; `author` without one."""
    body = body_of(raw, BATCH_MEMBERS)
    money = money_of(body, points)
    return NewBatch(
        name=text_of(body, "name"),
        amount=money.nano,
        currency=money.currency,
        count=count_of(body, "count", MAX_COUNT),
        expires_at=expiry_of(body, now_ms),
        author=author if body.get("author") is None else text_of(body, "author"),
    )


def credit_to_json(made: Credit, points: Points | None) -> dict[str, Any]:
    return {
        "id": made.id,
        "created_at": iso(made.created_at),
        "account": made.account_id,
        "amount": format_nano(made.amount),
        "currency": made.currency,
        **shown_points(points, made.amount, made.currency),
        "kind": made.kind,
        "source": made.source,
        "reason": made.reason,
        "author": made.author,
    }


def balance_to_json(balance: Balance, points: Points | None) -> dict[str, Any]:
    """`points` are what is left, and `points_name` what they are called."""
    found = shown_points(points, balance.left, balance.currency)
    if points is not None and found:
        found["points_name"] = points.name
    return {
        "currency": balance.currency,
        "paid_in": format_nano(balance.paid_in),
        "spent": format_nano(balance.spent),
        "left": format_nano(balance.left),
        **found,
    }


def batch_to_json(batch: Batch, points: Points | None) -> dict[str, Any]:
    return {
        "id": batch.id,
        "created_at": iso(batch.created_at),
        "name": batch.name,
        "count": batch.count,
        "amount": format_nano(batch.amount),
        "currency": batch.currency,
        **shown_points(points, batch.amount, batch.currency),
        "expires_at": None if batch.expires_at is None else iso(batch.expires_at),
        "author": batch.author,
    }


def stand_to_json(stand: BatchStand, points: Points | None) -> dict[str, Any]:
    """With how many of its codes are in each state."""
    return {**batch_to_json(stand.batch, points), "states": dict(stand.states)}


def code_to_json(code: Code, points: Points | None) -> dict[str, Any]:
    return {
        "id": code.id,
        "batch": code.batch_id,
        "hint": code.hint,
        "state": code.state,
        "amount": format_nano(code.amount),
        "currency": code.currency,
        **shown_points(points, code.amount, code.currency),
        "expires_at": None if code.expires_at is None else iso(code.expires_at),
        "redeemed_at": None if code.redeemed_at is None else iso(code.redeemed_at),
        "redeemed_by": code.redeemed_by,
    }


def to_csv(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    """Values of ours alone, so that nothing of it is a formula to a spreadsheet."""
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, extrasaction="ignore", restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
