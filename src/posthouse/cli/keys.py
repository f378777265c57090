"""`posthouse keys`: the credentials that applications use."""

import time
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import typer

from posthouse.accounts.forms import created_to_json, key_to_json, new_key_of
from posthouse.accounts.model import PAGE_LIMIT, Key, Page
from posthouse.accounts.service import Directory
from posthouse.cli.options import (
    Account,
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
    pairs_of,
    shown_budgets,
    shown_limits,
    value_of,
)
from posthouse.cli.output import reporting, say, show_json, show_listing
from posthouse.cli.workbench import opened_books
from posthouse.core.errors import InvalidRequest

app = typer.Typer(help="Keys, which applications call with.", no_args_is_help=True)


@app.command(help="Make a key. Its secret is printed once and kept nowhere.")
def create(  # noqa: PLR0913
    *,
    name: Annotated[str, typer.Option(help="What the key is for.")],
    account: Account = None,
    model: Models = None,
    budget: Budgets = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    concurrency: Concurrency = None,
    limit: Limit = None,
    scope: Scopes = None,
    unpriced: UnpricedWord = None,
    own_credential: Annotated[
        list[str] | None,
        typer.Option(metavar="PROVIDER", help="A provider account whose credential its holder may replace; repeat it."),
    ] = None,
    own_fee: Annotated[
        str | None, typer.Option(metavar="PERCENT", help="What such a request is charged, in per cent of its price.")
    ] = None,
    role: Annotated[
        str | None, typer.Option(help="What it may do on the control plane: member, operator, billing or admin.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends: an ISO 8601 day or time.")] = None,
    default: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A member that is set where a request lacks it; repeat it."),
    ] = None,
    alias: Annotated[
        list[str] | None, typer.Option(metavar="NAME=MODEL", help="Another name for a model; repeat it.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse what cannot be passed on to a provider.")] = False,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Size: the parameters of a command are its options."""
    with reporting(), opened_books(config, data) as books:
        body = {
            "name": name,
            "account": account,
            "models": model or None,
            "budgets": budgets_of(budget),
            "limits": limits_of({"rpm": rpm, "tpm": tpm, "concurrency": concurrency}, limit),
            "scopes": scope or None,
            "unpriced": unpriced,
            "own_credential": _own_credential(own_credential, own_fee),
            "role": role,
            "expires_at": expires,
            "defaults": {name: value_of(text) for name, text in pairs_of(default, "--default")},
            "aliases": dict(pairs_of(alias, "--alias")),
            "strict": strict,
        }
        created = books.directory().create_key(new_key_of(body))
    if as_json:
        show_json(created_to_json(created, time.time()))
    else:
        say(f"{created.secret}\n\nThis is the key {created.key.id} ({created.key.name}), shown this once: keep it.")


@app.command("list")
def list_(
    account: Annotated[str | None, typer.Option(help="Only those of this account, by id or name.")] = None,
    under: Under = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """List keys, the newest first, revoked ones too."""
    with reporting(), opened_books(config, data) as books:
        directory = books.directory()
        within = None if under is None else directory.get_account(under).id
        account_id = None if account is None else directory.get_account(account).id
        now = time.time()
        rows: list[dict[str, Any]] = [key_to_json(key, now) for key in _all(directory, within, account_id)]
    columns: tuple[str, ...] = (
        "id",
        "name",
        "hint",
        "account_name",
        "status",
        "models",
        "budgets",
        "limits",
        "expires_at",
    )
    if not as_json:
        rows = [
            {
                **row,
                "models": row["models"] or "all",
                "budgets": shown_budgets(row["budgets"]),
                "limits": shown_limits(row["limits"]),
                "wishes": _wishes(row),
            }
            for row in rows
        ]
        seldom = ("scopes", "unpriced", "own_credential", "role", "wishes")
        columns += tuple(name for name in seldom if any(row[name] for row in rows))
    show_listing(rows, columns, as_json=as_json, empty="No keys yet. Make one: posthouse keys create --name my-app")


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, as `keys list` shows it.")],
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """End a key for good; a running server refuses it within a second."""
    with reporting(), opened_books(config, data) as books:
        key = books.directory().revoke_key(key_id)
    if as_json:
        show_json(key_to_json(key, time.time()))
    else:
        say(f"The key {key.id} ({key.name}) is revoked.")


def _own_credential(accounts: list[str] | None, fee: str | None) -> dict[str, Any] | None:
    if not accounts:
        if fee is not None:
            raise InvalidRequest("--own-fee: say with --own-credential in whose place a credential may be brought")
        return None
    return {"accounts": accounts, "fee_percent": fee}


def _wishes(row: dict[str, Any]) -> list[str]:
    """Defaults, aliases and strictness of a key, as people read them."""
    defaults = [f"{name}={msgspec.json.encode(value).decode()}" for name, value in (row["defaults"] or {}).items()]
    aliases = [f"{name}->{model}" for name, model in (row["aliases"] or {}).items()]
    return [*defaults, *aliases, *(["strict"] if row["strict"] else [])]


def _all(directory: Directory, within: str | None, account_id: str | None) -> Iterator[Key]:
    page: Page | None = Page(PAGE_LIMIT)
    while page is not None:
        listing = directory.list_keys(page, within, account_id)
        yield from listing.items
        page = None if listing.next is None else Page(PAGE_LIMIT, listing.next)
