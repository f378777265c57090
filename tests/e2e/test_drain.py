"""Life and death of a serving process: the first start, an orderly end, and ends that are none."""

import json
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from sqlalchemy import select

from posthouse.storage.tables import holds, requests
from tests.e2e.answers import asked, chunk, completion, held
from tests.e2e.house import ADMIN_KEY, PRICE, provider
from tests.e2e.process import Process, database_of, process, verified
from tests.e2e.upstream import Upstream, Visit
from tests.e2e.wire import Wire, eventually, payloads, request

CHAT: Final = "/v1/chat/completions"
SECRET_TEXT: Final = "the-content-of-a-conversation"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as made:
        yield made


@pytest.fixture
def config(upstream: Upstream) -> str:
    return provider(upstream.base_url) + PRICE


def test_the_first_start_prints_an_admin_key_once_and_a_second_server_is_refused(tmp_path: Path) -> None:
    with process(tmp_path, "[routing]\ndiscover = false\n", {"POSTHOUSE_ADMIN_KEY": ""}) as first:
        port = first.port
        (line,) = [line for line in first.printed.splitlines() if "Admin key" in line]
        key = line.rpartition(" ")[2]
        assert first.printed.count(key) == 2  # once to keep, and once in the call to try
        with Wire(port) as wire:
            answer = wire.ask(CHAT, asked("echo"), key)
        assert answer.status == 200  # with nothing configured, the built-in model answers
        with process(tmp_path, "[routing]\ndiscover = false\n", {"POSTHOUSE_ADMIN_KEY": ""}) as second:
            assert second.ended() == 1
            assert "Traceback" not in second.logged
            assert str(tmp_path / "data") in second.logged
            assert "Admin key" not in second.printed
        first.terminate()
        assert first.ended() == 0
    with process(tmp_path, "[routing]\ndiscover = false\n", {"POSTHOUSE_ADMIN_KEY": ""}) as again, again.wire() as wire:
        assert wire.ask("/v1/models", b"", key, method="GET").status == 200
        assert "Admin key" not in again.printed
        again.terminate()
        assert again.ended() == 0
    assert verified(tmp_path).ok


def test_a_signal_drains_streams_under_way_finish_and_nothing_new_is_taken(
    tmp_path: Path, upstream: Upstream, config: str
) -> None:
    gate = upstream.gate()
    rest = [chunk({"content": " there"}), chunk({}, "stop")]
    upstream.scripts["m"] = held(gate, [chunk({"content": "Hello"})], *rest, "[DONE]")
    with process(tmp_path, config) as house:
        port = house.port
        with Wire(port) as stream, Wire(port) as idle:
            body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": SECRET_TEXT}]}
            stream.send(request(CHAT, body, ADMIN_KEY))
            _, headers = stream.head()
            events = stream.events()
            first = next(events)
            assert idle.ask("/healthz", method="GET").status == 200
            house.terminate()
            assert idle.ended()  # an idle connection is closed
            eventually(lambda: _refused(port), "new connections are still taken")
            gate.open()
            text = payloads(first + b"".join(events))
        assert text == [chunk({"content": "Hello"}), *rest, "[DONE]"]
        assert house.ended() == 0
    assert "Traceback" not in house.logged
    assert SECRET_TEXT not in house.logged + house.printed
    assert ADMIN_KEY not in house.logged + house.printed
    assert "upstream-credential-1" not in house.logged + house.printed
    (line,) = [json.loads(line) for line in house.logged.splitlines() if headers["x-request-id"] in line]
    assert (line["status"], line["model"], line["deployment"]) == (200, "m", "main/m")
    with database_of(tmp_path) as database, database.read() as connection:
        (record,) = connection.execute(select(requests)).mappings()
    assert (record["id"], record["ended_by"]) == (headers["x-request-id"], "complete")
    assert record["hold_state"] == "settled"
    result = verified(tmp_path)
    assert (result.ok, result.holds_open) == (True, 0)


def _refused(port: int) -> bool:
    """Whether a new connection is not taken, or is told that there is no more service."""
    try:
        with Wire(port) as wire:
            wire.send(request("/healthz", method="GET"))
            return wire.receive() == b""
    except ConnectionError:
        return True


CONTENTS: Final[dict[str, Any]] = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}


def test_a_stream_that_outlasts_the_drain_ends_with_an_error_event_and_is_settled(
    tmp_path: Path, upstream: Upstream, config: str
) -> None:
    gate = upstream.gate()
    upstream.scripts["m"] = held(gate, [chunk({"content": "Hello"})])
    with process(tmp_path, config, {"POSTHOUSE_SERVER_DRAIN_TIMEOUT": "0.3"}) as house:
        with house.wire() as stream, house.wire() as array:
            stream.send(request(CHAT, asked(stream=True), ADMIN_KEY))
            _, headers = stream.head()
            events = stream.events()
            next(events)
            array.send(request("/v1beta/models/m:streamGenerateContent", CONTENTS, ADMIN_KEY))
            array.until(b"Hello")
            house.terminate()
            (last,) = payloads(b"".join(events))
            torn = array.rest()
        assert set(last["error"]) == {"message", "type", "param", "code"}
        assert b"error" not in torn  # an event has no place in an array of JSON, which breaks off instead
        assert not torn.endswith(b"0\r\n\r\n")
        assert house.ended() == 0
    with database_of(tmp_path) as database, database.read() as connection:
        (hold,) = connection.execute(select(holds).where(holds.c.id == headers["x-request-id"])).mappings()
    assert hold["state"] == "settled"
    assert hold["charged"] > 0
    assert verified(tmp_path).holds_open == 0


# --- kill -9 ---------------------------------------------------------------------------------------------------------
KILLS: Final = 4
CLIENTS: Final = 6
SEEN_BEFORE_KILL: Final = 40


class Seen(NamedTuple):
    """An answer that a client saw whole, and what it must have cost."""

    id: str
    nano: int


async def counts_tokens(visit: Visit) -> None:
    """Answers with as many tokens of output as the request's `seed` says, streamed or not."""
    number = visit.json["seed"]
    usage = {"prompt_tokens": 3, "completion_tokens": number, "total_tokens": 3 + number}
    if not visit.json.get("stream"):
        await visit.whole(completion(usage=usage))
        return
    await visit.start_stream()
    for event in (chunk({"content": "a"}), chunk({"content": "b"}, "stop"), chunk(None, usage=usage), "[DONE]"):
        await visit.event(event)
    await visit.end_stream()


class Load:
    """Clients that ask until their house dies, and note what they have seen whole."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.enough = threading.Event()
        self._numbers = count(1)
        self._lock = threading.Lock()

    def against(self, house: Process) -> None:
        """Kills the house once enough was seen."""
        self.enough.clear()
        port, until = house.port, len(self.seen) + SEEN_BEFORE_KILL
        clients = [threading.Thread(target=self._client, args=(port, until)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        assert self.enough.wait(30)
        house.kill()
        for client in clients:
            client.join(30)
            assert not client.is_alive()

    def _client(self, port: int, until: int) -> None:
        try:
            with Wire(port) as wire:
                while True:
                    self._ask(wire)
                    if len(self.seen) >= until:
                        self.enough.set()
        except (AssertionError, ConnectionError):
            return  # the house has died in the middle of an answer

    def _ask(self, wire: Wire) -> None:
        with self._lock:
            number = next(self._numbers)
        stream = number % 2 == 0
        wire.send(request(CHAT, asked(stream=stream, seed=number), ADMIN_KEY))
        answer = wire.response()
        if answer.status == 200 and (not stream or answer.body.endswith(b"data: [DONE]\n\n")):
            nano = 3 * 1000 + number * 10_000
            with self._lock:
                self.seen.append(Seen(answer.headers["x-request-id"], nano))


def test_kill_9_under_load_leaves_no_completed_answer_unbilled(tmp_path: Path, upstream: Upstream, config: str) -> None:
    upstream.scripts["m"] = counts_tokens
    load = Load()
    for _ in range(KILLS):
        with process(tmp_path, config, {"POSTHOUSE_LOG_REQUESTS": "false"}) as house:
            load.against(house)
            assert house.ended() == -9
    with process(tmp_path, config) as house:
        assert house.port
        house.terminate()
        assert house.ended() == 0
        assert "Traceback" not in house.logged
    result = verified(tmp_path)
    assert (result.ok, result.problems, result.holds_open) == (True, (), 0)
    with database_of(tmp_path) as database, database.read() as connection:
        charged = {row.id: (row.state, row.charged) for row in connection.execute(select(holds))}
        recorded = {row.id: (row.status, row.cost) for row in connection.execute(select(requests))}
    assert len(load.seen) >= KILLS * SEEN_BEFORE_KILL
    wrong = [seen for seen in load.seen if charged.get(seen.id) != ("settled", seen.nano)]
    assert wrong == []
    assert [seen for seen in load.seen if recorded.get(seen.id) != (200, seen.nano)] == []
    # What was under way when the house died is expired, and charged nothing.
    assert {state for state, _ in charged.values()} <= {"settled", "expired", "released"}
    assert all(not nano for state, nano in charged.values() if state != "settled")
