"""Invitations, where the rooms of money and of accounts meet: what they are made of, and `POST
/admin/api/invitations/accept`, the one route of the control plane that wants no key.

An acceptance is one transaction (billing/invitations.py), into which the new account and its first key are written by
accounts/joining.py. The route does not exist while there is no invitation that could be accepted; wrong codes are
limited for each address and over all.

Above: the control plane and the command line, which make invitations. Below: billing's till, the directory of accounts.
"""

import asyncio
import secrets
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from posthouse.accounts.forms import account_to_json, created_to_json, new_account_of, new_key_of
from posthouse.accounts.joining import Newcomer, Source, join
from posthouse.accounts.model import Account, NewAccount, NewKey
from posthouse.accounts.rules import check_new_account, check_new_key
from posthouse.accounts.service import Directory
from posthouse.api.exchange import Exchange, Route
from posthouse.api.guesses import Guesses
from posthouse.api.peers import Peers
from posthouse.api.server import JSON, FrontDoor
from posthouse.api.signatures import body_of as raw_body_of
from posthouse.api.signatures import object_of
from posthouse.billing.credit_forms import body_of, count_of, credit_to_json, expiry_of, text_of
from posthouse.billing.forms import iso
from posthouse.billing.invitations import (
    MAX_COUNT,
    MAX_USES,
    Accepted,
    Invitation,
    Joined,
    NewInvitation,
    Terms,
)
from posthouse.billing.points import Points, money_of, shown_points
from posthouse.billing.till import Till
from posthouse.core.errors import InvalidRequest, NotFound, RateLimited
from posthouse.core.ids import IdMaker
from posthouse.core.money import Money, format_nano
from posthouse.gateway.subjects import network_of

ACCEPT: Final = "/admin/api/invitations/accept"
MEMBERS: Final = (
    *("name", "parent", "account", "key", "bonus", "inviter", "inviter_bonus"),
    *("max_uses", "count", "expires_at", "author"),
)
_MOST: Final = 4096  # bytes of a body
_EACH: Final = 10  # wrong codes in a minute, of an address
_ALL: Final = 100
_ANY_NAME: Final = "anybody"
_LONGEST: Final = 128


# What invitations are made of


def new_invitation_of(raw: object, directory: Directory, till: Till, author: str) -> tuple[NewInvitation, int]:
    """An invitation, and how many of it. `{"name", "parent", "account"?, "key"?, "bonus"?, "inviter"?,
    "inviter_bonus"?, "max_uses"?, "count"?, "expires_at"?, "author"?}`. Blocks. InvalidRequest names the field;
    NotFound for an account that is not there."""
    body = body_of(raw, MEMBERS)
    name, parent = text_of(body, "name"), directory.get_account(text_of(body, "parent", _LONGEST))
    forms = {one: _form_of(body, one) for one in ("account", "key")}
    account, _ = newcomer_of(Terms(forms["account"], forms["key"]), _ANY_NAME, parent.id, till.clock())
    inviter = None
    if body.get("inviter") is not None:
        inviter = directory.get_account(text_of(body, "inviter", _LONGEST))
    invitation = NewInvitation(
        name=name,
        parent_id=parent.id,
        inviter_id=None if inviter is None else inviter.id,
        terms=_terms_of(body, forms, account, inviter, till.points),
        max_uses=count_of(body, "max_uses", MAX_USES, 1),
        expires_at=expiry_of(body, int(till.clock() * 1000)),
        author=author if body.get("author") is None else text_of(body, "author"),
    )
    return invitation, count_of(body, "count", MAX_COUNT, 1)


def newcomer_of(by: Terms, name: str, parent: str | None, now: float) -> tuple[NewAccount, NewKey]:
    """The account and the key that such terms make. InvalidRequest names the field as the invitation's form has it."""
    try:
        account = new_account_of({"kind": "person", **by.account, "name": name, "parent": parent})
        check_new_account(account)
    except InvalidRequest as error:
        raise _inside("account", error) from None
    try:
        key = new_key_of({**by.key, "name": name})
        check_new_key(key, now)
    except InvalidRequest as error:
        raise _inside("key", error) from None
    if key.role not in (None, "member"):
        raise InvalidRequest("`key.role` must be member, or null: whoever has the code gets it.", param="key.role")
    return account, key


def _inside(place: str, error: InvalidRequest) -> InvalidRequest:
    """What is wrong inside of one of the forms; the name is said beside them."""
    if error.param in (None, "name"):
        return error
    return InvalidRequest(f"`{place}`: {error.message}", param=f"{place}.{error.param}")


def _form_of(body: dict[str, Any], name: str) -> dict[str, Any]:
    form = {} if body.get(name) is None else body[name]
    if not isinstance(form, dict):
        raise InvalidRequest(f"`{name}` must be a JSON object.", param=name)
    for taken in ("name", "parent", "account"):
        if taken in form:
            raise InvalidRequest(f"`{name}.{taken}` is said by who accepts, or above.", param=f"{name}.{taken}")
    return form


def _terms_of(
    body: dict[str, Any],
    forms: dict[str, dict[str, Any]],
    account: NewAccount,
    inviter: Account | None,
    points: Points | None,
) -> Terms:
    bonus = _bonus_of(body, "bonus", account, points)
    if body.get("inviter_bonus") is not None and inviter is None:
        raise InvalidRequest("`inviter` is required beside `inviter_bonus`.", param="inviter")
    inviters = None if inviter is None else _bonus_of(body, "inviter_bonus", inviter, points)
    if bonus is not None and inviters is not None and bonus.currency != inviters.currency:
        raise InvalidRequest("`inviter_bonus` must be in the currency of `bonus`.", param="inviter_bonus.currency")
    currency = next((one.currency for one in (bonus, inviters) if one is not None), "")
    ours, theirs = (0 if one is None else one.nano for one in (bonus, inviters))
    return Terms(forms["account"], forms["key"], ours, theirs, currency)


def _bonus_of(body: dict[str, Any], name: str, account: NewAccount | Account, points: Points | None) -> Money | None:
    raw = body.get(name)
    if raw is None:
        return None
    if not isinstance(raw, dict):
        raise InvalidRequest(f"`{name}` must be a JSON object with an amount and a currency, or points.", param=name)
    money = money_of(body_of(raw, ("amount", "currency", "points")), points, f"{name}.")
    if money.currency not in prepaid_in(account):
        raise InvalidRequest(
            f"`{name}`: the account has no prepaid budget in {money.currency}, so it would change nothing.", param=name
        )
    return money


def prepaid_in(account: NewAccount | Account) -> frozenset[str]:
    """The currencies in which an account may spend what is paid in for it."""
    return frozenset([budget.currency for budget in account.budgets if budget.prepaid])


def invitation_to_json(one: Invitation, points: Points | None, now_ms: int) -> dict[str, Any]:
    terms = one.terms

    def bonus(nano: int) -> dict[str, Any] | None:
        if not nano:
            return None
        return {"amount": format_nano(nano), "currency": terms.currency, **shown_points(points, nano, terms.currency)}

    return {
        "id": one.id,
        "created_at": iso(one.created_at),
        "name": one.name,
        "hint": one.hint,
        "state": one.state(now_ms),
        "uses": one.uses,
        "max_uses": one.max_uses,
        "parent": one.parent_id,
        "account": terms.account,
        "key": terms.key,
        "bonus": bonus(terms.bonus),
        "inviter": one.inviter_id,
        "inviter_bonus": bonus(terms.inviter_bonus),
        "expires_at": None if one.expires_at is None else iso(one.expires_at),
        "revoked_at": None if one.revoked_at is None else iso(one.revoked_at),
        "author": one.author,
    }


# Accepting one


def accepted(till: Till, directory: Directory, raw: dict[str, Any]) -> dict[str, Any]:
    """What an acceptance has made: the account, its first key (this once) and what was credited to it. Blocks."""
    body = body_of(raw, ("code", "name"))
    name = text_of(body, "name")
    source = Source(till.clock, IdMaker(till.clock).make, partial(secrets.token_urlsafe, 32))

    def made(connection: Connection, by: Invitation) -> Joined[Newcomer]:
        account, key = newcomer_of(by.terms, name, by.parent_id, till.clock())
        newcomer = join(connection, account, key, source)
        return Joined(newcomer.account.id, newcomer)

    done: Accepted[Newcomer] = till.invitations.accept(body.get("code"), made)
    directory.refresh_if_changed()
    account_id = done.joined.account_id
    own = [credit for credit in done.credits if credit.account_id == account_id]
    return {
        "account": account_to_json(directory.get_account(account_id)),
        "key": created_to_json(done.joined.made.created, till.clock()),
        "credits": [credit_to_json(one, till.points) for one in own],
    }


class JoiningFace:
    """Its route registers itself with `mount`."""

    def __init__(self, door: FrontDoor, till: Till, directory: Directory, peers: Peers) -> None:
        self._door = door
        self._till = till
        self._directory = directory
        self._peers = peers
        self._guesses = Guesses(_EACH, _ALL)
        self._open = False  # as it was found last

    def mount(self) -> None:
        self._door.add(ACCEPT, {b"POST": Route("join", self._accept, authenticated=False, streams_body=True)})

    async def _accept(self, exchange: Exchange) -> None:
        body = await raw_body_of(exchange, _MOST)
        try:
            with self._guesses.guess(network_of(self._peers.address_of(exchange))):
                self._open = await asyncio.to_thread(self._till.invitations.any_open)
                if not self._open:
                    raise _absent()
                made = await asyncio.to_thread(accepted, self._till, self._directory, object_of(body))
        except RateLimited as error:
            raise (error if self._open else _absent()) from None
        exchange.respond(201, JSON + self._door.common_head(exchange), msgspec.json.encode(made))


def _absent() -> NotFound:
    """As the control plane says it of what it does not have."""
    return NotFound(f"Unknown request URL: POST {ACCEPT}.")
