"""The options that several commands share."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from posthouse.core.errors import InvalidRequest

Config = Annotated[Path | None, typer.Option(help="The configuration file.", show_default=False)]
Data = Annotated[Path | None, typer.Option(help="The data folder.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Account = Annotated[str | None, typer.Option(help="The owner, by id or name.", show_default="default")]
BudgetText = Annotated[
    str | None,
    typer.Option(metavar="AMOUNT CURRENCY[/PERIOD]", help='The most to spend, as in "5.00 USD/month"; total without.'),
]
Rpm = Annotated[int | None, typer.Option(help="Requests per minute.")]
Tpm = Annotated[int | None, typer.Option(help="Tokens per minute.")]
Concurrency = Annotated[int | None, typer.Option(help="Requests at once.")]

_BUDGET: Final = re.compile(r"(?P<amount>\S+)\s+(?P<currency>[A-Za-z]{3})(?:\s*/\s*(?P<period>\w+))?\Z")


def budget_of(text: str | None) -> dict[str, str] | None:
    """The budget that `--budget` means, as the admin API takes it. InvalidRequest where it means none."""
    if text is None:
        return None
    match = _BUDGET.match(text.strip())
    if match is None:
        raise InvalidRequest('--budget: expected an amount, a currency and a period, such as "5.00 USD/month"')
    found = {"amount": match["amount"], "currency": match["currency"].upper()}
    return found if match["period"] is None else {**found, "period": match["period"].lower()}


def pairs_of(texts: Sequence[str] | None, option: str) -> list[tuple[str, str]]:
    """The pairs that a repeated `NAME=VALUE` means. InvalidRequest where one is none, or a name comes twice."""
    pairs = [text.partition("=") for text in texts or ()]
    names = [name for name, _, _ in pairs]
    for name, equals, value in pairs:
        if not name or not equals or not value or names.count(name) > 1:
            raise InvalidRequest(f"{option}: expected NAME=VALUE, each name once")
    return [(name, value) for name, _, value in pairs]


def value_of(text: str) -> Any:
    """What a value on the command line means: JSON, else the text itself."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return text
