"""What a command asks of the server that runs: over HTTP, with the admin key, by our own client."""

import asyncio
from typing import Final, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from posthouse.app import make_client
from posthouse.core.errors import ConfigError, InvalidRequest, UpstreamFailure
from posthouse.settings import Settings
from posthouse.upstream.model import Origin, Timeouts, UpstreamRequest

T = TypeVar("T")
_SECONDS: Final = 30.0
_LIMIT: Final = 8 << 20
_PORTS: Final = {"http": 80, "https": 443}
# What a server that listens everywhere is reached by.
_HERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared, not bound


def post(settings: Settings, path: str, url: str | None, kind: type[T]) -> T:
    """The answer, of a known `kind`, of `POST` to the admin API of the running server: at `url`, or where the settings
    say that it listens.

    ConfigError for what the server refuses, in its own words, and where it cannot be asked.
    """
    if settings.admin.key is None:
        raise ConfigError("the admin key is needed for that: set POSTHOUSE_ADMIN_KEY")
    origin, shown = _origin(settings, url)
    headers = f"authorization: Bearer {settings.admin.key.reveal()}\r\naccept: application/json\r\n".encode()
    try:
        status, body = asyncio.run(_send(settings, origin, path, headers))
    except UpstreamFailure:
        raise ConfigError(f"no server answers at {shown}: start it, or say with --url where it is") from None
    if status in (401, 403):
        raise ConfigError(f"the server at {shown} has another admin key: set POSTHOUSE_ADMIN_KEY to its own")
    try:
        if status == 400:
            raise ConfigError(msgspec.json.decode(body, type=_Refused).error.message)
        if status == 200:
            return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    raise ConfigError(f"what answers at {shown} is no posthouse, or another version of it: it says {status}")


def fetch(settings: Settings, url: str, limit: int) -> bytes:
    """What `GET url` answers, `limit` bytes at most. ConfigError where it answers nothing of use."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidRequest(f"{url}: not a URL") from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None or not url.isascii():
        raise InvalidRequest(f"{url}: expected https://HOST/PATH")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    origin = Origin(scheme, parts.hostname, port or _PORTS[scheme])
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isprintable() or " " in target:
        raise InvalidRequest(f"{url}: not a URL")
    try:
        status, body = asyncio.run(_send(settings, origin, target, b"accept: application/json\r\n", (b"GET", limit)))
    except UpstreamFailure as failure:
        raise ConfigError(f"{url} cannot be read: {failure.message}") from None
    if status != 200:
        raise ConfigError(f"{url} answers {status}")
    return body


class _Said(Struct):
    message: str


class _Refused(Struct):
    error: _Said


def _origin(settings: Settings, url: str | None) -> tuple[Origin, str]:
    """Where the server is, and how that is shown."""
    server = settings.server
    if url is None:
        if not server.port:
            raise InvalidRequest("config reload: the server has taken any free port; say which with --url")
        host = _HERE.get(server.host, server.host)
        return Origin("http", host, server.port), f"http://{f'[{host}]' if ':' in host else host}:{server.port}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidRequest("--url: expected http://HOST:PORT") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise InvalidRequest("--url: expected http://HOST:PORT")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    return Origin(scheme, parts.hostname, port or _PORTS[scheme]), url.rstrip("/")


async def _send(
    settings: Settings, origin: Origin, path: str, headers: bytes, how: tuple[bytes, int] = (b"POST", _LIMIT)
) -> tuple[int, bytes]:
    """`how`: the method, and the most bytes that are read."""
    method, limit = how
    client = make_client(settings)
    try:
        response = await client.send(
            UpstreamRequest(
                pool="server",
                origin=origin,
                method=method,
                target=path.encode("ascii"),
                headers=headers,
                body=b"",
                timeouts=Timeouts(total=_SECONDS),
                proxy=None,
                deadline=asyncio.get_running_loop().time() + _SECONDS,
            )
        )
        try:
            return response.status, await response.read(limit)
        finally:
            response.close()
    finally:
        await client.aclose()
