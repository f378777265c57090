"""A whole house in this process, on a socket, in a thread with a loop of its own: tests talk to it as clients do."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import httpx2
import uvloop
from openai import DefaultHttpxClient, OpenAI
from sqlalchemy import func, select

from posthouse.app import Posthouse
from posthouse.billing.model import Verification
from posthouse.billing.verify import verify
from posthouse.settings import Folders, load
from posthouse.storage.tables import entries, holds, requests
from tests.e2e.upstream import Upstream
from tests.e2e.wire import Wire, eventually

ADMIN_KEY: Final = "sk-ph-admin-key-of-the-tests-0123456789"
# What tests want of every house, unless they say otherwise: no lines of requests, short pauses, a short drain.
_USUAL: Final = {
    "POSTHOUSE_ADMIN_KEY": ADMIN_KEY,
    "POSTHOUSE_LOG_REQUESTS": "false",
    "POSTHOUSE_SERVER_DRAIN_TIMEOUT": "2",
    "POSTHOUSE_ROUTING_BACKOFF_BASE": "0.01",
    "POSTHOUSE_ROUTING_BACKOFF_MAX": "0.02",
}
NANO: Final = 1_000_000_000
_Found = TypeVar("_Found")


class Stored(NamedTuple):
    """What the database holds of one request: its record, its hold and its entries (leg 0, leg 1)."""

    record: dict[str, Any]
    hold: dict[str, Any] | None
    entries: list[dict[str, Any]]


class RunningHouse:
    """`house` belongs to another thread: read it, but call nothing of it that is not safe across threads, unless
    `within` does."""

    def __init__(self, folder: Path, config: str, environ: Mapping[str, str]) -> None:
        path = folder / "posthouse.toml"
        path.write_text(config)
        variables = {**_USUAL, **environ}
        given = {"config": str(path), "data": str(folder / "data"), "port": 0}
        self.loaded = load(given, variables, folder, Folders(folder, folder / "data"))
        self.house = Posthouse(self.loaded, variables)
        self.port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="house", daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(20), self._error
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        self.house.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                self._loop = runner.get_loop()
                runner.run(self.house.serve(started=self._note))
        except BaseException as error:  # handed to the test's thread
            self._error = error
            self._started.set()

    def _note(self, port: int) -> None:
        self.port = port
        self._started.set()

    def within(self, look: Callable[[], _Found]) -> _Found:
        """What `look` finds, called in the house's own thread."""
        assert self._loop is not None
        found: Future[_Found] = Future()

        def call() -> None:
            try:
                found.set_result(look())
            except BaseException as error:  # the test's to see
                found.set_exception(error)

        self._loop.call_soon_threadsafe(call)
        return found.result(20)

    def troubled(self) -> set[tuple[str, str]]:
        """The deployments that have failed lately, each with the operation in which it has."""
        router = self.house.router
        assert router is not None
        return self.within(lambda: {(place.deployment, place.operation) for place in router.health.report(0.0)})

    # Clients

    def client(self, key: str = ADMIN_KEY) -> httpx2.Client:
        return httpx2.Client(
            base_url=self.base_url, headers={"authorization": f"Bearer {key}"}, timeout=20.0, trust_env=False
        )

    def openai(self, key: str = ADMIN_KEY, base: str = "/v1") -> OpenAI:
        """OpenAI's own client, unchanged; close it."""
        client = DefaultHttpxClient(trust_env=False)
        return OpenAI(api_key=key, base_url=self.base_url + base, max_retries=0, timeout=20.0, http_client=client)

    def wire(self, receive_buffer: int | None = None) -> Wire:
        return Wire(self.port, receive_buffer)

    # What tests ask most

    def admin(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        with self.client() as client:
            answer = client.request(method, f"/admin/api{path}", json=body)
            assert answer.is_success, answer.text
            result: dict[str, Any] = answer.json()
            return result

    def new_key(self, **wish: Any) -> str:
        """The secret of a new key."""
        key: str = self.admin("POST", "/keys", {"name": "test", **wish})["key"]
        return key

    # What was written down

    def last_id(self) -> str:
        """The id of the newest record; empty where there is none."""
        assert self.house.journal.wait_applied(20)
        with self.house.database.read() as connection:
            return str(connection.execute(select(func.max(requests.c.id))).scalar() or "")

    def stored(self, request_id: str) -> Stored:
        """All that is written about one request; waits until it has come to the database."""

        def found() -> Stored | None:
            return next((one for one in self.stored_since(request_id[:-1]) if one.record["id"] == request_id), None)

        stored: Stored = eventually(found, f"no record of {request_id}")
        return stored

    def stored_since(self, last_id: str) -> list[Stored]:
        """All requests after one, oldest first."""
        assert self.house.journal.wait_applied(20)
        with self.house.database.read() as connection:
            records = connection.execute(select(requests).where(requests.c.id > last_id).order_by(requests.c.id))
            rows = [dict(row) for row in records.mappings()]
            kept = {
                row["id"]: dict(row) for row in connection.execute(select(holds).where(holds.c.id > last_id)).mappings()
            }
            legs = select(entries).where(entries.c.hold_id > last_id).order_by(entries.c.leg)
            entered = [dict(row) for row in connection.execute(legs).mappings()]
        return [
            Stored(row, kept.get(row["id"]), [leg for leg in entered if leg["hold_id"] == row["id"]]) for row in rows
        ]

    def only_since(self, last_id: str) -> Stored:
        """The one request after `last_id`; waits until it is written down."""
        found: list[Stored] = eventually(lambda: self.stored_since(last_id), "nothing was written down")
        assert len(found) == 1, [stored.record for stored in found]
        return found[0]

    def verified(self) -> Verification:
        """The ledger's verdict; every hold has ended and everything adds up."""
        assert self.house.journal.wait_applied(20)
        result = verify(self.house.database, 4_000_000_000.0)
        assert result.ok, result.problems
        assert result.holds_open == 0
        return result


@contextmanager
def running(folder: Path, config: str = "", environ: Mapping[str, str] | None = None) -> Iterator[RunningHouse]:
    house = RunningHouse(folder, config, environ or {})
    house.start()
    try:
        yield house
    finally:
        house.stop()


class Place(NamedTuple):
    """A house and the provider behind it."""

    house: RunningHouse
    upstream: Upstream


@contextmanager
def place(
    folder: Path, config: str = "", environ: Mapping[str, str] | None = None, models: str = '"m"', more: str = ""
) -> Iterator[Place]:
    """A house with one provider, `main`, whose models cost what PRICE says."""
    with Upstream() as upstream:
        whole = config + provider(upstream.base_url, models, more) + PRICE
        with running(folder, whole, environ) as house:
            yield Place(house, upstream)


def provider(base_url: str, models: str = '"m"', more: str = "", name: str = "main") -> str:
    """A [[providers]] table of the type that fits any compatible server."""
    return f"""
[[providers]]
name = "{name}"
type = "openai-compatible"
base_url = "{base_url}"
credential = "upstream-credential-1"
models = [{models}]
{more}
"""


# Nano-units for a token: 1,000 of input, 500 of cached input, 10,000 of output.
PRICE: Final = """
[[prices]]
model = "m"
currency = "USD"
input = "1.00"
cached_input = "0.50"
output = "10.00"
"""
