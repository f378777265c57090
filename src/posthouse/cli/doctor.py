"""`posthouse doctor`: what is wrong with this installation, and what to do about it.

Each check looks and touches nothing: no database is made, no journal is applied. `machine.py` and `premises.py` hold
the checks; here they are put in order and printed.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import asdict

from posthouse.app import complete, make_client
from posthouse.cli import machine, premises
from posthouse.cli.options import AsJson, Config, Data
from posthouse.cli.output import FAILED, say, show_json
from posthouse.cli.remedy import Finding, fail, ok, warn
from posthouse.cli.workbench import read_settings
from posthouse.core.errors import ConfigError
from posthouse.providers.registry import Registry
from posthouse.providers.registry import load as load_registry
from posthouse.routing.check import check_provider
from posthouse.routing.model import Offer
from posthouse.routing.offers import find_offers
from posthouse.settings import Loaded, Settings

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the providers.")] = False,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Look for what is wrong with this installation, and say what to do. 1 where something fails."""
    findings: list[Finding] = []
    for finding in examine(config, data, offline=offline):
        findings.append(finding)
        if not as_json:
            say(_line(finding))
    failed = any(finding.status == "fail" for finding in findings)
    if as_json:
        show_json({"ok": not failed, "data": [asdict(finding) for finding in findings], "next": None})
    if failed:
        raise typer.Exit(FAILED)


def examine(config: Path | None, data: Path | None, *, offline: bool) -> Iterator[Finding]:
    """Every check, in the order in which their causes follow from each other."""
    yield machine.python()
    yield machine.libraries()
    yield machine.trust_store()
    yield machine.clock()
    yield machine.open_files()
    registry = load_registry()
    yield from (warn("plugins", problem, "Update or remove the package.") for problem in registry.problems)
    try:
        loaded = read_settings(config, data)
    except ConfigError as error:
        for line in error.message.splitlines():
            yield fail("configuration", line, "Correct it; docs/configuration.md has every setting.")
        return
    yield from _configuration(loaded, registry)
    settings = loaded.settings
    yield from premises.data_folder(settings)
    yield premises.database(settings)
    yield from premises.journal(settings)
    yield premises.port(settings.server)
    try:
        settings = complete(loaded, os.environ, registry).settings
    except ConfigError:
        return  # told above
    yield from asyncio.run(_providers(settings, registry, offline=offline))


def _configuration(loaded: Loaded, registry: Registry) -> Iterator[Finding]:
    where = "no file; defaults, environment and command line" if loaded.file is None else str(loaded.file.path)
    sound = True
    try:
        problems = complete(loaded, os.environ, registry).check(registry.by_name)
    except ConfigError:
        problems = loaded.check(registry.by_name)
    for problem in problems:
        sound = False
        make = fail if problem.level == "error" else warn
        yield make(
            "configuration", str(problem), "Correct it; `posthouse config explain KEY` says where it comes from."
        )
    if sound:
        yield ok("configuration", where)


async def _providers(settings: Settings, registry: Registry, *, offline: bool) -> list[Finding]:
    client = make_client(settings)
    try:
        offers = await find_offers(settings, registry, client)
        found = [] if settings.providers else [_nothing_configured(offers)]
        if offline:
            return [*found, *(ok("provider", f"{offer.account.name}: configured, not asked") for offer in offers)]
        return [*found, *await asyncio.gather(*(_provider(offer) for offer in offers))]
    except ConfigError as error:
        return [fail("providers", error.message, "Correct it in the configuration file or the environment.")]
    finally:
        await client.aclose()


async def _provider(offer: Offer) -> Finding:
    name = offer.account.name
    check = await check_provider(offer)
    if not check.ok:
        return fail("provider", f"{name}: {check.problem}", check.remedy)
    models = "" if check.models is None else f", {check.models} models"
    return ok("provider", f"{name}: answers in {check.latency_ms} ms{models}")


def _nothing_configured(offers: tuple[Offer, ...]) -> Finding:
    names = ", ".join(offer.account.name for offer in offers)
    return warn(
        "providers",
        f"none is configured, so what answers is {names}",
        "Set a provider's variable, or write [[providers]] in posthouse.toml: docs/providers.md has them all.",
    )


def _line(finding: Finding) -> str:
    status = typer.style(f"{finding.status:4}", fg=_COLOURS[finding.status]) if _coloured() else f"{finding.status:4}"
    remedy = "" if finding.remedy is None else f"\n      -> {finding.remedy}"
    return f"{status}  {finding.check}: {finding.detail}{remedy}"


def _coloured() -> bool:
    return os.isatty(1) and "NO_COLOR" not in os.environ
