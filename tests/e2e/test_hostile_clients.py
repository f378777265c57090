"""Clients that are slow, broken or hostile: each gets a 4xx in OpenAI's shape where there is anybody to tell, nobody
makes a 500, and the next client finds everything as it was."""

import json
import logging
import socket
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.e2e.answers import USAGE, answers, asked, chunk, completion, embedded, streams
from tests.e2e.house import ADMIN_KEY, Place, place
from tests.e2e.upstream import Visit
from tests.e2e.wire import Wire, eventually, payloads, refused, request

CHAT: Final = "/v1/chat/completions"
HEAD: Final = f"POST {CHAT} HTTP/1.1\r\nhost: house\r\nauthorization: Bearer {ADMIN_KEY}\r\n"
BODY: Final = json.dumps(asked()).encode()
SETTINGS: Final = {
    "POSTHOUSE_SERVER_HEADER_TIMEOUT": "0.5",
    "POSTHOUSE_SERVER_BODY_TIMEOUT": "0.5",
    "POSTHOUSE_SERVER_KEEP_ALIVE": "30",
    "POSTHOUSE_SERVER_HEADER_LIMIT": "16384",
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("house"), environ=SETTINGS) as made:
        yield made
        made.house.verified()


@pytest.fixture(autouse=True)
def _unharmed(here: Place, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After every test the house still answers, and nothing was logged as a fault of ours."""
    here.upstream.forget()
    here.upstream.scripts = {"*": answers(completion())}
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    here.upstream.scripts = {"*": answers(completion())}
    with here.house.wire() as wire:
        assert wire.ask(CHAT, asked(), ADMIN_KEY).status == 200


# --- slow ------------------------------------------------------------------------------------------------------------
def test_thirty_connections_with_slow_headers_are_all_closed(here: Place) -> None:
    wires = [here.house.wire() for _ in range(30)]
    for wire in wires:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: ho")
    for wire in wires:
        wire.socket.settimeout(15)
        assert refused(wire.response()).status == 408
        assert wire.ended()
        wire.leave()


def test_a_header_line_now_and_then_does_not_extend_the_deadline(here: Place) -> None:
    with here.house.wire() as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\n")
        wire.socket.settimeout(0.1)
        sent = 0
        answer = b""
        while not answer:
            assert sent < 150, "still open after 15 seconds"
            wire.send(b"x-more: 1\r\n")
            sent += 1
            try:
                answer = wire.receive()
            except TimeoutError:
                continue
    assert b" 408 " in answer


def test_a_connection_that_says_nothing_is_closed(here: Place) -> None:
    with here.house.wire() as wire:
        wire.socket.settimeout(15)
        assert wire.ended()


def test_a_body_that_stops_coming_is_given_up(here: Place) -> None:
    with here.house.wire() as wire:
        wire.send(f"{HEAD}content-length: 100\r\n\r\n".encode() + b'{"model"')
        assert refused(wire.response()).status == 408
        assert wire.ended()


# --- large -----------------------------------------------------------------------------------------------------------
@pytest.mark.req("CHAT-E2E-011")
def test_a_body_of_forty_megabytes_is_refused_by_its_length_before_it_comes(here: Place) -> None:
    with here.house.wire() as wire:
        wire.send(f"{HEAD}content-length: {40 << 20}\r\n\r\n".encode())
        assert refused(wire.response()).status == 413
        assert wire.ended()


@pytest.mark.req("CHAT-E2E-011")
@pytest.mark.parametrize("announced", [True, False])
def test_a_client_that_sends_forty_megabytes_without_looking_still_gets_the_answer(
    here: Place, announced: bool
) -> None:
    size = 40 << 20
    framing = f"content-length: {size}" if announced else "transfer-encoding: chunked"
    piece = b"x" * (1 << 20)
    with here.house.wire() as wire:
        wire.send(f"{HEAD}{framing}\r\n\r\n".encode())
        for _ in range(40):
            wire.send(piece if announced else b"100000\r\n" + piece + b"\r\n")
        if not announced:
            wire.send(b"0\r\n\r\n")
        assert refused(wire.response()).status == 413
    assert here.upstream.visits == []


@pytest.mark.parametrize(
    "flood",
    [
        b"".join(b"x-%d: 1\r\n" % number for number in range(300)) + b"\r\n",
        b"x-long: " + b"a" * 60_000 + b"\r\n\r\n",
        b"x-endless: " + b"a" * 60_000,
        b"x-" + b"a" * 60_000,
    ],
    ids=["many", "long", "endless", "long name"],
)
def test_a_flood_of_headers_is_refused(here: Place, flood: bytes) -> None:
    with here.house.wire() as wire:
        wire.send(HEAD.encode() + flood)
        assert refused(wire.response()).status == 431
        assert wire.ended()


def test_an_endless_target_is_refused(here: Place) -> None:
    with here.house.wire() as wire:
        wire.send(b"GET /" + b"a" * 60_000)
        assert refused(wire.response()).status in (414, 431)
        assert wire.ended()


def test_a_reader_of_one_byte_at_a_time_stops_the_upstream_and_not_the_others(here: Place) -> None:
    """Back-pressure: what nobody reads is not fetched."""
    total, text = 48 << 20, "x" * 32_000

    async def pours(visit: Visit) -> None:
        await visit.start_stream()
        while visit.sent < total:
            await visit.event(chunk({"content": text}))
        await visit.event(chunk({}, "stop", usage=USAGE))
        await visit.end_stream()

    here.upstream.scripts["m"] = pours
    with here.house.wire(receive_buffer=4096) as slow:
        slow.send(request(CHAT, asked(stream=True), ADMIN_KEY))
        assert slow.socket.recv(1) == b"H"
        visit = here.upstream.visit()
        stalled = eventually(lambda: _stalled(slow, visit), "the upstream is not stopped")
        assert stalled < total // 2  # the kernel's buffers, and little of ours
        assert _buffered(here) < 1 << 20
        here.upstream.scripts["m"] = answers(completion())
        with here.house.wire() as other:
            assert other.ask(CHAT, asked(), ADMIN_KEY).status == 200
        # Once it reads on, everything comes.
        slow.socket.settimeout(20)
        read = 1
        while data := slow.receive():
            read += len(data)
            if data.endswith(b"0\r\n\r\n"):
                break
        assert read > total


def _stalled(slow: Wire, visit: Visit) -> int | None:
    """How much the upstream has sent, once that has not changed while the client read a little."""
    before = visit.sent
    for _ in range(40):
        assert len(slow.socket.recv(1)) == 1
        visit.left.wait(0.005)
    return before if visit.sent == before else None


def _buffered(here: Place) -> int:
    """Bytes that the house holds for its clients."""
    server = here.house.house.server
    assert server is not None
    connections: list[Any] = list(server.server_state.connections)
    return sum(connection.transport.get_write_buffer_size() for connection in connections)


# --- what is no HTTP -------------------------------------------------------------------------------------------------
GARBAGE: Final = {
    "bytes": b"\x00\x01\x02\xff\r\n\r\n",
    "one word": b"HELLO\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a path that is not ASCII": b"GET /\xe9 HTTP/1.1\r\nhost: house\r\n\r\n",
    "unknown version": b"GET / HTTP/3.7\r\nhost: house\r\n\r\n",
    "unknown method": b"FROBNICATE / HTTP/1.1\r\nhost: house\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nhost : house\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nhost house\r\n\r\n",
    "NUL in a header": HEAD.encode() + b"x-a: a\x00b\r\n\r\n",
    "NUL in the key": b"GET /v1/models HTTP/1.1\r\nhost: house\r\nauthorization: Bearer sk-ph-\x00abc\r\n\r\n",
    "two lengths": HEAD.encode() + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "the same length twice": HEAD.encode() + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "two lengths in one": HEAD.encode() + b"content-length: 2, 2\r\n\r\n{}",
    "length and chunks": HEAD.encode() + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative length": HEAD.encode() + b"content-length: -2\r\n\r\n{}",
    "length in words": HEAD.encode() + b"content-length: two\r\n\r\n{}",
    "length beyond all": HEAD.encode() + b"content-length: 99999999999999999999999999\r\n\r\n{}",
    "unknown transfer coding": HEAD.encode() + b"transfer-encoding: gzip\r\n\r\n",
    "bad chunk size": HEAD.encode() + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "no Host": f"GET /v1/models HTTP/1.1\r\nauthorization: Bearer {ADMIN_KEY}\r\n\r\n".encode(),
    "a Host with spaces": b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
    "a Host with a path": b"GET / HTTP/1.1\r\nhost: house/evil\r\n\r\n",
    "a Host with markup": b"GET / HTTP/1.1\r\nhost: <script>alert(1)</script>\r\n\r\n",
    "a Host with a bad port": b"GET / HTTP/1.1\r\nhost: house:http\r\n\r\n",
    "CONNECT": b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n",
}


@pytest.mark.req("CHAT-E2E-011")
@pytest.mark.parametrize("what", GARBAGE)
def test_what_is_no_proper_http_is_refused_and_the_connection_closed(here: Place, what: str) -> None:
    with here.house.wire() as wire:
        wire.send(GARBAGE[what])
        assert refused(wire.response()).status in (400, 405, 413)
        assert wire.ended()
    assert here.upstream.visits == []


@pytest.mark.parametrize("host", ["house", "house:8700", "127.0.0.1:8700", "[::1]:8700", "a.b-c_d.example", "house:"])
def test_every_proper_host_is_welcome(here: Place, host: str) -> None:
    with here.house.wire() as wire:
        wire.send(f"GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        assert wire.response().status == 200


# --- the finer points of HTTP ----------------------------------------------------------------------------------------
def test_a_client_that_expects_a_continue_gets_one(here: Place) -> None:
    with here.house.wire() as wire:
        wire.send(f"{HEAD}content-length: {len(BODY)}\r\nexpect: 100-continue\r\n\r\n".encode())
        assert wire.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(BODY)
        assert wire.response().status == 200


def test_a_client_that_expects_a_continue_is_refused_without_sending_much(here: Place) -> None:
    with here.house.wire() as wire:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: house\r\nauthorization: Bearer nobody\r\n"
        wire.send(f"{head}content-length: {20 << 20}\r\nexpect: 100-continue\r\n\r\n".encode())
        assert refused(wire.response()).status == 401
        assert wire.ended()


def test_http_1_0_gets_a_whole_answer_and_a_stream_without_chunks(here: Place) -> None:
    head = f"POST {CHAT} HTTP/1.0\r\nauthorization: Bearer {ADMIN_KEY}\r\n"
    with here.house.wire() as wire:
        wire.send(f"{head}content-length: {len(BODY)}\r\n\r\n".encode() + BODY)
        assert wire.response().json == completion()
        assert wire.ended()
    here.upstream.scripts["m"] = streams(["a"])
    with here.house.wire() as wire:
        body = json.dumps(asked(stream=True)).encode()
        wire.send(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer = wire.response()
    assert "transfer-encoding" not in answer.headers
    assert payloads(answer.body)[-1] == "[DONE]"


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "TLS/1.0"])
def test_a_wish_to_upgrade_is_not_heeded(here: Place, upgrade: str) -> None:
    """A server may ignore it (RFC 9110, 7.8), and some clients wish for h2c with every first request."""
    extra = f"connection: Upgrade, HTTP2-Settings\r\nupgrade: {upgrade}\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
    with here.house.wire() as wire:
        assert wire.ask("/healthz", b"", method="GET", extra=extra).json == {"status": "ok"}
    with here.house.wire() as wire:
        assert wire.ask(CHAT, asked(), ADMIN_KEY, extra=extra).json == completion()
        whole = request(CHAT, asked(seed=1), ADMIN_KEY, extra=extra)
        for piece in (whole[:-9], whole[-9:-1], whole[-1:] + request("/healthz", method="GET")):
            wire.send(piece)
        assert wire.response().json == completion()
        assert wire.response().json == {"status": "ok"}
    assert here.upstream.visit().json == asked(seed=1)
    with here.house.wire() as wire:
        wire.send(f"{HEAD}{extra}transfer-encoding: chunked\r\n\r\n0\r\n\r\n".encode())
        assert refused(wire.response()).status == 400


def test_pipelined_requests_are_answered_in_order(here: Place) -> None:
    here.upstream.scripts = {"m": answers(completion("chat")), "*": answers(embedded([[0.5]]))}
    pipeline = [
        request(CHAT, asked(), ADMIN_KEY),
        request("/v1/models/m", b"", ADMIN_KEY, method="GET"),
        request(CHAT, b"{", ADMIN_KEY),
        request("/v1/nothing", b"", ADMIN_KEY, method="GET"),
        request("/healthz", b"", method="GET"),
    ]
    with here.house.wire() as wire:
        wire.send(b"".join(pipeline))
        assert [wire.response().status for _ in pipeline] == [200, 200, 400, 404, 200]
        assert wire.ask(CHAT, asked(), ADMIN_KEY).status == 200


def test_too_many_pipelined_requests_end_the_connection(here: Place) -> None:
    with here.house.wire() as wire:
        wire.send(request(CHAT, asked(), ADMIN_KEY) * 100)
        wire.rest()


@pytest.mark.req("CHAT-E2E-009")
def test_a_client_that_closes_half_of_its_connection_has_left(here: Place) -> None:
    gate = here.upstream.gate()

    async def waits(visit: Visit) -> None:
        await gate.passed(visit)

    here.upstream.scripts["m"] = waits
    before = here.house.last_id()
    with here.house.wire() as wire:
        wire.send(request(CHAT, asked(), ADMIN_KEY))
        assert gate.reached.wait(10)
        wire.socket.shutdown(socket.SHUT_WR)
        assert here.upstream.visit().left.wait(10)
        assert wire.ended()
    assert here.house.only_since(before).record["ended_by"] == "client"


@pytest.mark.parametrize("sent", [b"", b"GET /v1", HEAD.encode(), HEAD.encode() + b"content-length: 9\r\n\r\n{"])
def test_a_client_that_breaks_off_in_the_middle_leaves_nothing_behind(here: Place, sent: bytes) -> None:
    for leave in (Wire.leave, Wire.reset):
        wire = here.house.wire()
        if sent:
            wire.send(sent)
        leave(wire)
    server = here.house.house.server
    assert server is not None
    eventually(lambda: not server.server_state.connections, "connections are left")
