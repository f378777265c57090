"""From an origin to a connected transport: names, address races, proxies, TLS. Slow path: once per connection.

Every failure becomes an UpstreamFailure `connect` that says what went wrong and not where.
"""

import asyncio
import base64
import contextlib
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from aiohappyeyeballs import AddrInfoType, start_connection
from python_socks import ProxyError, ProxyType
from python_socks.async_.asyncio import Proxy

from posthouse.core.errors import UpstreamFailure
from posthouse.upstream.connection import Connection
from posthouse.upstream.head import authority
from posthouse.upstream.model import Origin
from posthouse.upstream.tls import make_context

_RACE_DELAY: Final = 0.25  # seconds until the next address is tried beside the first (RFC 8305, section 8)
_MAX_PROXY_HEAD: Final = 16 * 1024
_DEFAULT_PORTS: Final = {"http": 80, "socks5": 1080, "socks5h": 1080}
_NO_PROXY: Final = "a proxy is written http://host:port or socks5://host:port"


class ProxyAddress(NamedTuple):
    """`scheme` is `http` or `socks5`; with the latter, names are resolved by the proxy."""

    scheme: str
    host: str
    port: int
    username: str
    password: str


def parse_proxy(url: str) -> ProxyAddress:
    """ValueError where it is no URL of a proxy that we can use; the message omits it: it may hold a password."""
    parts: SplitResult = urlsplit(url)
    try:
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise ValueError(_NO_PROXY) from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(_NO_PROXY)
    scheme = "http" if parts.scheme == "http" else "socks5"
    return ProxyAddress(scheme, parts.hostname, port, unquote(parts.username or ""), unquote(parts.password or ""))


class Connector:
    """Opens connections. `context` is the TLS context for all; made from the system's store where it is None."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._making = asyncio.Lock()

    async def open(self, origin: Origin, proxy: str | None, make: Callable[[], Connection]) -> Connection:
        """A connection, TLS included. Cancelling it leaves nothing open."""
        try:
            return await self._open(origin, proxy, make)
        except ssl.SSLCertVerificationError as error:
            raise _failure("its certificate is not trusted") from error
        except ssl.SSLError as error:
            raise _failure("the TLS handshake failed") from error
        except socket.gaierror as error:
            raise _failure("its name cannot be resolved") from error
        except ConnectionRefusedError as error:
            raise _failure("the connection was refused") from error
        except ProxyError as error:
            raise _failure("the proxy refused") from error
        # uvloop raises RuntimeError where asyncio raises OSError; names that IDNA cannot encode raise UnicodeError.
        except (OSError, RuntimeError, UnicodeError) as error:
            raise _failure("no connection could be made") from error
        except ValueError as error:
            raise _failure("the proxy's URL is not valid") from error

    async def _open(self, origin: Origin, proxy: str | None, make: Callable[[], Connection]) -> Connection:
        context = await self._tls() if origin.scheme == "https" else None
        if proxy is None:
            sock = await _dial(origin.host, origin.port)
        else:
            sock = await _dial_through(parse_proxy(proxy), origin)
        name = origin.host if context is not None else None
        opening = asyncio.ensure_future(
            asyncio.get_running_loop().create_connection(make, sock=sock, ssl=context, server_hostname=name)
        )
        try:
            _, connection = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # Never cancel create_connection itself: asyncio of CPython 3.11 leaves the transport open where TLS has not
            # begun, over a file descriptor that may soon be another's. An end of file ends it properly.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RD)  # not WR: uvloop 0.23 leaves a handshake open that cannot write
            opening.add_done_callback(partial(_discard, sock))
            raise
        except BaseException:
            sock.close()
            raise
        with contextlib.suppress(OSError):  # where it is broken already, its first use will tell
            # Finds dead peers of quiet streams, and keeps address translators from forgetting us.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection

    async def _tls(self) -> ssl.SSLContext:
        async with self._making:
            if self._context is None:
                self._context = await asyncio.get_running_loop().run_in_executor(None, make_context)
            return self._context


def _discard(sock: socket.socket, opening: "asyncio.Future[tuple[asyncio.Transport, Connection]]") -> None:
    if opening.cancelled() or opening.exception() is not None:
        sock.close()
    else:
        opening.result()[1].abort()


async def _dial(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    found: list[Any] = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses: list[AddrInfoType] = found
    return await start_connection(addresses, happy_eyeballs_delay=_RACE_DELAY, loop=loop)


async def _dial_through(proxy: ProxyAddress, origin: Origin) -> socket.socket:
    if proxy.scheme == "http":
        sock = await _dial(proxy.host, proxy.port)
        try:
            await _tunnel(sock, proxy, origin)
        except BaseException:
            sock.close()
            raise
        return sock
    username, password = (proxy.username, proxy.password) if proxy.username else (None, None)
    socks = Proxy(ProxyType.SOCKS5, proxy.host, proxy.port, username=username, password=password)
    return await socks.connect(origin.host, origin.port)


async def _tunnel(sock: socket.socket, proxy: ProxyAddress, origin: Origin) -> None:
    """CONNECT, for http origins too: no proxy then buffers, stores or rewrites what passes.

    Not python-socks here: its 3.2 takes the first segment for the whole reply, and proxies that write their reply in
    two are in use.
    """
    loop = asyncio.get_running_loop()
    target = authority(origin)
    lines = [f"CONNECT {target} HTTP/1.1", f"host: {target}"]
    if proxy.username:
        token = base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
        lines.append(f"proxy-authorization: Basic {token}")
    await loop.sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode())
    reply = b""
    while b"\r\n\r\n" not in reply:
        piece = await loop.sock_recv(sock, 4096)
        reply += piece
        if not piece or len(reply) > _MAX_PROXY_HEAD:
            raise ProxyError("no complete reply")
    # Nothing may follow: in the tunnel it is we who speak first.
    version, _, rest = reply.partition(b" ")
    if not version.startswith(b"HTTP/1.") or rest[:1] != b"2" or not reply.endswith(b"\r\n\r\n"):
        raise ProxyError("not a success")


def _failure(reason: str) -> UpstreamFailure:
    return UpstreamFailure("connect", f"The provider could not be reached: {reason}.")
