"""Checks of `doctor` on what belongs to this installation: its folder, database, journal and port."""

import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from posthouse.app import open_database
from posthouse.cli.remedy import Finding, fail, ok, warn
from posthouse.core.errors import ConfigError
from posthouse.settings import ServerSettings, Settings
from posthouse.storage.migrations.revisions import HEAD, REVISIONS
from posthouse.storage.migrations.upgrade import recorded
from posthouse.storage.segments import segment_path, segments

_MIB: Final = 1 << 20
_SECONDS: Final = 2.0


def data_folder(settings: Settings) -> Iterator[Finding]:
    folder = settings.storage.data
    if not folder.exists():
        parent = next((one for one in folder.parents if one.exists()), Path("/"))
        if os.access(parent, os.W_OK | os.X_OK):
            yield ok("data folder", f"{folder} will be made by the first start")
        else:
            remedy = "Give it another one (--data or POSTHOUSE_DATA), or make it and let this user write there."
            yield fail("data folder", f"{folder} cannot be made: {parent} may not be written", remedy)
        return
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"doctor")
    except OSError as error:
        remedy = "Let this user write there, or give another folder (--data or POSTHOUSE_DATA)."
        yield fail("data folder", f"{folder}: {error.strerror}", remedy)
        return
    if folder.stat().st_mode & 0o077:
        yield warn("data folder", f"{folder} may be read by others", f"chmod 700 {folder}")
    else:
        yield ok("data folder", str(folder))
    free = shutil.disk_usage(folder).free
    shown = f"{free // _MIB} MiB are free"
    if free < 2 * settings.storage.journal_limit:
        make = fail if free < 64 * _MIB else warn
        yield make("disk", shown, "Make room: where records cannot be written, requests are refused.")
    else:
        yield ok("disk", shown)


def database(settings: Settings) -> Finding:
    """Reachable, and with the schema of this version. Nothing is made or changed."""
    try:
        found = open_database(settings)
    except ConfigError as error:
        return fail("database", error.message, "Correct storage.database_url.")
    try:
        if found.path is not None and not found.path.exists():
            return ok("database", f"{found.path} will be made by the first start")
        with found.engine.connect() as connection:
            revision = recorded(connection)
    except DBAPIError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        return fail("database", f"{found.name}: {reason}", "Start it, or correct storage.database_url.")
    finally:
        found.close()
    return _schema(found.name, revision)


def _schema(name: str, revision: str | None) -> Finding:
    if revision is None:
        return ok("database", f"{name} is empty: the first start fills it")
    if revision == HEAD:
        return ok("database", f"{name}, schema {HEAD}")
    if revision in REVISIONS:
        return warn("database", f"{name} has the older schema {revision}", "posthouse db upgrade, or just start.")
    remedy = "Install the version of posthouse that used it last, or restore a backup."
    return fail("database", f"{name} has schema {revision}, which only a newer version knows", remedy)


def journal(settings: Settings) -> Iterator[Finding]:
    """Whether a server runs on this folder, what it has not yet written to the database, and what it could not."""
    folder = settings.storage.data / "journal"
    running = is_taken(folder)
    yield ok("server", "one is running on this data folder" if running else "none is running on this data folder")
    pending = sum(segment_path(folder, number).stat().st_size for number in segments(folder)) if folder.is_dir() else 0
    if running or not pending:
        yield ok("journal", f"{pending // 1024} KiB" if pending else "empty")
    else:
        remedy = "Nothing is lost: the next start writes it, and so does `posthouse ledger verify`."
        yield warn("journal", f"{pending} bytes of a server that was killed wait to be written", remedy)
    rejected = folder / "rejected"
    if rejected.is_file() and rejected.stat().st_size:
        remedy = f"Each line of {rejected} has its reason; report them, and move the file away when it is dealt with."
        yield fail("journal", f"the database refused {rejected.stat().st_size} bytes of records", remedy)


def is_taken(folder: Path) -> bool:
    """Whether a server holds the journal's lock."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def port(server: ServerSettings) -> Finding:
    """Free, or ours already."""
    where = f"{server.host}:{server.port}"
    if server.port == 0:
        return ok("port", "any free one")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        return fail("port", f"{server.host}: {error.strerror}", "Correct server.host: an address of this machine.")
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except PermissionError:
            return fail("port", f"{where} needs more rights", "Take one above 1023, and put a proxy in front.")
        except OSError as error:
            if is_ours(server):
                return ok("port", f"{where} is served by Posthouse")
            remedy = "Stop what listens there, or take another: --port or POSTHOUSE_PORT."
            return fail("port", f"{where}: {error.strerror}", remedy)
    return ok("port", f"{where} is free")


def is_ours(server: ServerSettings) -> bool:
    """Whether what listens there answers GET /healthz as we do."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)  # noqa: S104  # compared, not bound
    try:
        with socket.create_connection((host, server.port), _SECONDS) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = b""
            while len(answer) < 4096 and (data := connection.recv(4096)):
                answer += data
    except OSError:
        return False
    return answer.startswith(b"HTTP/1.1 200") and b'{"status":"ok"}' in answer
