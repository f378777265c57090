"""A world: PostgreSQL, Redis, a provider and several servers, all processes of its own, and what its clients received.

Every server has a data folder and two cables of its own, to PostgreSQL and to Redis. Who kills one starts it again on
the same folder, or leaves it `gone`.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import psycopg
from msgspec import Struct

from posthouse.storage.segments import HEAD_BYTES, START, Position, SegmentReader, segment_path, segments
from tests.chaos.cables import Cable, Cables
from tests.chaos.clients import Received, admin, ask
from tests.chaos.judge import Absence
from tests.chaos.programs import Postgres, RedisServer
from tests.chaos.wishes import CONFIGURED, Leaves, Wish
from tests.e2e.house import ADMIN_KEY, provider
from tests.e2e.process import Process

ROOT: Final = Path(__file__).parents[2]
DRAIN: Final = 3.0
SETTLED: Final = 90.0
"""Seconds within which everything is quiet after a round: a start on a slow machine takes the most of it."""
_AT_ONCE: Final = 3  # servers that start at the same time
_ENVIRON: Final = {
    "POSTHOUSE_ADMIN_KEY": ADMIN_KEY,
    "POSTHOUSE_LOG_REQUESTS": "false",
    "POSTHOUSE_SERVER_DRAIN_TIMEOUT": f"{DRAIN:g}",
    "POSTHOUSE_ROUTING_BACKOFF_BASE": "0.01",
    "POSTHOUSE_ROUTING_BACKOFF_MAX": "0.05",
}


class Key(Struct, frozen=True):
    """A key as the world made it. `budget` in nano-units, of its own; `purse`: the account whose budget it shares."""

    id: str
    name: str
    secret: str
    account: str
    budget: int | None = None
    rpm: int | None = None


class Account(Struct, frozen=True):
    id: str
    name: str
    budget: int | None = None


class Server:
    """One of several. `lines` are its cables to PostgreSQL and to Redis."""

    def __init__(self, number: int, folder: Path, lines: tuple[Cable, Cable] | None) -> None:
        self.number = number
        self.folder = folder
        self.lines = lines
        self.state: Literal["up", "down", "gone"] = "down"
        self.port = 0
        self.starts = 0
        self.process: Process | None = None
        self.absences: list[Absence] = []  # from each sudden death on
        folder.mkdir()

    @property
    def journal(self) -> str:
        """The name by which the others know it; empty before its first start."""
        path = self.folder / "data" / "journal" / "id"
        return path.read_text().strip() if path.exists() else ""

    def end(self, number: signal.Signals) -> int:
        """The exit status."""
        self.state = "down"
        if number == signal.SIGKILL:
            self.absences.append(Absence(self.journal, int(time.time() * 1000)))
        assert self.process is not None
        self.process.signal(number)
        code = self.process.ended()
        with (self.folder / "log").open("a") as log:
            log.write(self.process.printed + self.process.logged + f"-- ended with {code}\n")
        self.process = None
        return code


class World:
    """Use `made`. `say` is told of what happens, a line at a time."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.say = say
        self.postgres = Postgres(folder / "postgres")
        self.redis = RedisServer(folder / "redis")
        self.cables = Cables()
        self.servers: list[Server] = []
        self.keys: list[Key] = []
        self.accounts: list[Account] = []
        self.received: list[Received] = []
        self.numbers = 0
        self.forgot = 0  # how often Redis was started empty
        self.hands = {name: asyncio.Lock() for name in ("postgres", "redis", "servers")}
        self._provider: subprocess.Popen[str] | None = None
        self._config = ""

    # Life

    async def start(self, count: int, cabled: bool = True) -> None:
        """`cabled` servers reach PostgreSQL and Redis through lines that can be cut; others directly."""
        await asyncio.to_thread(self._start_programs)
        self.add_servers(count, cabled)
        await self.start_servers()

    def _start_programs(self) -> None:
        self.postgres.start()
        self.postgres.make_database()
        self.redis.start()
        self._provider = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.provider", str(self.provider_log)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
            text=True,
        )
        assert self._provider.stdout is not None
        url = f"http://127.0.0.1:{self._provider.stdout.readline().split()[1]}/v1"
        # What resets on purpose is another provider's, so that its health says nothing of the others' requests.
        for name, model in (("main", "m"), ("flaky", "f")):
            self._config += provider(url, f'"{model}"', name=name) + CONFIGURED.format(model=model)

    @property
    def provider_log(self) -> Path:
        return self.folder / "provider"

    def add_servers(self, count: int, cabled: bool) -> None:
        for _ in range(count):
            number = len(self.servers)
            lines = (self.cables.lay(self.postgres.port), self.cables.lay(self.redis.port)) if cabled else None
            self.servers.append(Server(number, self.folder / f"server-{number}", lines))

    async def start_servers(self) -> None:
        """All that are down and not gone."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def begin(server: Server) -> None:
            async with gate:
                await self.revive(server)

        # The first alone: it makes the tables.
        down = [server for server in self.servers if server.state == "down"]
        if down and not any(server.starts for server in self.servers):
            await self.revive(down.pop(0))
        await asyncio.gather(*(begin(server) for server in down))

    async def revive(self, server: Server) -> None:
        """Starts it on its folder, again and again as a supervisor does: it ends where PostgreSQL is away."""
        until = time.monotonic() + SETTLED
        while server.process is None:
            await asyncio.to_thread(self.look_at_losses, server)
            server.process = await asyncio.to_thread(self._begun, server)
            try:
                server.port = await asyncio.to_thread(_port_of, server.process)
            except AssertionError as error:
                await asyncio.to_thread(server.end, signal.SIGKILL)
                if time.monotonic() > until:
                    raise RuntimeError(f"server {server.number} does not start: {error}") from None
        server.starts += 1
        server.state = "up"
        for absence in server.absences:
            absence.back_at = absence.back_at or int(time.time() * 1000)

    def _begun(self, server: Server) -> Process:
        ports = (None, None) if server.lines is None else (server.lines[0].port, server.lines[1].port)
        environ = {
            **_ENVIRON,
            "POSTHOUSE_DATABASE_URL": self.postgres.url(ports[0]),
            "POSTHOUSE_REDIS_URL": f"redis://127.0.0.1:{ports[1] or self.redis.port}/0",
        }
        return Process(server.folder, self._config, environ)

    def close(self) -> None:
        for server in self.servers:
            if server.process is not None:
                server.process.signal(signal.SIGCONT)
                server.end(signal.SIGKILL)
        if self._provider is not None:
            self._provider.kill()
            self._provider.wait(10)
            assert self._provider.stdin is not None and self._provider.stdout is not None
            self._provider.stdin.close()
            self._provider.stdout.close()
        self.cables.close()
        self.redis.end(signal.SIGKILL)
        self.postgres.end(signal.SIGQUIT)

    # What is there

    @property
    def up(self) -> list[Server]:
        return [server for server in self.servers if server.state == "up"]

    def rows(self, query: Any, *values: Any) -> list[tuple[Any, ...]]:
        """What PostgreSQL answers. Blocks."""
        with psycopg.connect(self.postgres.url(), connect_timeout=10) as connection:
            return connection.execute(query, values).fetchall()

    def look_at_losses(self, server: Server) -> None:
        """What only the journal of a dead server knows; put off while PostgreSQL cannot be asked. Blocks."""
        for absence in server.absences:
            if absence.lost is None:
                with contextlib.suppress(psycopg.OperationalError):
                    absence.lost = frozenset(self._unapplied(server))

    def _unapplied(self, server: Server) -> Iterator[str]:
        query = 'SELECT segment, "offset" FROM journal_position WHERE journal = %s'
        position = Position(*next(iter(self.rows(query, server.journal)), START))
        directory = server.folder / "data" / "journal"
        if not server.journal or not segments(directory):
            return
        last = segments(directory)[-1]
        end = Position(last, segment_path(directory, last).stat().st_size)
        reader = SegmentReader(directory)
        while position < end:
            lines, position = reader.read(position, end, 1_000)
            yield from (json.loads(line[HEAD_BYTES:])[0] for line in lines)
        reader.close()

    def verify(self) -> str:
        """What `posthouse ledger verify` says; empty where everything adds up. Blocks."""
        done = subprocess.run(
            [sys.executable, "-c", "from posthouse.cli import main; main()", "ledger", "verify"],
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "PYTHONPATH": str(ROOT / "src"),
                "POSTHOUSE_DATABASE_URL": self.postgres.url(),
                "POSTHOUSE_DATA": str(self.folder / "desk"),
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
        return "" if done.returncode == 0 else f"status {done.returncode}: {done.stdout}{done.stderr}"

    async def admin(self, method: str, path: str, body: dict[str, Any] | None = None, server: int | None = None) -> Any:
        """Asks the control plane of one server, the first that is up where none is named."""
        chosen = self.up[0] if server is None else self.servers[server]
        return await admin(chosen.port, ADMIN_KEY, method, path, body)

    # Keys and requests

    async def make_account(self, budget: int | None = None) -> Account:
        name = f"a{len(self.accounts)}"
        body: dict[str, Any] = {"name": name, **_budget(budget)}
        made = await self.admin("POST", "/admin/api/accounts", body)
        account = Account(made["id"], name, budget)
        self.accounts.append(account)
        return account

    async def make_key(self, budget: int | None = None, account: str = "default", rpm: int | None = None) -> Key:
        name = f"k{len(self.keys)}"
        body: dict[str, Any] = {"name": name, "account": account, **_budget(budget)}
        if rpm is not None:
            body["limits"] = {"rpm": rpm}
        made = await self.admin("POST", "/admin/api/keys", body)
        key = Key(made["id"], name, made["key"], account, budget, rpm)
        self.keys.append(key)
        return key

    async def known(self, *keys: Key) -> None:
        """Waits until every server that lives knows these keys; nothing is asked of the provider for it."""

        async def found(server: Server, key: Key) -> bool:
            try:
                await admin(server.port, key.secret, "GET", "/v1/models")
            except (RuntimeError, OSError):
                return False
            return True

        until = time.monotonic() + SETTLED
        for server in self.up:
            for key in keys:
                while not await found(server, key):
                    assert time.monotonic() < until, f"server {server.number} does not hear of {key.name}"
                    await asyncio.sleep(0.05)

    async def ask(self, server: Server, key: Key, leaves: Leaves = "", **more: Any) -> Received:
        self.numbers += 1
        wish = Wish(self.numbers, key.name, **more)
        received = await ask(server.port, key.secret, wish, server.number, leaves)
        self.received.append(received)
        return received


def _port_of(process: Process) -> int:
    """Waits until it listens; AssertionError where it ends before, or does not listen within twenty seconds."""
    return process.port


def _budget(nano: int | None) -> dict[str, Any]:
    if nano is None:
        return {}
    return {"budget": {"amount": f"{nano / 10**9:.9f}", "currency": "USD", "period": "total"}}


@contextmanager
def folder_of_world(where: Path | None = None) -> Iterator[Path]:
    """A folder that everybody may enter (PostgreSQL runs as another user), kept where its world ends badly."""
    folder = Path(tempfile.mkdtemp(prefix="posthouse-chaos-", dir=where))
    folder.chmod(0o755)
    try:
        yield folder
    except BaseException as error:
        error.add_note(f"what is left of it is in {folder}")
        raise
    shutil.rmtree(folder)


@asynccontextmanager
async def made(folder: Path, count: int, say: Callable[[str], None], cabled: bool = True) -> AsyncIterator[World]:
    world = World(folder, say)
    try:
        await world.start(count, cabled)
        yield world
    finally:
        await asyncio.to_thread(world.close)
