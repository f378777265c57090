"""OpenAI's own document as a strict upstream: `@stdy/cli` answers from it, and refuses what it does not allow.

It tells of every request in a line of JSON, with the body as it read it: the fields of a form too.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from peers.environment import ROOT, PeerError
from peers.node import MODULES, Node
from peers.suite import Asked

# Beside the repository; not a part of it.
USUAL: Final = ROOT.parent / "shared" / "spec" / "openai-openapi.json"
VARIABLE: Final = "POSTHOUSE_SPEC"
PROGRAM: Final = MODULES / "node_modules" / "@stdy" / "cli" / "steady.js"
# As openai-python's own script starts it, but for the pause between the events of a stream.
OPTIONS: Final = (
    *(f"--validator-{what}-format=brackets" for what in ("query-array", "query-object", "form-array", "form-object")),
    *("--log-format=json", "--log-bodies", "--stream-interval=1"),
)
# What OpenAI always sends and its document does not promise: schema -> members. The mock would leave them out, and
# Posthouse takes an answer without pictures for a failure.
PROMISED: Final = {"ImagesResponse": ("data",), "Image": ("b64_json",)}
# For a start, and for the log to be written.
PATIENCE: Final = 60.0


class Mock(Struct, frozen=True):
    """`log` is where it tells of what it was asked."""

    url: str
    log: Path

    @property
    def asked(self) -> Asked:
        """Every POST so far, in order; headers are not told of."""
        return [
            (entry["request"]["path"], {}, entry["request"].get("body") or {})
            for entry in self._entries()
            if entry["type"] == "request" and entry["request"]["method"] == "POST"
        ]

    def _entries(self) -> list[dict[str, Any]]:
        """Up to a question of our own, whose line is written after those of all that came before."""
        mark = f"/models/mark-{time.monotonic_ns()}"
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)
        try:
            connection.request("GET", mark)
            connection.getresponse().read()
        finally:
            connection.close()
        return _lines(self.log, lambda entry: entry.get("request", {}).get("path") == mark)


def place() -> Path | None:
    """Where the document is; None where there is none. PeerError where the variable names one that is not there."""
    named = os.environ.get(VARIABLE)
    if named and not Path(named).is_file():
        raise PeerError(f"{VARIABLE} names no file: {named}")
    found = Path(named) if named else USUAL
    return found if found.is_file() else None


@contextmanager
def running(document: Path, node: Node, folder: Path) -> Iterator[Mock]:
    """The mock of `document`; it cannot choose a port by itself."""
    amended, log = folder / "document.json", folder / "mock.log"
    amended.write_text(json.dumps(_amended(json.loads(document.read_text()))))
    command = [node.binary, str(PROGRAM), "--host=127.0.0.1", f"--port={_free_port()}", *OPTIONS, str(amended)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        started = _lines(log, lambda entry: entry["type"] == "startup", process)[-1]
        yield Mock(started["server"]["url"], log)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _amended(document: dict[str, Any]) -> dict[str, Any]:
    for name, members in PROMISED.items():
        schema = document["components"]["schemas"][name]
        schema["required"] = sorted({*schema.get("required", ()), *members})
    return document


def _lines(log: Path, last: Any, process: subprocess.Popen[bytes] | None = None) -> list[dict[str, Any]]:
    """What the log tells, as soon as it has come to the line that `last` is true of."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and (process is None or process.poll() is None):
        lines = log.read_text().splitlines(keepends=True)
        entries = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
        if any(map(last, entries)):
            return entries
        time.sleep(0.02)
    raise PeerError("the mock of OpenAI's document did not start, or fell silent:\n" + log.read_text()[-2000:])
