"""The gateways under measurement: how each is set up, started and asked. Posthouse here, others in peers.py.

Every gateway listens on a free port of the loopback interface, gets a clean environment (no variable of the person who
runs the benchmark makes a provider) and keeps its files in a temporary folder.
"""

import http.client
import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from bench import bodies
from bench.load import Target
from bench.processes import Command, Cores, Running, free_port, wait_until
from bench.reactor import BenchError, now

START_SECONDS = 120.0
"""A gateway that does not answer within this time counts as broken (the slowest of the peers needs some 20 s)."""

POSTHOUSE = """\
[server]
host = "127.0.0.1"
port = {port}

[upstream]
max_connections = 4096

[[providers]]
name = "mock"
type = "openai-compatible"
base_url = "http://127.0.0.1:{upstream}/v1"
credential = "upstream-credential-1"
models = [{models}]
timeout = {{ connect = 5, first_byte = 120, idle = 600, total = 1200 }}

[[providers]]
name = "foreign"
type = "anthropic"
base_url = "http://127.0.0.1:{upstream}"
credential = "upstream-credential-2"
models = ["{foreign}"]
"""
PRICE = """
[[prices]]
model = "{model}"
provider = "{provider}"
currency = "USD"
input = "0.15"
cached_input = "0.075"
output = "0.60"
"""
LAUNCHER = "from posthouse.cli import main\n\nmain()\n"
"""What the installed `posthouse` script does; written out so that a profiler can run it."""
KEY = {
    "name": "bench",
    "budget": {"amount": "1000000.00", "currency": "USD", "period": "month"},
    "limits": {"rpm": 100_000_000, "tpm": 100_000_000_000, "concurrency": 10_000},
}


@dataclass(frozen=True, slots=True)
class World:
    """What every gateway is started with."""

    root: Path
    folder: Path
    cores: Cores
    upstream: int
    profiler: str = ""
    """"" | "cprofile" | "py-spy"."""


@dataclass(slots=True)
class Gateway:
    """A running gateway. `exact`: every event of a stream must come through; `answered` counts what it answered."""

    name: str
    version: str
    port: int
    secret: str
    running: Running
    exact: bool = True
    answered: int = 0
    cold_starts: list[float] = field(default_factory=list)

    def target(self, ask: bodies.Ask) -> Target:
        """`ask` as bytes for this gateway."""
        request = bodies.render(ask, f"127.0.0.1:{self.port}", self.secret)
        return Target(self.port, request, ask.events, self.exact)

    def stop(self) -> None:
        """End it."""
        self.running.stop()


def direct(upstream: int) -> Target:
    """The chat request sent to the mock upstream itself."""
    return Target(upstream, bodies.render(bodies.CHAT, f"127.0.0.1:{upstream}", "none"))


def clean_environment(folder: Path, more: dict[str, str]) -> dict[str, str]:
    """An environment that holds what a process needs and nothing of the user's."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "LANG": "C.UTF-8", **more}


def http_json(port: int, method: str, path: str, secret: str, body: object = None) -> tuple[int, object]:
    """One small request; the answer's status and decoded body (None when it is no JSON)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, None
    finally:
        connection.close()


def _answers(port: int, path: str, secret: str, body: object) -> bool:
    try:
        return http_json(port, "POST" if body else "GET", path, secret, body)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def start(command: Command, world: World, port: int, secret: str) -> tuple[Running, float]:
    """Start `command` on the gateway's core; returns it with the seconds until its first answer to a chat request."""
    chat = json.loads(bodies.CHAT.body)
    started = now()
    running = Running(command, world.cores.gateway)

    def first_answer() -> bool:
        if not running.alive():
            raise BenchError(f"{command.arguments[0]} ended at once:\n{running.tail()}")
        return _answers(port, bodies.CHAT_PATH, secret, chat)

    try:
        wait_until(first_answer, START_SECONDS, "first answer of the gateway")
    except BenchError as error:
        running.stop()
        raise BenchError(f"{error}\n{running.tail()}") from error
    return running, now() - started


class Posthouse:
    """Sets up Posthouse with everything on: a hashed key with limits and a budget, prices, ledger, log, metrics."""

    name = "posthouse"

    def __init__(self, world: World) -> None:
        self._world = world
        self._folder = world.folder / self.name
        self._folder.mkdir()
        self._admin = secrets.token_urlsafe(32)
        self._port = free_port()
        models = ", ".join(json.dumps(name) for name in bodies.MODELS)
        foreign = bodies.MODEL_FOREIGN
        config = POSTHOUSE.format(port=self._port, upstream=world.upstream, models=models, foreign=foreign)
        config += "".join(PRICE.format(model=name, provider="mock") for name in bodies.MODELS)
        config += PRICE.format(model=foreign, provider="foreign")
        (self._folder / "posthouse.toml").write_text(config)
        (self._folder / "launcher.py").write_text(LAUNCHER)

    def _command(self, profiler: str = "") -> Command:
        folder = self._folder
        python = [sys.executable]
        if profiler == "cprofile":
            python += ["-m", "cProfile", "-o", str(folder / "profile.pstats")]
        arguments = [
            *python,
            str(folder / "launcher.py"),
            "serve",
            "--config",
            str(folder / "posthouse.toml"),
            "--data",
            str(folder / "data"),
        ]
        more = {"POSTHOUSE_ADMIN_KEY": self._admin, "PYTHONPATH": str(self._world.root / "src"), **self.servers()}
        return Command(arguments, clean_environment(folder, more), folder, folder / "output.log")

    def servers(self) -> dict[str, str]:
        """The variables that name servers to use; none, for SQLite and this one process."""
        return {}

    def start(self, cold_starts: int) -> Gateway:
        """Make the key in a first life, then start `cold_starts` times from cold; the last one stays."""
        first, _ = start(self._command(), self._world, self._port, self._admin)
        try:
            status, made = http_json(self._port, "POST", "/admin/api/keys", self._admin, KEY)
        finally:
            first.stop()
        if status != 201 or not isinstance(made, dict):
            raise BenchError(f"no key could be made: {status} {made}")
        secret = str(made["key"])
        times: list[float] = []
        for last in range(cold_starts - 1, -1, -1):
            profiler = self._world.profiler if last == 0 else ""
            running, seconds = start(self._command(profiler), self._world, self._port, secret)
            times.append(seconds)
            if last:
                running.stop()
        # The control plane comes into memory when first asked: "idle" must not mean "half loaded".
        status, _ = http_json(self._port, "GET", "/admin/api/keys", self._admin)
        if status != 200:
            raise BenchError(f"the control plane does not answer: {status}")
        return Gateway(self.name, _own_version(), self._port, secret, running, answered=cold_starts, cold_starts=times)

    def audit(self, gateway: Gateway) -> list[str]:
        """What is wrong with the bookkeeping after the run; empty when every answer was billed."""
        problems: list[str] = []
        status, verified = http_json(self._port, "GET", "/admin/api/ledger/verify", self._admin)
        if status != 200 or not isinstance(verified, dict) or not verified.get("ok"):
            problems.append(f"ledger verify: {status} {verified}")
        status, usage = http_json(self._port, "GET", "/admin/api/usage?group_by=key", self._admin)
        rows = usage.get("data", []) if isinstance(usage, dict) else []
        billed = sum(int(row["requests"]) for row in rows) - 1  # the first life's one answer was the admin's
        if status != 200 or billed != gateway.answered:
            problems.append(f"answers {gateway.answered}, billed {billed} (status {status})")
        return problems

    @property
    def profile(self) -> Path:
        """Where cProfile wrote."""
        return self._folder / "profile.pstats"


class Shared(Posthouse):
    """The same with PostgreSQL and Redis, as several servers use them: a database of its own, gone at the end."""

    name = "shared"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._server = os.environ.get("POSTHOUSE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
        self._redis = os.environ.get("POSTHOUSE_TEST_REDIS", "redis://127.0.0.1:6379/0")
        self._database = f"posthouse_bench_{secrets.token_hex(4)}"
        self._in_postgres("CREATE DATABASE {}")

    def servers(self) -> dict[str, str]:
        base, _, query = self._server.partition("?")
        url = f"{base.rsplit('/', 1)[0]}/{self._database}" + (f"?{query}" if query else "")
        return {"POSTHOUSE_DATABASE_URL": url, "POSTHOUSE_REDIS_URL": self._redis}

    def drop(self) -> None:
        """Takes the database away."""
        self._in_postgres("DROP DATABASE IF EXISTS {} WITH (FORCE)")

    def _in_postgres(self, statement: LiteralString) -> None:
        try:
            with psycopg.connect(self._server, autocommit=True, connect_timeout=5) as connection:
                connection.execute(sql.SQL(statement).format(sql.Identifier(self._database)))
        except psycopg.Error as error:
            raise BenchError(f"no database on PostgreSQL (POSTHOUSE_TEST_POSTGRES names one): {error}") from None


def _own_version() -> str:
    try:
        return version("posthouse")
    except PackageNotFoundError:
        return "checkout"


def start_command(name: str, line: str, world: World) -> Gateway:
    """Any gateway that a command line starts; `{port}` and `{upstream}` in it are replaced."""
    port = free_port()
    folder = world.folder / name
    folder.mkdir()
    arguments = shlex.split(line.format(port=port, upstream=world.upstream))
    executable = shutil.which(arguments[0])
    if executable is None:
        raise BenchError(f"{name}: {arguments[0]} was not found")
    command = Command([executable, *arguments[1:]], clean_environment(folder, {}), folder, folder / "output.log")
    running, seconds = start(command, world, port, "none")
    return Gateway(name, "", port, "none", running, cold_starts=[seconds], answered=1)


def run_tool(arguments: Sequence[str], seconds: float, folder: Path | None = None) -> str:
    """Run an installer or the like; returns what it printed, raises BenchError with the end of it on failure."""
    try:
        done = subprocess.run(
            arguments,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{arguments[0]}: {error}") from error
    if done.returncode:
        raise BenchError(f"{' '.join(arguments[:4])} failed: {(done.stderr or done.stdout)[-600:]}")
    return done.stdout + done.stderr
