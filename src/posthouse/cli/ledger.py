"""`posthouse ledger`: whether the money adds up, and what can be done about it."""

import secrets
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from posthouse.billing.book_forms import (
    correction_to_json,
    new_correction_of,
    statement_to_csv,
    statement_to_json,
)
from posthouse.billing.corrections import CorrectionDesk
from posthouse.billing.exports import MAX_BYTES, read_export
from posthouse.billing.folds import rebuild
from posthouse.billing.forms import rebuilt_to_json, verification_to_json
from posthouse.billing.reconcile import reconcile, reconciliation_to_json
from posthouse.billing.statements import month_of, statement
from posthouse.billing.verify import verify
from posthouse.cli.options import AsJson, Config, Data
from posthouse.cli.output import FAILED, cell, reporting, say, show_json, show_listing
from posthouse.cli.workbench import opened_books, settled_books
from posthouse.core.errors import ConfigError, InvalidRequest

app = typer.Typer(help="The ledger: does the money add up.", no_args_is_help=True)


@app.command("verify")
def verify_ledger(as_json: AsJson = False, config: Config = None, data: Data = None) -> None:
    """Check that the money adds up: sums are zero, every hold ended once, records equal entries. 1 where not."""
    with reporting(), settled_books(config, data) as books:
        found = verify(books.database, time.time())
    if as_json:
        show_json(verification_to_json(found))
    else:
        say(f"{'ok' if found.ok else 'NOT OK'}: {found.holds_open} holds open, {len(found.problems)} problems")
        for problem in found.problems:
            say(f"  {problem.rule}  {problem.id}: {problem.detail}")
        if found.truncated:
            say("  ... and more")
    if not found.ok:
        raise typer.Exit(FAILED)


@app.command("rebuild")
def rebuild_folds(as_json: AsJson = False, config: Config = None, data: Data = None) -> None:
    """Make spending and roll-ups anew from entries and records, and tell what was different."""
    with reporting(), settled_books(config, data) as books:
        done = rebuilt_to_json(rebuild(books.database))
    if as_json:
        show_json(done)
        return
    for one in done["differences"]:
        say(f"  {one['fold']}  {cell(one['place'])}: {_numbers(one['found'])}, now {_numbers(one['expected'])}")
    if done["truncated"]:
        say("  ... and more")
    rows = ", ".join(f"{count} rows of {fold}" for fold, count in done["rows"].items())
    say(f"{rows}; {len(done['differences'])} were different")


@app.command(
    "correct",
    help="Put the money of an account right, by entries of their own; it holds within a second.",
    context_settings={"ignore_unknown_options": True},  # or `-5.00` would be taken for one
)
def correct(  # noqa: PLR0913
    *,
    account: Annotated[str, typer.Argument(help="Its id or its name.")],
    amount: Annotated[str, typer.Argument(help="What it owes more; with a minus, less.")],
    currency: Annotated[str, typer.Argument(help="Such as USD.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    author: Annotated[str, typer.Option(help="Who says so.")],
    key: Annotated[str | None, typer.Option(help="A key of the account that it is about, too, by id.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same again changes nothing; a new one without it.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Size: the parameters of a command are its options."""
    with reporting(), opened_books(config, data) as books:
        directory = books.directory()
        body = {
            "key": key,
            "amount": amount,
            "currency": currency.upper(),
            "reason": reason,
            "author": author,
            "idempotency_key": idempotency_key or secrets.token_hex(16),
        }
        new = new_correction_of(body, directory.get_account(account).id)
        if new.key_id is not None:
            directory.get_key(new.key_id, new.account_id)
        made = correction_to_json(CorrectionDesk(books.database).make(new))
    if as_json:
        show_json(made)
    else:
        say(f"{made['id']}: {made['amount']} {made['currency']} for the account {made['account']}.")


@app.command("statement", help="The statement of an account for a month.")
def show_statement(  # noqa: PLR0913
    *,
    account: Annotated[str, typer.Argument(help="Its id or its name.")],
    month: Annotated[str, typer.Argument(help="Such as 2026-11.")],
    zone: Annotated[str, typer.Option(help="Whose days and month: an IANA time zone, or an offset.")] = "UTC",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Size: the parameters of a command are its options."""
    with reporting(), settled_books(config, data) as books:
        account_id = books.directory().get_account(account).id
        chosen = month_of(month, zone)
        with books.database.snapshot() as connection:
            found = statement(connection, account_id, chosen)
    if as_csv:
        sys.stdout.write(statement_to_csv(found))
        return
    shown = statement_to_json(found)
    if as_json:
        show_json(shown)
        return
    columns = ("day", "key", "model", "requests", "failed", "input", "cache_read", "output", "cost", "currency")
    show_listing(shown["lines"], columns, as_json=False, empty="Nothing was used.")
    if shown["corrections"]:
        corrected = ("created_at", "id", "amount", "currency", "reason", "author")
        show_listing(shown["corrections"], corrected, as_json=False, empty="")
    if shown["credits"]:
        credited = ("created_at", "id", "amount", "currency", "kind", "reason", "author")
        show_listing(shown["credits"], credited, as_json=False, empty="")
    totals = ("currency", "opening", "usage", "corrections", "total", "paid_in", "closing")
    show_listing(shown["totals"], totals, as_json=False, empty="Nothing was charged.")


@app.command("reconcile", help="Compare a provider's export of usage or costs with the records, by day and model.")
def reconcile_export(  # noqa: PLR0913
    *,
    file: Annotated[Path, typer.Argument(help="JSON of the provider's admin API, or CSV of its console.")],
    provider: Annotated[list[str], typer.Option(help="The provider account that it is about; several are added up.")],
    every: Annotated[bool, typer.Option("--all", help="Show what is equal as well.")] = False,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Size: the parameters of a command are its options."""
    with reporting(), settled_books(config, data) as books:
        export = read_export(_read(file))
        with books.database.snapshot() as connection:
            found = reconciliation_to_json(reconcile(connection, provider, export), every)
    if as_json:
        show_json(found)
        return
    rows = [
        {"day": row["day"], "model": row["model"] or "all", "of": name, **row[name]}
        for row in found["data"]
        for name in row
        if name not in ("day", "model", "matched") and (every or row[name]["difference"] not in (0, "0"))
    ]
    columns = ("day", "model", "of", "ours", "theirs", "difference", "per_cent")
    show_listing(rows, columns, as_json=False, empty="Nothing differs.")
    say(f"{found['equal']} lines are equal, {len([row for row in found['data'] if not row['matched']])} are one side's")
    if found["ignored"]:
        say(f"not understood in the export: {', '.join(found['ignored'])}")


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise InvalidRequest(f"{file} is larger than {MAX_BYTES} bytes; export fewer days at once.")
    return content


def _numbers(row: dict[str, Any] | None) -> str:
    return "no row" if row is None else cell(row)
