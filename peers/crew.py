"""Real clients, each in its own environment, against the scripted upstream: directly, and through Posthouse.

Directly shows that a check is right; through Posthouse every check must hold at every provider, whatever it speaks.
"""

import json
import os
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from peers import house, site
from peers.comparison import compared
from peers.environment import FOLDER, ROOT, PeerError, prepare
from peers.node import Node, prepare_node
from peers.roster import CLIENTS, NODE, Client
from peers.scripted import server

# Two cores: one client, and Posthouse with the upstream.
AT_ONCE: Final = 2
# For all checks of one client.
PATIENCE: Final = 240.0


class Told(Struct):
    """What became of one client's checks: (check, wire, why) where something is to be said."""

    client: Client
    version: str = ""
    passed: Counter[str] = Counter()
    failed: list[tuple[str, str, str]] = []
    skipped: list[tuple[str, str, str]] = []
    ended: bool = False
    complaint: str = ""
    reached: list[str] = []
    seconds: float = 0.0

    @property
    def line(self) -> str:
        through = ", ".join(f"{wire} {self.passed[wire]}" for wire in self.client.wires)
        left_out = f"; {len(self.skipped)} skipped" if self.skipped else ""
        wrong = f"; {len(self.failed)} FAILED" if self.failed else ""
        title = f"{self.client.title} {self.version}".strip()
        direct = f"direct {self.passed[site.DIRECT]} passed"
        return f"{title}: {direct}, through Posthouse {through} passed{left_out}{wrong}; {self.seconds:.1f} s"

    @property
    def problems(self) -> list[str]:
        title = self.client.title
        found = [
            f"{title}: {check} fails against the scripted upstream itself: {why}"
            if wire == site.DIRECT
            else f"{title}: {check}, of a provider of {wire}: {why}"
            for check, wire, why in self.failed
        ]
        if not self.ended:
            found.append(f"{title}: did not come to its end: {self.complaint}")
        elif not self.passed[site.DIRECT]:
            found.append(f"{title}: no check was made")
        return found + [f"{title}: {line}" for line in self.reached]


def run(folder: Path, uv: Path, wanted: str = "") -> list[str]:
    """What is wrong, in words; empty where nothing is. `wanted`: only clients with these words in their title."""
    clients = [client for client in CLIENTS if wanted in client.title]
    problems: list[str] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        names = sorted({client.environment for client in clients} - {NODE})
        for _ in pool.map(lambda name: prepare(f"clients/{name}", uv), names):
            pass
    node = None
    if any(client.environment == NODE for client in clients):
        try:
            node = prepare_node(uv)
        except PeerError as error:
            print(f"clients for Node.js: skipped: {error}", flush=True)
            problems += [str(error)] if os.environ.get("CI") == "true" else []
            clients = [client for client in clients if client.environment != NODE]
    with (
        server.running() as upstream,
        house.running(site.settings(upstream.url), folder) as posthouse,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        for told in pool.map(
            lambda client: _run(client, node, site.places(client, posthouse, upstream.url), folder), clients
        ):
            print(told.line, flush=True)
            for check, wire, why in told.skipped:
                print(f"  skipped: {check}, {wire}: {why}", flush=True)
            problems += told.problems
        problems += _looked_after(upstream, posthouse)
    if problems and (log := house.end_of_log(folder)):
        problems.append(log)
    return problems


def _run(client: Client, node: Node | None, places: list[dict[str, Any]], folder: Path) -> Told:
    told = Told(client, passed=Counter())
    command = _command(client) if node is None or client.environment != NODE else node.command(client.module)
    environ = site.environ(folder, json.dumps(places))
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environ, check=False, capture_output=True, text=True, timeout=PATIENCE
        )
        output, told.complaint = done.stdout, done.stderr[-2000:]
        told.reached = sorted({line for line in done.stderr.splitlines() if line.startswith(site.REACHED)})
    except subprocess.TimeoutExpired as expired:
        output, told.complaint = _text(expired.stdout), f"not done within {PATIENCE:.0f} s"
    told.seconds = time.monotonic() - began
    for line in output.splitlines():
        _note(told, json.loads(line) if line.startswith("{") else {})
    return told


def _text(output: str | bytes | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def _command(client: Client) -> list[str]:
    module, *arguments = client.module.split()
    python = FOLDER / f"clients-{client.environment}" / "bin" / "python"
    return [str(python), "-m", f"peers.clients.{module}", *arguments]


def _note(told: Told, said: dict[str, Any]) -> None:
    if "check" not in said:
        told.version = said.get("version", told.version)
        told.ended = told.ended or bool(said.get("end"))
    elif said["outcome"] == "passed":
        told.passed[said["wire"]] += 1
    else:
        kept = told.failed if said["outcome"] == "failed" else told.skipped
        kept.append((said["check"], said["wire"], said["why"]))


def _looked_after(upstream: server.Upstream, posthouse: house.House) -> list[str]:
    """What no client can see: what was refused as no provider would have had to, keys that went too far, and requests
    that were changed on their way."""
    problems = [f"the upstream had to refuse what came through: {why}" for why in upstream.refused]
    leaks = sorted({visit.path for visit in upstream.visits() if posthouse.key in json.dumps(visit.headers)})
    problems += [f"our own key reached the upstream on {path}" for path in leaks]
    return problems + compared(upstream.visits())
