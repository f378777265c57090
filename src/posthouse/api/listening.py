"""uvicorn's server around our protocol: its sockets, signals and graceful shutdown, nothing of its HTTP.

Above: the composition root. Below: `protocol.py`.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Generator
from typing import Final

from uvicorn.config import Config
from uvicorn.server import Server

from posthouse.api.house import ProtocolOptions
from posthouse.api.protocol import ServerProtocol
from posthouse.api.server import FrontDoor
from posthouse.settings import ServerSettings, Settings

_ENDS: Final = (signal.SIGTERM, signal.SIGINT)


class HouseServer(Server):
    """uvicorn's server, but a signal that asks for an orderly end is obeyed and done with: uvicorn raises it again
    after the shutdown, so that the process would be seen to die of it instead of exiting with 0. `hung_up` is what
    SIGHUP does."""

    def __init__(self, config: Config, hung_up: Callable[[], None]) -> None:
        super().__init__(config)
        self._hung_up = hung_up

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in _ENDS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        try:
            yield
        finally:
            for number in (*_ENDS, signal.SIGHUP):
                loop.remove_signal_handler(number)


def make_server(door: FrontDoor, settings: Settings, hung_up: Callable[[], None]) -> HouseServer:
    """`hung_up` is called in the loop."""
    server = settings.server
    config = Config(
        app=door,  # type: ignore[arg-type]  # no ASGI application: our protocol asks `admit` and `answer` of it
        host=server.host,
        port=server.port,
        http=ServerProtocol,
        ws="none",
        interface="asgi3",
        lifespan="off",
        proxy_headers=False,
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        backlog=2048,
        timeout_graceful_shutdown=max(1, round(server.drain_timeout)),
    )
    return HouseServer(config, hung_up)


def protocol_options(server: ServerSettings) -> ProtocolOptions:
    """What a connection is bounded by."""
    never = float("inf")
    return ProtocolOptions(
        header_timeout=server.header_timeout,
        body_timeout=server.body_timeout,
        keep_alive=server.keep_alive or 1.0,
        heartbeat=server.heartbeat or never,
        header_limit=server.header_limit,
        body_limit=server.body_limit,
    )
