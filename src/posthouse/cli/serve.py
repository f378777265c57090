"""`posthouse serve`: the house, until it is told to stop."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from posthouse import __version__
from posthouse.app import Posthouse, configure_logging
from posthouse.core.errors import PosthouseError
from posthouse.settings import load

Option = typer.Option


def serve(
    host: Annotated[str | None, Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, Option(help="Port to listen on; 0 takes any free one.")] = None,
    config: Annotated[Path | None, Option(help="The configuration file.")] = None,
    data: Annotated[Path | None, Option(help="The data folder.")] = None,
) -> None:
    """Start the gateway."""
    given = {"host": host, "port": port, "config": config, "data": data}
    try:
        loaded = load(given, os.environ, Path.cwd())
        configure_logging(loaded.settings)
        house = Posthouse(loaded, os.environ)
    except PosthouseError as error:
        sys.stderr.write(f"posthouse: {error.message}\n")
        raise typer.Exit(1) from None

    def started(actual: int) -> None:
        sys.stdout.write(greeting(house, loaded.settings.server.host, actual))
        sys.stdout.flush()

    try:
        uvloop.run(house.serve(started=started))
    except PosthouseError as error:
        sys.stderr.write(f"posthouse: {error.message}\n")
        raise typer.Exit(1) from None


def greeting(house: Posthouse, host: str, port: int) -> str:
    """What a person reads first: where it is, the admin key if it is new, and a call to try."""
    shown = f"[{host}]" if ":" in host else host
    base = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else shown}:{port}"  # noqa: S104  # compared, not bound
    lines = [f"Posthouse {__version__} is up: {base}"]
    models = [model.id for model in house.catalog.listed()] if house.catalog is not None else []
    if models:
        more = f" and {len(models) - 8} more" if len(models) > 8 else ""
        lines.append(f"Models: {', '.join(models[:8])}{more}")
    else:
        lines.append(f"Models: {base}/v1/models, as soon as the providers have told theirs")
    if house.new_admin_key is not None:
        lines += [
            "",
            f"Admin key (shown once, keep it): {house.new_admin_key}",
            "",
            "Try it:",
            f"  curl {base}/v1/chat/completions -H 'authorization: Bearer {house.new_admin_key}' \\",
            "    -H 'content-type: application/json' \\",
            f'    -d \'{{"model": "{models[0] if models else "MODEL"}", '
            '"messages": [{"role": "user", "content": "Hello"}]}\'',
            "",
            "A key for an application:  posthouse keys create --name my-app",
        ]
    return "\n".join(lines) + "\n"
