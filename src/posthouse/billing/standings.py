"""How budgets stand, asked of the database: for the dashboards, which must say the same on every server.

A request in flight counts with what is held for it, once its hold is applied (within a second).
"""

from collections.abc import Iterable

from sqlalchemy import Connection

from posthouse.billing.dashboard import Standing
from posthouse.billing.periods import Span, span_of
from posthouse.billing.spending import Place, open_of, spent_in
from posthouse.core.caller import Budget, Caller


def standing(connection: Connection, caller: Caller, now_ms: int) -> Standing:
    """How the caller's key stands with the budget, its own or that of an account above it, that has the least left.
    Budgets of single models are not told of: no client could show them."""
    found = Standing(0, None, None)
    for subject in caller.subjects:
        for budget in subject.budgets:
            if budget.model is not None:
                continue
            left = budget.nano - committed(connection, subject.id, budget, now_ms)
            if found.left is None or left < found.left:
                span = span_of(budget.zone, budget.period, now_ms)
                bounds = (None, None) if budget.period == "total" else (span.starts, span.ends)
                used = committed(connection, caller.key_id, budget, now_ms)
                found = Standing(used, left, budget.currency, *bounds)
    return found


def committed(connection: Connection, subject_id: str, budget: Budget, now_ms: int) -> int:
    """What a key or an account has spent and holds in the current period of such a budget, in nano-units."""
    place = _place(subject_id, budget, span_of(budget.zone, budget.period, now_ms))
    return spent_in(connection, place) + sum(amount for _, amount in open_of(connection, place))


def all_committed(connection: Connection, subject_id: str, budgets: Iterable[Budget], now_ms: int) -> list[int]:
    return [committed(connection, subject_id, budget, now_ms) for budget in budgets]


def _place(subject_id: str, budget: Budget, span: Span) -> Place:
    return Place(subject_id, budget.currency, budget.model, budget.zone, span.first, span.starts)
