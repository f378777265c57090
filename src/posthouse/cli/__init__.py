"""The command `posthouse`. Exit codes: 0 done, 1 failed, 2 bad use.

Above: people and scripts. Below: the composition root and the rooms. Each file is a group of commands; what they print
is `output.py`, what they open is `workbench.py`.
"""

import typer

from posthouse.cli import accounts, configuration, keys, ledger, market, prices, records, topups
from posthouse.cli.doctor import doctor
from posthouse.cli.explain import explain
from posthouse.cli.serve import serve

app = typer.Typer(
    name="posthouse", help="One gateway in front of every model provider.", no_args_is_help=True, add_completion=False
)
app.command()(serve)
app.add_typer(keys.app, name="keys")
app.add_typer(accounts.app, name="accounts")
accounts.app.command(
    help="Note what was paid in for an account; it holds within a second.",
    context_settings={"ignore_unknown_options": True},  # or `-5.00` would be taken for one
)(topups.credit)
accounts.app.command()(topups.credits)
accounts.app.command()(topups.balance)
app.add_typer(topups.codes, name="codes")
app.add_typer(topups.invitations, name="invitations")
app.add_typer(market.providers, name="providers")
app.add_typer(market.models, name="models")
app.add_typer(prices.app, name="prices")
app.command(help="What was consumed and what it cost, by group.")(records.usage)
app.command()(explain)
app.add_typer(ledger.app, name="ledger")
app.add_typer(configuration.app, name="config")
app.command()(doctor)
app.add_typer(records.db, name="db")


@app.callback()
def root() -> None:
    """One gateway in front of every model provider."""


def main() -> None:
    """The entry point."""
    app()
