"""`posthouse prices`: what it costs, why, and what the operator says of it."""

import pkgutil
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from posthouse.billing.desk import PriceDesk, checked
from posthouse.billing.harvest.given import Content, of_package, updated
from posthouse.billing.harvest.merge import FIRST
from posthouse.billing.seed import MAX_BYTES, Seed
from posthouse.billing.set_forms import set_price_to_json, update_to_json
from posthouse.cli.market import visit
from posthouse.cli.options import AsJson, Config, Data
from posthouse.cli.output import cell, reporting, say, show_json, show_listing, table
from posthouse.cli.remote import fetch
from posthouse.cli.workbench import Books, Market, opened_books, price_book
from posthouse.core.errors import ConfigError, InvalidRequest, NotFound
from posthouse.gateway.forms import explanation_to_json, priced_to_json
from posthouse.gateway.pricing import Pricing
from posthouse.settings import Settings

app = typer.Typer(help="Prices: what it costs.", no_args_is_help=True)

# The package is no dependency of ours: an operator who has it may hand over what it says. Named by string, as an
# import at the top would fail where it is not.
_PACKAGE: Final = "genai_prices.data:providers"
_SHOWN: Final = 200
_ORDER: Final = {"changed": 0, "new": 1, "gone": 2}


@app.command("list")
def list_prices(
    model: Annotated[str | None, typer.Option(help="Only those behind this name.")] = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """List what each deployment costs now, per million tokens and per unit."""

    async def priced(market: Market) -> list[dict[str, Any]]:
        catalog = await market.catalog()
        pricing = Pricing(price_book(market.loaded))
        now = time.time()
        found = catalog.deployments() if model is None else catalog.candidates(model)
        return [priced_to_json(one.deployment, pricing.listed(one.deployment, now)) for one in found]

    with reporting():
        rows = visit(priced, config, data)
    if as_json:
        show_json({"data": rows, "next": None})
        return
    shown = [{"deployment": row["deployment"], **_rates(row["price"])} for row in rows]
    columns = ["deployment", "input", "cache_read", "output", "currency", "source"]
    if any(row.get("units") for row in shown):
        columns.insert(4, "units")
    show_listing(shown, columns, as_json=False, empty="No models, so no prices.")


@app.command("explain")
def explain_price(
    model: Annotated[str, typer.Argument(help="A model's name, a route's, or a deployment's id.")],
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Say which price applies to a model at each of its providers, and why."""

    async def explained(market: Market) -> list[dict[str, Any]]:
        catalog = await market.catalog()
        book = price_book(market.loaded)
        found = catalog.candidates(model)
        if not found:
            raise NotFound(f"No provider serves a model named {model}; `posthouse models list` shows what there is.")
        return [explanation_to_json(one.deployment, book, time.time()) for one in found]

    with reporting():
        rows = visit(explained, config, data)
    if as_json:
        show_json({"model": model, "data": rows, "next": None})
        return
    for row in rows:
        say(row["deployment"])
        price = row["price"]
        if price is None:
            say("  no price is known: callers with a budget are refused (billing.unpriced)")
        else:
            if rates := [[name, amount] for name, amount in price["per_million"].items()]:
                say(_indented(table(("class", f"{price['currency']} per million"), rates)))
            if units := [[name, amount] for name, amount in _units(price).items()]:
                say(_indented(table(("unit", f"{price['currency']} (character: per million)"), units)))
            for above in price["tiers"]:
                amounts = " ".join(f"{name}={amount}" for name, amount in above["per_million"].items())
                say(f"  above {above['above']} tokens of input: {amounts}")
            for tier, one in price["service_tiers"].items():
                say(f"  at the service tier {tier}: {cell(one['per_million'])}")
            say(f"  {price['id']}")
        for step in row["steps"]:
            say(f"  {'->' if step['taken'] else '  '} {step['place']}: {step['detail']}")


@app.command("set", help="Set a price, beside the file; it holds within a second.")
def set_price(  # noqa: PLR0913
    *,
    model: Annotated[str, typer.Argument(help="As callers name it, or as the provider does; * is every model.")],
    values: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE...", help="As in [[prices]]: currency=USD input=0.15 output=0.60")
    ],
    provider: Annotated[str | None, typer.Option(help="Only at this provider account.")] = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Size: the parameters of a command are its options."""
    with reporting(), opened_books(config, data) as books:
        body: dict[str, Any] = {"model": model, **dict(_value_of(text) for text in values)}
        if provider is not None:
            body["provider"] = provider
        made = PriceDesk(books.database).set(body)
    if as_json:
        show_json(set_price_to_json(made))
    else:
        say(f"{made.id}: set. `posthouse prices explain {model}` shows what holds.")


@app.command("unset")
def unset_price(
    id: Annotated[str, typer.Argument(help="The id that `prices rows` shows.")],
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Take a price away that was set. Prices of the file and built-in ones stay."""
    with reporting(), opened_books(config, data) as books:
        gone = PriceDesk(books.database).unset(id)
    if as_json:
        show_json(set_price_to_json(gone))
    else:
        say(f"{gone.id}: gone.")


@app.command("rows")
def list_rows(as_json: AsJson = False, config: Config = None, data: Data = None) -> None:
    """List the prices that were set, the oldest first."""
    with reporting(), opened_books(config, data) as books:
        rows = [set_price_to_json(row) for row in PriceDesk(books.database).rows()]
    if not as_json:
        rows = [
            {"id": row.pop("id"), "created_at": row.pop("created_at"), "model": row.pop("model"), "says": row}
            for row in rows
        ]
    show_listing(rows, ("id", "created_at", "model", "says"), as_json=as_json, empty="No prices were set.")


@app.command("update", help="Take newer prices: show what changes, and apply it with --yes only.")
def update_prices(  # noqa: PLR0913
    *,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...",
            help="Files or URLs: a seed, LiteLLM's table, models.dev's api.json. genai-prices: the installed package.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Apply it; without, only show what would change.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Back to the prices that came with this version.")] = False,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Size: the parameters of a command are its options."""
    with reporting(), opened_books(config, data) as books:
        if reset and sources:
            raise InvalidRequest("prices update: --reset takes no sources")
        desk = PriceDesk(books.database)
        holds = desk.kept().seed or Seed()
        if reset:
            contents: Sequence[Content] = [Seed().content()]
        else:
            contents = [_read(one, books) for one in sources or [FIRST]]
        merged = updated(contents, holds, time.time())
        found = desk.differs(checked(merged.data))
        if yes and (found or reset):
            desk.replace_seed(None if reset else merged.data)
    if as_json:
        show_json(update_to_json(found, merged, applied=yes))
        return
    for change in sorted(found, key=lambda one: _ORDER[one.kind])[:_SHOWN]:
        say(str(change))
    if len(found) > _SHOWN:
        say(f"... and {len(found) - _SHOWN} more; --json has them all")
    for doubt in merged.doubts[:_SHOWN]:
        say(f"! {doubt}")
    kinds = {kind: sum(one.kind == kind for one in found) for kind in ("new", "gone", "changed")}
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    doubts = f"; {len(merged.doubts)} times the sources differ by more than 1 %" if merged.doubts else ""
    say(f"{told}{doubts}. {'Applied.' if yes else 'Nothing was changed: --yes applies it.'}")


def _value_of(text: str) -> tuple[str, Any]:
    """`input=0.15`, `tiers=[{"above": 200000, "input": "2"}]`, `days=mon,tue`."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidRequest(f"{text!r}: expected KEY=VALUE, such as input=0.15")
    name = name.strip().replace("-", "_")
    if value[:1] in "[{" and value:
        try:
            return name, msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise InvalidRequest(f"{name}: not JSON: {error}") from None
    return name, value.split(",") if name == "days" else value


def _read(source: str, books: Books) -> Content:
    if source == FIRST:
        try:
            return of_package(pkgutil.resolve_name(_PACKAGE), version(FIRST))
        except (ImportError, AttributeError, PackageNotFoundError):
            raise ConfigError(f"{FIRST} is not installed here: pip install {FIRST}, or name a file or a URL") from None
    if source.startswith(("http://", "https://")):
        settings: Settings = books.loaded.settings
        return fetch(settings, source, MAX_BYTES)
    try:
        with Path(source).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror}") from None


def _rates(price: dict[str, Any] | None) -> dict[str, Any]:
    if price is None:
        return {"source": "unknown"}
    shown = {"currency": price["currency"], "source": cell(price["source"]), "units": _units(price)}
    return {**price["per_million"], **shown}


def _units(price: dict[str, Any]) -> dict[str, str]:
    """What is not sold by tokens, as [[prices]] names it; an image of a kind by its kind."""
    units = dict(price["units"])
    kinds = units.pop("image_kinds", {})
    request = {"request": price["per_request"]} if price["per_request"] != "0" else {}
    return {**units, **kinds, **request}


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())
