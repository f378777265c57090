"""`posthouse accounts`: the owners of keys."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from posthouse.accounts.forms import account_changes_of, account_to_json, new_account_of
from posthouse.accounts.model import PAGE_LIMIT, Account, Page
from posthouse.accounts.service import Directory
from posthouse.cli.options import (
    NONE,
    AsJson,
    Budgets,
    Concurrency,
    Config,
    Data,
    Limit,
    Models,
    Rpm,
    Scopes,
    Tpm,
    Under,
    UnpricedWord,
    budgets_of,
    limits_of,
    shown_budgets,
    shown_limits,
)
from posthouse.cli.output import reporting, say, show_json, show_listing
from posthouse.cli.workbench import opened_books
from posthouse.core.errors import InvalidRequest

app = typer.Typer(help="Accounts, which own keys.", no_args_is_help=True)
Kind = Annotated[str | None, typer.Option(help="person, team or app.", show_default=False)]


@app.command(help="Make an account.")
def create(  # noqa: PLR0913
    *,
    name: Annotated[str, typer.Option(help="A name of its own.")],
    parent: Annotated[str | None, typer.Option(help="The account that it is under, by id or name.")] = None,
    kind: Kind = None,
    model: Models = None,
    budget: Budgets = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    concurrency: Concurrency = None,
    limit: Limit = None,
    scope: Scopes = None,
    unpriced: UnpricedWord = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Size: the parameters of a command are its options."""
    with reporting(), opened_books(config, data) as books:
        limits = limits_of({"rpm": rpm, "tpm": tpm, "concurrency": concurrency}, limit)
        place = {"parent": parent, "kind": kind, "models": model or None}
        rights = {"scopes": scope or None, "unpriced": unpriced}
        body = {"name": name, **place, "budgets": budgets_of(budget), "limits": limits, **rights}
        account = books.directory().create_account(new_account_of(body))
    _show(account, "is made", as_json=as_json)


@app.command("list")
def list_(under: Under = None, as_json: AsJson = False, config: Config = None, data: Data = None) -> None:
    """List accounts, the newest first, disabled ones too."""
    with reporting(), opened_books(config, data) as books:
        directory = books.directory()
        within = None if under is None else directory.get_account(under).id
        rows = [account_to_json(account) for account in _all(directory, within)]
    columns: tuple[str, ...] = ("id", "name", "kind", "parent", "status", "models", "budgets", "limits")
    columns += ("created_at", "disabled_at")
    if not as_json:
        rows = [
            {
                **row,
                "models": row["models"] or "all",
                "budgets": shown_budgets(row["budgets"]),
                "limits": shown_limits(row["limits"]),
            }
            for row in rows
        ]
        columns += tuple(name for name in ("scopes", "unpriced") if any(row[name] for row in rows))
    show_listing(rows, columns, as_json=as_json, empty="No accounts.")


@app.command(help="Change an account. What is not given stays; `none` and a limit of 0 take one away.")
def update(  # noqa: PLR0913
    account: Annotated[str, typer.Argument(help="Its id or its name.")],
    *,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    parent: Annotated[str | None, typer.Option(help="Move it under this account; `none` makes it a root.")] = None,
    kind: Kind = None,
    model: Models = None,
    disable: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Stop all of its keys, or let them work again.")
    ] = None,
    budget: Budgets = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    concurrency: Concurrency = None,
    limit: Limit = None,
    scope: Scopes = None,
    unpriced: UnpricedWord = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Size: the parameters of a command are its options."""
    with reporting():
        said = {"name": name, "kind": kind, "disabled": disable}
        body: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
        if parent is not None:
            body["parent"] = None if parent == NONE else parent
        if unpriced is not None:
            body["unpriced"] = None if unpriced == NONE else unpriced
        for field, names in (("models", model), ("scopes", scope)):
            if names:
                body[field] = None if names == [NONE] else names
        if budget:
            body["budgets"] = budgets_of(budget)
        limits = limits_of({"rpm": rpm, "tpm": tpm, "concurrency": concurrency}, limit)
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


def _all(directory: Directory, within: str | None) -> Iterator[Account]:
    page: Page | None = Page(PAGE_LIMIT)
    while page is not None:
        listing = directory.list_accounts(page, within)
        yield from listing.items
        page = None if listing.next is None else Page(PAGE_LIMIT, listing.next)
