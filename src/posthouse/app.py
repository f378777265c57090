"""The composition root: the whole wiring of the house, and its life from start to drain.

`Posthouse(loaded, environ)` makes every room, bottom up, without touching the network. `serve` opens the door and runs
until a signal: then no new work is taken, streams under way finish up to a deadline, and all records are written.

Below: everything. Above: `cli`.
"""

import asyncio
import contextlib
import gc
import logging
import pkgutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from typing import Final

from uvicorn.config import Config
from uvicorn.server import Server

from posthouse.accounts.service import Directory
from posthouse.api.asgi import Application, Bridge
from posthouse.api.exchange import Exchange, Route
from posthouse.api.house import ProtocolOptions
from posthouse.api.openai import OpenAIFace
from posthouse.api.pages import Pages
from posthouse.api.protocol import ServerProtocol
from posthouse.api.server import FrontDoor, keep_time
from posthouse.api.services import Services
from posthouse.billing.estimate import TokenCounter
from posthouse.billing.ledger import Ledger
from posthouse.billing.prices import PriceBook
from posthouse.core.errors import ConfigError, PosthouseError
from posthouse.core.ids import IdMaker
from posthouse.gateway.model import GatewayOptions
from posthouse.gateway.passage import Ledgers
from posthouse.gateway.pricing import Pricing
from posthouse.gateway.service import Gateway, GatewayParts
from posthouse.limits.service import Limiter
from posthouse.providers.registry import Registry
from posthouse.providers.registry import load as load_registry
from posthouse.routing.catalog import Catalog
from posthouse.routing.model import RoutingOptions
from posthouse.routing.offers import find_offers, from_environment, routes_of
from posthouse.routing.service import Router
from posthouse.settings import Loaded, Settings
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal, JournalOptions
from posthouse.telemetry import RequestLog, Telemetry
from posthouse.upstream.client import ClientOptions, UpstreamClient
from posthouse.upstream.pool import PoolLimits

logger = logging.getLogger("posthouse")

# FastAPI and Pydantic take 0.36 s to import, a third of what a cold start may take; nothing needs them before the
# socket listens. Named by string, as uvicorn names applications: app stands above api, so no arrow is hidden.
# (docs/adr/0005)
CONTROL_PLANE: Final = "posthouse.api.control:create"
_REFRESH_SECONDS: Final = 0.5
_REPLAY_SECONDS: Final = 60.0
_GREETING_SECONDS: Final = 0.5


class Posthouse:
    """One house. `environ` is the process's; `new_admin_key` is set where this start made one."""

    def __init__(self, loaded: Loaded, environ: Mapping[str, str]) -> None:
        self.registry = load_registry()
        for problem in self.registry.problems:
            logger.error("%s", problem)
        self.loaded = loaded = complete(loaded, environ, self.registry)
        self.settings = settings = loaded.settings
        storage = settings.storage
        self.database = open_database(settings)
        self.database.upgrade()
        self.directory = Directory(self.database, settings.limits)
        key = settings.admin.key
        self.new_admin_key = self.directory.ensure_admin_key(None if key is None else key.reveal())
        self.journal = Journal(storage.data / "journal", self.database, options=_journal_options(settings))
        self.telemetry = Telemetry()
        if settings.log.requests:
            self.telemetry.log = RequestLog(as_json=settings.log.format == "json")
        self.ids = IdMaker()
        self._counter = TokenCounter()
        self.client: UpstreamClient | None = None
        self.prices = PriceBook(settings.prices)
        self.pricing = Pricing(self.prices)
        self.door = FrontDoor(_protocol_options(settings), self.directory, self, self.ids, settings.server.cors_origins)
        self.catalog: Catalog | None = None
        self.gateway: Gateway | None = None
        self.router: Router | None = None
        self.server: Server | None = None
        self._draining = False
        self._control: Application | None = None
        self._control_lock = threading.Lock()

    # Wiring that needs the running loop

    async def assemble(self) -> None:
        """Finds the providers, and makes what stands on them. Call once, in the loop that will serve."""
        settings = self.settings
        await asyncio.to_thread(self.journal.start)
        self.client = make_client(settings)
        offers = await find_offers(settings, self.registry, self.client)
        self.catalog = Catalog(offers, routes_of(settings.routes), int(time.time()))
        routing = settings.routing
        self.router = Router(
            self.catalog,
            RoutingOptions(
                max_attempts=routing.max_attempts,
                deadline=routing.deadline,
                backoff=routing.backoff_base,
                backoff_max=routing.backoff_max,
                cooldown=routing.cooldown,
            ),
            self.telemetry,
        )
        ledger = await asyncio.to_thread(self._open_ledger)
        parts = GatewayParts(
            limiter=Limiter(),
            ledger=ledger,
            pricing=self.pricing,
            router=self.router,
            counter=self._counter,
            ledgers=Ledgers(self.journal, self.telemetry),
        )
        self.gateway = Gateway(parts, GatewayOptions(default_output=settings.billing.default_output_tokens))
        OpenAIFace(self.door, self.gateway, self.catalog).mount()
        Pages(self.door, self.catalog, self.telemetry, self.not_ready).mount()
        methods = (b"GET", b"POST", b"PUT", b"PATCH", b"DELETE")
        control = Route("admin", self._admin, authenticated=False)
        self.door.add_prefix("/admin/", dict.fromkeys(methods, control))
        self._gauges()

    def _open_ledger(self) -> Ledger:
        self.database.claim()
        # What a former life left is part of every balance, and ends of its holds must not meet holds expired before
        # them.
        if not self.journal.wait_applied(_REPLAY_SECONDS):
            raise ConfigError(
                "The records of the last run could not be moved into the database yet: see the log, mend the database, "
                "and start again. Nothing is lost: they are in the journal of the data folder."
            )
        return Ledger.open(self.database, self.journal, self.settings.billing.unpriced)

    # What the door asks

    def request_refused(self, route: str, error: PosthouseError) -> None:
        self.telemetry.refused(route, error.status, error.code or error.type)

    def not_ready(self) -> str | None:
        if self._draining:
            return "shutting down"
        if not self.journal.healthy:
            return "records cannot be written: see the log, and the disk that holds the data folder"
        return None

    async def _admin(self, exchange: Exchange) -> None:
        application = self._control if self._control is not None else await asyncio.to_thread(self._load_control)
        await Bridge(exchange, self.door.common_head(exchange)).run(application)

    def _load_control(self) -> Application:
        with self._control_lock:
            control = self._control
            if control is None:
                create: Callable[[Services], Application] = pkgutil.resolve_name(CONTROL_PLANE)
                assert self.router is not None
                control = self._control = create(
                    Services(
                        self.loaded,
                        self.database,
                        self.journal,
                        self.directory,
                        self.prices,
                        self.pricing,
                        self.router,
                        self.registry,
                    )
                )
            return control

    # Life

    async def serve(
        self, sockets: list[socket.socket] | None = None, started: Callable[[int], None] | None = None
    ) -> None:
        """Until SIGTERM or SIGINT. `started` is called with the port once the socket listens."""
        await self.assemble()
        assert self.catalog is not None and self.gateway is not None
        if self.telemetry.log is not None:
            self.telemetry.log.start()
        server = self.server = make_server(self.door, self.settings)
        tasks = [
            asyncio.create_task(keep_time(self.door, server.server_state.connections)),  # type: ignore[arg-type]
            asyncio.create_task(self._follow_catalog()),
            asyncio.create_task(self._follow_directory()),
            asyncio.create_task(self._announce(server, started)),
        ]
        try:
            await server.serve(sockets)
        finally:
            self._draining = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.close()

    def stop(self) -> None:
        """What a signal does. From any thread."""
        if self.server is not None:
            self.server.should_exit = True

    async def close(self) -> None:
        """Everything written, everything closed."""
        if self.gateway is not None:
            await self.gateway.closing(self.settings.server.drain_timeout)
        if self.client is not None:
            await self.client.aclose()
        self._counter.close()
        await asyncio.to_thread(self.journal.close, 30.0)
        if self.telemetry.log is not None:
            self.telemetry.log.close()
        self.database.close()

    async def _announce(self, server: Server, started: Callable[[int], None] | None) -> None:
        while not server.started:
            await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        if started is not None:
            assert self.catalog is not None
            await self.catalog.asked_once(_GREETING_SECONDS)  # a greeting names models; requests are served already
            started(port)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1.0)  # the first requests come first
            await asyncio.to_thread(self._load_control)
            _spare_collector()

    async def _follow_catalog(self) -> None:
        assert self.catalog is not None and self.router is not None
        while True:
            try:
                await self.catalog.refresh()
                self.pricing.clear()
                self.router.health.forget(frozenset(c.deployment.id for c in self.catalog.deployments()))
            except Exception:  # the top of a task: what one provider's list holds must not end it
                logger.exception("the catalog could not be renewed")
            seconds = self.settings.routing.models_refresh
            await asyncio.sleep(seconds if seconds > 0 else 86_400 * 365)

    async def _follow_directory(self) -> None:
        """Keys that another process made or revoked hold here within a second."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            try:
                await asyncio.to_thread(self.directory.refresh_if_changed)
            except Exception:  # the top of a task: a database that is away must not end it
                logger.exception("keys could not be read again")

    def _gauges(self) -> None:
        router, journal = self.router, self.journal
        assert router is not None

        def circuits() -> list[tuple[str, str, float]]:
            now = asyncio.get_running_loop().time()
            report = router.health.report(now)
            return [(name, operation, float(left > 0)) for (name, operation), (_, _, left) in report.items()]

        self.telemetry.circuits(circuits)
        gauge = self.telemetry.gauge
        gauge(
            "journal_pending_bytes",
            "Written to the journal, not yet in the database.",
            lambda: journal.stats().pending_bytes,
        )
        gauge(
            "journal_lag_seconds",
            "Age of the oldest record not yet in the database.",
            lambda: journal.stats().lag_seconds,
        )
        gauge("journal_rejected_records", "Records that the database refused.", lambda: journal.stats().rejected)
        gauge("journal_repeated_ends", "Ends of holds that had ended before.", lambda: journal.stats().repeated)
        gauge("journal_dropped_records", "Records that found no room; never money.", lambda: journal.stats().dropped)


class HouseServer(Server):
    """uvicorn's server, but a signal that asks for an orderly end is obeyed and done with: uvicorn raises it again
    after the shutdown, so that the process would be seen to die of it instead of exiting with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


def _spare_collector() -> None:
    """What the start has made stays: 93,000 objects, through which the cyclic collector went again and again, in 25 ms
    each. Requests leave no cycles, but every 700 of the objects that a batch of records makes started it: 22 us of CPU
    per request, on average. Costs one last collection, a second after the start."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def complete(loaded: Loaded, environ: Mapping[str, str], registry: Registry) -> Loaded:
    """The settings with the providers that well-known variables make. ConfigError where they contradict each other."""
    if not loaded.settings.providers:
        loaded = loaded.with_providers(from_environment(environ, registry, loaded.settings.upstream))
    loaded.ensure(registry.by_name)
    return loaded


def make_client(settings: Settings) -> UpstreamClient:
    """The only outbound HTTP. Call it in the loop that will use it."""
    upstream = settings.upstream
    limits = PoolLimits(connections=upstream.max_connections, keep_alive=upstream.keep_alive)
    return UpstreamClient(ClientOptions(limits=limits))


def open_database(settings: Settings) -> Database:
    """The database that the settings name: PostgreSQL, else SQLite in the data folder."""
    storage = settings.storage
    url = storage.database_url
    return Database(f"sqlite:///{storage.data / 'posthouse.db'}" if url is None else url.reveal())


def make_server(door: FrontDoor, settings: Settings) -> Server:
    """uvicorn's server around our protocol: its sockets, signals and graceful shutdown, nothing of its HTTP."""
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
    return HouseServer(config)


def configure_logging(settings: Settings) -> None:
    """Plain lines on stderr for people; the log of requests is telemetry's."""
    logging.basicConfig(
        level=settings.log.level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _protocol_options(settings: Settings) -> ProtocolOptions:
    server = settings.server
    never = float("inf")
    return ProtocolOptions(
        header_timeout=server.header_timeout,
        body_timeout=server.body_timeout,
        keep_alive=server.keep_alive or 1.0,
        heartbeat=server.heartbeat or never,
        header_limit=server.header_limit,
        body_limit=server.body_limit,
    )


def _journal_options(settings: Settings) -> JournalOptions:
    storage = settings.storage
    return JournalOptions(segment_bytes=storage.journal_segment, total_bytes=storage.journal_limit)
