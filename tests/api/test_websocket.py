"""Websockets frame by frame: how they are opened, kept alive and closed, and what clients do to them."""

import asyncio
import base64
import contextlib
import json
import logging
import random
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from posthouse.api.exchange import Exchange, Route
from posthouse.api.house import ProtocolOptions
from posthouse.api.sockets import Sockets
from posthouse.core.errors import InvalidRequest
from tests.api.doorway import KEY, Client, Doorway, doorway, soon, until

CHAT: Final = "/v1/chat/completions"
RESPONSES: Final = "/v1/responses"
SOUND: Final = {
    "host": "house",
    "connection": "keep-alive, Upgrade",
    "upgrade": "WebSocket",
    "sec-websocket-key": base64.b64encode(bytes(16)).decode(),
    "sec-websocket-version": "13",
    "authorization": f"Bearer {KEY}",
}


class Face:
    """Answers as the request's `ask` says."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.exchanges: list[Exchange] = []
        self.cancelled = 0
        self.gate = asyncio.Event()

    async def handle(self, exchange: Exchange) -> None:
        body = json.loads(exchange.body)
        self.asked.append(body)
        self.exchanges.append(exchange)
        try:
            await self._answer(exchange, body.get("ask", "stream"))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def _answer(self, exchange: Exchange, ask: str) -> None:
        now = asyncio.get_running_loop().time()
        if ask == "whole":
            exchange.respond(200, b"", b'{"whole":true}')
        elif ask == "refused":
            raise InvalidRequest("Not this.", param="ask")
        elif ask == "fault":
            raise RuntimeError("a mistake of ours")
        elif ask == "wait":
            exchange.start(200, b"", now)
            exchange.write(b'data: {"n":0}\n\n', now)
            await self.gate.wait()
            exchange.end(b"data: [DONE]\n\n")
        elif ask == "pour":
            exchange.start(200, b"", now)
            while not self.gate.is_set():
                exchange.write(b'data: "%b"\n\n' % (b"x" * 10_000), now)
                if exchange.write_paused:
                    await exchange.drained()
            exchange.end(b"data: [DONE]\n\n")
        else:
            exchange.start(200, b"", now)
            exchange.write(b': a comment\n\ndata: {"n":1}\n\nevent: a\ndata: {"n":2}\n\n', now)
            exchange.end(b"data: [DONE]\n\n")


class Room:
    def __init__(self, at: Doorway) -> None:
        self.at = at
        self.face = Face()
        for path in (CHAT, RESPONSES):
            at.door.add(path, {b"POST": Route("chat", self.face.handle)})
        Sockets(at.door).mount()

    def connect(self, path: str = CHAT, headers: dict[str, str] | None = None, **more: Any) -> Any:
        given = {"authorization": f"Bearer {KEY}"} if headers is None else headers
        return connect(
            f"ws://127.0.0.1:{self.at.port}{path}", additional_headers=given, proxy=None, compression=None, **more
        )

    async def raw(self, **headers: str | None) -> Client:
        """A connection that has asked to be opened, with other headers than the usual; None leaves one out."""
        client = await self.at.client()
        lines = {**SOUND, **{name.replace("_", "-"): value for name, value in headers.items()}}
        given = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
        client.send(f"GET {CHAT} HTTP/1.1\r\n{given}\r\n".encode())
        return client

    async def opened(self) -> Client:
        client = await self.raw()
        assert (await client.head())[0] == 101
        return client


@contextlib.asynccontextmanager
async def room(options: ProtocolOptions | None = None, origins: tuple[str, ...] = ("*",)) -> AsyncIterator[Room]:
    async with doorway(options, origins) as at:
        yield Room(at)


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    """As a client writes it."""
    return Frame(opcode, data, fin).serialize(mask=True)


async def said(client: Client) -> tuple[int, bytes]:
    """Opcode and content of the next frame of ours; none is longer than 64 KiB here."""
    first, second = await soon(client.reader.readexactly(2))
    size = second & 127
    if size == 126:
        size = int.from_bytes(await soon(client.reader.readexactly(2)))
    return first & 15, await soon(client.reader.readexactly(size))


async def answers(socket: ClientConnection, *, of: str = "stream", end: str = "[DONE]") -> list[Any]:
    """All messages of the answer to one request."""
    await socket.send(json.dumps({"ask": of}))
    return await rest(socket, end)


async def rest(socket: ClientConnection, end: str = "[DONE]") -> list[Any]:
    found: list[Any] = []
    while True:
        message = await soon(socket.recv())
        found.append(message if message == "[DONE]" else json.loads(message))
        if found[-1] == end or "error" in found[-1] or "whole" in found[-1]:
            return found


async def closed(socket: ClientConnection) -> tuple[int | None, str | None]:
    """Code and reason."""
    with pytest.raises(ConnectionClosed):
        while True:
            await soon(socket.recv())
    return socket.close_code, socket.close_reason


# --- opening ---------------------------------------------------------------------------------------------------------
@pytest.mark.req("WS-001")
@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}, {"api-key": KEY}, {"x-goog-api-key": KEY}]
)
@pytest.mark.parametrize("path", [CHAT, CHAT + "?a=b", "/chat/completions"])
async def test_a_key_is_taken_wherever_http_takes_it(headers: dict[str, str], path: str) -> None:
    async with room() as here:
        here.at.door.add("/chat/completions", {b"POST": Route("chat", here.face.handle)})
        async with here.connect(path, headers) as socket:
            assert socket.response.headers["x-request-id"].startswith("req_")
            assert await answers(socket) == [{"n": 1}, {"n": 2}, "[DONE]"]


@pytest.mark.req("WS-002")
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([f"posthouse.key.{KEY}"], f"posthouse.key.{KEY}"),
        (["posthouse", f"posthouse.key.{KEY}"], "posthouse"),
        (["realtime", f"openai-insecure-api-key.{KEY}", "openai-beta.realtime-v1"], "realtime"),
        ([f"openai-insecure-api-key.{KEY}", "other"], f"openai-insecure-api-key.{KEY}"),
    ],
)
async def test_a_client_without_headers_names_its_key_as_a_subprotocol(offered: list[str], chosen: str) -> None:
    async with room() as here:
        subprotocols = [Subprotocol(name) for name in offered]
        async with here.connect(headers={}, subprotocols=subprotocols) as socket:
            assert socket.subprotocol == chosen
            assert (await answers(socket))[-1] == "[DONE]"
        headers = here.face.exchanges[0].headers
        assert not [name for name in headers if name.startswith(b"sec-") or name == b"upgrade"]
        assert headers[b"x-api-key"] == KEY.encode()


@pytest.mark.req("WS-001", "WS-002")
@pytest.mark.parametrize(
    ("headers", "offered"),
    [({}, []), ({"x-api-key": "nobody"}, []), ({}, ["posthouse.key.nobody"]), ({}, ["posthouse.key."]), ({}, [KEY])],
)
async def test_without_a_known_key_nothing_is_opened(headers: dict[str, str], offered: list[str]) -> None:
    async with room() as here:
        with pytest.raises(InvalidStatus) as caught:
            await here.connect(headers=headers, subprotocols=[Subprotocol(name) for name in offered] or None)
        answer = caught.value.response
        assert answer.status_code == 401
        assert json.loads(answer.body or b"")["error"]["code"] == "invalid_api_key"
        with pytest.raises(InvalidStatus):
            await here.connect(CHAT + f"?key={KEY}&api_key={KEY}", headers={})


@pytest.mark.req("WS-002")
async def test_pages_of_other_origins_are_refused_and_clients_without_one_are_not() -> None:
    async with room(origins=("https://chat.example",)) as here:
        with pytest.raises(InvalidStatus) as caught:
            await here.connect(origin="https://evil.example")
        assert caught.value.response.status_code == 403
        assert json.loads(caught.value.response.body or b"")["error"]["code"] == "origin_not_allowed"
        for origin in ("https://chat.example", None):
            async with here.connect(origin=origin) as socket:
                assert (await answers(socket))[-1] == "[DONE]"
    async with room() as here, here.connect(origin="https://anywhere.example") as socket:
        assert (await answers(socket))[-1] == "[DONE]"


@pytest.mark.req("WS-001")
@pytest.mark.parametrize(
    "headers",
    [
        {"sec_websocket_version": "12"},
        {"sec_websocket_version": None},
        {"sec_websocket_key": None},
        {"sec_websocket_key": "c2hvcnQ="},
        {"sec_websocket_key": "not base64!"},
        {"sec_websocket_protocol": "a b"},
    ],
    ids=range(6),
)
async def test_an_opening_that_is_not_proper_is_a_400(headers: dict[str, str | None]) -> None:
    async with room() as here:
        client = await here.raw(**headers)
        status, lines, body = await client.answer()
        assert (status, lines["sec-websocket-version"]) == (400, "13")
        assert json.loads(body)["error"]["code"] == "invalid_handshake"
        client.send(b"GET /nothing HTTP/1.1\r\nhost: house\r\n\r\n")
        assert (await client.answer())[0] == 404
        await client.leave()


@pytest.mark.req("WS-001")
async def test_no_other_upgrade_and_no_other_path_is_heeded() -> None:
    async with room() as here:
        at = here.at

        async def healthy(exchange: Exchange) -> None:
            exchange.respond(200, b"", exchange.method)

        at.door.add("/healthz", {b"GET": Route("healthz", healthy, authenticated=False)})
        client = await at.client()
        for path, upgrade, expected in (
            ("/healthz", "websocket", 200),
            ("/healthz", "h2c", 200),
            (CHAT, "h2c", 405),
            ("/nothing", "websocket", 404),
        ):
            lines = {**SOUND, "upgrade": upgrade}
            given = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
            client.send(f"GET {path} HTTP/1.1\r\n{given}\r\n".encode())
            status, _, body = await client.answer()
            assert status == expected
            assert b"WEBSOCKET" not in body
        client.send(f"GET {CHAT} HTTP/1.1\r\nhost: house\r\n\r\n".encode())
        assert (await client.answer())[0] == 405
        await client.leave()


async def test_an_opening_waits_for_the_answers_before_it_and_nothing_may_follow_it() -> None:
    async with room() as here:
        plain = f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\ncontent-length: 15\r\n\r\n"
        given = "".join(f"{name}: {value}\r\n" for name, value in SOUND.items())
        opening = f"GET {CHAT} HTTP/1.1\r\n{given}\r\n"
        client = await here.at.client()
        client.send((plain + '{"ask":"whole"}' + opening).encode())
        assert (await client.answer())[2] == b'{"whole":true}'
        assert (await client.head())[0] == 101
        client.send(frame(Opcode.TEXT, b'{"ask":"whole"}'))
        assert await said(client) == (1, b'{"whole":true}')
        await client.leave()
        client = await here.at.client()
        client.send((plain + '{"ask":"whole"}' + opening + plain + '{"ask":"whole"}').encode())
        assert (await client.answer())[0] == 200
        status, _, body = await client.answer()
        assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_handshake")
        assert (await client.answer())[0] == 200
        await client.leave()


# --- requests --------------------------------------------------------------------------------------------------------
@pytest.mark.req("WS-003")
async def test_requests_are_answered_in_turn_on_one_websocket() -> None:
    async with room() as here, here.connect() as socket:
        for _ in range(3):
            assert await answers(socket) == [{"n": 1}, {"n": 2}, "[DONE]"]
        assert await answers(socket, of="whole") == [{"whole": True}]
        assert here.face.asked == [{"ask": "stream", "stream": True}] * 3 + [{"ask": "whole", "stream": True}]
        first, second = here.face.exchanges[:2]
        assert first.request_id != second.request_id
        assert (first.method, first.path) == (b"POST", CHAT)
        assert here.at.state.total_requests == 5


@pytest.mark.req("WS-004")
async def test_errors_are_messages_and_the_websocket_stays(caplog: pytest.LogCaptureFixture) -> None:
    async with room() as here, here.connect() as socket, here.connect(RESPONSES) as other:
        (error,) = await answers(socket, of="refused")
        assert error["error"] == {
            "message": "Not this.",
            "type": "invalid_request_error",
            "param": "ask",
            "code": None,
        }
        (wrapped,) = await answers(other, of="refused")
        assert wrapped == {"type": "error", "status": 400, **error}
        with caplog.at_level(logging.CRITICAL, "posthouse.api"):
            (fault,) = await answers(socket, of="fault")
        assert fault["error"]["code"] == "internal_error"
        await socket.send("hello")
        (wrong,) = await rest(socket)
        assert wrong["error"]["type"] == "invalid_request_error"
        assert (await answers(socket))[-1] == "[DONE]"
        assert len(here.at.refusals.errors) == 3


@pytest.mark.req("WS-005")
async def test_a_second_request_is_refused_while_one_is_answered_which_goes_on() -> None:
    async with room() as here, here.connect() as socket:
        await socket.send('{"ask":"wait"}')
        assert json.loads(await soon(socket.recv())) == {"n": 0}
        await socket.send('{"ask":"whole"}')
        (busy,) = await rest(socket)
        assert busy["error"]["code"] == "request_in_progress"
        here.face.gate.set()
        assert await rest(socket) == ["[DONE]"]
        assert await answers(socket, of="whole") == [{"whole": True}]


@pytest.mark.req("WS-006")
async def test_a_request_can_be_cancelled_and_the_next_one_is_answered() -> None:
    async with room() as here, here.connect() as socket:
        await socket.send('{"type":"cancel"}')  # there is nothing to cancel: nothing is said
        for count in (1, 2):
            await socket.send('{"ask":"wait"}')
            assert json.loads(await soon(socket.recv())) == {"n": 0}
            await socket.send('{"type":"cancel"}')
            await socket.send('{"type":"cancel"}')
            (end,) = await rest(socket)
            assert end["error"]["code"] == "request_cancelled"
            assert here.face.cancelled == count
        assert await answers(socket, of="whole") == [{"whole": True}]


@pytest.mark.req("WS-006")
async def test_a_request_can_be_cancelled_before_it_has_begun() -> None:
    async with room() as here:
        client = await here.opened()
        both = frame(Opcode.TEXT, b'{"ask":"wait"}') + frame(Opcode.TEXT, b'{"type":"cancel"}')
        client.send(both)
        opcode, content = await said(client)
        assert (opcode, json.loads(content)["error"]["code"]) == (1, "request_cancelled")
        client.send(frame(Opcode.TEXT, b'{"ask":"whole"}'))
        assert await said(client) == (1, b'{"whole":true}')
        assert here.face.asked == [{"ask": "whole", "stream": True}]
        client.send(frame(Opcode.TEXT, b'{"ask":"wait"}') + frame(Opcode.CLOSE, (1000).to_bytes(2)))
        assert await client.ended() is False  # our half of the goodbye
        await client.leave()
        await until(lambda: not here.at.connections and not here.at.state.tasks)


@pytest.mark.req("WS-001")
async def test_a_key_is_asked_for_again_with_every_request() -> None:
    async with room() as here, here.connect() as socket:
        assert (await answers(socket))[-1] == "[DONE]"
        here.at.keys.known.clear()
        (error,) = await answers(socket)
        assert error["error"]["code"] == "invalid_api_key"


# --- frames ----------------------------------------------------------------------------------------------------------
@pytest.mark.req("WS-007")
async def test_a_message_may_come_in_fragments_with_pings_between_them() -> None:
    async with room() as here:
        client = await here.opened()
        text = b'{"ask":"whole"}'
        client.send(frame(Opcode.TEXT, text[:1], fin=False))
        for at in range(1, len(text) - 1):
            client.send(frame(Opcode.PING, b"%d" % at) + frame(Opcode.CONT, text[at : at + 1], fin=False))
        client.send(frame(Opcode.CONT, text[-1:]))
        for at in range(1, len(text) - 1):
            assert await said(client) == (10, b"%d" % at)
        assert await said(client) == (1, b'{"whole":true}')
        await client.leave()


@pytest.mark.req("WS-007")
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(Opcode.BINARY, b"{}"), 1003),
        (frame(Opcode.BINARY, b"{", fin=False), 1003),
        (frame(Opcode.TEXT, b'{"a":"\xff"}'), 1007),
        (Frame(Opcode.TEXT, b"{}").serialize(mask=False), 1002),
        (b"\x83\x80" + bytes(4), 1002),
        (frame(Opcode.CONT, b"{}"), 1002),
        (frame(Opcode.TEXT, b"{", fin=False) + frame(Opcode.TEXT, b"}"), 1002),
        (b"\xc1\x80" + bytes(4), 1002),
        (frame(Opcode.TEXT, bytes(1001)), 1009),
        (frame(Opcode.TEXT, bytes(600), fin=False) + frame(Opcode.CONT, bytes(600)), 1009),
        (b"\x81\xff" + (1 << 60).to_bytes(8) + bytes(4), 1009),
        (frame(Opcode.CLOSE, (1000).to_bytes(2)), 1000),
    ],
    ids=[
        "binary",
        "binary in fragments",
        "no UTF-8",
        "not masked",
        "unknown opcode",
        "nothing to continue",
        "a message inside of one",
        "compressed",
        "too large",
        "too large in fragments",
        "enormous",
        "goodbye",
    ],
)
async def test_what_cannot_be_heard_closes_the_websocket_and_says_why(sent: bytes, code: int) -> None:
    async with room(ProtocolOptions(body_limit=1000)) as here:
        client = await here.opened()
        client.send(sent)
        opcode, content = await said(client)
        assert (opcode, int.from_bytes(content[:2])) == (8, code)
        assert await client.ended()
        assert here.face.asked == []
        await client.leave()
        await until(lambda: not here.at.connections)


@pytest.mark.req("WS-007")
async def test_a_client_that_sends_far_too_much_without_looking_hears_why() -> None:
    async with room(ProtocolOptions(body_limit=1000)) as here:
        client = await here.opened()
        client.send(frame(Opcode.TEXT, bytes(8 << 20)))
        opcode, content = await said(client)
        assert (opcode, int.from_bytes(content[:2])) == (8, 1009)
        assert await client.ended()
        await client.leave()


@pytest.mark.req("WS-007")
async def test_a_message_as_large_as_a_body_may_be_is_heard() -> None:
    async with room() as here, here.connect(max_size=None) as socket:
        await socket.send(json.dumps({"ask": "whole", "text": "ä" * 4_000_000}))
        assert await rest(socket) == [{"whole": True}]


# --- who leaves, who is silent, who does not read --------------------------------------------------------------------
@pytest.mark.req("WS-006")
@pytest.mark.parametrize("how", ["close", "abort", "half"])
async def test_a_client_that_leaves_cancels_its_request(how: str) -> None:
    async with room() as here:
        client = await here.opened()
        client.send(frame(Opcode.TEXT, b'{"ask":"wait"}'))
        assert await said(client) == (1, b'{"n":0}')
        if how == "close":
            client.send(frame(Opcode.CLOSE, (1001).to_bytes(2)))
        elif how == "half":
            client.writer.write_eof()
        else:
            client.writer.transport.abort()
        await until(lambda: here.face.cancelled == 1 and not here.at.connections)
        await client.leave()


@pytest.mark.req("WS-008")
async def test_a_client_is_pinged_and_cut_when_it_stays_silent() -> None:
    async with room(ProtocolOptions(heartbeat=15)) as here:
        client = await here.opened()
        client.send(frame(Opcode.TEXT, b'{"ask":"wait"}'))
        assert await said(client) == (1, b'{"n":0}')
        for seconds in (14, 16, 31, 46, 61):
            here.at.later(seconds)
            if seconds > 14:
                assert await said(client) == (9, b"")
                client.send(frame(Opcode.PONG) + frame(Opcode.PING))
                assert await said(client) == (10, b"")
        here.at.later(77)
        assert await said(client) == (9, b"")
        here.at.later(91)
        assert here.at.connections
        here.at.later(93)
        await until(lambda: here.face.cancelled == 1 and not here.at.connections)
        await client.leave()


@pytest.mark.req("WS-008")
async def test_without_heartbeats_nobody_is_pinged() -> None:
    async with room(ProtocolOptions(heartbeat=float("inf"))) as here, here.connect() as socket:
        here.at.later(1_000_000)
        assert (await answers(socket))[-1] == "[DONE]"


async def pouring(here: Room) -> Client:
    """An answer that does not end, for a client that does not read."""
    client = await here.opened()
    client.reader._limit = 1024  # type: ignore[attr-defined]  # how much a StreamReader reads ahead
    client.send(frame(Opcode.TEXT, b'{"ask":"pour"}'))
    await until(lambda: here.at.line.write_paused)
    return client


async def reads(client: Client, size: int) -> None:
    read = 0
    while read < size:
        read += len(await soon(client.reader.read(65_536)))


@pytest.mark.req("WS-009")
async def test_no_more_is_written_than_the_client_reads() -> None:
    async with room() as here:
        client = await pouring(here)
        line = here.at.line
        assert line.transport.get_write_buffer_size() < 1 << 20
        await reads(client, 20 << 20)
        here.face.gate.set()
        tail = b""
        while not tail.endswith(b"[DONE]"):
            tail = tail[-10:] + await soon(client.reader.read(65_536))
        await client.leave()


@pytest.mark.req("WS-009")
async def test_a_client_that_reads_slowly_is_not_silent_and_one_that_reads_nothing_is() -> None:
    async with room(ProtocolOptions(heartbeat=15)) as here:
        client = await pouring(here)
        for seconds in (16, 32, 48, 64):
            here.at.later(seconds)
            await reads(client, 12 << 20)  # more than the kernel holds: some of it is written only now
            await until(lambda: here.at.line.write_paused)
        here.at.later(100)
        here.at.later(114)
        assert here.at.connections
        here.at.later(116)
        await until(lambda: here.face.cancelled == 1 and not here.at.connections)
        await client.leave()


@pytest.mark.req("WS-009")
@pytest.mark.parametrize(
    "flood", [frame(Opcode.PING, b"x" * 100), frame(Opcode.TEXT, b'{"ask":"whole"}')], ids=["pings", "requests"]
)
async def test_a_client_that_asks_and_does_not_read_is_cut(flood: bytes) -> None:
    async with room() as here:
        client = await pouring(here)
        with contextlib.suppress(ConnectionError, TimeoutError):
            for _ in range(200):
                client.send(flood * 100)
                await asyncio.sleep(0)
                if not here.at.connections:
                    break
        await until(lambda: here.face.cancelled == 1 and not here.at.connections)
        client.writer.transport.abort()
        await client.leave()


# --- the end of the house --------------------------------------------------------------------------------------------
@pytest.mark.req("WS-010")
async def test_a_house_that_shuts_down_says_goodbye_after_the_answer_under_way() -> None:
    async with room() as here, here.connect() as idle, here.connect() as busy:
        await busy.send('{"ask":"wait"}')
        assert json.loads(await soon(busy.recv())) == {"n": 0}
        for line in here.at.connections:
            line.shutdown()
        assert await closed(idle) == (1001, "the server is shutting down")
        await busy.send('{"ask":"whole"}')
        assert (await rest(busy))[0]["error"]["code"] == "request_in_progress"
        here.face.gate.set()
        assert await rest(busy) == ["[DONE]"]
        assert await closed(busy) == (1001, "the server is shutting down")
        await until(lambda: not here.at.connections)


@pytest.mark.req("WS-010")
async def test_an_answer_that_outlasts_the_drain_ends_with_an_error() -> None:
    async with room() as here, here.connect() as socket:
        await socket.send('{"ask":"wait"}')
        assert json.loads(await soon(socket.recv())) == {"n": 0}
        here.at.line.shutdown()
        for task in tuple(here.at.state.tasks):
            task.cancel()
        (end,) = await rest(socket)
        assert end["error"]["code"] == "unavailable"
        assert (await closed(socket))[0] == 1001


@pytest.mark.req("WS-010")
async def test_a_client_that_does_not_answer_a_goodbye_is_cut() -> None:
    async with room() as here:
        client = await here.opened()
        await until(lambda: here.at.state.total_requests == 1)
        here.at.line.shutdown()
        opcode, content = await said(client)
        assert (opcode, content[:2]) == (8, (1001).to_bytes(2))
        client.send(frame(Opcode.TEXT, b'{"ask":"whole"}'))
        here.at.later(4)
        assert here.at.connections
        here.at.later(6)
        await until(lambda: not here.at.connections)
        assert here.face.asked == []
        await client.leave()


async def test_nothing_is_logged_of_what_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with room() as here, here.connect() as socket:
            assert await answers(socket, of="whole") == [{"whole": True}]
    ours = [record for record in caplog.records if record.name.startswith("posthouse")]
    assert not [record for record in ours if KEY in record.getMessage() or "whole" in record.getMessage()]


# --- anything at all -------------------------------------------------------------------------------------------------
@pytest.mark.req("WS-007")
async def test_no_bytes_whatever_are_a_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(6455)
    texts = [b'{"ask":"whole"}', b'{"type":"cancel"}', b"{", b"\xff", b"", b"x" * 200]
    async with room(ProtocolOptions(body_limit=1000)) as here:
        for _ in range(150):
            sent = bytearray()
            for _ in range(chance.randint(1, 6)):
                opcode, fin = chance.choice(list(Opcode)), chance.random() < 0.7
                content = chance.choice(texts)[: 125 if opcode >= 8 else None]
                sent += Frame(opcode, content, fin or opcode >= 8).serialize(mask=chance.random() < 0.95)
            for _ in range(chance.randint(0, 3)):
                sent[chance.randrange(len(sent))] = chance.randrange(256)
            client = await here.opened()
            for at in range(0, len(sent), size := chance.randint(1, 40)):
                if not client.writer.is_closing():
                    client.send(bytes(sent[at : at + size]))
                await asyncio.sleep(0)
            with contextlib.suppress(OSError, RuntimeError):  # it may have been closed already
                client.writer.write_eof()
                await soon(client.reader.read())
            await client.leave()
        await until(lambda: not here.at.connections and not here.at.state.tasks)
        async with here.connect() as socket:
            assert await answers(socket, of="whole") == [{"whole": True}]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
