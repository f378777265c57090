"""`posthouse accounts`: the owners of keys."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from posthouse.accounts.forms import account_changes_of, account_to_json, new_account_of
from posthouse.accounts.model import PAGE_LIMIT, Account, Page
from posthouse.accounts.service import Directory
from posthouse.cli.options import AsJson, BudgetText, Concurrency, Config, Data, Rpm, Tpm, budget_of
from posthouse.cli.output import reporting, say, show_json, show_listing
from posthouse.cli.workbench import opened_books
from posthouse.core.errors import InvalidRequest

app = typer.Typer(help="Accounts, which own keys.", no_args_is_help=True)
_NONE = "none"  # takes a budget away; 0 does the same for a limit


@app.command(help="Make an account.")
def create(  # noqa: PLR0913
    *,
    name: Annotated[str, typer.Option(help="A name of its own.")],
    budget: BudgetText = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    concurrency: Concurrency = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Size: the parameters of a command are its options."""
    with reporting(), opened_books(config, data) as books:
        limits = {"rpm": rpm, "tpm": tpm, "concurrency": concurrency}
        body = {"name": name, "budget": budget_of(budget), "limits": limits}
        account = books.directory().create_account(new_account_of(body))
    _show(account, "is made", as_json=as_json)


@app.command("list")
def list_(as_json: AsJson = False, config: Config = None, data: Data = None) -> None:
    """List accounts, the newest first, disabled ones too."""
    with reporting(), opened_books(config, data) as books:
        rows = [account_to_json(account) for account in _all(books.directory())]
    columns = ("id", "name", "status", "budget", "limits", "created_at", "disabled_at")
    show_listing(rows, columns, as_json=as_json, empty="No accounts.")


@app.command(help="Change an account. What is not given stays; `--budget none` and a limit of 0 take one away.")
def update(  # noqa: PLR0913
    account: Annotated[str, typer.Argument(help="Its id or its name.")],
    *,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    disable: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Stop all of its keys, or let them work again.")
    ] = None,
    budget: BudgetText = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    concurrency: Concurrency = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Size: the parameters of a command are its options."""
    with reporting():
        body: dict[str, Any] = {}
        if name is not None:
            body["name"] = name
        if disable is not None:
            body["disabled"] = disable
        if budget is not None:
            body["budget"] = None if budget == _NONE else budget_of(budget)
        given = {"rpm": rpm, "tpm": tpm, "concurrency": concurrency}
        limits = {limit: value or None for limit, value in given.items() if value is not None}
        if limits:
            body["limits"] = limits
        if not body:
            raise InvalidRequest("accounts update: say what to change; --help lists what there is")
        with opened_books(config, data) as books:
            changed = books.directory().update_account(account, account_changes_of(body))
    _show(changed, "is changed", as_json=as_json)


def _show(account: Account, what: str, *, as_json: bool) -> None:
    if as_json:
        show_json(account_to_json(account))
    else:
        say(f"The account {account.id} ({account.name}) {what}.")


def _all(directory: Directory) -> Iterator[Account]:
    page: Page | None = Page(PAGE_LIMIT)
    while page is not None:
        listing = directory.list_accounts(page)
        yield from listing.items
        page = None if listing.next is None else Page(PAGE_LIMIT, listing.next)
