"""What the tests that send anything whatever have in common: a house with a provider for every wire and one in the
house, what it says of itself, and what must hold of every answer."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from hypothesis import HealthCheck, settings

from posthouse.core.requests import TEXTS, Operation
from tests.e2e.answers import answers
from tests.e2e.house import ADMIN_KEY, PRICE, Place, RunningHouse, provider, running
from tests.e2e.speakers import SPEAKERS, Report, say
from tests.e2e.upstream import Script, Upstream, Visit
from tests.e2e.wire import Response, Wire, request

# In an ordinary run, for each route; a large number digs deeper.
EXAMPLES: Final = int(os.environ.get("POSTHOUSE_TEST_EXAMPLES", "40"))
anything: Final = settings(
    max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
ECHO: Final = '[[providers]]\nname = "here"\ntype = "echo"\n'
MODELS: Final = ["echo", *(f"m-{wire}" for wire in TEXTS)]


class Faults(logging.Handler):
    """What the house says of itself that it should not have to."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))

    def taken(self) -> list[str]:
        said, self.said = self.said, []
        return said


class Target(NamedTuple):
    """`line` keeps one connection for many requests."""

    place: Place
    faults: Faults
    line: "Line"

    @property
    def house(self) -> RunningHouse:
        return self.place.house


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    environ = {"POSTHOUSE_ROUTING_MAX_ATTEMPTS": "1", "POSTHOUSE_ROUTING_COOLDOWN": "0"}
    faults = Faults()
    logging.getLogger("posthouse").addHandler(faults)
    with Upstream() as upstream:
        upstream.scripts = {f"m-{wire}": _says(wire) for wire in TEXTS} | {"*": _says("generate_content")}
        config = ECHO + "".join(
            provider(upstream.base_url, f'"m-{wire}"', f'wires = ["{wire}"]', name=f"main-{wire}")
            + PRICE.replace('"m"', f'"m-{wire}"')
            for wire in TEXTS
        )
        with running(folder, config, environ) as house:
            place = Place(house, upstream)
            line = Line(place)
            yield Target(place, faults, line)
            line.close()
            house.verified()
    logging.getLogger("posthouse").removeHandler(faults)
    assert faults.taken() == []


def _says(wire: Operation) -> Script:
    speaker = SPEAKERS[wire]
    whole = answers(speaker.whole("One", [Report(11, 7)]))

    async def script(visit: Visit) -> None:
        if not visit.body:  # whether it is there
            await visit.whole({"data": []})
            return
        if visit.json.get("stream") is not True and "alt=sse" not in visit.path:
            await whole(visit)
            return
        await visit.start_stream()
        await say(visit, [*speaker.first("One"), *speaker.end([Report(11, 7)]), speaker.last([Report(11, 7)])])
        await visit.end_stream()

    return script


class Line:
    """One connection for many requests, made again where an answer closed it."""

    def __init__(self, here: Place) -> None:
        self._here = here
        self._wire: Wire | None = None

    def ask(self, path: str, body: bytes, key: str | None = ADMIN_KEY, method: str = "POST") -> Response:
        return self.send(request(path, body, key, method))

    def send(self, data: bytes) -> Response:
        if self._wire is None:
            self._wire = self._here.house.wire()
        self._wire.send(data)
        answer = self._wire.response()
        if answer.headers.get("connection") == "close":
            self.close()
        return answer

    def close(self) -> None:
        if self._wire is not None:
            self._wire.socket.close()
            self._wire = None


# --- what must hold of every answer ----------------------------------------------------------------------------------
def _openai(answer: Response) -> None:
    error = answer.error
    assert error["param"] is None or isinstance(error["param"], str)
    assert error["code"] is None or isinstance(error["code"], str)


def _messages(answer: Response) -> None:
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] and answer.json["error"]["message"]
    assert answer.json["request_id"] == answer.headers["x-request-id"] == answer.headers["request-id"]


def _gemini(answer: Response) -> None:
    error = answer.json["error"]
    assert (error["code"], bool(error["message"]), error["status"].isupper()) == (answer.status, True, True)


def shape_of(path: str) -> Callable[[Response], None]:
    if "/messages" in path:
        return _messages
    return _gemini if path.startswith("/v1beta") else _openai


def judge(path: str, answer: Response, faults: Faults) -> None:
    """A success that holds what its type says and no error, or a refusal in the shape of the route's dialect."""
    assert faults.taken() == []
    assert answer.status < 500, answer
    assert answer.headers["x-request-id"].startswith("req_")
    kind = answer.headers["content-type"].partition(";")[0]
    if answer.status >= 400:
        assert kind == "application/json"
        assert len(answer.body) < 4_000, "what was sent is not sent back"
        shape_of(path)(answer)
        return
    assert answer.body
    if kind == "application/json":
        told = answer.json
    elif kind == "text/event-stream":
        lines = [line.removeprefix(b"data: ") for line in answer.body.split(b"\n") if line.startswith(b"data: ")]
        told = [json.loads(line) for line in lines if line != b"[DONE]"]
        assert told
    else:
        return  # sound, subtitles
    for one in told if isinstance(told, list) else [told]:
        assert not one.get("error") and one.get("type") != "error", answer
