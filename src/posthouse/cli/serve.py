"""`posthouse serve`: the house, until it is told to stop."""

import contextlib
import ctypes
import os
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from posthouse import __version__
from posthouse.app import Posthouse, configure_logging
from posthouse.cli.options import Config, Data
from posthouse.cli.output import reporting
from posthouse.cli.sockets import bound
from posthouse.cli.workers import MAX_WORKERS, Workers
from posthouse.core.errors import ConfigError
from posthouse.settings import load
from posthouse.storage.journal import Journal

Option = typer.Option
_OPEN_FILES = 65_536
# Names of glibc's malloc.h, and bytes.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEPT = 16 * 1024 * 1024
_AT_A_TIME = 2 * 1024 * 1024


def serve(
    host: Annotated[str | None, Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, Option(help="Port to listen on; 0 takes any free one.")] = None,
    config: Config = None,
    data: Data = None,
    workers: Annotated[
        int, Option(min=1, max=MAX_WORKERS, help="Processes; more than one need PostgreSQL and Redis.")
    ] = 1,
) -> None:
    """Start the gateway."""
    given = {"host": host, "port": port, "config": config, "data": data}
    with reporting():
        loaded = load(given, os.environ, Path.cwd())
        configure_logging(loaded.settings)
        server = loaded.settings.server
        allow_many_connections()
        keep_freed_memory()
        sockets = bound(server.host, server.port)

        def work(number: int, serves: Callable[[], None]) -> None:
            house = Posthouse(loaded, os.environ, number)
            if not number:
                # Of workers of a former life; one that runs has its own, and keeps it.
                for folder in sorted(loaded.settings.storage.data.glob("journal-*")):
                    Journal.recover(folder, house.database)

            def started(actual: int) -> None:
                serves()
                if not number:
                    sys.stdout.write(greeting(house, server.host, actual))
                    sys.stdout.flush()

            with reporting():
                uvloop.run(house.serve(sockets, started))

        if workers == 1:
            work(0, lambda: None)
            return
        if loaded.settings.storage.redis_url is None:
            raise ConfigError(
                "--workers needs storage.redis_url (POSTHOUSE_REDIS_URL) and storage.database_url: the workers share "
                "their limits and budgets there. One process serves thousands of streams without either."
            )
        raise typer.Exit(Workers(workers, work).run())


def allow_many_connections() -> None:
    """Takes as many open files as the system lets us have: every stream needs two, and the usual soft limit is
    1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and (hard == resource.RLIM_INFINITY or soft < hard):
        wanted = hard if hard != resource.RLIM_INFINITY else max(soft, _OPEN_FILES)
        with contextlib.suppress(OSError, ValueError):  # some systems name a hard limit that they do not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def keep_freed_memory() -> bool:
    """Bids glibc keep up to 16 MiB of freed memory instead of giving it back at once; False where nobody listens.

    A body of 64 KB is copied a few times on its way, and by default every one of these blocks ends at the top of the
    heap: it is unmapped when freed and faulted in anew, page by page, for the next request. Measured in interleaved
    rounds: 567 us for a chat request of 64 KB, 374 with this; nothing for one of 1 KB.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library, which has no such habit
    wishes = ((_M_MMAP_THRESHOLD, _KEPT // 2), (_M_TRIM_THRESHOLD, _KEPT), (_M_TOP_PAD, _AT_A_TIME))
    return all([mallopt(name, value) == 1 for name, value in wishes])


def command() -> str:
    """How the reader calls us: by the path they used, where the shell would not find us by name."""
    used = Path(sys.argv[0])
    return str(used) if used.name == "posthouse" and shutil.which("posthouse") is None else "posthouse"


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
            f"A key for an application:  {command()} keys create --name my-app",
        ]
    return "\n".join(lines) + "\n"
