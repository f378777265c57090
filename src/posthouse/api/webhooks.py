"""`POST /webhooks/topup` and `POST /webhooks/stripe`: what was paid elsewhere is credited here.

A webhook without a secret has no route: it does not exist. A body is bounded, its signature is over the raw bytes, and
whatever it says is done once, in one transaction (billing/payments.py, billing/credits.py).

Above: nothing. Below: billing's till, the directory of accounts.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from posthouse.accounts.service import Directory
from posthouse.api.exchange import Exchange, Route
from posthouse.api.server import JSON, FrontDoor
from posthouse.api.signatures import BadSignature, Seal, body_of, object_of, signed_by_pairs
from posthouse.api.stripe import Checkout, read_event
from posthouse.billing.credit_forms import body_of as members_of
from posthouse.billing.credit_forms import credit_to_json, text_of
from posthouse.billing.credits import Credit, NewCredit
from posthouse.billing.payments import AUTHOR, Payment
from posthouse.billing.points import MAX_NANO, money_of
from posthouse.billing.till import Till
from posthouse.core.currencies import is_payable
from posthouse.core.errors import InvalidRequest
from posthouse.core.money import Money, parse_nano
from posthouse.settings import Secret, TopupSettings

TOPUP: Final = "/webhooks/topup"
STRIPE: Final = "/webhooks/stripe"
_MOST: Final = {TOPUP: 16 << 10, STRIPE: 512 << 10}  # bytes; an event of Stripe's holds a whole object of theirs
_MEMBERS: Final = ("id", "account", "amount", "currency", "reason")
_LONGEST: Final = {"id": 200, "account": 128}
_REASON: Final = "topped up"


class Webhooks:
    """Its routes register themselves with `mount`, those that have a secret."""

    def __init__(
        self,
        door: FrontDoor,
        till: Till,
        directory: Directory,
        settings: TopupSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._door = door
        self._till = till
        self._directory = directory
        self._settings = settings
        self._clock = clock

    def mount(self) -> None:
        routes: tuple[tuple[str, Secret | None, Callable[[Exchange, Seal], Awaitable[None]]], ...] = (
            (TOPUP, self._settings.generic_secret, self._topup),
            (STRIPE, self._settings.stripe_secret, self._stripe),
        )
        for path, secret, handler in routes:
            if secret is not None and secret.reveal():
                seal = Seal(secret.reveal().encode(), self._settings.tolerance)
                self._door.add(path, {b"POST": self._route(handler, seal)})

    def _route(self, handler: Callable[[Exchange, Seal], Awaitable[None]], seal: Seal) -> Route:
        async def sealed(exchange: Exchange) -> None:
            await handler(exchange, seal)

        return Route("webhook", sealed, authenticated=False, streams_body=True)

    async def _topup(self, exchange: Exchange, seal: Seal) -> None:
        headers = exchange.headers
        time_, signature = headers.get(b"x-posthouse-timestamp"), headers.get(b"x-posthouse-signature")
        if time_ is None or signature is None:
            raise BadSignature
        signed = signed_by_pairs(signature, time_)
        body = await body_of(exchange, _MOST[TOPUP])
        seal.check(signed, body, self._clock())
        told = members_of(object_of(body), _MEMBERS)
        money = self._sold(money_of({**told, "points": None}, None))
        event, account = (text_of(told, name, _LONGEST[name]) for name in ("id", "account"))
        reason = _REASON if told.get("reason") is None else text_of(told, "reason")

        def made() -> tuple[Credit, bool]:
            new = NewCredit(
                account_id=self._directory.get_account(account).id,
                amount=money.nano,
                currency=money.currency,
                kind="topup",
                source=f"topup:{event}",
                reason=reason,
                author=AUTHOR,
            )
            done = self._till.credits.make(new)
            self._directory.refresh_if_changed()
            return done

        credit, is_new = await asyncio.to_thread(made)
        self._answer(exchange, [credit], credited=is_new)

    async def _stripe(self, exchange: Exchange, seal: Seal) -> None:
        signature = exchange.headers.get(b"stripe-signature")
        if signature is None:
            raise BadSignature
        signed = signed_by_pairs(signature)
        body = await body_of(exchange, _MOST[STRIPE])
        seal.check(signed, body, self._clock())
        told = read_event(object_of(body))
        if told is None:
            self._answer(exchange, [], credited=False)
            return

        def done() -> list[Credit]:
            if not isinstance(told, Checkout):
                credits = self._till.payments.give_back(told)
            else:
                account_id = self._directory.get_account(told.account).id
                payment = Payment(told.event, told.id, account_id, told.amount, told.currency, f"paid by {told.id}")
                credits = self._till.payments.pay(payment)
            self._directory.refresh_if_changed()
            return credits

        if isinstance(told, Checkout):
            self._sold(Money(told.amount, told.currency))
        credits = await asyncio.to_thread(done)
        self._answer(exchange, credits, credited=bool(credits))

    def _sold(self, money: Money) -> Money:
        """The same, where it can have been paid, and for what is sold here. InvalidRequest."""
        settings, nano = self._settings, money.nano
        least, most = (None if one is None else parse_nano(one) for one in (settings.minimum, settings.maximum))
        what = ""
        if settings.currencies and money.currency not in settings.currencies:
            raise InvalidRequest(
                f"`currency`: {money.currency} is not taken here.", param="currency", code="payment_refused"
            )
        if not is_payable(nano, money.currency):
            what = "is finer than the smallest part of the currency"
        elif nano > MAX_NANO or (most is not None and nano > most):
            what = "is more than may be paid at once"
        elif least is not None and nano < least:
            what = "is less than may be paid at once"
        elif settings.amounts and nano not in [parse_nano(one) for one in settings.amounts]:
            what = "is none of the amounts that are sold"
        if what:
            raise InvalidRequest(f"`amount` {what}.", param="amount", code="payment_refused")
        return money

    def _answer(self, exchange: Exchange, credits: Sequence[Credit], *, credited: bool) -> None:
        shown: dict[str, Any] = {
            "credited": credited,
            "credits": [credit_to_json(one, self._till.points) for one in credits],
        }
        exchange.respond(200, JSON + self._door.common_head(exchange), msgspec.json.encode(shown))
