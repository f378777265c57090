"""Websockets through a whole house, with another's client: what is asked, answered, limited, billed and cut short."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import select
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from posthouse.storage.tables import requests
from tests.e2e.answers import USAGE, answers, asked, chunk, fault, frames, held, streams
from tests.e2e.house import ADMIN_KEY, PRICE, Place, place, provider, running
from tests.e2e.process import database_of, process, verified
from tests.e2e.upstream import Upstream, Visit
from tests.e2e.wire import WAIT, eventually

CHAT: Final = "/v1/chat/completions"
RESPONSES: Final = "/v1/responses"
COST: Final = 11 * 1_000 + 7 * 10_000  # what USAGE costs by PRICE


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("house")) as made:
        yield made
        made.house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {"*": streams(["Hello", " there"])}


@contextmanager
def opened(
    port: int, path: str = CHAT, key: str | None = ADMIN_KEY, *, offered: list[str] | None = None, queue: int = 16
) -> Iterator[ClientConnection]:
    with connect(
        f"ws://127.0.0.1:{port}{path}",
        additional_headers={} if key is None else {"authorization": f"Bearer {key}"},
        subprotocols=None if offered is None else [Subprotocol(name) for name in offered],
        proxy=None,
        max_size=None,
        max_queue=queue,
    ) as client:
        yield client


def ask(client: ClientConnection, **more: Any) -> None:
    client.send(json.dumps(asked(**more)))


def heard(client: ClientConnection) -> Any:
    message = client.recv(timeout=WAIT)
    return message if message == "[DONE]" else json.loads(message)


def whole(client: ClientConnection) -> list[Any]:
    """All messages of one answer: to `[DONE]`, a last event or an error."""
    found = [heard(client)]
    while found[-1] != "[DONE]" and "error" not in found[-1] and found[-1].get("type") != "response.completed":
        found.append(heard(client))
    return found


def words(messages: list[Any]) -> str:
    """The text of an answer in chunks that is whole."""
    assert messages[-1] == "[DONE]"
    deltas = [choice["delta"] for message in messages[:-1] for choice in message["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def error_code(messages: list[Any]) -> str | None:
    (message,) = messages
    assert set(message) == {"error"}
    assert set(message["error"]) == {"message", "type", "param", "code"}
    code: str | None = message["error"]["code"]
    return code


# --- requests and what they cost -------------------------------------------------------------------------------------
@pytest.mark.req("WS-003", "WS-011")
def test_requests_in_turn_are_answered_and_each_is_recorded_once_with_its_cost(here: Place) -> None:
    before = here.house.last_id()
    with opened(here.house.port) as client:
        for _ in range(3):
            ask(client)
            assert words(whole(client)) == "Hello there"
    stored = eventually(lambda: len(found := here.house.stored_since(before)) == 3 and found, "not all is recorded")
    for one in stored:
        assert (one.record["status"], one.record["stream"], one.record["operation"]) == (200, True, "chat.completions")
        assert (one.record["cost"], one.record["usage_source"], one.record["ended_by"]) == (
            COST,
            "provider",
            "complete",
        )
        assert one.hold is not None
        assert (one.hold["state"], one.hold["charged"]) == ("settled", COST)
        assert len(one.entries) == 2
    assert all(visit.json["stream"] is True for visit in here.upstream.visits)


@pytest.mark.req("WS-003")
def test_a_request_is_what_it_is_over_http_and_only_its_stream_is_ours(here: Place) -> None:
    with opened(here.house.port) as client:
        client.send(
            '{"model":"m","stream":false,"messages":[{"role":"user","content":"Hi"}],"seed":1.50,"x":{"b":1,"a":2}}'
        )
        whole(client)
        ask(client, stream_options={"include_usage": True})
        *_, usage, _ = whole(client)
    assert usage["usage"] == USAGE
    body = here.upstream.visits[0].body
    assert b'"seed":1.50,"x":{"b":1,"a":2}' in body


@pytest.mark.req("WS-003")
def test_responses_are_their_events_and_each_message_is_json(here: Place) -> None:
    with opened(here.house.port, RESPONSES) as client:
        for message in ({"type": "response.create", "model": "m", "input": "Hi"}, {"model": "m", "input": "Hi"}):
            client.send(json.dumps(message))
            events = whole(client)
            assert [events[0]["type"], events[-1]["type"]] == ["response.created", "response.completed"]
            text = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
            assert "".join(text) == "Hello there"
            assert [event["sequence_number"] for event in events] == list(range(len(events)))
        client.send('{"type":"response.create","model":"nobody","input":"Hi"}')
        (error,) = whole(client)
        assert (error["type"], error["status"], error["error"]["code"]) == ("error", 404, "model_not_found")


@pytest.mark.req("WS-003")
def test_the_built_in_model_answers_too(tmp_path: Path) -> None:
    with running(tmp_path, "[routing]\ndiscover = false\n") as house:
        with opened(house.port) as client:
            ask(client, model="echo")
            assert "> Hello" in words(whole(client))
        with opened(house.port, RESPONSES) as client:
            client.send('{"type":"response.create","model":"echo","input":"Hello"}')
            assert whole(client)[-1]["response"]["status"] == "completed"
        house.verified()


# --- who may ask -----------------------------------------------------------------------------------------------------
@pytest.mark.req("WS-001", "WS-002")
def test_an_unknown_key_opens_nothing_and_a_page_names_its_key_as_a_subprotocol(here: Place) -> None:
    for key, offered in (("nobody", None), (None, None), (None, ["posthouse.key.nobody"])):
        with pytest.raises(InvalidStatus) as caught, opened(here.house.port, key=key, offered=offered):
            raise AssertionError("it was opened")
        assert caught.value.response.status_code == 401
    offered = ["posthouse", f"posthouse.key.{here.house.new_key()}"]
    with opened(here.house.port, key=None, offered=offered) as client:
        assert client.subprotocol == "posthouse"
        ask(client)
        assert words(whole(client)) == "Hello there"


@pytest.mark.req("WS-001")
def test_a_key_that_is_revoked_asks_no_more_on_a_websocket_that_is_open(here: Place) -> None:
    made = here.house.admin("POST", "/keys", {"name": "brief"})
    with opened(here.house.port, key=made["key"]) as client:
        ask(client)
        assert words(whole(client)) == "Hello there"
        here.house.admin("DELETE", f"/keys/{made['id']}")
        ask(client)
        assert error_code(whole(client)) == "invalid_api_key"


@pytest.mark.req("WS-011")
def test_limits_budgets_and_scopes_hold_as_over_http(here: Place) -> None:
    narrow, frugal = here.house.new_key(models=["other"]), here.house.new_key(limits={"rpm": 2})
    with opened(here.house.port, key=narrow) as client:
        ask(client)
        assert error_code(whole(client)) == "model_not_allowed"
    with opened(here.house.port, key=frugal) as client:
        for _ in range(2):
            ask(client)
            assert words(whole(client)) == "Hello there"
        ask(client)
        (error,) = whole(client)
        assert (error["error"]["code"], error["error"]["type"]) == ("rate_limit_exceeded", "requests")
    with opened(here.house.port, RESPONSES, key=frugal) as client:
        client.send('{"model":"m","input":"Hi"}')
        (error,) = whole(client)
        assert error["status"] == 429
        assert int(error["error"]["headers"]["retry-after"]) > 0
    poor = here.house.new_key(budget={"amount": "0.000000001", "currency": "USD", "period": "total"})
    with opened(here.house.port, key=poor) as client:
        ask(client)
        assert error_code(whole(client)) == "insufficient_quota"


def test_one_request_of_a_websocket_takes_one_place(here: Place) -> None:
    gate = here.upstream.gate()
    here.upstream.scripts = {"m": held(gate, [chunk({"content": "a"})], chunk({}, "stop"), "[DONE]")}
    key = here.house.new_key(limits={"concurrency": 1})
    with opened(here.house.port, key=key) as first, opened(here.house.port, key=key) as second:
        ask(first)
        heard(first)
        ask(second)
        assert error_code(whole(second)) == "rate_limit_exceeded"
        gate.open()
        assert whole(first)[-1] == "[DONE]"
        ask(second)
        assert whole(second)[-1] == "[DONE]"


# --- what goes wrong -------------------------------------------------------------------------------------------------
@pytest.mark.req("WS-004")
def test_bad_input_and_failing_providers_are_messages_and_the_websocket_stays(here: Place) -> None:
    with opened(here.house.port) as client:
        for message in ("", "hello", "[]", "{", '{"model":"m"}', '{"model":7}', "[" * 50_000, '{"type":"dance"}'):
            client.send(message)
            (error,) = whole(client)
            assert error["error"]["type"] == "invalid_request_error"
        here.upstream.scripts = {"*": answers(fault("The tank is empty."), 500)}
        ask(client)
        (error,) = whole(client)
        assert error["error"]["type"] == "upstream_error"
        here.upstream.scripts = {"*": frames(chunk({"content": "a"}))}
        ask(client)
        first, broken = whole(client)
        assert first["choices"][0]["delta"]["content"] == "a"
        assert set(broken["error"]) == {"message", "type", "param", "code"}
        here.upstream.scripts = {"*": streams(["well"])}
        ask(client)
        assert words(whole(client)) == "well"


@pytest.mark.req("WS-007")
@pytest.mark.parametrize(("message", "code"), [(b"{}", 1003), ("x" * (33 << 20), 1009)], ids=["binary", "too large"])
def test_what_is_no_text_of_a_proper_size_closes_the_websocket(here: Place, message: bytes | str, code: int) -> None:
    with opened(here.house.port) as client:
        with pytest.raises(ConnectionClosed):
            client.send(message)
            client.recv(timeout=WAIT)
        assert client.close_code == code


# --- who stops, who leaves -------------------------------------------------------------------------------------------
def endless(visits: list[Visit]) -> Any:
    async def script(visit: Visit) -> None:
        visits.append(visit)
        await visit.start_stream()
        await visit.event(chunk({"content": "a word"}))
        await visit.until_left()

    return script


@pytest.mark.req("WS-006", "WS-011")
def test_a_cancelled_request_stops_its_provider_is_settled_once_and_the_next_is_answered(here: Place) -> None:
    here.upstream.scripts = {"m": endless([])}
    before = here.house.last_id()
    with opened(here.house.port) as client:
        ask(client)
        heard(client)
        client.send('{"type":"cancel"}')
        assert error_code(whole(client)) == "request_cancelled"
        assert here.upstream.visit().left.wait(5)
        stored = here.house.only_since(before)
        here.upstream.scripts = {"m": streams(["next"])}
        ask(client)
        assert words(whole(client)) == "next"
    assert (stored.record["ended_by"], stored.record["error_code"]) == ("client", "client_left")
    assert stored.hold is not None
    assert (stored.hold["state"], stored.record["usage_source"]) == ("settled", "estimated")
    assert stored.record["cost"] == stored.hold["charged"] > 0


@pytest.mark.req("WS-006", "WS-011")
@pytest.mark.parametrize("how", ["close", "half", "break off"])
def test_a_client_that_leaves_stops_its_provider_and_is_settled_once(here: Place, how: str) -> None:
    here.upstream.scripts = {"m": endless([])}
    before = here.house.last_id()
    with opened(here.house.port) as client:
        ask(client)
        heard(client)
        if how == "close":
            client.close()
        else:
            client.socket.shutdown(socket.SHUT_RDWR if how == "break off" else socket.SHUT_WR)
        assert here.upstream.visit().left.wait(5)
        stored = here.house.only_since(before)
    assert (stored.record["ended_by"], stored.record["status"]) == ("client", 499)
    assert stored.hold is not None
    assert stored.hold["state"] == "settled"


@pytest.mark.req("WS-009")
def test_a_client_that_does_not_read_stops_the_provider_and_gets_everything_later(here: Place) -> None:
    total, text = 32 << 20, "x" * 32_000

    async def pours(visit: Visit) -> None:
        await visit.start_stream()
        while visit.sent < total:
            await visit.event(chunk({"content": text}))
        await visit.event(chunk({}, "stop", usage=USAGE))
        await visit.end_stream()

    here.upstream.scripts["m"] = pours
    with opened(here.house.port, queue=1) as client:
        ask(client)
        heard(client)
        visit = here.upstream.visit()
        stalled = eventually(lambda: _stalled(visit), "the upstream is not stopped")
        assert stalled < total // 2  # the kernel's buffers, and little of ours
        assert len(words([{"choices": []}, *whole(client)])) > total * 9 // 10


def _stalled(visit: Visit) -> int | None:
    """How much the upstream has sent, once that does not change for a while."""
    before = visit.sent
    visit.left.wait(0.2)
    return before if visit.sent == before > 0 else None


# --- the end of the house --------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as made:
        yield made


@pytest.mark.req("WS-010", "WS-011")
def test_a_signal_lets_the_answer_under_way_finish_and_then_says_goodbye(tmp_path: Path, upstream: Upstream) -> None:
    gate = upstream.gate()
    upstream.scripts["m"] = held(gate, [chunk({"content": "Hello"})], chunk({}, "stop", usage=USAGE), "[DONE]")
    with process(tmp_path, provider(upstream.base_url) + PRICE) as house:
        with opened(house.port) as busy, opened(house.port) as idle:
            ask(busy)
            first = heard(busy)
            house.terminate()
            with pytest.raises(ConnectionClosed):
                idle.recv(timeout=WAIT)
            assert idle.close_code == 1001
            gate.open()
            assert words([first, *whole(busy)]) == "Hello"
            with pytest.raises(ConnectionClosed):
                busy.recv(timeout=WAIT)
            assert busy.close_code == 1001
        assert house.ended() == 0
    assert "Traceback" not in house.logged
    assert ADMIN_KEY not in house.logged
    with database_of(tmp_path) as database, database.read() as connection:
        (record,) = connection.execute(select(requests)).mappings()
    assert (record["ended_by"], record["cost"], record["hold_state"]) == ("complete", COST, "settled")
    assert verified(tmp_path).holds_open == 0


@pytest.mark.req("WS-010")
def test_an_answer_that_outlasts_the_drain_ends_with_an_error_and_is_settled(
    tmp_path: Path, upstream: Upstream
) -> None:
    upstream.scripts["m"] = endless([])
    environ = {"POSTHOUSE_SERVER_DRAIN_TIMEOUT": "0.3"}
    with process(tmp_path, provider(upstream.base_url) + PRICE, environ) as house:
        with opened(house.port) as client:
            ask(client)
            heard(client)
            house.terminate()
            assert error_code(whole(client)) == "unavailable"
            with pytest.raises(ConnectionClosed):
                client.recv(timeout=WAIT)
            assert client.close_code == 1001
        assert house.ended() == 0
    assert "Traceback" not in house.logged
    assert verified(tmp_path).holds_open == 0
