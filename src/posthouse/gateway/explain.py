"""Why a request went where it went, as JSON: what the admin API answers and what `posthouse explain --json` prints.

From the record: the candidates with what they were chosen by, the attempts with their times, the hold. Recomputed,
since no record holds it: the price that held at the time, by the settings of now (and whether it comes to what was
charged); and the limits and budgets, as they are now.

Above: the control plane and the command line. Below: routing's decisions, billing's records and prices.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from posthouse.accounts.forms import account_to_json, key_to_json
from posthouse.accounts.service import Directory
from posthouse.billing.forms import amount, fee_to_json, hold_to_json, iso, price_to_json
from posthouse.billing.prices import PriceBook
from posthouse.billing.store import RequestDetail
from posthouse.core.errors import NotFound
from posthouse.core.money import format_nano
from posthouse.core.usage import Usage
from posthouse.gateway.pricing import price_key
from posthouse.providers.model import Deployment
from posthouse.routing.decision import Considered, PassedOver, Suffers, Told, TroubleState, read
from posthouse.routing.model import AttemptRecord, Offer
from posthouse.routing.pace import UNMEASURED
from posthouse.storage.rows import RequestRow

Outcome = Literal["answered", "failed", "asked", "untried", "passed_over"]

_PASSED_OVER: Final[dict[PassedOver, str]] = {
    "lacks_operation": "its provider does not offer this operation",
    "limited": "its provider had asked to be left alone",
    "model_unpriced": "no price is known for it, and this caller may not use what has none",
    "currency_mismatch": "its price is in another currency than the caller's budget",
    "unsupported_parameter": "it cannot be told all of the request, and the request is strict",
    "own_not_allowed": "the caller brought a credential, which may not stand for its account's",
    "own_unsupported": "the caller brought a credential, and its account is not known by a single one",
    "own_elsewhere": "the caller brought a credential, which was meant for the provider of another deployment",
}
_SUFFERED: Final[dict[TroubleState, str]] = {
    "failing": "it had failed lately ({kind})",
    "cooling": "it was cooling for {seconds:g} s more ({kind}), so it came last",
    "waiting": "it had cooled ({kind}) and was to be probed",
    "probing": "another request was probing it ({kind}), so it came last",
}
_FIRST: Final[dict[str, str]] = {
    "priority": "the first by rank, drawn by weight among equals",
    "weighted": "drawn first by weight",
    "latency": "of two drawn at random, the one that would answer sooner",
    "cheapest": "what this request would cost least at",
}
_attempts_of: Final = msgspec.json.Decoder(list[AttemptRecord]).decode


class Sources(Struct, frozen=True, eq=False):
    """What is recomputed: the price from accounts and prices as configured now; `limits` as `limits_of` gives them."""

    offers: Sequence[Offer]
    prices: PriceBook
    limits: dict[str, Any]


def explained_to_json(detail: RequestDetail, sources: Sources) -> dict[str, Any]:
    """NotFound where a crash left nothing but the hold."""
    row = detail.request
    if row is None:
        raise NotFound("Nothing is recorded of this request but its hold: the process ended before it did.")
    failed = _failed(row)
    told = _told(row)
    return {
        "id": row.id,
        "created_at": iso(row.created_at),
        "operation": row.operation,
        "model_asked": row.model_asked,
        "status": row.status,
        "error_code": row.error_code,
        "ended_by": row.ended_by,
        "deployment": row.deployment,
        "own_credential": row.own_fee_ppm is not None,
        "strategy": told.strategy,
        "candidates": _candidates(told, row, failed),
        "left_out": told.left_out,
        "attempts": _attempts(told, row, failed),
        "duration_ms": row.duration_ms,
        "hold": None if detail.hold is None else hold_to_json(detail.hold),
        "price": _price(row, sources),
        "limits": sources.limits,
        "recomputed": ["price", "limits"],
    }


def limits_of(detail: RequestDetail, directory: Directory, now: float) -> dict[str, Any]:
    """Limits and budget of the key and of its account, each null where it is no more, and of the accounts above that,
    the nearest first. Blocks; `now` in seconds since the epoch."""
    owner = detail.request or detail.hold
    assert owner is not None  # a detail has one of the two
    try:
        key = _bounds(key_to_json(directory.get_key(owner.key_id), now))
    except NotFound:  # the admin's own key is in no list
        key = None
    try:
        account = _bounds(account_to_json(directory.get_account(owner.account_id)))
    except NotFound:
        account = None
    path = directory.place_of(owner.account_id).path
    above = [_bounds(account_to_json(directory.get_account(account_id))) for account_id, _ in reversed(path[:-1])]
    return {"key": key, "account": account, "above": above}


def deployment_of(offers: Iterable[Offer], row: RequestRow) -> Deployment | None:
    """The deployment that a record names, as its account is configured now; None where there is no such account."""
    for offer in offers:
        if offer.account.name == row.provider and row.deployment is not None and row.model is not None:
            upstream = next((one.upstream for one in offer.models or () if one.name == row.model), row.model)
            return Deployment(id=row.deployment, account=offer.account, model=row.model, upstream_model=upstream)
    return None


def _told(row: RequestRow) -> Told:
    """The decision of a record. One without, which is the rule, had one deployment to choose from, or none."""
    found = None if row.decision is None else read(row.decision)
    if found is not None:
        return found
    if row.deployment is None or row.decision is not None:
        return Told("priority", [])
    return Told("priority", [Considered(row.deployment, 0, (0, 0), 1.0)], answered_by=0)


def _failed(row: RequestRow) -> list[AttemptRecord]:
    """The attempts that failed; none where a newer version has written them in words that this one does not know."""
    try:
        return [] if row.attempts_detail is None else _attempts_of(row.attempts_detail)
    except msgspec.MsgspecError:
        return []


def _candidates(told: Told, row: RequestRow, failed: Sequence[AttemptRecord]) -> list[dict[str, Any]]:
    rows = []
    for place, one in enumerate(told.candidates, 1):
        outcome = _outcome(one, told, row, failed)
        rows.append(
            {
                "deployment": one.deployment,
                "credential": one.credential or None,
                "place": None if one.passed_over is not None else place,
                "after": one.after,
                "rank": list(one.rank),
                "weight": one.weight,
                "draw": one.figure if told.strategy != "latency" else None,
                "score": _score(one.figure) if told.strategy == "latency" else None,
                "expected_cost": amount(one.cost),
                "currency": one.currency,
                "trouble": None if one.suffers is None else msgspec.structs.asdict(one.suffers),
                "outcome": outcome,
                "why": "; ".join([*_reasons(one, told, place, outcome, failed), *_while_asked(outcome, row)]),
            }
        )
    return rows


def _score(figure: float | None) -> float | None:
    """Seconds; None where nothing had been measured."""
    return figure if figure is not None and 0 < figure < UNMEASURED else None


def _outcome(one: Considered, told: Told, row: RequestRow, failed: Sequence[AttemptRecord]) -> Outcome:
    key = (one.deployment, one.credential)
    if one.passed_over is not None:
        return "passed_over"
    if row.ttft_ms is not None and (row.deployment, told.answered_by or 0) == key:
        return "answered"
    if key in [(attempt.deployment, attempt.credential) for attempt in failed]:
        return "failed"
    if row.attempts > len(failed) and row.ttft_ms is None and row.deployment == one.deployment:
        return "asked"
    return "untried"


def _reasons(
    one: Considered, told: Told, place: int, outcome: Outcome, failed: Sequence[AttemptRecord]
) -> Iterable[str]:
    if one.passed_over is not None:
        yield f"passed over: {_PASSED_OVER[one.passed_over]}"
        return
    if one.after is not None:
        yield f"a fallback, tried after {one.after} only"
    elif len(told.candidates) == 1:
        yield "the only deployment there was"
    elif place == 1:
        yield _FIRST.get(told.strategy, "the first")
    if one.suffers is not None:
        yield _suffered(one.suffers)
    key = (one.deployment, one.credential)
    kinds = [str(attempt.kind) for attempt in failed if (attempt.deployment, attempt.credential) == key]
    if kinds:
        yield f"it failed: {', '.join(kinds)}"
    if outcome == "answered":
        yield "it answered"
    elif outcome == "untried":
        yield "it was not tried"


def _while_asked(outcome: Outcome, row: RequestRow) -> Iterable[str]:
    """What ended a request before the last deployment that was asked could answer or fail."""
    if outcome == "asked" and row.ended_by == "client":
        yield "the client left while it was asked"
    elif outcome == "asked":
        yield f"the request itself failed before it answered ({row.error_code or row.status})"


def _suffered(suffers: Suffers) -> str:
    return _SUFFERED[suffers.state].format(kind=suffers.kind, seconds=suffers.seconds)


def _attempts(told: Told, row: RequestRow, failed: Sequence[AttemptRecord]) -> list[dict[str, Any]]:
    """All of them in their order, times in milliseconds; `at_ms` counts from the beginning of the request."""
    shown = [{**_attempt(one.deployment, one.credential), **_told_of(one)} for one in failed]
    if row.attempts > len(failed) and row.deployment is not None:
        at = told.answered_at if told.answered_at is not None else 0 if not failed else None
        last = {
            **_attempt(row.deployment, told.answered_by or 0),
            "at_ms": at,
            "duration_ms": None if at is None else row.duration_ms - at,
            "first_content_ms": row.ttft_ms,
        }
        shown.append(last)
    return shown


def _attempt(deployment: str, credential: int) -> dict[str, Any]:
    return {
        "deployment": deployment,
        "credential": credential or None,
        **dict.fromkeys(("at_ms", "duration_ms", "first_content_ms", "kind", "status", "message")),
    }


def _told_of(one: AttemptRecord) -> dict[str, Any]:
    names = ("at_ms", "duration_ms", "kind", "status", "message")
    return {name: getattr(one, name) for name in names}


def _price(row: RequestRow, sources: Sources) -> dict[str, Any] | None:
    """The price of the deployment that was charged for; None where none was, or where it is configured no more.

    `agrees` is whether it comes to what was charged: if not, prices have changed since.
    """
    deployment = deployment_of(sources.offers, row)
    if deployment is None:
        return None
    moment = row.created_at / 1000
    line = sources.prices.unkept(price_key(deployment))
    price = line.listed(moment)
    told = {name: getattr(row, name, None) for name in Usage.__struct_fields__}
    usage = Usage(**{name: value for name, value in told.items() if value is not None}, tier=row.service_tier or "")
    charged_by = price if price is None or row.own_fee_ppm is None else price.part(row.own_fee_ppm)
    cost = None if charged_by is None or row.cost is None else charged_by.cost(usage)
    charged = row.cost if row.list_cost is None else row.list_cost
    return {
        "price": None if price is None else price_to_json(price),
        "steps": [msgspec.structs.asdict(step) for step in line.why(moment)],
        "cost": None if cost is None else format_nano(cost),
        "charged": amount(row.cost),
        "currency": row.currency,
        "billed_by": row.price_id,
        "service_tier": row.service_tier,
        "list_cost": amount(row.list_cost),
        "list_currency": row.list_currency,
        "exchange_rate": row.exchange_rate,
        "fee_percent": fee_to_json(row.own_fee_ppm),
        "agrees": None if cost is None else cost == charged,
    }


def _bounds(shown: dict[str, Any]) -> dict[str, Any]:
    return {name: shown[name] for name in ("id", "name", "limits", "budget", "budgets")}
