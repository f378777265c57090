"""Behind nginx and HAProxy, as deploy/ sets them up: every piece passes at once, both ways; nothing is sent twice."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest
from websockets.sync.client import connect

from tests.deploy.known import DEPLOY, LONGEST
from tests.deploy.proxies import Name, Proxy, check, free_ports, standing, written
from tests.e2e.answers import USAGE, asked, chunk, held, streams
from tests.e2e.form_routes import File, form, head_of
from tests.e2e.house import ADMIN_KEY, Place, place, running
from tests.e2e.upstream import Visit
from tests.e2e.wire import WAIT, Wire, request
from tests.upstream.certificates import Authority

CHAT: Final = "/v1/chat/completions"
SOUND: Final = "/v1/audio/transcriptions"
NAMES: Final = ("nginx", "haproxy")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("house")) as made:
        yield made
        made.house.verified()


@pytest.fixture(scope="module", params=NAMES)
def proxy(
    request: pytest.FixtureRequest, here: Place, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    name = cast(Name, request.param)
    with standing(name, tmp_path_factory.mktemp(name), authority.bundle.parent, here.house.port) as made:
        yield made


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.early = {}
    here.upstream.scripts = {"*": streams(["Hello", " there"])}


@pytest.mark.parametrize("name", NAMES)
def test_the_program_takes_the_example(name: Name, tmp_path: Path, authority: Authority) -> None:
    done = check(name, written(name, tmp_path, authority.bundle.parent, free_ports(8700)))
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower()


def test_a_stream_comes_piece_by_piece(here: Place, proxy: Proxy) -> None:
    gate = here.upstream.gate()
    last: list[dict[str, Any] | str] = [chunk({}, "stop"), {**chunk(), "usage": USAGE}, "[DONE]"]
    here.upstream.scripts["*"] = held(gate, [chunk({"content": "One"})], *last)
    with Wire(proxy.port) as client:
        client.send(request(CHAT, asked(stream=True), ADMIN_KEY))
        client.until(b'"One"')  # the provider is held: were it collected, nothing would have come
        assert not here.upstream.visit().done.is_set()
        gate.open()
        client.until(b"data: [DONE]")


def test_a_form_goes_up_piece_by_piece(here: Place, proxy: Proxy) -> None:
    async def script(visit: Visit) -> None:
        async for _ in visit.pieces():
            pass
        await visit.whole({"text": "One"})

    here.upstream.early[SOUND] = script
    body = form([("model", "m")], [File("file", "a.mp3", bytes(3_000_000))])
    with Wire(proxy.port) as client:
        client.send(head_of(SOUND, len(body)) + body[:2_000_000])
        here.upstream.visit()  # the provider has been asked before the rest is sent
        client.send(body[2_000_000:])
        answer = client.response()
    assert (answer.status, answer.json["text"]) == (200, "One")


def test_who_leaves_is_known_to_have_left(here: Place, proxy: Proxy) -> None:
    here.upstream.scripts["*"] = held(here.upstream.gate(), [chunk({"content": "One"})])
    with Wire(proxy.port) as client:
        client.send(request(CHAT, asked(stream=True), ADMIN_KEY))
        client.until(b'"One"')
        visit = here.upstream.visit()
        client.leave()
    assert visit.left.wait(WAIT)


def test_websockets_pass(here: Place, proxy: Proxy) -> None:
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    with connect(f"ws://127.0.0.1:{proxy.port}{CHAT}", additional_headers=headers, proxy=None) as client:
        client.send(json.dumps(asked()))
        said = []
        while (message := client.recv(timeout=WAIT)) != "[DONE]":
            said += [choice["delta"].get("content") for choice in json.loads(message)["choices"]]
    assert "".join(word or "" for word in said) == "Hello there"


def test_a_body_too_large_is_told_by_posthouse_in_its_own_words(here: Place, proxy: Proxy) -> None:
    with Wire(proxy.port) as client:
        client.send(head_of(CHAT, 40_000_000))
        answer = client.response()
    assert answer.status == 413
    assert answer.error["message"]


def test_a_provider_that_fails_is_asked_as_often_as_posthouse_says(here: Place, proxy: Proxy) -> None:
    async def fails(visit: Visit) -> None:
        await visit.whole({"error": {"message": "no"}}, status=400)

    here.upstream.scripts["*"] = fails
    with Wire(proxy.port) as client:
        assert client.ask(CHAT, asked(), ADMIN_KEY).status == 400
    assert len(here.upstream.visits) == 1


def test_metrics_and_the_control_plane_stay_inside(proxy: Proxy) -> None:
    def status(path: str, source: str) -> int:
        with socket.create_connection(("127.0.0.1", proxy.port), WAIT, (source, 0)) as client:
            client.sendall(request(path, method="GET", key=ADMIN_KEY, extra="connection: close\r\n"))
            return int(client.recv(64).split(b" ")[1])

    for path in ("/metrics", "/admin/api/keys"):
        assert status(path, "127.0.0.1") == 200
        assert status(path, "127.0.0.2") in (403, 404)
    assert status("/v1/models", "127.0.0.2") == 200


@pytest.mark.parametrize("name", NAMES)
def test_limits_of_addresses_see_the_client_and_not_what_it_says(
    name: Name, tmp_path: Path, authority: Authority
) -> None:
    config = '[server]\ntrusted_proxies = ["127.0.0.1"]\n[limits]\naddress = { rpm = 2 }\n'

    def status(port: int, source: str, forwarded: str = "") -> int:
        extra = f"connection: close\r\nx-forwarded-for: {forwarded}\r\n" if forwarded else "connection: close\r\n"
        with socket.create_connection(("127.0.0.1", port), WAIT, (source, 0)) as client:
            client.sendall(request(CHAT, asked("echo"), ADMIN_KEY, extra=extra))
            return int(client.recv(64).split(b" ")[1])

    with (
        running(tmp_path, config) as house,
        standing(name, tmp_path, authority.bundle.parent, house.port) as proxy,
    ):
        assert [status(proxy.port, "127.0.0.2") for _ in range(3)] == [200, 200, 429]
        assert status(proxy.port, "127.0.0.2", "198.51.100.1") == 429
        assert status(proxy.port, "127.0.0.3") == 200


def test_tls_ends_at_the_proxy(proxy: Proxy, authority: Authority) -> None:
    with (
        socket.create_connection(("127.0.0.1", proxy.secure), WAIT) as plain,
        authority.client.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(request("/readyz", method="GET", extra="connection: close\r\n"))
        assert client.recv(64).split(b" ")[1] == b"200"


def test_timeouts_are_longer_than_the_longest_request() -> None:
    nginx = (DEPLOY / "nginx" / "posthouse.conf").read_text()
    haproxy = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    for name in ("proxy_read_timeout", "proxy_send_timeout"):
        assert float(nginx.partition(f"{name} ")[2].partition("s;")[0]) > LONGEST
    for name in ("timeout client", "timeout server"):
        assert float(haproxy.partition(f"{name} ")[2].partition("s\n")[0]) > LONGEST
