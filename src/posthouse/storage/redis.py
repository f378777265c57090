"""The line to Redis or Valkey, one server or a cluster: scripts by their names, and a connection that comes back.

`call` never blocks and never raises: what comes of it is told to whoever asked, within `patience` seconds, and at once
while there is no server. A cluster's keys are found by their slot; the map of slots is read at the start and again
whenever a node says that a slot has moved, has been lost or cannot be reached. Above: limits. Below: redis_node.py,
redis_wire.py.
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
from posthouse.storage.redis_node import PAUSES, Node
from posthouse.storage.redis_wire import Address, RedisError, RedisLost, Waiter, Word, asked

logger = logging.getLogger("posthouse.storage")

SLOTS: Final = 16_384
MAX_NODES: Final = 1_000
_HOPS: Final = 4  # how often a command is sent on to another node
_SOON: Final = 0.01  # seconds until a command is sent again that met a slot on the move
MAX_AGAIN: Final = 20_000  # commands that wait for that
_WELL: Final = 10.0  # seconds after which a server that was unable is taken for one that was well
# What a server says that is there and cannot serve: it is being loaded, or has become another's copy, so that whoever
# stands in for it is found by connecting again.
_UNFIT: Final = frozenset({"LOADING", "READONLY", "MASTERDOWN"})
# What one says that has done nothing and can do nothing for now: it is as good as lost.
_UNABLE: Final = frozenset("CLUSTERDOWN TRYAGAIN MOVED ASK BUSY OOM MISCONF NOREPLICAS".split())


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


class _Asking(Struct, gc=False):
    """A command on its way: `hops` to other nodes are left; `until`, of the loop's clock, it is tried again."""

    key: bytes
    words: tuple[Word, ...]
    waiter: Waiter
    hops: int = _HOPS
    until: float = 0.0


class Redis:
    """The line. `changed(up)` is called whenever the line came up or went down, in the turn of the loop in which it
    did; up means that every node is there whose slots were asked about, and does what it is told."""

    def __init__(self, url: str, patience: float = 0.25, changed: Callable[[bool], None] | None = None) -> None:
        self._home = address_of(url)
        self._patience = patience
        self._changed = changed
        self._nodes: dict[tuple[str, int], Node] = {}
        self._slots: list[Node] | None = None  # None: one server, no cluster
        self._known = False  # whether it is a cluster has been asked
        self._used: set[int] = set()  # slots
        self._replicas: list[Address] = []
        self._first: Node | None = None
        self._mapping: asyncio.Task[None] | None = None
        self._told = False  # what `changed` was told last
        self._ailing: asyncio.TimerHandle | None = None
        self._ails = 0
        self._ailed_at = -_WELL
        self._again = 0  # commands that are to be tried again
        self._closed = False
        self.counts = Counts()

    @property
    def up(self) -> bool:
        if self._first is None or self._ailing is not None:
            return False
        if self._slots is None:
            return self._first.wire is not None
        nodes = [self._slots[slot] for slot in self._used] or self._nodes.values()
        return all([node.wire is not None for node in nodes])

    async def open(self) -> bool:
        """Connects; False where that did not work at once: it is tried again in the background, for ever."""
        self._first = self._node(self._home)
        if await self._first.dial() and self._mapping is not None:
            await asyncio.wait([self._mapping])
        return self.up

    async def close(self) -> None:
        """Who waits is told RedisLost."""
        self._closed = True
        if self._ailing is not None:
            self._ailing.cancel()
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
        self._send(_Asking(key, words, waiter))

    def run(self, script: Script, keys: tuple[bytes, ...], arguments: tuple[Word, ...], waiter: Waiter) -> None:
        """Runs a script; all `keys` (one at least) lie in one slot."""

        def come(value: Any) -> None:
            if isinstance(value, RedisError) and str(value).startswith("NOSCRIPT"):
                again = ("EVAL", script.body, len(keys), *keys, *arguments)
                self._send(_Asking(keys[0], again, waiter))
            else:
                waiter(value)

        self._send(_Asking(keys[0], ("EVALSHA", script.sha, len(keys), *keys, *arguments), come))

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

    # Sending

    def _send(self, asking: _Asking) -> None:
        node = self._first
        if self._slots is not None:
            slot = slot_of(asking.key)
            self._used.add(slot)
            node = self._slots[slot]
        self._send_to(node, asking)

    def _send_to(self, node: Node | None, asking: _Asking, ahead: tuple[Word, ...] = ()) -> None:
        """`ahead`: a command that has to come right before it."""
        wire = None if node is None else node.wire
        try:
            if wire is None:
                raise RedisLost("there is no connection")
            if ahead:
                wire.send(ahead, _nobody)
            wire.send(asking.words, lambda value: self._come(asking, node, value))
        except RedisLost as error:
            self._end(asking, error)

    def _come(self, asking: _Asking, node: Node | None, value: Any) -> None:
        if isinstance(value, RedisError):
            words = str(value).split()
            kind = words[0] if words else ""
            if kind in ("MOVED", "ASK") and asking.hops and self._slots is not None:
                self._follow(words, asking)
                return
            if kind == "TRYAGAIN" and self._tried_again(asking):
                return
            # Before 7.0 a script's error is inside of another text.
            if (kind in _UNFIT or ": -READONLY " in str(value)) and node is not None:
                value = node.give_up(value)
            elif kind in _UNABLE:
                value = self._unable(value)
        self._end(asking, value)

    def _end(self, asking: _Asking, value: Any) -> None:
        if isinstance(value, RedisLost):
            self.counts.unanswered += 1
        asking.waiter(value)

    def _follow(self, moved: list[str], asking: _Asking) -> None:
        """`MOVED slot host:port`: the slot lies elsewhere; `ASK`: this one command does."""
        host, _, port = moved[2].rpartition(":")
        asking.hops -= 1
        try:
            node = self._node(replace(self._home, host=host or self._home.host, port=int(port)))
        except RedisLost as error:
            self._end(asking, error)
            return
        if moved[0] == "ASK":
            self._send_to(node, asking, ("ASKING",))
            return
        if self._slots is not None:
            self._slots[int(moved[1])] = node
            self._report()
        self._remap()
        self._send_to(node, asking)

    def _tried_again(self, asking: _Asking) -> bool:
        """While a slot moves, nobody has all keys of a script: it is tried again, within the patience."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        asking.until = asking.until or now + self._patience
        if now + _SOON >= asking.until or self._again >= MAX_AGAIN or self._closed:
            return False
        self._again += 1

        def again() -> None:
            self._again -= 1
            asking.hops = _HOPS
            self._send(asking)

        loop.call_later(_SOON, again)
        return True

    def _unable(self, error: RedisError) -> RedisLost:
        """A server has done nothing, since it can do nothing: the line is down for a while."""
        if self._ailing is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._ails = self._ails + 1 if loop.time() - self._ailed_at < _WELL else 0
            self._ailed_at = loop.time()
            self._ailing = loop.call_later(PAUSES[min(self._ails, len(PAUSES) - 1)], self._better)
            self._remap()
            self._report()
        return RedisLost(str(error))

    def _better(self) -> None:
        self._ailing = None
        self._report()

    # Nodes

    def _report(self) -> None:
        if self.up != self._told:
            self._told = not self._told
            if self._changed is not None:
                self._changed(self._told)

    def _node(self, address: Address) -> Node:
        key = (address.path or address.host, address.port)
        node = self._nodes.get(key)
        if node is None:
            if len(self._nodes) >= MAX_NODES:
                raise RedisLost("too many nodes")
            node = self._nodes[key] = Node(address, self)
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
            # Where all have other addresses now, that of the URL knows them; where the only master is gone, a replica.
            for address in (self._home, *self._replicas):
                self._node(address)
            return
        try:
            ranges = await asked(wire, ("CLUSTER", "SLOTS"))
        except RedisError:
            ranges = []
        self._known = True
        if ranges:
            self._use(ranges)
        self._report()
        for node in list(self._nodes.values()):
            await node.settled()

    def _use(self, ranges: list[Any]) -> None:
        assert self._first is not None
        slots = [self._first] * SLOTS
        kept: set[tuple[str, int]] = set()
        replicas: dict[tuple[str, int], Address] = {}
        for first, last, *nodes in ranges:
            master, *others = [self._address_in(*node[:2]) for node in nodes]
            kept.add((master.host, master.port))
            slots[first : last + 1] = [self._node(master)] * (last + 1 - first)
            replicas.update({(one.host, one.port): one for one in others})
        self._slots = slots
        self._replicas = list(replicas.values())[:MAX_NODES]
        for key in [key for key in self._nodes if key not in kept]:
            self._nodes.pop(key).retire()
        self._first = slots[0]

    def _address_in(self, host: bytes | None, port: int) -> Address:
        """Of a node. One that does not know its own address is where we have reached it."""
        return replace(self._home, host=(host or b"").decode() or self._home.host, port=port)

    def connected(self) -> None:
        """A node has been reached. What it says of the cluster may be news."""
        self.counts.connected += 1
        self._remap()
        if self._known:
            self._report()

    def unreached(self, error: Exception) -> None:
        """A node could not be reached: another may have its slots by now."""
        if not self.counts.failed % 60:
            logger.warning("Redis: %s", error)
        self.counts.failed += 1
        if self._slots is not None:
            self._remap()

    def lost(self) -> None:
        """A node has been lost."""
        self.counts.lost += 1
        self._report()

    @property
    def patience(self) -> float:
        return self._patience

    @property
    def closed(self) -> bool:
        return self._closed


def _nobody(_: Any) -> None:
    pass
