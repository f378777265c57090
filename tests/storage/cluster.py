"""A real Redis Cluster on loopback: three masters without replicas, whose slots tests move, and which they kill."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import hiredis
import pytest

from posthouse.storage.redis import SLOTS

MASTERS: Final = 3
_PATIENCE: Final = 20.0


class Master:
    """One server, asked as by a terminal. A RedisError of hiredis for what it refuses."""

    def __init__(self, program: str, folder: Path) -> None:
        self.port, bus = free_port(), free_port()
        folder.mkdir(parents=True)
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": folder,
            "save": "",
            "appendonly": "no",
            "cluster-enabled": "yes",
            "cluster-port": bus,
            "cluster-node-timeout": 500,
            "cluster-require-full-coverage": "no",
        }
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        self.bus = bus
        self.process = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._socket: socket.socket | None = None
        self._reader = hiredis.Reader()
        self.id = ""

    def ask(self, *words: str | int) -> Any:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE)
        self._socket.sendall(hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub knows one word only
        while (answer := self._reader.gets()) is False:
            data = self._socket.recv(65_536)
            assert data, "the server has closed the connection"
            self._reader.feed(data)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def answers(self) -> bool:
        try:
            return bool(self.ask("PING") == b"PONG")
        except OSError:
            self._socket = None
            return False

    def well(self, nodes: int) -> bool:
        """Whether it finds the cluster well, with so many nodes that it can reach."""
        found = self.ask("CLUSTER", "NODES").decode().splitlines()
        linked = [line for line in found if " connected" in line and "fail" not in line and "handshake" not in line]
        return b"cluster_state:ok" in self.ask("CLUSTER", "INFO") and len(linked) == nodes

    def kill(self) -> None:
        """Without a word, as when its machine is gone."""
        self.process.kill()
        self.process.wait()
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Cluster:
    """Each master has a third of the slots at first."""

    def __init__(self, program: str, folder: Path) -> None:
        self.masters = [Master(program, folder / str(number)) for number in range(MASTERS)]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.masters[0].port}"

    def form(self) -> None:
        for number, one in enumerate(self.masters):
            until(one.answers)
            one.id = one.ask("CLUSTER", "MYID").decode()
            first, last = number * SLOTS // MASTERS, (number + 1) * SLOTS // MASTERS - 1
            one.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
            one.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        first_one = self.masters[0]
        for one in self.masters[1:]:
            one.ask("CLUSTER", "MEET", "127.0.0.1", first_one.port, first_one.bus)
        until(lambda: all(one.well(MASTERS) for one in self.masters))

    def owner(self, slot: int) -> Master:
        """The living master that has a slot, as all of them say."""
        alive = [one for one in self.masters if one.process.poll() is None]
        ports = {
            port
            for one in alive
            for first, last, (_, port, *_), *_ in one.ask("CLUSTER", "SLOTS")
            if first <= slot <= last
        }
        assert len(ports) == 1, ports
        return next(one for one in alive if one.port in ports)

    def migrating(self, slot: int, to: Master) -> Iterator[None]:
        """Moves a slot key by key, as `redis-cli --cluster reshard` does; a step for each thing that is done."""
        origin = self.owner(slot)
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", origin.id)
        yield
        origin.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)
        yield
        while keys := origin.ask("CLUSTER", "GETKEYSINSLOT", slot, 1):
            origin.ask("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
            yield
        for one in (to, origin, *self.masters):
            if one.process.poll() is None:
                one.ask("CLUSTER", "SETSLOT", slot, "NODE", to.id)
                yield

    def take_over(self, slot: int, heir: Master) -> None:
        """A master has died: another takes its slots, empty as they are, and all who live agree."""
        dead = next(one for one in self.masters if one.process.poll() is not None)
        alive = [one for one in self.masters if one.process.poll() is None]

        def given_up() -> bool:
            lines = [one.ask("CLUSTER", "NODES").decode().splitlines() for one in alive]
            return all(any(dead.id in line and " master,fail " in line for line in each) for each in lines)

        until(given_up)
        number = self.masters.index(dead)
        lost = number * SLOTS // MASTERS, (number + 1) * SLOTS // MASTERS - 1
        heir.ask("CLUSTER", "DELSLOTSRANGE", *lost)  # only what this one believes
        heir.ask("CLUSTER", "ADDSLOTSRANGE", *lost)
        heir.ask("CLUSTER", "BUMPEPOCH")
        until(lambda: all(_has(one, slot, heir.port) for one in alive))


def _has(asked: Master, slot: int, port: int) -> bool:
    ranges = asked.ask("CLUSTER", "SLOTS")
    return any(first <= slot <= last and at[1] == port for first, last, at, *_ in ranges)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(holds: Callable[[], bool]) -> None:
    """Waits for a server of its own, outside of any loop."""
    ends = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < ends, "it never came to hold"
        time.sleep(0.01)


@contextmanager
def cluster_in(folder: Path) -> Iterator[Cluster]:
    """Skips the test where no server program is installed; with `CI=true` it fails."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no redis-server is installed", pytrace=False)
        pytest.skip("no redis-server is installed")
    cluster = Cluster(program, folder)
    try:
        cluster.form()
        yield cluster
    finally:
        for one in cluster.masters:
            one.kill()
