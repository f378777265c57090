"""`posthouse providers` and `models`: what there is to ask, as this machine sees it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from posthouse.cli.options import AsJson, Config, Data
from posthouse.cli.output import FAILED, reporting, show_json, show_listing
from posthouse.cli.workbench import Market, open_market
from posthouse.core.errors import NotFound
from posthouse.providers.model import Provider
from posthouse.providers.registry import load as load_registry
from posthouse.routing.check import check_provider
from posthouse.routing.forms import check_to_json, model_to_json, offer_to_json

providers = typer.Typer(help="Provider accounts: who answers.", no_args_is_help=True)
models = typer.Typer(help="Models: what there is to ask.", no_args_is_help=True)

T = TypeVar("T")


def visit(work: Callable[[Market], Awaitable[T]], config: Path | None, data: Path | None) -> T:
    """Does `work` with the providers reached, and closes what it opened."""

    async def inside() -> T:
        market = await open_market(config, data)
        try:
            return await work(market)
        finally:
            await market.client.aclose()

    return asyncio.run(inside())


@providers.command("list")
def list_providers(
    types: Annotated[bool, typer.Option("--types", help="Every type of provider that there is, instead.")] = False,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """List the configured providers: those of the file, else those that variables or this machine offer."""
    if types:
        rows = [type_to_json(row) for row in load_registry().rows]
        columns: tuple[str, ...] = ("type", "title", "variables", "base_url", "embeddings", "lists_models")
    else:

        async def offers(market: Market) -> list[dict[str, Any]]:
            return [offer_to_json(offer) for offer in market.offers]

        with reporting():
            rows = visit(offers, config, data)
        columns = ("name", "type", "base_url", "credential", "models", "priority", "weight", "proxy")
        if not as_json:
            rows = [{**row, "models": row["models"] or "its own list"} for row in rows]
    show_listing(rows, columns, as_json=as_json, empty="No providers.")


@providers.command("test")
def test_providers(
    names: Annotated[list[str] | None, typer.Argument(help="Their names; all without.", metavar="[NAME]...")] = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Ask providers now, which costs nothing: are they reached, are their credentials taken. 1 where one fails."""

    async def checks(market: Market) -> list[dict[str, Any]]:
        known = {offer.account.name: offer for offer in market.offers}
        for name in names or ():
            if name not in known:
                raise NotFound(f"There is no provider named {name}; there are {', '.join(known)}.")
        chosen = names or list(known)
        results = await asyncio.gather(*(check_provider(known[name]) for name in chosen))
        return [check_to_json(name, result) for name, result in zip(chosen, results, strict=True)]

    with reporting():
        rows = visit(checks, config, data)
    columns = ("name", "ok", "latency_ms", "models", "problem", "remedy")
    show_listing(rows, columns, as_json=as_json, empty="No providers.")
    if not all(row["ok"] for row in rows):
        raise typer.Exit(FAILED)


@models.command("list")
def list_models(as_json: AsJson = False, config: Config = None, data: Data = None) -> None:
    """List public names and who serves each; providers are asked for their lists."""

    async def listed(market: Market) -> list[dict[str, Any]]:
        catalog = await market.catalog()
        return [model_to_json(model, catalog, {}) for model in catalog.listed()]

    with reporting():
        rows = visit(listed, config, data)
    if as_json:
        show_json({"data": rows, "next": None})
        return
    shown = [
        {
            "model": row["id"],
            "served_by": [candidate["deployment"] for candidate in row["candidates"]],
            "operations": sorted({name for candidate in row["candidates"] for name in candidate["operations"]}),
        }
        for row in rows
    ]
    show_listing(shown, ("model", "served_by", "operations"), as_json=False, empty="No models.")


def type_to_json(row: Provider) -> dict[str, Any]:
    """A type of provider, as `providers list --types` shows it."""
    return {
        "type": row.name,
        "aliases": list(row.aliases),
        "title": row.title,
        "variables": [name for name in (*row.env, row.base_url_env) if name],
        "base_url": row.base_url,
        "wires": list(row.wires),
        "offers": list(row.offers),
        "embeddings": row.path_of("embeddings") is not None,
        "lists_models": row.path_of("models") is not None,
        "docs": row.docs,
    }
