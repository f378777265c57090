"""The line to Redis or Valkey, one server or a cluster: scripts by their names, and a connection that comes back.

`call` never blocks and never raises: what comes of it is told to whoever asked, within `patience` seconds, and at once
while there is no server. A cluster's keys are found by their slot; the map of slots is read at the start and again
whenever a node says that a slot has moved. Above: limits. Below: redis_wire.py.
"""

import asyncio
import hashlib
import logging
import ssl
from binascii import crc_hqx
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from posthouse.core.errors import ConfigError
from posthouse.storage.redis_wire import Address, RedisError, RedisLost, Waiter, Wire, Word, asked, connect

logger = logging.getLogger("posthouse.storage")

SLOTS: Final = 16_384
MAX_NODES: Final = 1_000
_HOPS: Final = 4  # how often a command is sent on to another node
_PAUSES: Final = (0.05, 0.1, 0.25, 0.5, 1.0)  # seconds between attempts to connect; the last one again and again


class Script:
    """A script in Lua, known to a server by its hash."""

    __slots__ = ("body", "sha")

    def __init__(self, body: str) -> None:
        self.body = body.encode()
        self.sha = hashlib.sha1(self.body, usedforsecurity=False).hexdigest().encode()


class Counts(Struct):
    """Since the start: connections that were made, lost or could not be made, and commands that got no answer."""

    connected: int = 0
    lost: int = 0
    failed: int = 0
    unanswered: int = 0


def address_of(url: str) -> Address:
    """`redis://[user:password@]host[:port][/database]`, `rediss://` with TLS, or `unix:///path[?db=n]`. ConfigError."""
    parts = urlsplit(url)
    wrong = ConfigError("redis url: not a URL; use redis://host:6379/0, rediss://host:6379/0 or unix:///path?db=0")
    try:
        port = parts.port or 6379
        options = {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
        database = int(options.get("db") or (parts.path.strip("/") if parts.scheme != "unix" else "") or 0)
    except ValueError:
        raise wrong from None
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if parts.scheme == "unix" and parts.path:
        return Address(path=unquote(parts.path), username=username, password=password, database=database)
    if parts.scheme not in ("redis", "rediss") or database < 0:
        raise wrong
    tls = None
    if parts.scheme == "rediss":
        tls = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    return Address(parts.hostname or "127.0.0.1", port, None, username, password, database, tls)


def slot_of(key: bytes) -> int:
    """The slot of a cluster that a key lies in: its hash tag, `{...}`, if it has one."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS


class Redis:
    """The line. `changed(up)` is called whenever the line came up or went down; up means that every node is there."""

    def __init__(self, url: str, patience: float = 0.25, changed: Callable[[bool], None] | None = None) -> None:
        self._home = address_of(url)
        self._patience = patience
        self._changed = changed
        self._nodes: dict[tuple[str, int], _Node] = {}
        self._slots: list[_Node] | None = None  # None: one server, no cluster
        self._first: _Node | None = None
        self._mapping: asyncio.Task[None] | None = None
        self._closed = False
        self.counts = Counts()

    @property
    def up(self) -> bool:
        """Whether every node is connected."""
        return self._first is not None and all(node.wire is not None for node in self._nodes.values())

    async def open(self) -> bool:
        """Connects; False where that did not work at once: it is tried again in the background, for ever."""
        self._first = self._node(self._home)
        if await self._first.dial() and self._mapping is not None:
            await asyncio.wait([self._mapping])
        return self.up

    async def close(self) -> None:
        """Who waits is told RedisLost."""
        self._closed = True
        tasks = [self._mapping, *(node.dialling for node in self._nodes.values())]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for node in self._nodes.values():
            if node.wire is not None:
                node.wire.close()
        await asyncio.sleep(0)  # the transports close at the next turn of the loop

    def call(self, key: bytes, words: tuple[Word, ...], waiter: Waiter) -> None:
        """Sends a command about `key`."""
        self._send(self._node_of(key), words, waiter, _HOPS)

    def run(self, script: Script, keys: tuple[bytes, ...], arguments: tuple[Word, ...], waiter: Waiter) -> None:
        """Runs a script; all `keys` (one at least) lie in one slot."""
        node = self._node_of(keys[0])
        words = ("EVALSHA", script.sha, len(keys), *keys, *arguments)

        def come(value: Any) -> None:
            if isinstance(value, RedisError) and str(value).startswith("NOSCRIPT"):
                again = ("EVAL", script.body, len(keys), *keys, *arguments)
                self._send(self._node_of(keys[0]), again, waiter, _HOPS)
            else:
                waiter(value)

        self._send(node, words, come, _HOPS)

    async def ask(self, key: bytes, *words: Word) -> Any:
        """The answer to one command. RedisError, RedisLost."""
        return await self._awaited(lambda waiter: self.call(key, words, waiter))

    async def result(self, script: Script, keys: tuple[bytes, ...], *arguments: Word) -> Any:
        """What a script returns. RedisError, RedisLost."""
        return await self._awaited(lambda waiter: self.run(script, keys, arguments, waiter))

    async def _awaited(self, begin: Callable[[Waiter], None]) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def come(value: Any) -> None:
            if answer.done():
                return
            if isinstance(value, Exception):
                answer.set_exception(value)
            else:
                answer.set_result(value)

        begin(come)
        return await answer

    def _node_of(self, key: bytes) -> "_Node | None":
        return self._first if self._slots is None else self._slots[slot_of(key)]

    def _send(self, node: "_Node | None", words: tuple[Word, ...], waiter: Waiter, hops: int) -> None:
        wire = None if node is None else node.wire
        if wire is None:
            self.counts.unanswered += 1
            waiter(RedisLost("there is no connection"))
            return

        def come(value: Any) -> None:
            if isinstance(value, RedisError) and self._slots is not None and hops:
                text = str(value)
                if text.startswith(("MOVED ", "ASK ")):
                    self._follow(text.split(), words, waiter, hops - 1)
                    return
            elif isinstance(value, RedisLost):
                self.counts.unanswered += 1
            waiter(value)

        try:
            wire.send(words, come)
        except RedisLost as error:
            self.counts.unanswered += 1
            waiter(error)

    def _follow(self, moved: list[str], words: tuple[Word, ...], waiter: Waiter, hops: int) -> None:
        """`MOVED slot host:port`: the slot lies elsewhere; `ASK`: this one command does."""
        host, _, port = moved[2].rpartition(":")
        node = self._node(replace(self._home, host=host or self._home.host, port=int(port)))
        if moved[0] == "MOVED":
            if self._slots is not None:
                self._slots[int(moved[1])] = node
            self._remap()
        elif node.wire is not None:
            node.wire.send(("ASKING",), _nobody)
        self._send(node, words, waiter, hops)

    def _node(self, address: Address) -> "_Node":
        key = (address.path or address.host, address.port)
        node = self._nodes.get(key)
        if node is None:
            if len(self._nodes) >= MAX_NODES:
                raise RedisLost("too many nodes")
            node = self._nodes[key] = _Node(address, self)
            if self._first is not None:
                node.dial_on()
        return node

    def _remap(self) -> None:
        if self._mapping is None and not self._closed:
            self._mapping = asyncio.get_running_loop().create_task(self._mapped())

    async def _mapped(self) -> None:
        try:
            await self._map()
        except (RedisError, RedisLost) as error:
            logger.warning("the map of Redis's slots cannot be read: %s", error)
        finally:
            self._mapping = None

    async def _map(self) -> None:
        """Reads which node has which slots. A server that is no cluster says so with an error."""
        wire = next((node.wire for node in self._nodes.values() if node.wire is not None), None)
        if wire is None:
            return
        try:
            ranges = await asked(wire, ("CLUSTER", "SLOTS"))
        except RedisError:
            return
        if not ranges:
            return
        assert self._first is not None
        slots = [self._first] * SLOTS
        kept: set[tuple[str, int]] = set()
        for first, last, (host, port, *_), *_ in ranges:
            name = host.decode() or self._home.host
            node = self._node(replace(self._home, host=name, port=port))
            kept.add((name, port))
            slots[first : last + 1] = [node] * (last + 1 - first)
        self._slots = slots
        for key in [key for key in self._nodes if key not in kept]:
            self._nodes.pop(key).retire()
        self._first = slots[0]
        for node in self._nodes.values():
            await node.settled()

    def connected(self) -> None:
        """A node has been reached. What it says of the cluster may be news."""
        self.counts.connected += 1
        self._remap()
        if self.up and self._changed is not None:
            self._changed(True)

    def lost(self) -> None:
        """A node has been lost."""
        self.counts.lost += 1
        if self._changed is not None:
            self._changed(False)

    @property
    def patience(self) -> float:
        return self._patience

    @property
    def closed(self) -> bool:
        return self._closed


def _nobody(_: Any) -> None:
    pass


class _Node:
    """One server, and the work of staying connected to it."""

    def __init__(self, address: Address, line: Redis) -> None:
        self.address = address
        self.wire: Wire | None = None
        self.dialling: asyncio.Task[None] | None = None
        self._line = line
        self._retired = False

    async def dial(self) -> bool:
        """One attempt now; where it fails, the next ones are made in the background."""
        if not await self._try():
            self.dial_on()
        return self.wire is not None

    def dial_on(self) -> None:
        if self.dialling is None and not self._line.closed and not self._retired:
            self.dialling = asyncio.get_running_loop().create_task(self._dial())

    async def settled(self) -> None:
        """Waits until the attempt that is under way has ended, if any."""
        if self.dialling is not None and self.wire is None:
            await asyncio.wait([self.dialling], timeout=self._line.patience)

    def retire(self) -> None:
        """The node is none of the cluster any more."""
        self._retired = True
        if self.dialling is not None:
            self.dialling.cancel()
        if self.wire is not None:
            self.wire.close("the node has left the cluster")

    async def _dial(self) -> None:
        tried = 0
        while not await self._try():
            await asyncio.sleep(_PAUSES[min(tried, len(_PAUSES) - 1)])
            tried += 1
        self.dialling = None

    async def _try(self) -> bool:
        try:
            self.wire = await connect(self.address, self._line.patience, self._gone)
        except (RedisError, RedisLost) as error:
            if not self._line.counts.failed % 60:
                logger.warning("Redis: %s", error)
            self._line.counts.failed += 1
            return False
        self._line.connected()
        return True

    def _gone(self, wire: Wire) -> None:
        if self.wire is not wire:
            return  # it never was ours: it broke while it was introduced
        self.wire = None
        if not self._retired and not self._line.closed:
            self._line.lost()
            self.dial_on()
