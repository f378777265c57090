"""A Redis with keys of a test's own, replicas as many as it wants, and a PostgreSQL that lags."""

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from posthouse.billing.truth import Committed
from posthouse.core.caller import Limits, Subject
from posthouse.limits.calendar import Calendar
from posthouse.limits.demand import Demand, Purse
from posthouse.limits.shared import SharedGate
from posthouse.storage.redis import Redis


class Books:
    """PostgreSQL, with the journals of the replicas before it: what was written and is not applied yet is not seen."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, str, str, int, int | None]] = []  # when, request, purse, amount, charge
        self.holds: dict[tuple[str, str], tuple[int, int | None]] = {}
        self.lags = False
        self.loads = 0
        self.pause: asyncio.Event | None = None
        self.dead: set[str] = set()

    def write(self, request: str, purse: str, amount: int, charge: int | None = None) -> None:
        self.waiting.append((time.time(), request, purse, amount, charge))

    def apply(self, count: int = 10**9) -> None:
        for _, request, purse, amount, charge in self.waiting[:count]:
            self.holds[purse, request] = (amount, charge)
        del self.waiting[:count]

    async def load(self, purse: str) -> Committed:
        self.loads += 1
        if self.pause is not None:
            await self.pause.wait()
        mine = {request: hold for (name, request), hold in self.holds.items() if name == purse}
        spent = sum(charge for _, charge in mine.values() if charge is not None)
        return Committed(spent, [(request, amount) for request, (amount, charge) in mine.items() if charge is None])

    async def drained(self, since: float) -> bool:
        if not self.lags:
            self.apply(sum(line[0] <= since for line in self.waiting))
        return not self.lags

    async def ends(self, requests: Sequence[str]) -> dict[str, int | None]:
        return {request: charge for (_, request), (_, charge) in self.holds.items() if request in requests}

    async def alive(self, replica: str) -> bool:
        return replica not in self.dead


class World:
    """One Redis, its own keys, and replicas as many as a test wants."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.root = f"test-{secrets.token_hex(6)}"
        self.books = Books()
        self.lines: list[Redis] = []

    async def replica(self) -> SharedGate:
        line = Redis(self.url, patience=5.0)
        assert await line.open()
        self.lines.append(line)
        return SharedGate(line, self.books, Calendar(), drain=0.1)

    async def keys(self) -> list[bytes]:
        head = f"ph:{{{self.root}}}:"  # of a cluster, the node that has them is asked
        found: list[bytes] = await self.lines[0].ask(head.encode(), "KEYS", f"{head}*")
        return found

    async def forget(self, part: bytes = b"") -> None:
        for key in await self.keys():
            if part in key:
                await self.lines[0].ask(key, "DEL", key)

    async def committed(self, purse: str = "b") -> int | None:
        key = f"ph:{{{self.root}}}:b:{purse}".encode()
        found = await self.lines[0].ask(key, "HGET", key, "n")
        return None if found is None else int(found)

    def demand(self, number: int, amount: int = 0, **more: Any) -> Demand:
        limits = more.pop("limits", Limits())
        names = more.pop("purses", ("b",)) if amount else ()
        limit, least = more.pop("limit", 100), more.pop("least", None)
        purses = tuple(Purse(name, limit, amount, least) for name in names)
        subject = Subject("key_1", "key", "test", limits)
        return Demand(self.root, f"req_{number}", (subject,), more.pop("tokens", 0), more.pop("images", 0), purses)


class Cable:
    """A way to Redis that can be cut and mended. While it is `deaf`, questions come to Redis and no answers back."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._far = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cut = False
        self.deaf = False
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.url = ""

    async def lay(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """From any thread."""
        self._cut = True
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        for end in self._ends:
            end.transport.abort()

    def mend(self) -> None:
        self._cut = False

    async def take_up(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        if self._cut:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(*self._far)
        self._ends |= {writer, far_writer}
        await asyncio.gather(_poured(reader, far_writer), _poured(far_reader, writer, lambda: not self.deaf))
        self._ends -= {writer, far_writer}


async def _poured(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: Callable[[], bool] = lambda: True
) -> None:
    try:
        while data := await reader.read(65_536):
            if passes():
                writer.write(data)
    except (ConnectionError, asyncio.CancelledError):
        pass
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


@contextmanager
def laid(url: str) -> Iterator[Cable]:
    """A cable in a loop of its own, for tests whose server has another."""
    cable = Cable(url)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="cable", daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(cable.lay(), loop).result(10)
    try:
        yield cable
    finally:
        asyncio.run_coroutine_threadsafe(cable.take_up(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
