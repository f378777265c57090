"""The server protocol on a socket with a front door behind it and no gateway: routes are what a test says, and time
passes when a test says so (`Doorway.later`)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeVar

from uvicorn.config import Config
from uvicorn.server import ServerState

from posthouse.api.exchange import Exchange, Route
from posthouse.api.house import ProtocolOptions
from posthouse.api.protocol import ServerProtocol
from posthouse.api.server import FrontDoor
from posthouse.core.caller import Caller
from posthouse.core.errors import PosthouseError, Unauthenticated
from posthouse.core.ids import IdMaker

KEY: Final = "sk-ph-doorway-key"
LIMIT: Final = 10.0  # seconds: the bound of every wait
Handler = Callable[[Exchange], Awaitable[None]]
Result = TypeVar("Result")


class Keys:
    def __init__(self) -> None:
        self.known = {KEY}

    def authenticate(self, secret: str) -> Caller:
        if secret not in self.known:
            raise Unauthenticated("Incorrect API key.")
        return Caller("key_1", "test", "acc_1", ())


class Refusals:
    def __init__(self) -> None:
        self.errors: list[PosthouseError] = []

    def request_refused(self, route: str, error: PosthouseError) -> None:
        self.errors.append(error)


class Doorway:
    def __init__(self, options: ProtocolOptions, origins: tuple[str, ...]) -> None:
        self.keys = Keys()
        self.refusals = Refusals()
        self.state = ServerState()
        self.door = FrontDoor(options, self.keys, self.refusals, IdMaker(), origins)
        self.port = 0

    @property
    def connections(self) -> list[Any]:
        return list(self.state.connections)

    @property
    def line(self) -> Any:
        """The one connection that is open."""
        (connection,) = self.connections
        return connection

    def stream(self, path: str, handler: Handler) -> None:
        self.door.add(path, {b"POST": Route("upload", handler, streams_body=True)})

    def later(self, seconds: float) -> None:
        """The sweep, as if so much time had passed."""
        now = asyncio.get_running_loop().time() + seconds
        for connection in self.connections:
            connection.sweep(now)

    async def client(self) -> "Client":
        return Client(*await asyncio.open_connection("127.0.0.1", self.port))


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Hands it to the kernel as far as that takes it."""
        self.writer.write(data)

    async def sent(self) -> None:
        """Until the kernel has taken nearly everything."""
        self.writer.transport.set_write_buffer_limits(high=0)
        await soon(self.writer.drain())

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await soon(self.reader.readuntil(b"\r\n\r\n"))).decode().split("\r\n")
        pairs = (line.partition(":") for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        status, headers = await self.head()
        return status, headers, await soon(self.reader.readexactly(int(headers["content-length"])))

    async def ended(self) -> bool:
        """Whether the server says nothing more and closes."""
        with contextlib.suppress(ConnectionError):
            return await soon(self.reader.read()) == b""
        return True

    async def leave(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await soon(self.writer.wait_closed())


@contextlib.asynccontextmanager
async def doorway(options: ProtocolOptions | None = None, origins: tuple[str, ...] = ("*",)) -> AsyncIterator[Doorway]:
    made = Doorway(options or ProtocolOptions(), origins)
    loop = asyncio.get_running_loop()
    config = Config(app=made.door)  # type: ignore[arg-type]  # as in posthouse.app
    config.loaded_app = made.door

    def accept() -> asyncio.Protocol:
        return ServerProtocol(config, made.state, {}, loop)

    server = await loop.create_server(accept, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for connection in made.connections:
            connection.transport.abort()
        await until(lambda: not made.connections and not made.state.tasks)
        await server.wait_closed()


async def soon(awaitable: Awaitable[Result]) -> Result:
    """Its result, within LIMIT."""
    return await asyncio.wait_for(awaitable, LIMIT)


async def until(condition: Callable[[], Any]) -> None:
    """Lets the loop turn until the condition holds; TimeoutError after LIMIT."""
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.001)
