"""A PostgreSQL and a Redis of a world's own, as processes that may be killed, paused and started again.

Nothing else is touched: folders are new, ports were free, and nobody beyond loopback is let in. initdb and postgres
refuse root, so that they run as `postgres` (or `nobody`) where we are root.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any, Final

import hiredis
import psycopg

from tests.e2e.wire import eventually

START: Final = 60.0  # seconds for either to answer
_DEBIAN: Final = Path("/usr/lib/postgresql")


def postgres_programs() -> Path | None:
    """The folder of the newest PostgreSQL here; None where there is none."""
    found = [path for path in _DEBIAN.glob("*/bin") if (path / "initdb").exists()]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    initdb = shutil.which("initdb")
    return None if initdb is None else Path(initdb).resolve().parent


def redis_program() -> str | None:
    return shutil.which("redis-server") or shutil.which("valkey-server")


def missing() -> str | None:
    """What of both this machine lacks; None where it has them."""
    lacking = [name for name, found in (("PostgreSQL", postgres_programs()), ("Redis", redis_program())) if not found]
    return f"no server programs of {' and '.join(lacking)} are installed" if lacking else None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def descendants(pid: int) -> list[int]:
    """The process and all that it has started, parents first. Linux."""
    found = [pid]
    for one in found:
        for tasks in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found.extend(int(child) for child in tasks.read_text().split())
    return found


class Program:
    """A process that can be started again and again. `pid` only while it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._popen: subprocess.Popen[bytes] | None = None

    def _run(self, arguments: list[str], more: dict[str, Any]) -> None:
        with (self.folder / "log").open("ab") as log:
            self._popen = subprocess.Popen(
                arguments, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, **more
            )
        with contextlib.suppress(PermissionError):
            # As if on a machine of its own: what runs out of time here are the servers and clients.
            os.setpriority(os.PRIO_PROCESS, self._popen.pid, -10)

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def pause(self) -> None:
        """It and its children stand still, and every connection with them."""
        if self.running:
            for pid in descendants(self.pid):
                _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        if self.running:
            for pid in reversed(descendants(self.pid)):
                _signal(pid, signal.SIGCONT)

    def end(self, number: signal.Signals) -> None:
        """Sends the signal and waits for the end."""
        if not self.running:
            return
        self.resume()
        assert self._popen is not None
        self._popen.send_signal(number)
        try:
            self._popen.wait(30)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(30)


class Postgres(Program):
    """One cluster in `folder`; its database is `posthouse`."""

    def __init__(self, folder: Path) -> None:
        programs = postgres_programs()
        assert programs is not None
        super().__init__(folder)
        self._programs = programs
        folder.mkdir(mode=0o755)
        self._as: dict[str, Any] = {}
        if os.getuid() == 0:
            person = _without_rights()
            os.chown(folder, person.pw_uid, person.pw_gid)
            self._as = {"user": person.pw_uid, "group": person.pw_gid, "extra_groups": []}
        subprocess.run(
            [programs / "initdb", "-D", "db", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            **self._as,
        )

    def url(self, port: int | None = None, name: str = "posthouse") -> str:
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/{name}"

    def start(self) -> None:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 400,
            "shared_buffers": "64MB",
            "fsync": "off",  # a process that is killed loses nothing by it; only a machine would
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._run([str(self._programs / "postgres"), "-D", "db", *options], self._as)
        eventually(self.answers, f"PostgreSQL does not start: see {self.folder / 'log'}", START)

    def answers(self) -> bool:
        assert self.running, f"PostgreSQL has ended: see {self.folder / 'log'}"
        try:
            psycopg.connect(self.url(name="postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def make_database(self) -> None:
        with psycopg.connect(self.url(name="postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE posthouse")

    def stop(self) -> None:
        """At once, as if it had crashed."""
        self.end(signal.SIGQUIT)


class RedisServer(Program):
    """Keeps nothing: started again, it has forgotten everything."""

    def __init__(self, folder: Path) -> None:
        program = redis_program()
        assert program is not None
        super().__init__(folder)
        self._program = program
        folder.mkdir()

    def start(self) -> None:
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._run([self._program, *words, "--dir", str(self.folder)], {})
        eventually(self.answers, f"Redis does not start: see {self.folder / 'log'}", START)

    def answers(self) -> bool:
        assert self.running, f"Redis has ended: see {self.folder / 'log'}"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as sock:
                sock.sendall(b"PING\r\n")
                return sock.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def ask(self, *words: str) -> list[str]:
        """The answer to a command, whatever it is, as a list of texts."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
            sock.sendall(hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub knows one word only
            reader = hiredis.Reader(encoding="utf-8")
            while (answer := reader.gets()) is False:
                reader.feed(sock.recv(65_536))
        return [str(one) for one in answer] if isinstance(answer, list) else [str(answer)]

    def stop(self) -> None:
        self.end(signal.SIGKILL)


def _without_rights() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("there is no user without rights to run PostgreSQL as")


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
