"""The options that several commands share."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from posthouse.core.errors import InvalidRequest

Config = Annotated[Path | None, typer.Option(help="The configuration file.", show_default=False)]
Data = Annotated[Path | None, typer.Option(help="The data folder.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Account = Annotated[str | None, typer.Option(help="The owner, by id or name.", show_default="default")]
Budgets = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        metavar="AMOUNT CURRENCY[/PERIOD] [zone=ZONE] [model=MODEL]",
        help='The most to spend, as in "5.00 USD/month"; total without a period; repeat it.',
    ),
]
Scopes = Annotated[
    list[str] | None,
    typer.Option("--scope", help="A kind of requests that it may make, such as chat; repeat it. All without."),
]
UnpricedWord = Annotated[
    str | None,
    typer.Option("--unpriced", help="allow or refuse what no price is known for.", show_default=False),
]
Rpm = Annotated[int | None, typer.Option(help="Requests per minute.")]
Tpm = Annotated[int | None, typer.Option(help="Tokens per minute.")]
Concurrency = Annotated[int | None, typer.Option(help="Requests at once.")]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help='Any limit: rpd=1000, request_spend="0.50 USD", gpt-5:rpm=5 for one model; repeat it.',
    ),
]
Models = Annotated[list[str] | None, typer.Option("--model", help="A model that it may use; repeat it. All without.")]
Under = Annotated[str | None, typer.Option(help="Only what is under this account, by id or name.")]

NONE: Final = "none"
"""What takes away all of something that a command changes."""
_BUDGET: Final = re.compile(r"(?P<amount>\S+)\s+(?P<currency>[A-Za-z]{3})(?:\s*/\s*(?P<period>\w+))?\Z")
_PREPAID: Final = "prepaid"
_WORDS: Final = {"zone": "time_zone", "model": "model"}


def budgets_of(texts: Sequence[str] | None) -> list[dict[str, str]] | None:
    """The budgets that the options mean, as the admin API takes them; `none` alone is none at all. InvalidRequest where
    one means nothing."""
    if not texts:
        return None
    return [] if list(texts) == [NONE] else [_budget_of(text) for text in texts]


def _budget_of(text: str) -> dict[str, str]:
    words, named = text.split(), {}
    while words and "=" in words[-1]:
        name, _, value = words.pop().partition("=")
        if name not in _WORDS or _WORDS[name] in named or not value:
            raise _no_budget()
        named[_WORDS[name]] = value
    match = _BUDGET.match(" ".join(words))
    if match is None:
        raise _no_budget()
    found = {"currency": match["currency"].upper(), **named}
    if match["period"] is not None:
        found["period"] = match["period"].lower()
    if match["amount"].lower() == _PREPAID:
        return {"kind": _PREPAID, **found}
    return {"amount": match["amount"], **found}


def _no_budget() -> InvalidRequest:
    return InvalidRequest(
        '--budget: expected an amount, a currency and a period, such as "5.00 USD/month", and behind them zone=ZONE or '
        'model=MODEL where you wish; or "prepaid CNY"'
    )


def shown_budgets(budgets: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each for people, much as `--budget` takes it."""
    return [_shown_budget(one) for one in budgets]


def _shown_budget(one: Mapping[str, Any]) -> str:
    words = [f"{one['amount']} {one['currency']}" + ("" if one["period"] == "total" else f"/{one['period']}")]
    if one["kind"] == _PREPAID:
        words.insert(0, _PREPAID)
    if one["time_zone"] != "UTC":
        words.append(f"zone={one['time_zone']}")
    if one["model"] is not None:
        words.append(f"model={one['model']}")
    return " ".join(words)


def limits_of(minute: Mapping[str, int | None], limits: Sequence[str] | None) -> dict[str, Any]:
    """The limits that the options mean, as the admin API takes them: `minute` those that have an option of their own.
    0 or `none` takes one away. What is not given is left out."""
    found: dict[str, Any] = {name: value or None for name, value in minute.items() if value is not None}
    for name, text in pairs_of(limits, "--limit"):
        model, colon, own = name.rpartition(":")
        place = found.setdefault("models", {}).setdefault(model, {}) if colon else found
        place[own if colon else name] = _limit_of(name, text)
    return found


def shown_limits(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are set, for people."""
    return {name: value for name, value in limits.items() if value}


def _limit_of(name: str, text: str) -> Any:
    if text in ("0", "none"):
        return None
    if name == "request_spend":
        amount, _, currency = text.strip().rpartition(" ")
        return {"amount": amount.strip(), "currency": currency.upper()}
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidRequest(f"--limit {name}: expected a whole number")
    return int(text)


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
