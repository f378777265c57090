"""What is paid in: `posthouse accounts credit|credits|balance`, `posthouse codes`, `posthouse invitations`."""

import secrets
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, TypeVar

import typer

from posthouse.api.joining import invitation_to_json, new_invitation_of, prepaid_in
from posthouse.billing.codes import STATES, Redeemer, State
from posthouse.billing.credit_forms import (
    balance_to_json,
    batch_to_json,
    code_to_json,
    credit_to_json,
    new_batch_of,
    new_credit_of,
    stand_to_json,
    to_csv,
)
from posthouse.billing.invitations import Invitation
from posthouse.billing.store import MAX_PAGE, Page
from posthouse.billing.till import Till
from posthouse.cli.options import AsJson, Budgets, Config, Data, Limit, Models, budgets_of, limits_of
from posthouse.cli.output import reporting, say, show_json, show_listing
from posthouse.cli.workbench import Books, opened_books, settled_books
from posthouse.core.errors import InvalidRequest

codes = typer.Typer(help="Redemption codes.", no_args_is_help=True)
invitations = typer.Typer(help="Invitations, with which people make accounts of their own.", no_args_is_help=True)
AUTHOR: Final = "command line"
_AMOUNT: Final = '"10.00 CNY", or "500 points"'
_COLUMNS: Final = ("id", "batch", "hint", "state", "amount", "currency", "expires_at", "redeemed_at", "redeemed_by")
AccountName = Annotated[str, typer.Argument(help="Its id or its name.")]
Author = Annotated[str, typer.Option(help="Who says so.")]
Expires = Annotated[str | None, typer.Option(help="When they end: an ISO 8601 day or time. Never without.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Row = TypeVar("Row")


def till_of(books: Books) -> Till:
    return Till(books.database, books.loaded.settings.points)


def money_of(text: str | None, till: Till) -> dict[str, str]:
    """What an option such as `--amount` means, as the admin API takes it."""
    if text is None:
        return {}
    amount, _, unit = text.strip().rpartition(" ")
    if not amount:
        raise InvalidRequest(f"expected an amount and a currency, as in {_AMOUNT}")
    if unit == "points" or (till.points is not None and unit == till.points.name):
        return {"points": amount.strip()}
    return {"amount": amount.strip(), "currency": unit.upper()}


def every(listed: Callable[[Page], tuple[list[Row], str | None]]) -> Iterator[Row]:
    page: Page | None = Page(MAX_PAGE)
    while page is not None:
        rows, cursor = listed(page)
        yield from rows
        page = None if cursor is None else Page(MAX_PAGE, cursor)


# Accounts


def credit(  # noqa: PLR0913
    *,
    account: AccountName,
    amount: Annotated[str, typer.Argument(help="What was paid in; with a minus, taken back.")],
    currency: Annotated[str, typer.Argument(help='Such as USD, or "points".')],
    reason: Annotated[str, typer.Option(help="Why.")],
    author: Author,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same again changes nothing; a new one without it.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Size: the parameters of a command are its options."""
    with reporting(), opened_books(config, data) as books:
        till = till_of(books)
        key = idempotency_key or secrets.token_hex(16)
        body = {**money_of(f"{amount} {currency}", till), "reason": reason, "author": author, "idempotency_key": key}
        made, _ = till.credits.make(new_credit_of(body, books.directory().get_account(account).id, till.points))
        shown = credit_to_json(made, till.points)
    if as_json:
        show_json(shown)
    else:
        say(f"{shown['id']}: {shown['amount']} {shown['currency']} for the account {shown['account']}.")


def credits(account: AccountName, as_json: AsJson = False, config: Config = None, data: Data = None) -> None:
    """List what was paid in for an account, and taken back, the newest first."""
    with reporting(), opened_books(config, data) as books:
        till, account_id = till_of(books), books.directory().get_account(account).id
        rows = [credit_to_json(one, till.points) for one in every(lambda p: till.credits.listed(account_id, p))]
    columns = ("created_at", "id", "amount", "currency", *_points(rows), "kind", "source", "reason", "author")
    show_listing(rows, columns, as_json=as_json, empty="Nothing was paid in.")


def balance(account: AccountName, as_json: AsJson = False, config: Config = None, data: Data = None) -> None:
    """What was paid in for an account, what was spent of it, and what is left, by currency."""
    with reporting(), settled_books(config, data) as books:
        till = till_of(books)
        found = till.credits.balances(books.directory().get_account(account).id)
        rows = [balance_to_json(one, till.points) for one in found]
    columns = ("currency", "paid_in", "spent", "left", *_points(rows))
    show_listing(rows, columns, as_json=as_json, empty="Nothing was paid in.")


def _points(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    return ("points",) if any("points" in row for row in rows) else ()


# Codes


@codes.command(help="Make a batch of codes. They are printed once and kept nowhere.")
def create(  # noqa: PLR0913
    *,
    name: Annotated[str, typer.Option(help="What the batch is called.")],
    count: Annotated[int, typer.Option(help="How many.")],
    amount: Annotated[str, typer.Option(help=f"What each is worth: {_AMOUNT}.")],
    expires: Expires = None,
    author: Author = AUTHOR,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Size: the parameters of a command are its options."""
    with reporting(), opened_books(config, data) as books:
        till = till_of(books)
        body = {"name": name, "count": count, **money_of(amount, till), "expires_at": expires}
        batch, made = till.codes.make(new_batch_of(body, author, till.points, int(till.clock() * 1000)))
        shown = batch_to_json(batch, till.points)
    if as_json:
        show_json({**shown, "codes": list(made)})
    elif as_csv:
        row = {"batch": batch.id, **shown}
        sys.stdout.write(to_csv(("code", "batch", "amount", "currency"), [{**row, "code": code} for code in made]))
    else:
        for code in made:
            say(code)
        sys.stderr.write(f"{batch.id}: {len(made)} codes, each {shown['amount']} {shown['currency']}.\n")


@codes.command("list", help="List codes by their ends, and what has become of each, the newest first.")
def list_codes(  # noqa: PLR0913
    *,
    batch: Annotated[str | None, typer.Option(help="Only those of this batch, by its id.")] = None,
    state: Annotated[str | None, typer.Option(help=f"Only those that are {', '.join(STATES)}.")] = None,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Size: the parameters of a command are its options."""
    with reporting(), opened_books(config, data) as books:
        till, wanted = till_of(books), _state(state)
        rows = [code_to_json(one, till.points) for one in every(lambda p: till.codes.listed(batch, wanted, p))]
    if as_csv:
        sys.stdout.write(to_csv(_COLUMNS, rows))
    else:
        show_listing(rows, _COLUMNS, as_json=as_json, empty="No codes.")


def _state(text: str | None) -> State | None:
    for state in STATES:
        if text == state:
            return state
    if text is not None:
        raise InvalidRequest(f"--state: expected one of {', '.join(STATES)}")
    return None


@codes.command("batches")
def list_batches(as_json: AsJson = False, config: Config = None, data: Data = None) -> None:
    """List batches, the newest first, with how many codes of each are in which state."""
    with reporting(), opened_books(config, data) as books:
        till = till_of(books)
        rows = [stand_to_json(one, till.points) for one in every(till.codes.batches)]
    columns = ("id", "created_at", "name", "count", "amount", "currency", "states", "expires_at", "author")
    show_listing(rows, columns, as_json=as_json, empty="No batches.")


@codes.command("revoke")
def revoke_batch(
    batch: Annotated[str, typer.Argument(help="Its id.")],
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Revoke all codes of a batch that nobody has redeemed, for good."""
    with reporting(), opened_books(config, data) as books:
        till = till_of(books)
        shown = stand_to_json(till.codes.revoke(batch), till.points)
    if as_json:
        show_json(shown)
    else:
        states = shown["states"]
        say(f"{batch}: {states['revoked']} codes are revoked, {states['redeemed']} were redeemed.")


@codes.command(help="Redeem a code for an account.")
def redeem(  # noqa: PLR0913
    *,
    code: Annotated[str, typer.Argument(help="As it was given out.")],
    account: Annotated[str, typer.Option(help="For whom, by id or name.")],
    author: Author = AUTHOR,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Size: the parameters of a command are its options."""
    with reporting(), opened_books(config, data) as books:
        till, found = till_of(books), books.directory().get_account(account)
        shown = credit_to_json(till.codes.redeem(code, Redeemer(found.id, prepaid_in(found), author)), till.points)
    if as_json:
        show_json(shown)
    else:
        say(f"{shown['id']}: {shown['amount']} {shown['currency']} for the account {shown['account']}.")


# Invitations


@invitations.command("create", help="Make invitations. Their codes are printed once and kept nowhere.")
def invite(  # noqa: PLR0913
    *,
    name: Annotated[str, typer.Option(help="What they are called.")],
    parent: Annotated[str, typer.Option(help="The account that the new ones are under, by id or name.")],
    kind: Annotated[str | None, typer.Option(help="person, team or app.", show_default="person")] = None,
    budget: Budgets = None,
    model: Models = None,
    limit: Limit = None,
    role: Annotated[str | None, typer.Option(help="Of the first key: member, or none.", show_default="none")] = None,
    bonus: Annotated[str | None, typer.Option(help=f"For who accepts: {_AMOUNT}.")] = None,
    inviter: Annotated[str | None, typer.Option(help="Who invites: an account, by id or name.")] = None,
    inviter_bonus: Annotated[str | None, typer.Option(help="For that one, each time.")] = None,
    max_uses: Annotated[int, typer.Option(help="How many may accept each.")] = 1,
    count: Annotated[int, typer.Option(help="How many to make.")] = 1,
    expires: Expires = None,
    author: Author = AUTHOR,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Size: the parameters of a command are its options."""
    with reporting(), opened_books(config, data) as books:
        till = till_of(books)
        account = {"kind": kind, "budgets": budgets_of(budget), "models": model or None, "limits": limits_of({}, limit)}
        body = {
            "name": name,
            "parent": parent,
            "account": {word: value for word, value in account.items() if value},
            "key": {"role": role} if role else {},
            "bonus": money_of(bonus, till) or None,
            "inviter": inviter,
            "inviter_bonus": money_of(inviter_bonus, till) or None,
            "max_uses": max_uses,
            "count": count,
            "expires_at": expires,
        }
        made = till.invitations.make(*new_invitation_of(body, books.directory(), till, author))
        shown = [{**_invitation(one, till), "code": code} for one, code in made]
    if as_json:
        show_json({"data": shown, "next": None})
    else:
        for one in shown:
            say(f"{one['code']}  {one['id']}")


@invitations.command("list")
def list_invitations(as_json: AsJson = False, config: Config = None, data: Data = None) -> None:
    """List invitations, the newest first, used and revoked ones too."""
    with reporting(), opened_books(config, data) as books:
        till = till_of(books)
        rows = [_invitation(one, till) for one in every(till.invitations.listed)]
    columns = ("id", "created_at", "name", "hint", "state", "uses", "max_uses", "parent", "bonus", "inviter")
    show_listing(rows, (*columns, "inviter_bonus", "expires_at"), as_json=as_json, empty="No invitations.")


@invitations.command("revoke")
def revoke_invitation(
    invitation: Annotated[str, typer.Argument(help="Its id.")],
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Revoke an invitation, for good; accounts that came by it stay."""
    with reporting(), opened_books(config, data) as books:
        till = till_of(books)
        shown = _invitation(till.invitations.revoke(invitation), till)
    if as_json:
        show_json(shown)
    else:
        say(f"{shown['id']} ({shown['name']}) is revoked; {shown['uses']} have come by it.")


def _invitation(one: Invitation, till: Till) -> dict[str, Any]:
    return invitation_to_json(one, till.points, int(till.clock() * 1000))
