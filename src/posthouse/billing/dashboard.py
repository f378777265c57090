"""What a key may know of its own money, in the words of the dashboard that older clients ask.

Forms: OpenAI's `/dashboard/billing/...` as it was until 2023, and as one-api and new-api still answer it. Amounts named
`usd` are in the currency of the budget, which `currency` names; all are exact decimal numbers.
"""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Raw, Struct
from sqlalchemy import ColumnElement, Connection, Subquery, case, select

from posthouse.billing.balances import DAY_MS
from posthouse.billing.span import Scope, Span, summed
from posthouse.billing.store import UNKNOWN_MODEL
from posthouse.core.errors import InvalidRequest
from posthouse.core.money import NANO, format_nano

MOST_DAYS: Final = 400
# What one-api and new-api say of a key without a budget; clients show it as no limit.
UNLIMITED: Final = 100_000_000 * NANO
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_EPOCH: Final = dt.date(1970, 1, 1)


class Standing(Struct, frozen=True):
    """How a key stands. `used` is what it spent and holds in the period of the budget that has the least left, `left`
    what that budget has left (None: there is none); nano-units of `currency` (None: nobody has said one).
    `start_ms` and `end_ms` bound the period, None where it has no bound."""

    used: int
    left: int | None
    currency: str | None
    start_ms: int | None = None
    end_ms: int | None = None

    @property
    def limit(self) -> int:
        """What the key had in all: a client that subtracts what it used finds what is left."""
        return UNLIMITED if self.left is None else max(0, self.left) + self.used


def dates_of(query: Mapping[str, Sequence[str]]) -> Span:
    """The span of `start_date` (included) and `end_date` (not included), UTC days; all where neither is given."""
    given = [(name, query[name][-1]) for name in ("start_date", "end_date") if name in query]
    if not given:
        return Span()
    if len(given) == 1:
        missing = "end_date" if given[0][0] == "start_date" else "start_date"
        raise InvalidRequest(f"`{missing}` is required with `{given[0][0]}`.", param=missing)
    start, end = (_day(name, text) for name, text in given)
    if end < start:
        raise InvalidRequest("`end_date` must not be before `start_date`.", param="end_date")
    if (end - start).days > MOST_DAYS:
        raise InvalidRequest(f"`end_date` must be at most {MOST_DAYS} days after `start_date`.", param="end_date")
    return Span((start - _EPOCH).days * DAY_MS, (end - _EPOCH).days * DAY_MS)


def subscription(standing: Standing, expires_at: float | None) -> dict[str, Any]:
    limit = _number(standing.limit)
    return {
        "object": "billing_subscription",
        "has_payment_method": True,
        "soft_limit_usd": limit,
        "hard_limit_usd": limit,
        "system_hard_limit_usd": limit,
        "access_until": 0 if expires_at is None else int(expires_at),
        "currency": standing.currency or "USD",
    }


def credit_grants(standing: Standing, key_id: str, expires_at: float | None) -> dict[str, Any]:
    """One grant: the budget's period."""
    left = standing.limit - standing.used
    ends = [one for one in (standing.end_ms, None if expires_at is None else int(expires_at * 1000)) if one is not None]
    grant = {
        "object": "credit_grant",
        "id": key_id,
        "grant_amount": _number(standing.limit),
        "used_amount": _number(standing.used),
        "effective_at": (standing.start_ms or 0) // 1000,
        "expires_at": min(ends) // 1000 if ends else 0,
    }
    return {
        "object": "credit_summary",
        "total_granted": _number(standing.limit),
        "total_used": _number(standing.used),
        "total_available": _number(left),
        "grants": {"object": "list", "data": [grant]},
        "currency": standing.currency or "USD",
    }


def usage_of_key(connection: Connection, key_id: str, span: Span, currency: str | None) -> dict[str, Any]:
    """What this key spent, in hundredths of the currency, by day and model. Without a currency, in US dollars, or else
    in the first that it was charged in."""

    def by(part: Subquery) -> dict[str, ColumnElement[Any]]:
        named = case((part.c.model == "", UNKNOWN_MODEL), else_=part.c.model)
        return {"on": part.c.day, "model": named, "billed_in": part.c.currency}

    found = summed(Scope(span, key_id=key_id), by, {"cost": ("cost",)})
    rows = [row for row in connection.execute(select(found).order_by(found.c.on, found.c.model)) if row.billed_in]
    if currency is None:
        charged = {row.billed_in for row in rows}
        currency = "USD" if "USD" in charged or not charged else min(charged)
    days: dict[int, list[dict[str, Any]]] = {}
    total = 0
    for row in rows:
        if row.billed_in == currency:
            total += int(row.cost)
            days.setdefault(int(row.on), []).append({"name": row.model, "cost": _number(int(row.cost) * 100)})
    return {
        "object": "list",
        "total_usage": _number(total * 100),
        "daily_costs": [{"timestamp": day * DAY_MS // 1000, "line_items": items} for day, items in days.items()],
        "currency": currency,
    }


def _number(nano: int) -> Raw:
    """An exact JSON number."""
    return Raw(format_nano(nano).encode())


def _day(name: str, text: str) -> dt.date:
    if _DATE.fullmatch(text):
        try:
            return dt.date.fromisoformat(text)
        except ValueError:
            pass
    raise InvalidRequest(f"`{name}` must be a day such as 2026-11-21.", param=name)
