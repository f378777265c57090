"""A whole house in this process, on a socket, in a thread with a loop of its own: tests talk to it as clients do."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import uvloop

from posthouse.app import Posthouse
from posthouse.settings import Folders, load

ADMIN_KEY = "sk-ph-admin-key-of-the-tests-0123456789"


class RunningHouse:
    """`house` belongs to another thread: read it, but call nothing of it that is not safe across threads."""

    def __init__(self, folder: Path, config: str, environ: Mapping[str, str]) -> None:
        path = folder / "posthouse.toml"
        path.write_text(config)
        variables = {"POSTHOUSE_ADMIN_KEY": ADMIN_KEY, **environ}
        given = {"config": str(path), "data": str(folder / "data"), "port": 0}
        self.loaded = load(given, variables, folder, Folders(folder, folder / "data"))
        self.house = Posthouse(self.loaded, variables)
        self.port = 0
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
                runner.run(self.house.serve(started=self._note))
        except BaseException as error:  # handed to the test's thread
            self._error = error
            self._started.set()

    def _note(self, port: int) -> None:
        self.port = port
        self._started.set()

    # What tests ask most

    def client(self, key: str = ADMIN_KEY) -> httpx2.Client:
        return httpx2.Client(
            base_url=self.base_url, headers={"authorization": f"Bearer {key}"}, timeout=20.0, trust_env=False
        )

    def new_key(self, **wish: Any) -> str:
        with self.client() as client:
            answer = client.post("/admin/api/keys", json={"name": "test", **wish})
            assert answer.status_code == 201, answer.text
            key: str = answer.json()["key"]
            return key

    def record(self, request_id: str) -> dict[str, Any]:
        with self.client() as client:
            answer = client.get(f"/admin/api/requests/{request_id}")
            assert answer.status_code == 200, answer.text
            record: dict[str, Any] = answer.json()
            return record

    def verify(self) -> dict[str, Any]:
        with self.client() as client:
            result: dict[str, Any] = client.get("/admin/api/ledger/verify").json()
            return result


@contextmanager
def running(folder: Path, config: str = "", environ: Mapping[str, str] | None = None) -> Iterator[RunningHouse]:
    house = RunningHouse(folder, config, environ or {})
    house.start()
    try:
        yield house
    finally:
        house.stop()


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


PRICE = """
[[prices]]
model = "m"
currency = "USD"
input = "1.00"
output = "10.00"
"""
