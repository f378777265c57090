"""Websockets: how they are opened, and how requests are answered on them."""

import json
import logging

import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import Opcode
from websockets.typing import Subprotocol

from posthouse.api.exchange import Exchange, Route
from tests.api.doorway import KEY, soon, until
from tests.api.sockets import CHAT, RESPONSES, SOUND, answers, frame, rest, room, said


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
