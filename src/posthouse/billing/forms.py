"""Usage, records and entries as JSON: what the admin API answers and what `--json` prints.

Money is a decimal string with a currency beside it, instants are ISO 8601 in UTC. Complaints are InvalidRequest and
name the field.
"""

import datetime as dt
from decimal import Decimal
from typing import Any, Final

import msgspec

from posthouse.billing.folds import Rebuilt
from posthouse.billing.model import Price, Verification
from posthouse.billing.span import Span
from posthouse.billing.store import UNITS, EntryRow, GroupBy, HoldRecord, RequestDetail, UsageRow
from posthouse.billing.units import BESIDE, MEASURES, SOLD_BY
from posthouse.core.errors import InvalidRequest
from posthouse.core.money import NANO, format_nano
from posthouse.core.usage import COUNTS, Usage
from posthouse.storage.rows import RequestRow

_MAX_TEXT: Final = 40
_MAX_SECONDS: Final = 253_402_300_799  # the last second of the year 9999


def span_of(start: str | None, end: str | None) -> Span:
    """The span between `from` (included) and `to` (not included), each as `instant_ms` reads it."""
    span = Span(
        start_ms=None if start is None else instant_ms(start, "from"),
        end_ms=None if end is None else instant_ms(end, "to"),
    )
    if span.start_ms is not None and span.end_ms is not None and span.end_ms < span.start_ms:
        raise InvalidRequest("`to` must not be before `from`.", param="to")
    return span


def instant_ms(text: str, param: str) -> int:
    """Milliseconds since the epoch of an ISO 8601 day or time (UTC where no zone is said), or of seconds since it."""
    if len(text) <= _MAX_TEXT:
        try:
            if text.isascii() and text.isdigit():
                return min(int(text), _MAX_SECONDS) * 1000
            moment = dt.datetime.fromisoformat(text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=dt.UTC)
            return round(moment.timestamp() * 1000)
        except (ValueError, OverflowError):
            pass
    raise InvalidRequest(
        f"`{param}` must be a day such as 2027-01-31, a time such as 2027-01-31T08:00:00Z, or seconds since the epoch.",
        param=param,
    )


def usage_to_json(row: UsageRow, group_by: GroupBy) -> dict[str, Any]:
    """`group` says what the row is about, and so does a member named as the grouping."""
    return {
        "group": row.group,
        group_by: row.group,
        "requests": row.requests,
        "input_tokens": row.input_tokens,
        "cached_input_tokens": row.cached_input_tokens,
        "output_tokens": row.output_tokens,
        **{name: getattr(row, name) for name in UNITS},
        "cost": format_nano(row.cost),
        "currency": row.currency,
        "by_source": row.by_source,
    }


def request_to_json(row: RequestRow) -> dict[str, Any]:
    """One line of the listing of requests; `usage` holds every class of tokens, disjoint, and every unit."""
    usage = Usage(**{name: getattr(row, name) for name in COUNTS})
    return {
        "id": row.id,
        "created_at": iso(row.created_at),
        "operation": row.operation,
        "key": row.key_id,
        "account": row.account_id,
        "model_asked": row.model_asked,
        "model": row.model,
        "provider": row.provider,
        "deployment": row.deployment,
        "stream": bool(row.stream),
        "status": row.status,
        "error_code": row.error_code,
        "ended_by": row.ended_by,
        "usage": {
            **{name: getattr(usage, name) for name in COUNTS},
            "image_kind": row.image_kind,
            "total_input": usage.total_input,
            "total_output": usage.total_output,
        },
        "usage_source": row.usage_source,
        "priced": bool(row.priced),
        "cost": amount(row.cost),
        "currency": row.currency,
        "service_tier": row.service_tier,
        "price_id": row.price_id,
        "list_cost": amount(row.list_cost),
        "list_currency": row.list_currency,
        "exchange_rate": row.exchange_rate,
        "own_credential": row.own_fee_ppm is not None,
        "fee_percent": fee_to_json(row.own_fee_ppm),
        "attempts": row.attempts,
        "ttft_ms": row.ttft_ms,
        "duration_ms": row.duration_ms,
    }


def detail_to_json(detail: RequestDetail) -> dict[str, Any]:
    """One record with its hold, its entries, and the attempts that failed before one answered.

    Where the process died before a record was written, only the hold is known: `recorded` is false.
    """
    row, hold = detail.request, detail.hold
    if row is not None:
        shown = request_to_json(row)
        failed = [] if row.attempts_detail is None else msgspec.json.decode(row.attempts_detail)
    else:
        assert hold is not None  # a detail has one of the two
        failed = []
        shown = {
            "id": hold.id,
            "created_at": iso(hold.created_at),
            "key": hold.key_id,
            "account": hold.account_id,
            "model_asked": hold.model,
        }
    return {
        **shown,
        "recorded": row is not None,
        "failed_attempts": failed,
        "hold": None if hold is None else hold_to_json(hold),
        "entries": [entry_to_json(entry) for entry in detail.entries],
    }


def hold_to_json(hold: HoldRecord) -> dict[str, Any]:
    """What was reserved and how it ended; `charged` is null while it is held."""
    return {
        "state": hold.state,
        "amount": amount(hold.amount),
        "charged": amount(hold.charged),
        "currency": hold.currency,
        "reason": hold.reason,
        "created_at": iso(hold.created_at),
        "ended_at": None if hold.ended_at is None else iso(hold.ended_at),
    }


def entry_to_json(entry: EntryRow) -> dict[str, Any]:
    """One leg; a positive amount is owed by its ledger account."""
    return {
        "request": entry.hold_id,
        "leg": entry.leg,
        "ledger_account": entry.ledger_account,
        "amount": format_nano(entry.amount),
        "currency": entry.currency,
        "usage_source": entry.usage_source,
        "created_at": iso(entry.created_at),
    }


def verification_to_json(found: Verification) -> dict[str, Any]:
    return msgspec.structs.asdict(found) | {
        "problems": [msgspec.structs.asdict(problem) for problem in found.problems],
    }


def rebuilt_to_json(done: Rebuilt) -> dict[str, Any]:
    """`differences`: rows that were not what they must be, with the numbers that differed; null where there was no such
    row. What is money is a decimal string."""
    return {
        "rows": done.rows,
        "differences": [
            {
                "fold": one.fold,
                "place": one.place,
                "found": _numbers(one.found),
                "expected": _numbers(one.expected),
            }
            for one in done.differences
        ],
        "truncated": done.truncated,
    }


def _numbers(row: dict[str, int] | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {name: format_nano(value) if name in ("cost", "amount") else value for name, value in row.items()}


def price_to_json(price: Price) -> dict[str, Any]:
    """Rates per million tokens for every class, empty where nothing is sold by tokens; tiers hold for a whole request
    with more input than `above`. `units` has those that something is sold by, as [[prices]] names them; `measures` says
    what a call can be charged by, and all where nothing but the call itself is. `service_tiers` are those that cost
    something else."""
    return {
        "id": price.id or None,
        **_shown(price),
        "service_tiers": {name: _shown(variant) for name, variant in price.variants.items()},
        "measures": sorted(price.measures),
        "source": price.source,
        "priced_as": price.model,
        "effective_from": price.effective_from,
    }


def _shown(price: Price) -> dict[str, Any]:
    return {
        "currency": price.currency if price.exchange is None else price.exchange.listed,
        "per_million": rates_to_json(price.rates) if "tokens" in price.measures else {},
        "units": units_to_json(price),
        "per_request": format_nano(price.per_request),
        "tiers": [{"above": tier.above, "per_million": rates_to_json(tier.rates)} for tier in price.tiers],
    }


def units_to_json(price: Price) -> dict[str, Any]:
    """An amount for each unit as it is sold: characters by the million, searches of the web and of files by the
    thousand, everything else one by one."""
    units = price.units
    if units is None:
        return {}
    shown: dict[str, Any] = {
        name: _exactly(getattr(units, name), sold_by)
        for name, sold_by in SOLD_BY.items()
        if (getattr(units, name) if name in BESIDE else MEASURES[name] in price.measures)
    }
    if units.image_kinds:
        shown["image_kinds"] = {kind: _exactly(rate, SOLD_BY["image"]) for kind, rate in units.image_kinds.items()}
    if units.least_audio_ms:
        shown["least_audio_seconds"] = _exactly(units.least_audio_ms * NANO, 1000)
    return shown


def _exactly(rate: int, sold_by: int) -> str:
    """What one costs, as a decimal string: a second of sound may cost less than a nano-unit."""
    return f"{(Decimal(rate) / (sold_by * NANO)).normalize():f}"


def rates_to_json(rates: msgspec.Struct) -> dict[str, str]:
    return {name: format_nano(nano) for name, nano in msgspec.structs.asdict(rates).items()}


def amount(nano: int | None) -> str | None:
    return None if nano is None else format_nano(nano)


def fee_to_json(ppm: int | None) -> str | None:
    """Millionths as per cent: `2.5`."""
    return None if ppm is None else f"{Decimal(ppm).scaleb(-4).normalize():f}"


def iso(ms: int) -> str:
    """`2026-11-21T03:09:00.123Z`"""
    moment = dt.datetime.fromtimestamp(ms / 1000, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
