"""What a command works on: the settings, the database and the providers, opened as `serve` opens them.

A command needs no server, and none needs to be stopped for it: what it changes, a running server sees within a second.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from posthouse.accounts.service import Directory
from posthouse.app import complete, make_client, open_database
from posthouse.billing.desk import PriceDesk
from posthouse.billing.prices import PriceBook
from posthouse.gateway.subjects import default_limits
from posthouse.providers.registry import Registry
from posthouse.providers.registry import load as load_registry
from posthouse.routing.catalog import Catalog
from posthouse.routing.model import Offer
from posthouse.routing.offers import find_offers, routes_of
from posthouse.settings import Loaded, load
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal
from posthouse.storage.segments import segments
from posthouse.upstream.client import UpstreamClient


class Books(Struct, frozen=True, eq=False):
    """The database of one installation, at this version's schema."""

    loaded: Loaded
    database: Database

    def directory(self) -> Directory:
        return Directory(self.database, default_limits(self.loaded.settings.limits))


class Market(Struct, frozen=True, eq=False):
    """The providers of one installation, as this process reaches them."""

    loaded: Loaded
    registry: Registry
    offers: tuple[Offer, ...]
    client: UpstreamClient

    async def catalog(self) -> Catalog:
        """Which models there are now; providers are asked for their lists."""
        catalog = Catalog(self.offers, routes_of(self.loaded.settings.routes), int(time.time()))
        await catalog.refresh()
        return catalog


def read_settings(config: Path | None, data: Path | None) -> Loaded:
    return load({"config": config, "data": data}, os.environ, Path.cwd())


@contextmanager
def opened_books(config: Path | None, data: Path | None) -> Iterator[Books]:
    """For keys and accounts. Makes the database where there is none yet."""
    loaded = read_settings(config, data)
    database = open_database(loaded.settings)
    try:
        database.upgrade()
        yield Books(loaded, database)
    finally:
        database.close()


@contextmanager
def settled_books(config: Path | None, data: Path | None) -> Iterator[Books]:
    """For records: what a server that is gone left in its journal is applied first. A running one does that itself."""
    with opened_books(config, data) as books:
        # Only where something is left: taking the folder for nothing could stand in the way of a server that starts.
        for journal in sorted(books.loaded.settings.storage.data.glob("journal*")):
            if journal.is_dir() and segments(journal):
                Journal.recover(journal, books.database)
        yield books


def price_book(loaded: Loaded) -> PriceBook:
    """The prices of the settings, with what was set in the database, where there is one."""
    book = PriceBook(loaded.settings.prices)
    database = open_database(loaded.settings)
    try:
        if database.path is None or database.path.exists():
            database.upgrade()
            kept = PriceDesk(database).kept()
            book.use(kept.rows, kept.seed)
    finally:
        database.close()
    return book


async def open_market(config: Path | None, data: Path | None) -> Market:
    """For providers, models and prices; close its client. Call it in the loop that will use it."""
    registry = load_registry()
    loaded = complete(read_settings(config, data), os.environ, registry)
    client = make_client(loaded.settings)
    return Market(loaded, registry, await find_offers(loaded.settings, registry, client), client)
