"""`/admin/api/redeem`, `/codes`, `/invitations`, and of an account what was paid in for it.

(`invitations/accept`, which wants no key, is `api/joining.py`.)
"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request

from posthouse.api.control.door import Asking
from posthouse.api.control.parameters import PREFIX, Form, In, Paged, Settled, Word
from posthouse.api.control.schemas import NEW_BATCH, NEW_CREDIT, NEW_INVITATION, REDEEM, body
from posthouse.api.guesses import Guesses
from posthouse.api.joining import invitation_to_json, new_invitation_of, prepaid_in
from posthouse.api.services import Services
from posthouse.billing.codes import Redeemer, State
from posthouse.billing.credit_forms import (
    balance_to_json,
    batch_to_json,
    body_of,
    code_to_json,
    credit_to_json,
    new_batch_of,
    new_credit_of,
    stand_to_json,
    text_of,
)

router = APIRouter(prefix=PREFIX, tags=["top-ups"])

WRONG: Final = 10  # codes in a minute, of an account
_LONGEST: Final = 128


def _now_ms(services: Services) -> int:
    return int(services.till.clock() * 1000)


@router.post("/accounts/{account}/credits", status_code=201, openapi_extra=body(NEW_CREDIT))
def credit(services: In, account: str, form: Form) -> dict[str, Any]:
    """Notes that something was paid in for an account, or taken back. Holds at once; the same idempotency key again
    gives the same credit."""
    till, directory = services.till, services.directory
    made, _ = till.credits.make(new_credit_of(form, directory.get_account(account).id, till.points))
    directory.refresh_if_changed()
    return credit_to_json(made, till.points)


@router.get("/accounts/{account}/credits")
def list_credits(services: In, account: str, page: Paged) -> dict[str, Any]:
    """What was paid in for an account, and taken back, the newest first."""
    till = services.till
    rows, following = till.credits.listed(services.directory.get_account(account).id, page)
    return {"data": [credit_to_json(row, till.points) for row in rows], "next": following}


@router.get("/accounts/{account}/balance")
def get_balance(services: Settled, account: str) -> dict[str, Any]:
    """What was paid in for an account, what it and all below it have spent of that, and what is left, by currency."""
    till = services.till
    found = till.credits.balances(services.directory.get_account(account).id)
    return {"data": [balance_to_json(one, till.points) for one in found], "next": None}


def guesses_of(request: Request) -> Guesses:
    """Wrong codes, of all callers of this house."""
    guesses: Guesses = request.app.state.guesses
    return guesses


@router.post("/redeem", status_code=201, openapi_extra=body(REDEEM))
def redeem(
    services: In, form: Form, asking: Asking, guesses: Annotated[Guesses, Depends(guesses_of)]
) -> dict[str, Any]:
    """Redeems a code for the account of the key that asks, or for another. The credit that it has made."""
    directory, till = services.directory, services.till
    told = body_of(form, ("code", "account"))
    account = directory.get_account(
        asking.account_id if told.get("account") is None else text_of(told, "account", _LONGEST)
    )
    code = text_of(told, "code", _LONGEST)
    with guesses.guess(asking.account_id):
        done = till.codes.redeem(code, Redeemer(account.id, prepaid_in(account), asking.key_id))
    directory.refresh_if_changed()
    return credit_to_json(done, till.points)


@router.post("/codes", status_code=201, openapi_extra=body(NEW_BATCH))
def make_codes(services: In, form: Form, asking: Asking) -> dict[str, Any]:
    """Makes a batch of redemption codes. They are in this answer and nowhere else."""
    till = services.till
    batch, made = till.codes.make(new_batch_of(form, asking.key_id, till.points, _now_ms(services)))
    return {**batch_to_json(batch, till.points), "codes": list(made)}


@router.get("/codes")
def list_codes(
    services: In,
    page: Paged,
    batch: Annotated[Word | None, Query(description="Only those of this batch, by its id.")] = None,
    state: Annotated[State | None, Query(description="Only those that are so.")] = None,
) -> dict[str, Any]:
    """Codes by their ends, and what has become of each, the newest first."""
    rows, following = services.till.codes.listed(batch, state, page)
    return {"data": [code_to_json(row, services.till.points) for row in rows], "next": following}


@router.get("/codes/batches")
def list_batches(services: In, page: Paged) -> dict[str, Any]:
    """Batches, the newest first, with how many codes of each are in which state."""
    rows, following = services.till.codes.batches(page)
    return {"data": [stand_to_json(row, services.till.points) for row in rows], "next": following}


@router.delete("/codes/batches/{batch}")
def revoke_batch(services: In, batch: Word) -> dict[str, Any]:
    """Revokes all codes of a batch that nobody has redeemed, for good."""
    return stand_to_json(services.till.codes.revoke(batch), services.till.points)


@router.post("/invitations", status_code=201, openapi_extra=body(NEW_INVITATION))
def make_invitations(services: In, form: Form, asking: Asking) -> dict[str, Any]:
    """Makes invitations. Their codes are in this answer and nowhere else."""
    till = services.till
    new, count = new_invitation_of(form, services.directory, till, asking.key_id)
    made = till.invitations.make(new, count)
    shown = [{**invitation_to_json(one, till.points, _now_ms(services)), "code": code} for one, code in made]
    return {"data": shown, "next": None}


@router.get("/invitations")
def list_invitations(services: In, page: Paged) -> dict[str, Any]:
    """Invitations, the newest first, used and revoked ones too."""
    rows, following = services.till.invitations.listed(page)
    shown = [invitation_to_json(row, services.till.points, _now_ms(services)) for row in rows]
    return {"data": shown, "next": following}


@router.delete("/invitations/{invitation}")
def revoke_invitation(services: In, invitation: Word) -> dict[str, Any]:
    """Revokes an invitation, for good. Who has come by it stays."""
    revoked = services.till.invitations.revoke(invitation)
    return invitation_to_json(revoked, services.till.points, _now_ms(services))
