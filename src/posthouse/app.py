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
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from posthouse.accounts.service import Directory
from posthouse.api.anthropic import AnthropicFace
from posthouse.api.asgi import Application, Bridge
from posthouse.api.asking import Asker
from posthouse.api.dashboard import Dashboard
from posthouse.api.exchange import Exchange, Route
from posthouse.api.gemini import GeminiFace
from posthouse.api.listening import HouseServer, make_server, protocol_options
from posthouse.api.models import ModelLists
from posthouse.api.openai import OpenAIFace
from posthouse.api.pages import Pages
from posthouse.api.passing import PassingFace
from posthouse.api.peers import Peers
from posthouse.api.repeats import Repeats, make_repeats
from posthouse.api.server import FrontDoor, keep_time
from posthouse.api.services import Services
from posthouse.api.sockets import Sockets
from posthouse.api.topups import open_till
from posthouse.billing.corrections import CorrectionDesk
from posthouse.billing.desk import Kept, PriceDesk
from posthouse.billing.estimate import TokenCounter
from posthouse.billing.exchange import ExchangeBook
from posthouse.billing.ledger import Ledger
from posthouse.billing.prices import PriceBook
from posthouse.billing.stands import NoStands, StandReader
from posthouse.core.errors import ConfigError, PosthouseError
from posthouse.core.hours import zone_of
from posthouse.core.ids import IdMaker
from posthouse.gateway.admission import GatewayParts
from posthouse.gateway.configuration import Configuration, Running, routing_options
from posthouse.gateway.following import Follower
from posthouse.gateway.gate import SharedTaking
from posthouse.gateway.gauges import show_gauges
from posthouse.gateway.model import GatewayOptions
from posthouse.gateway.passage import Ledgers
from posthouse.gateway.pricing import Pricing
from posthouse.gateway.raw import RawDoor
from posthouse.gateway.replica import Replica
from posthouse.gateway.service import Gateway
from posthouse.gateway.subjects import default_limits, everybodys_limits, house_limits
from posthouse.limits.calendar import Calendar
from posthouse.limits.recall import DayReader
from posthouse.limits.service import Limiter
from posthouse.providers.registry import Registry
from posthouse.providers.registry import load as load_registry
from posthouse.routing.catalog import Catalog
from posthouse.routing.model import Offer
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
_REPLAY_SECONDS: Final = 60.0
_GREETING_SECONDS: Final = 0.5


class Posthouse:
    """One house. `environ` is the process's; `new_admin_key` is set where this start made one; `worker` is the number
    of this process among those that share a data folder."""

    def __init__(self, loaded: Loaded, environ: Mapping[str, str], worker: int = 0) -> None:
        self.registry = load_registry()
        for problem in self.registry.problems:
            logger.error("%s", problem)
        self._loaded = loaded = complete(loaded, environ, self.registry)
        self._environ = environ
        self.settings = settings = loaded.settings
        storage = settings.storage
        self.database = open_database(settings)
        self.database.upgrade()
        self.directory = Directory(self.database, default_limits(settings.limits))
        key = settings.admin.key
        self.new_admin_key = self.directory.ensure_admin_key(None if key is None else key.reveal())
        folder = storage.data / (f"journal-{worker}" if worker else "journal")
        options = JournalOptions(segment_bytes=storage.journal_segment, total_bytes=storage.journal_limit)
        self.journal = Journal(folder, self.database, options=options)
        self.telemetry = Telemetry()
        if settings.log.requests:
            self.telemetry.log = RequestLog(as_json=settings.log.format == "json")
        self.ids = IdMaker()
        self._counter = TokenCounter()
        self.client: UpstreamClient | None = None
        self.prices = PriceBook(settings.prices)
        self.pricing = Pricing(self.prices, ExchangeBook(settings.rates))
        self.desk = PriceDesk(self.database)
        self.corrections = CorrectionDesk(self.database)
        self.ledger: Ledger | None = None
        if (kept := self.desk.changed()) is not None:
            self._use_prices(kept)
        self.door = FrontDoor(
            protocol_options(settings.server), self.directory, self, self.ids, settings.server.cors_origins
        )
        self.till = open_till(self.door, self.database, self.directory, settings)
        self.catalog: Catalog | None = None
        self.gateway: Gateway | None = None
        self.raw: RawDoor | None = None
        self.repeats: Repeats | None = None
        self.router: Router | None = None
        self.configuration: Configuration | None = None
        self.replica: Replica | None = None
        self.server: HouseServer | None = None
        self._draining = False
        self._reloads: set[asyncio.Task[None]] = set()
        self._control: Application | None = None
        self._control_lock = threading.Lock()

    # Wiring that needs the running loop

    async def assemble(self) -> None:
        """Finds the providers, and makes what stands on them. Call once, in the loop that will serve."""
        settings = self.settings
        await asyncio.to_thread(self.journal.start)
        self.client = make_client(settings)
        try:
            offers = await self._offers_of(settings)
        except ConfigError as error:
            raise self._loaded.located(error) from None
        self.catalog = Catalog(offers, routes_of(settings.routes), int(time.time()))
        self.router = Router(self.catalog, routing_options(settings.routing), self.telemetry)
        running = Running(self.router, self.prices, self.pricing, self.client, self._offers_of)
        self.configuration = Configuration(self._loaded, self._read, frozenset(self.registry.by_name), running)
        zone = zone_of(settings.limits.time_zone)
        limiter, shared = Limiter(zone=zone), None
        self.ledger = ledger = await asyncio.to_thread(self._open_ledger)
        if (url := settings.storage.redis_url) is not None:
            self.replica = Replica(url.reveal(), self.database, self.journal, limiter, Calendar(zone))
            await self.replica.open()
            ledger.follow(self.replica.now, self.replica.corrected)
            await self.replica.start()
            shared = SharedTaking(self.replica, ledger, self.journal, self.telemetry)
        else:
            await DayReader(limiter, self.database, self.journal).start(everybodys_limits(settings.limits))
        parts = GatewayParts(
            limiter=limiter,
            ledger=ledger,
            pricing=self.pricing,
            router=self.router,
            counter=self._counter,
            ledgers=Ledgers(self.journal, self.telemetry),
            budgets=StandReader(ledger, self.database, self.journal) if shared is None else NoStands(),
            shared=shared,
            house=house_limits(settings.limits),
        )
        if settings.limits.address is not None:
            self.door.peers = Peers(settings.server.trusted_proxies)
        options = GatewayOptions(default_output=settings.billing.default_output_tokens)
        self.gateway = Gateway(parts, options)
        self.raw = RawDoor(parts, options)
        self.door.once = self.repeats = make_repeats(
            settings.idempotency, self.database, self.ids.make("life"), self.gateway.count_repeat, self.door.common_head
        )
        asker = Asker(self.door, self.gateway)
        for face in (OpenAIFace, AnthropicFace, GeminiFace):
            face(self.door, asker).mount()
        Sockets(self.door).mount()
        PassingFace(self.door, self.raw).mount()
        ModelLists(self.door, self.catalog).mount()
        Dashboard(self.door, self.database, self.journal, ledger).mount()
        Pages(self.door, self.catalog, self.telemetry, self.not_ready).mount()
        methods = (b"GET", b"POST", b"PUT", b"PATCH", b"DELETE")
        control = Route("admin", self._admin, authenticated=False)
        self.door.add_prefix("/admin/", dict.fromkeys(methods, control))
        show_gauges(self.telemetry, self.router, self.journal, self.replica)

    async def _offers_of(self, settings: Settings) -> tuple[Offer, ...]:
        assert self.client is not None
        return await find_offers(settings, self.registry, self.client)

    def _read(self) -> Loaded:
        return complete(self._loaded.again(self._environ), self._environ, self.registry)

    def _open_ledger(self) -> Ledger:
        shares = self.settings.storage.redis_url is not None
        self.database.claim(among_others=shares)
        # What a former life left is part of every balance, and ends of its holds must not meet holds expired before
        # them.
        if not self.journal.wait_applied(_REPLAY_SECONDS):
            raise ConfigError(
                "The records of the last run could not be moved into the database yet: see the log, mend the database, "
                "and start again. Nothing is lost: they are in the journal of the data folder."
            )
        owner = self.journal.name if shares else None
        ledger = Ledger.open(self.database, self.journal, self.settings.billing.unpriced, owner=owner)
        ledger.above = self.directory.above
        return ledger

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
                assert self.router is not None and self.configuration is not None and self.ledger is not None
                control = self._control = create(
                    Services(
                        self.configuration,
                        self.database,
                        self.journal,
                        self.directory,
                        self.prices,
                        self.pricing,
                        self.router,
                        self.registry,
                        self.desk,
                        self.corrections,
                        self.ledger,
                        self.till,
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
        server = self.server = make_server(self.door, self.settings, self._hung_up)
        tasks = [
            asyncio.create_task(keep_time(self.door, server.server_state.connections)),  # type: ignore[arg-type]
            asyncio.create_task(self._follow_catalog()),
            asyncio.create_task(self._followed()),
            asyncio.create_task(self._announce(server, started)),
        ]
        if self.repeats is not None:
            tasks.append(asyncio.create_task(self.repeats.run()))
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

    def _hung_up(self) -> None:
        """What SIGHUP does."""
        task = asyncio.get_running_loop().create_task(self._reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload(self) -> None:
        assert self.configuration is not None
        try:
            await self.configuration.reload()
        except ConfigError as error:
            logger.error("the settings were not reloaded, and nothing has changed: %s", error.message)
        except Exception:  # the top of a task: a signal must not end unheard
            logger.exception("the settings could not be reloaded")

    async def close(self) -> None:
        """Everything written, everything closed."""
        for door in (self.gateway, self.raw, self.repeats):
            if door is not None:
                await door.closing(self.settings.server.drain_timeout)
        if self.client is not None:
            await self.client.aclose()
        self._counter.close()
        if self.replica is not None:
            await self.replica.close()
        if await asyncio.to_thread(self.journal.close, 30.0) and self.replica is not None:
            await self.replica.leave()
        if self.telemetry.log is not None:
            self.telemetry.log.close()
        self.database.close()

    async def _announce(self, server: HouseServer, started: Callable[[int], None] | None) -> None:
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
        assert self.catalog is not None and self.router is not None and self.configuration is not None
        while True:
            try:
                await self.catalog.refresh()
                self.pricing.clear()
                self.router.forget(self.catalog.places())
            except Exception:  # the top of a task: what one provider's list holds must not end it
                logger.exception("the catalog could not be renewed")
            seconds = self.configuration.loaded.settings.routing.models_refresh
            await asyncio.sleep(seconds if seconds > 0 else 86_400 * 365)

    async def _followed(self) -> None:
        assert self.ledger is not None
        await Follower(self.database, self.directory, self.ledger, self.replica).run(self._prices_changed)

    def _prices_changed(self) -> Callable[[], None] | None:
        """What takes what was set in the database; None where nothing has changed."""
        kept = self.desk.changed()
        return None if kept is None else partial(self._use_prices, kept)

    def _use_prices(self, kept: Kept) -> None:
        self.prices.use(kept.rows, kept.seed)
        self.pricing.clear()


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


def configure_logging(settings: Settings) -> None:
    """Plain lines on stderr for people; the log of requests is telemetry's."""
    logging.basicConfig(
        level=settings.log.level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
