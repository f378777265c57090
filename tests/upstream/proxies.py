"""Two small proxies, as scripts of a RawServer: CONNECT and SOCKS5. `seen` notes what the client asked for."""

import asyncio
import base64
import contextlib

from tests.upstream.server import Peer, Script


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


async def _join(peer: Peer, host: str, port: int) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        await asyncio.gather(_pump(reader, peer.writer), _pump(peer.reader, writer))
    finally:
        writer.close()


def connect_proxy(seen: list[str], credentials: str | None = None, reply: tuple[bytes, ...] = ()) -> Script:
    """`credentials`: `user:password`, 407 without. `reply`: the pieces of a success, each a segment of its own."""

    async def script(peer: Peer) -> None:
        head = (await peer.reader.readuntil(b"\r\n\r\n")).decode()
        verb, target, _ = head.split("\r\n")[0].split(" ")
        seen.append(f"{verb} {target}")
        if credentials is not None:
            wanted = f"proxy-authorization: Basic {base64.b64encode(credentials.encode()).decode()}\r\n"
            if wanted not in head:
                await peer.send(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
                return
        host, _, port = target.rpartition(":")
        await peer.send(*(reply or (b"HTTP/1.1 200 Connection established\r\n\r\n",)))
        await _join(peer, host, int(port))

    return script


def socks5_proxy(seen: list[str], credentials: tuple[str, str] | None = None, refuse: bool = False) -> Script:
    """RFC 1928 and 1929. A name is noted as `name:...` and taken for this host."""

    async def script(peer: Peer) -> None:
        reader = peer.reader
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        if credentials is None:
            await peer.send(b"\x05\x00")
        elif 2 in methods:
            await peer.send(b"\x05\x02")
            _, length = await reader.readexactly(2)
            user = await reader.readexactly(length)
            (length,) = await reader.readexactly(1)
            password = await reader.readexactly(length)
            right = (user.decode(), password.decode()) == credentials
            await peer.send(b"\x01\x00" if right else b"\x01\x01")
            if not right:
                return
        else:
            await peer.send(b"\x05\xff")
            return
        _, _, _, kind = await reader.readexactly(4)
        if kind == 1:
            seen.append("address:" + ".".join(str(byte) for byte in await reader.readexactly(4)))
        else:
            (length,) = await reader.readexactly(1)
            seen.append("name:" + (await reader.readexactly(length)).decode())
        port = int.from_bytes(await reader.readexactly(2), "big")
        if refuse:
            await peer.send(b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00")
            return
        await peer.send(b"\x05\x00\x00", b"\x01\x7f\x00\x00\x01\x00\x00")
        await _join(peer, "127.0.0.1", port)

    return script
