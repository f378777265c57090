"""What `ledger verify` asks of money that came in: credits, codes, invitations and payments say the same."""

from typing import Any, Final

from sqlalchemy import case, func, literal, or_, select

from posthouse.billing.checks import Check
from posthouse.storage.tables import (
    code_batches,
    codes,
    credits,
    entries,
    invitation_uses,
    invitations,
    payments,
)

_debit: Final = entries.alias("debit")
_CODE: Final = "code:"


def credit_checks() -> tuple[Check, ...]:
    return (_entered(), *_codes(), _invited(), *_paid())


def _entered() -> Check:
    """CREDIT-1: a credit has entries of its amount, for its account."""
    wrong = or_(
        _debit.c.hold_id.is_(None),
        _debit.c.amount != -credits.c.amount,
        _debit.c.currency != credits.c.currency,
        _debit.c.ledger_account != "account:" + credits.c.account_id,
    )
    to_debit = (_debit.c.hold_id == credits.c.id) & (_debit.c.leg == 0)
    return Check(
        "CREDIT-1",
        "a credit of {1} nano-units {2}, but the entries say {3} {4} for {5}",
        select(
            *(credits.c.id, credits.c.amount, credits.c.currency),
            *(_debit.c.amount, _debit.c.currency, _debit.c.ledger_account),
        )
        .select_from(credits.outerjoin(_debit, to_debit))
        .where(wrong),
    )


def _codes() -> tuple[Check, ...]:
    """CODE-1: a code that was redeemed has its credit, and no other code has one."""
    of_code: Any = credits.c.source == _CODE + codes.c.id
    batched = codes.outerjoin(code_batches, code_batches.c.id == codes.c.batch_id)
    wrong = or_(
        credits.c.id.is_(None),
        credits.c.account_id != codes.c.redeemed_by,
        credits.c.amount != code_batches.c.amount,
        credits.c.currency != code_batches.c.currency,
    )
    return (
        Check(
            "CODE-1",
            "redeemed by {1}, but the credit of it is of {2} nano-units for {3}",
            select(codes.c.id, codes.c.redeemed_by, credits.c.amount, credits.c.account_id)
            .select_from(batched.outerjoin(credits, of_code))
            .where(codes.c.redeemed_at.is_not(None), or_(code_batches.c.id.is_(None), wrong)),
        ),
        Check(
            "CODE-1",
            "credited by {1}, which nobody has redeemed",
            select(credits.c.id, credits.c.source)
            # By the code's own id, so that its index is used.
            .select_from(credits.outerjoin(codes, codes.c.id == func.substr(credits.c.source, len(_CODE) + 1)))
            .where(credits.c.kind == "code", or_(codes.c.redeemed_at.is_(None), ~of_code)),
        ),
    )


def _invited() -> Check:
    """INVITE-1: an invitation was used as often as accounts have come by it."""
    came = (
        select(invitation_uses.c.invitation_id, func.count().label("number"))
        .group_by(invitation_uses.c.invitation_id)
        .subquery()
    )
    number = func.coalesce(came.c.number, 0)
    return Check(
        "INVITE-1",
        "used {1} times, but {2} accounts have come by it",
        select(invitations.c.id, invitations.c.uses, number)
        .select_from(invitations.outerjoin(came, came.c.invitation_id == invitations.c.id))
        .where(invitations.c.uses != number),
    )


def _paid() -> tuple[Check, ...]:
    """TOPUP-4: of a payment as much was taken back as was given back or disputed, and no more than was paid; it was
    credited."""
    p = payments.c
    back = p.refunded + p.disputed
    due = case((p.account_id.is_(None), literal(0)), (back < p.paid, back), else_=p.paid)
    credited = (credits.c.source == p.id) & (credits.c.kind == "topup")
    return (
        Check(
            "TOPUP-4",
            "{1} nano-units were taken back, and {2} were due",
            select(p.id, p.taken, due).where(p.taken != due),
        ),
        Check(
            "TOPUP-4",
            "{1} nano-units were paid for {2}, but {3} were credited",
            select(p.id, p.paid, p.account_id, credits.c.amount)
            .select_from(payments.outerjoin(credits, credited))
            .where(
                p.account_id.is_not(None),
                or_(credits.c.id.is_(None), credits.c.amount != p.paid, credits.c.account_id != p.account_id),
            ),
        ),
    )
