"""Ways to an upstream: names, proxies, TLS."""

import asyncio
import socket

import pytest

from posthouse.core.errors import UpstreamFailure
from posthouse.upstream.client import ClientOptions
from posthouse.upstream.connect import ProxyAddress, parse_proxy
from posthouse.upstream.model import Origin, Timeouts, UpstreamRequest
from posthouse.upstream.tls import make_context
from tests.upstream.certificates import Authority
from tests.upstream.proxies import connect_proxy, socks5_proxy
from tests.upstream.server import Peer, client_with, request_to, serving, soon, until

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


async def always_ok(peer: Peer) -> None:
    while True:
        await peer.answer(OK)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


async def answer_to(request: UpstreamRequest, options: ClientOptions | None = None) -> bytes:
    async with client_with(options) as client:
        return await soon((await soon(client.send(request))).read(100))


async def failure_of(request: UpstreamRequest, options: ClientOptions | None = None) -> UpstreamFailure:
    async with client_with(options) as client:
        with pytest.raises(UpstreamFailure) as caught:
            await soon(client.send(request))
        assert client.stats().open == 0
        return caught.value


# Names


async def test_a_name_with_two_families_reaches_the_one_that_listens() -> None:
    async with serving(always_ok) as server:
        request = request_to(server)
        request.origin = Origin("http", "localhost", server.port)
        assert await answer_to(request) == b"hi"


@pytest.mark.parametrize("host", ["a" * 70 + ".example", "ü" * 70 + ".example", "", "a..b"])
async def test_a_name_that_cannot_be_one_is_a_failure_to_connect(host: str) -> None:
    async with serving(always_ok) as server:
        request = request_to(server)
        request.origin = Origin("http", host, 1)
        failure = await failure_of(request)
        assert failure.kind == "connect"
        assert "example" not in failure.message


async def test_a_connection_that_is_not_made_in_time_is_a_failure_to_connect(authority: Authority) -> None:
    async def deaf(peer: Peer) -> None:
        await peer.gone()

    async with serving(deaf) as server:  # it accepts, and does not shake hands
        request = request_to(server, scheme="https", timeouts=Timeouts(connect=0.05))
        failure = await failure_of(request, ClientOptions(context=authority.client))
        assert (failure.kind, failure.unsent) == ("connect", True)


async def test_a_failure_says_whether_the_provider_may_have_heard_of_the_request() -> None:
    async def breaks(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async with serving(breaks) as server:
        heard = await failure_of(request_to(server))
        assert (heard.kind, heard.unsent) == ("connect", False)
        gone = request_to(server)
    refused = await failure_of(gone)
    assert (refused.kind, refused.unsent) == ("connect", True)


async def test_a_deadline_that_ends_before_there_is_a_connection_is_a_timeout(authority: Authority) -> None:
    async def deaf(peer: Peer) -> None:
        await peer.gone()

    async with serving(deaf) as server:
        request = request_to(server, scheme="https")
        request.deadline = asyncio.get_running_loop().time() + 0.05
        assert (await failure_of(request, ClientOptions(context=authority.client))).kind == "timeout"


# Proxies


@pytest.mark.parametrize(
    "reply",
    [
        (),
        (b"HTTP/1.0 200 OK\r\n", b"via: proxy\r\n", b"\r\n"),
        tuple(bytes([byte]) for byte in b"HTTP/1.1 204 fine\r\n\r\n"),
    ],
    ids=["at once", "line by line", "byte by byte"],
)
async def test_an_http_proxy_tunnels_to_a_plain_origin(reply: tuple[bytes, ...]) -> None:
    seen: list[str] = []
    async with serving(always_ok) as server, serving(connect_proxy(seen, reply=reply)) as proxy:
        assert await answer_to(request_to(server, proxy=f"http://127.0.0.1:{proxy.port}")) == b"hi"
        assert seen == [f"CONNECT 127.0.0.1:{server.port}"]


async def test_an_http_proxy_is_shown_its_credentials() -> None:
    seen: list[str] = []
    async with serving(always_ok) as server, serving(connect_proxy(seen, credentials="me:p@ss")) as proxy:
        assert await answer_to(request_to(server, proxy=f"http://me:p%40ss@127.0.0.1:{proxy.port}")) == b"hi"


async def test_an_http_proxy_that_refuses_is_a_failure_to_connect() -> None:
    seen: list[str] = []
    async with serving(always_ok) as server, serving(connect_proxy(seen, credentials="me:secret")) as proxy:
        failure = await failure_of(request_to(server, proxy=f"http://me:wrong@127.0.0.1:{proxy.port}"))
        assert failure.kind == "connect"
        assert "proxy" in failure.message
        assert "wrong" not in failure.message
        assert server.connections == 0


@pytest.mark.parametrize("reply", [b"", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000])
async def test_a_proxy_that_makes_no_sense_is_a_failure_to_connect(reply: bytes) -> None:
    async def nonsense(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(reply)

    async with serving(nonsense) as proxy:
        assert (await failure_of(request_to(proxy, proxy=f"http://127.0.0.1:{proxy.port}"))).kind == "connect"


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_a_socks_proxy_resolves_the_name_itself(scheme: str) -> None:
    seen: list[str] = []
    async with serving(always_ok) as server, serving(socks5_proxy(seen)) as proxy:
        request = request_to(server, proxy=f"{scheme}://127.0.0.1:{proxy.port}")
        request.origin = Origin("http", "only.the.proxy.knows.example", server.port)
        assert await answer_to(request) == b"hi"
        assert seen == ["name:only.the.proxy.knows.example"]


async def test_a_socks_proxy_is_shown_its_credentials() -> None:
    seen: list[str] = []
    async with serving(always_ok) as server, serving(socks5_proxy(seen, credentials=("me", "p@ss"))) as proxy:
        assert await answer_to(request_to(server, proxy=f"socks5://me:p%40ss@127.0.0.1:{proxy.port}")) == b"hi"
        failure = await failure_of(request_to(server, proxy=f"socks5://me:wrong@127.0.0.1:{proxy.port}"))
        assert failure.kind == "connect"
        assert "wrong" not in failure.message


async def test_a_socks_proxy_that_refuses_is_a_failure_to_connect() -> None:
    async with serving(always_ok) as server, serving(socks5_proxy([], refuse=True)) as proxy:
        assert (await failure_of(request_to(server, proxy=f"socks5://127.0.0.1:{proxy.port}"))).kind == "connect"


async def test_a_proxy_that_is_not_there_is_a_failure_to_connect() -> None:
    async with serving(always_ok) as server:
        for scheme in ("http", "socks5"):
            assert (await failure_of(request_to(server, proxy=f"{scheme}://127.0.0.1:1"))).kind == "connect"


async def test_a_connection_through_a_proxy_is_reused_but_not_for_another_proxy() -> None:
    seen: list[str] = []
    async with serving(always_ok) as server, serving(connect_proxy(seen)) as proxy, client_with() as client:
        url = f"http://127.0.0.1:{proxy.port}"
        for through in (url, url, None, url):
            response = await soon(client.send(request_to(server, proxy=through)))
            assert await soon(response.read(100)) == b"hi"
        assert (server.connections, proxy.connections) == (2, 1)


@pytest.mark.parametrize("turns", range(0, 40, 4))
async def test_cancelling_a_connection_in_the_making_leaves_nothing_open(turns: int, authority: Authority) -> None:
    seen: list[str] = []
    options = ClientOptions(context=authority.client)
    async with (
        serving(always_ok, context=authority.server) as server,
        serving(connect_proxy(seen)) as proxy,
        client_with(options) as client,
    ):
        request = request_to(server, scheme="https", proxy=f"http://127.0.0.1:{proxy.port}")
        sending = asyncio.ensure_future(client.send(request))
        for _ in range(turns):
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending], timeout=10)
        if not sending.cancelled():
            sending.result().close()
        await until(lambda: proxy.open == client.stats().open == client.stats().idle)
        assert await soon((await soon(client.send(request))).read(100)) == b"hi"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://proxy", ProxyAddress("http", "proxy", 80, "", "")),
        ("http://u:p@[::1]:3128", ProxyAddress("http", "::1", 3128, "u", "p")),
        ("socks5://u%3A:%20@proxy:9", ProxyAddress("socks5", "proxy", 9, "u:", " ")),
        ("socks5h://proxy", ProxyAddress("socks5", "proxy", 1080, "", "")),
    ],
)
def test_a_proxy_url_is_read(url: str, address: ProxyAddress) -> None:
    assert parse_proxy(url) == address


@pytest.mark.parametrize("url", ["https://u:secret@proxy", "ftp://secret", "http://", "secret", "http://secret:port"])
def test_what_is_no_proxy_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^a proxy is written") as caught:
        parse_proxy(url)
    assert "secret" not in str(caught.value)


# TLS


@pytest.mark.parametrize("through", ["nothing", "http", "socks5"])
async def test_tls_reaches_an_upstream_whose_authority_is_trusted(authority: Authority, through: str) -> None:
    script = socks5_proxy([]) if through == "socks5" else connect_proxy([])
    async with serving(always_ok, context=authority.server) as server, serving(script) as proxy:
        url = None if through == "nothing" else f"{through}://127.0.0.1:{proxy.port}"
        request = request_to(server, bytes(200_000), scheme="https", proxy=url)
        assert await answer_to(request, ClientOptions(context=authority.client)) == b"hi"


async def test_tls_refuses_an_authority_that_the_system_does_not_know(authority: Authority) -> None:
    async with serving(always_ok, context=authority.server) as server:
        failure = await failure_of(request_to(server, scheme="https"))
        assert (failure.kind, "not trusted" in failure.message) == ("connect", True)
        assert "127.0.0.1" not in failure.message


async def test_tls_refuses_a_certificate_of_another_name(authority: Authority) -> None:
    async with serving(always_ok, context=authority.server) as server:
        request = request_to(server, scheme="https")
        request.origin = Origin("https", "127.0.0.2", server.port)
        async with serving(socks5_proxy([])) as proxy:
            request.proxy = f"socks5://127.0.0.1:{proxy.port}"
            failure = await failure_of(request, ClientOptions(context=authority.client))
        assert (failure.kind, "not trusted" in failure.message) == ("connect", True)


async def test_an_upstream_that_does_not_speak_tls_is_a_failure_to_connect(authority: Authority) -> None:
    async def plain(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await peer.gone()

    async with serving(plain) as server:
        request = request_to(server, scheme="https")
        assert (await failure_of(request, ClientOptions(context=authority.client))).kind == "connect"


async def test_ssl_cert_file_replaces_the_systems_store(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
    assert make_context().cert_store_stats()["x509_ca"] == 1
    async with serving(always_ok, context=authority.server) as server:
        assert await answer_to(request_to(server, scheme="https")) == b"hi"


async def test_an_answer_over_tls_that_is_given_up_is_seen_by_the_upstream(authority: Authority) -> None:
    async def endless(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await peer.gone()
        gone.set()

    options = ClientOptions(context=authority.client)
    async with serving(endless, context=authority.server) as server, client_with(options) as client:
        gone = asyncio.Event()
        response = await soon(client.send(request_to(server, scheme="https")))
        assert await soon(response.chunk()) == b"hi"
        response.close()
        await soon(gone.wait())


async def test_connections_are_kept_alive_by_the_kernel_too() -> None:
    async with serving(always_ok) as server, client_with() as client:
        response = await soon(client.send(request_to(server)))
        response.close()
        (pool,) = client._pools.values()
        (connection,) = pool.connections
        sock = connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
