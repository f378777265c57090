"""Checks of `doctor` on the machine: interpreter, libraries, trust, clock, limits."""

import datetime as dt
import platform
import resource
import ssl
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Final

from posthouse import __version__
from posthouse.billing.seed import Seed
from posthouse.cli.remedy import Finding, fail, ok, warn
from posthouse.upstream.tls import make_context

_LIBRARIES: Final = ("uvicorn", "uvloop", "httptools", "msgspec", "sqlalchemy", "psycopg", "fastapi", "splintr-rs")
_FILES: Final = 4096
_LONG: Final = 10 * 365 * 86_400


def python() -> Finding:
    found = f"posthouse {__version__}, {platform.python_implementation()} {platform.python_version()}, {sys.platform}"
    return ok("python", f"{found} {platform.machine()}")


def libraries() -> Finding:
    versions: list[str] = []
    missing: list[str] = []
    for name in _LIBRARIES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return fail("libraries", f"missing: {', '.join(missing)}", "Install posthouse again, with its dependencies.")
    return ok("libraries", ", ".join(versions))


def trust_store() -> Finding:
    """Whether TLS connections can be checked at all."""
    try:
        context = make_context()
    except (ssl.SSLError, OSError) as error:
        return fail("trust store", f"cannot be read: {error}", "Check SSL_CERT_FILE and SSL_CERT_DIR.")
    if type(context) is not ssl.SSLContext:
        return ok("trust store", "the system's own")
    known = context.cert_store_stats()["x509_ca"]
    paths = ssl.get_default_verify_paths()
    if known:
        return ok("trust store", f"{known} authorities from {paths.cafile or paths.capath or 'the system'}")
    if paths.capath and any(Path(paths.capath).glob("*.0")):
        return ok("trust store", paths.capath)
    return fail(
        "trust store",
        "no authority is known, so no provider can be reached over HTTPS",
        "Install the system's certificates (Debian: apt install ca-certificates), or check SSL_CERT_FILE.",
    )


def clock() -> Finding:
    """Ids, budgets and certificates hang on it: it cannot be before the day on which our prices were made."""
    now = time.time()
    made = dt.datetime.fromisoformat(Seed().sources[0].date).replace(tzinfo=dt.UTC).timestamp()
    shown = dt.datetime.fromtimestamp(now, dt.UTC).isoformat(timespec="seconds")
    if not made - 86_400 <= now <= made + _LONG:
        return fail("clock", f"it says {shown}, which cannot be", "Set the clock, and keep it with NTP.")
    return ok("clock", shown)


def open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        remedy = f"Raise it where it is started: ulimit -n {_FILES}, or LimitNOFILE={_FILES} in a systemd unit."
        return warn("open files", f"{soft} at most (hard limit {hard}): about {soft // 2} requests at once", remedy)
    return ok("open files", "no limit" if soft == resource.RLIM_INFINITY else f"{soft} at most")
