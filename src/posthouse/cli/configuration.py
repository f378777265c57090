"""`posthouse config`: the settings, where each came from, and what is wrong with them."""

import os
from typing import Annotated

import typer
from msgspec import Struct
from msgspec.structs import asdict

from posthouse.cli.options import AsJson, Config, Data
from posthouse.cli.output import FAILED, reporting, say, show_json, show_listing
from posthouse.cli.remote import post
from posthouse.cli.workbench import read_settings
from posthouse.core.errors import ConfigError
from posthouse.providers.registry import load as load_registry
from posthouse.routing.offers import from_environment, missing_in
from posthouse.settings import Loaded
from posthouse.settings.forms import explanation_to_json, problem_to_json
from posthouse.settings.problem import Problem

app = typer.Typer(help="The settings.", no_args_is_help=True)


@app.command()
def check(as_json: AsJson = False, config: Config = None, data: Data = None) -> None:
    """Look for mistakes in the settings, without starting anything. 1 where there is an error."""
    problems: list[Problem] = []
    where = None
    try:
        loaded = with_environment(read_settings(config, data))
        where = None if loaded.file is None else str(loaded.file.path)
        registry = load_registry()
        problems += [*loaded.check(registry.by_name), *missing_in(loaded, registry)]
    except ConfigError as error:
        problems += [Problem("error", "", "", line) for line in error.message.splitlines()]
    failed = any(one.level == "error" for one in problems)
    if as_json:
        show_json({"ok": not failed, "file": where, "problems": [problem_to_json(one) for one in problems]})
    else:
        for one in problems:
            say(f"{one.level}: {one}")
        said = "There are errors." if failed else "The settings can be served."
        say(f"{said} File: {where or 'none; every setting is from the command line, the environment or a default'}")
    if failed:
        raise typer.Exit(FAILED)


@app.command()
def explain(
    key: Annotated[str, typer.Argument(help="`server.port`, `server`, `providers.NAME`; everything without.")] = "",
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Print a setting's value and where it came from. Secrets are masked."""
    with reporting():
        found = with_environment(read_settings(config, data)).explain(key)
    if as_json:
        show_json({"data": [explanation_to_json(one) for one in found], "next": None})
        return
    rows = [{**asdict(one), "from": str(one.source), "hides": _hidden(one.hidden)} for one in found]
    show_listing(rows, ("key", "value", "from", "hides"), as_json=False, empty="There is none in the settings.")


@app.command("reload")
def reload_(
    url: Annotated[
        str | None, typer.Option(help="Where the server is; without it where the settings say.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Let the running server read its settings again; nothing changes where anything is wrong. Needs the admin key."""
    with reporting():
        done = post(read_settings(config, data).settings, "/admin/api/config/reload", url, Done)
    if as_json:
        show_json(done)
        return
    say(f"The settings were reloaded. Other than before: {', '.join(done.changed) or 'nothing'}.")
    if done.needs_restart:
        say(f"Needs a restart to hold: {', '.join(done.needs_restart)}.")
    for problem in done.problems:
        say(f"{problem.level}: {problem}")


class Done(Struct, frozen=True):
    """What a reload has done, as the admin API tells it."""

    changed: list[str]
    needs_restart: list[str]
    problems: list[Problem]


def with_environment(loaded: Loaded) -> Loaded:
    """With the providers that variables make, where the file names none."""
    if loaded.settings.providers:
        return loaded
    return loaded.with_providers(from_environment(os.environ, load_registry(), loaded.settings.upstream))


def _hidden(lower: tuple[tuple[str, object], ...]) -> list[str]:
    return [f"{value} from {source}" for value, source in lower]
