"""`posthouse ledger`: whether the money adds up, and what can be done about it."""

import time
from typing import Any

import typer

from posthouse.billing.folds import rebuild
from posthouse.billing.forms import rebuilt_to_json, verification_to_json
from posthouse.billing.verify import verify
from posthouse.cli.options import AsJson, Config, Data
from posthouse.cli.output import FAILED, cell, reporting, say, show_json
from posthouse.cli.workbench import settled_books

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


def _numbers(row: dict[str, Any] | None) -> str:
    return "no row" if row is None else cell(row)
