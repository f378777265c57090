"""The lines between the servers and what they share: TCP proxies that can be cut, stalled and reset, one for each of
PostgreSQL and Redis to each server. They run in a loop and thread of their own.
"""

import asyncio
import contextlib
import threading
from typing import Final, Literal

import uvloop

State = Literal["open", "cut", "stalled"]
_PIECE: Final = 65_536


class Cable:
    """To `far`, a port of loopback, from `port`. Its verbs may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, far: int) -> None:
        self._loop = loop
        self._far = far
        self._state: State = "open"
        self._moves = asyncio.Event()
        self._moves.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def lay(self) -> None:
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def take_up(self) -> None:
        """From the loop's own thread."""
        if self._server is not None:
            self._server.close()
        self._state = "cut"
        self._abort()

    def reset(self) -> None:
        """Every connection breaks; new ones are let through."""
        self._loop.call_soon_threadsafe(self._abort)

    def set(self, state: State) -> None:
        """`cut` breaks every connection and refuses new ones; `stalled` lets none of them carry anything."""

        def put() -> None:
            self._state = state
            if state == "stalled":
                self._moves.clear()
            else:
                self._moves.set()
            if state == "cut":
                self._abort()

        self._loop.call_soon_threadsafe(put)

    def _abort(self) -> None:
        for end in list(self._ends):
            end.transport.abort()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._state == "cut":
            writer.transport.abort()
            return
        self._ends.add(writer)
        try:
            await self._moves.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far)
        except OSError:
            self._ends.discard(writer)
            writer.transport.abort()
            return
        self._ends.add(far_writer)
        try:
            await asyncio.gather(self._poured(reader, far_writer), self._poured(far_reader, writer))
        finally:
            self._ends -= {writer, far_writer}

    async def _poured(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_PIECE):
                await self._moves.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


class Cables:
    """Lays cables; `close` takes all of them up."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._loop.set_exception_handler(_silent)
        self._thread = threading.Thread(target=self._loop.run_forever, name="cables", daemon=True)
        self._thread.start()
        self._laid: list[Cable] = []

    def lay(self, far: int) -> Cable:
        cable = Cable(self._loop, far)
        asyncio.run_coroutine_threadsafe(cable.lay(), self._loop).result(10)
        self._laid.append(cable)
        return cable

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _finish(self) -> None:
        for cable in self._laid:
            cable.take_up()
        mine = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not mine]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _silent(_: asyncio.AbstractEventLoop, __: dict[str, object]) -> None:
    """A connection that breaks under a proxy is what the proxy is for."""
