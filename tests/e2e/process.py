"""`posthouse serve` as a process of its own, as an operator runs it: signals, exit codes, what it prints."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from posthouse.billing.model import Verification
from posthouse.billing.verify import verify
from posthouse.storage.database import Database
from tests.e2e.house import ADMIN_KEY
from tests.e2e.wire import Wire, eventually

_SERVE: Final = (sys.executable, "-c", "from posthouse.cli import main; main()", "serve", "--port", "0")
_SOURCE: Final = Path(__file__).parents[2] / "src"
_UP: Final = re.compile(r"is up: http://127\.0\.0\.1:(\d+)")


class Process:
    """One life of a house. `printed` and `logged` are stdout and stderr so far."""

    def __init__(self, folder: Path, config: str, environ: Mapping[str, str], more: Sequence[str] = ()) -> None:
        path = folder / "posthouse.toml"
        path.write_text(config)
        # Nothing of the environment in which the tests run: a provider's variable would make a provider.
        variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(_SOURCE), **environ}
        if "COVERAGE_PROCESS_CONFIG" in os.environ:
            variables["COVERAGE_PROCESS_CONFIG"] = os.environ["COVERAGE_PROCESS_CONFIG"]
        arguments = (*_SERVE, "--config", str(path), "--data", str(folder / "data"), *more)
        self._popen = subprocess.Popen(
            arguments, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._readers = [
            threading.Thread(target=self._read, args=(name,), daemon=True, name=f"house-{name}") for name in self._lines
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str) -> None:
        stream = self._popen.stdout if name == "stdout" else self._popen.stderr
        assert stream is not None
        with stream:
            for line in stream:
                self._lines[name].append(line)

    @property
    def printed(self) -> str:
        return "".join(self._lines["stdout"])

    @property
    def logged(self) -> str:
        return "".join(self._lines["stderr"])

    @property
    def port(self) -> int:
        """Waits until it listens."""

        def found() -> int:
            assert self._popen.poll() is None, self.logged
            match = _UP.search(self.printed)
            return int(match[1]) if match else 0

        port: int = eventually(found, "the house does not start")
        return port

    def wire(self) -> Wire:
        return Wire(self.port)

    def children(self) -> list[int]:
        """The processes that it has started and that live, the oldest first. Linux."""
        return [
            int(one) for one in Path(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children").read_text().split()
        ]

    def memory(self) -> int:
        """Bytes of it that are resident. Linux."""
        pages = int(Path(f"/proc/{self._popen.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        self._popen.kill()

    def ended(self) -> int:
        """Waits for the end; the exit code."""
        code = self._popen.wait(30)
        for reader in self._readers:
            reader.join(10)
        return code


@contextmanager
def process(
    folder: Path, config: str, environ: Mapping[str, str] | None = None, more: Sequence[str] = ()
) -> Iterator[Process]:
    """Ended when left, whatever has happened."""
    house = Process(folder, config, {"POSTHOUSE_ADMIN_KEY": ADMIN_KEY, **(environ or {})}, more)
    try:
        yield house
    finally:
        house.kill()
        house.ended()


@contextmanager
def database_of(folder: Path) -> Iterator[Database]:
    """The database of a house that has ended."""
    database = Database(f"sqlite:///{folder / 'data' / 'posthouse.db'}")
    try:
        yield database
    finally:
        database.close()


def verified(folder: Path) -> Verification:
    """The ledger's verdict over a house that has ended."""
    with database_of(folder) as database:
        return verify(database, 4_000_000_000.0)
