"""The command `posthouse`. Exit codes: 0 done, 1 failed, 2 bad use."""

import typer

from posthouse.cli.serve import serve

app = typer.Typer(
    name="posthouse", help="One gateway in front of every model provider.", no_args_is_help=True, add_completion=False
)
app.command()(serve)


@app.callback()
def root() -> None:
    """One gateway in front of every model provider."""


def main() -> None:
    """The entry point."""
    app()
