"""One connection to a Redis or Valkey server: commands go out together, answers come back in order.

All commands of one turn of the event loop are one write. Answers are matched to commands by their order, so one that
does not come holds up all behind it: after `patience` seconds the connection is given up, and every command that waits
on it fails with it. Above: redis.py. Below: asyncio, and hiredis for the protocol (RESP).
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis
from msgspec import Struct

Word = bytes | str | int
Waiter = Callable[[Any], None]
"""Called once with what came back: a value, a `RedisError`, or a `RedisLost`."""

MAX_WAITING: Final = 20_000  # commands of a connection that have no answer yet
MAX_UNSENT: Final = 16 << 20  # bytes that the server does not take
DIAL: Final = 2.0  # seconds for a connection to be made
_LATE: Final = 0.02  # seconds by which a look may come late before it is us who had no time
_LATEST: Final = 4  # times the patience: no longer than that, however late we are


class RedisError(Exception):
    """An error that the server answered with; its text begins with the kind, such as NOSCRIPT."""


class RedisLost(Exception):
    """The server cannot be asked, or did not answer in time. Whether it did what it was told is not known."""


class Address(Struct, frozen=True):
    """Where a server is: a host and port, or a socket's path. `database` is selected where it is not 0."""

    host: str = "127.0.0.1"
    port: int = 6379
    path: str | None = None
    username: str | None = None
    password: str | None = None
    database: int = 0
    tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"Address({self.path or f'{self.host}:{self.port}'})"


class Wire(asyncio.Protocol):
    """`patience` in seconds. `lost` is called once when the connection has ended, after all who waited were told."""

    def __init__(self, patience: float, lost: Callable[["Wire"], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._patience = patience
        self._lost = lost
        self._reader = hiredis.Reader(replyError=RedisError, protocolError=RedisLost)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[float, Waiter]] = deque()
        self._unsent: list[bytes] = []
        self._watch: asyncio.TimerHandle | None = None
        self.ended = False

    def __len__(self) -> int:
        return len(self._waiting)

    def send(self, words: tuple[Word, ...], waiter: Waiter) -> None:
        """Sends a command at the end of this turn of the loop. RedisLost where that cannot be."""
        if self.ended:
            raise RedisLost("the connection has ended")
        if len(self._waiting) >= MAX_WAITING:
            raise RedisLost("too many commands wait for their answers")
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub knows one word only
        self._waiting.append((self._loop.time(), waiter))
        if self._watch is None:
            self._watch_for(self._patience)

    def close(self, why: str = "closed") -> None:
        """Ends the connection now; who waits is told."""
        self._end(RedisLost(why))

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        transport = self._transport
        if self.ended or transport is None:
            return
        if transport.get_write_buffer_size() > MAX_UNSENT:
            self._end(RedisLost("the server does not read"))
            return
        transport.writelines(unsent)

    def _watch_for(self, seconds: float) -> None:
        due = self._loop.time() + seconds
        self._watch = self._loop.call_later(seconds, self._look, due)

    def _look(self, due: float) -> None:
        """The oldest command is the one to be answered next: nobody's patience ends before its."""
        self._watch = None
        if not self._waiting:
            return
        now = self._loop.time()
        left = self._waiting[0][0] + self._patience - now
        if left > 0:
            self._watch_for(left)
        elif now - due > _LATE and left > -(_LATEST - 1) * self._patience:
            # A process that stood still may only now have sent what it asks, and not have read what was answered.
            self._watch_for(_LATE)
        else:
            self._end(RedisLost(f"no answer within {self._patience} s"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        try:
            reader.feed(data)
            answer = reader.gets()
            while answer is not False:
                if not self._waiting:
                    raise RedisLost("an answer to no question")
                self._waiting.popleft()[1](answer)
                answer = reader.gets()
        except RedisLost as error:
            self._end(error)

    def eof_received(self) -> None:
        self._end(RedisLost("the server closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(RedisLost("the connection broke" if exc is not None else "the server closed the connection"))

    def _end(self, why: RedisLost) -> None:
        if self.ended:
            return
        self.ended = True
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        waiting, self._waiting = self._waiting, deque()
        for _, waiter in waiting:
            waiter(why)
        self._lost(self)


async def connect(address: Address, patience: float, lost: Callable[[Wire], None]) -> Wire:
    """A connection that has shown who it is; `patience` and `lost` are the wire's. RedisLost where there is none within
    DIAL seconds, RedisError where the server refuses it."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(DIAL):
            if address.path is not None:
                _, wire = await loop.create_unix_connection(lambda: Wire(patience, lost), address.path)
            else:
                _, wire = await loop.create_connection(
                    lambda: Wire(patience, lost),
                    address.host,
                    address.port,
                    ssl=address.tls,
                    server_hostname=address.host if address.tls is not None else None,
                )
    except (OSError, ssl.SSLError) as error:
        raise RedisLost(f"{address!r} cannot be reached: {error}") from None
    except TimeoutError:
        raise RedisLost(f"{address!r} does not answer within {DIAL:g} s") from None
    try:
        await _introduce(wire, address)
    except BaseException:
        wire.close("not introduced")
        raise
    return wire


async def _introduce(wire: Wire, address: Address) -> None:
    if address.password is not None:
        words: tuple[Word, ...] = ("AUTH", address.password)
        if address.username is not None:
            words = ("AUTH", address.username, address.password)
        await asked(wire, words)
    if address.database:
        await asked(wire, ("SELECT", address.database))
    await asked(wire, ("CLIENT", "SETNAME", "posthouse"))


async def asked(wire: Wire, words: tuple[Word, ...]) -> Any:
    """The answer to one command. RedisError, RedisLost."""
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def come(value: Any) -> None:
        if answer.done():
            return
        if isinstance(value, Exception):
            answer.set_exception(value)
        else:
            answer.set_result(value)

    wire.send(words, come)
    return await answer
