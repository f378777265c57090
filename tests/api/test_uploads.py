"""Forms with a file, from a client's socket to a provider's: what is held, what is replaced, what may be sent again."""

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import pytest

from posthouse.api.exchange import Exchange
from posthouse.api.uploads import FormUpload, Spool, passing_body
from posthouse.core.errors import BodyTooLarge, Unavailable
from posthouse.upstream.client import UpstreamClient
from posthouse.upstream.model import BodyStream
from tests.api.doorway import KEY, Doorway, doorway, until
from tests.upstream.scripts import OK
from tests.upstream.server import Peer, RawServer, client_with, request_to, serving

B: Final = b"d74496d66958873e"
MOST: Final = 64 << 20
MODEL: Final = b'--d74496d66958873e\r\ncontent-disposition: form-data; name="model"\r\n\r\n%b\r\n'
FORMAT: Final = b'--d74496d66958873e\r\ncontent-disposition: form-data; name="response_format"\r\n\r\njson\r\n'
FILE: Final = b'--d74496d66958873e\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n'
END: Final = b"--d74496d66958873e--\r\n"
SOUND: Final = bytes(range(256)) * 20_000  # 5 MB


def head(size: int | None, kind: bytes = b"multipart/form-data; boundary=" + B) -> bytes:
    framing = b"transfer-encoding: chunked" if size is None else b"content-length: %d" % size
    lines = b"POST /up HTTP/1.1\r\nhost: house\r\nauthorization: Bearer %b\r\ncontent-type: %b\r\n%b\r\n\r\n"
    return lines % (KEY.encode(), kind, framing)


def chunked(body: bytes) -> bytes:
    pieces = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


Send = Callable[[BodyStream], Awaitable[int]]


def stream(upload: FormUpload, model: str) -> BodyStream:
    return BodyStream(upload.pieces(model), upload.length(model))


Way = Callable[[Exchange, Send], Awaitable[None]]


class Provider:
    """What the provider was sent."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.answer = OK
        self.reading = asyncio.Event()
        self.reading.set()

    async def serve(self, peer: Peer) -> None:
        while True:
            self.heads.append(await peer.reader.readuntil(b"\r\n\r\n"))
            await self.reading.wait()
            if b"chunked" in self.heads[-1]:
                self.bodies.append(b"")
                while size := int(await peer.reader.readuntil(b"\r\n"), 16):
                    self.bodies[-1] += (await peer.reader.readexactly(size + 2))[:-2]
                await peer.reader.readexactly(2)
            else:
                length = int(self.heads[-1].partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.bodies.append(await peer.reader.readexactly(length))
            await peer.send(self.answer)


class Passage:
    """A client, the house and a provider."""

    def __init__(self, at: Doorway, provider: Provider, upstream: UpstreamClient, server: RawServer) -> None:
        self.at = at
        self.provider = provider
        self._upstream = upstream
        self._server = server

    def through(self, way: Way) -> None:
        async def handle(exchange: Exchange) -> None:
            await way(exchange, self._send)

        self.at.stream("/up", handle)

    async def _send(self, stream: BodyStream) -> int:
        request = request_to(self._server, b"")
        request.stream = stream
        response = await self._upstream.send(request)
        await response.read(1000)
        return response.status

    async def asks(self, body: bytes, *, sized: bool = True) -> tuple[int, bytes]:
        client = await self.at.client()
        client.send(head(len(body)) + body if sized else head(None) + chunked(body))
        status, _, answer = await client.answer()
        await client.leave()
        return status, answer


@contextlib.asynccontextmanager
async def passage() -> AsyncIterator[Passage]:
    provider = Provider()
    async with doorway() as at, serving(provider.serve) as server, client_with() as upstream:
        yield Passage(at, provider, upstream, server)


async def replaced(exchange: Exchange, send: Send) -> None:
    """As it comes."""
    with await FormUpload.begin(exchange, MOST) as upload:
        status = await send(stream(upload, f"{upload.model}-there"))
        assert upload.sent == (status == 200)
    exchange.respond(200, b"", b"%d" % status)


async def kept(exchange: Exchange, send: Send) -> None:
    """Whole, and to two providers."""
    with await FormUpload.begin(exchange, MOST) as upload:
        await upload.whole()
        assert upload.repeatable
        assert upload.bytes_to_come == 0
        for name in ("one", "another"):
            await send(stream(upload, name))
    exchange.respond(200, b"", repr(upload.scan.text).encode())


ORDERS: Final = {
    "model first": (MODEL, FILE % SOUND, FORMAT, END),
    "model last": (FILE % SOUND, FORMAT, MODEL, END),
    "a small file": (FILE % b"abc", MODEL, FORMAT, END),
}


def form(order: str, model: bytes) -> bytes:
    return b"".join(part % model if part is MODEL else part for part in ORDERS[order])


@pytest.mark.req("UPLOAD-001")
@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("order", ORDERS)
async def test_a_form_passes_byte_for_byte_with_another_model(order: str, sized: bool) -> None:
    async with passage() as through:
        through.through(replaced)
        assert await through.asks(form(order, b"m"), sized=sized) == (200, b"200")
        assert through.provider.bodies == [form(order, b"m-there")]
        assert (b"content-length: " in through.provider.heads[0]) == sized


@pytest.mark.req("UPLOAD-002")
@pytest.mark.parametrize("order", ORDERS)
async def test_a_form_that_was_kept_can_be_sent_again_and_all_its_fields_are_known(order: str) -> None:
    async with passage() as through:
        through.through(kept)
        status, answer = await through.asks(form(order, b"m"), sized=False)
        assert status == 200
        assert b"'model': ['m']" in answer
        assert b"'response_format': ['json']" in answer
        assert through.provider.bodies == [form(order, b"one"), form(order, b"another")]
        assert all(b"content-length: " in head for head in through.provider.heads)


@pytest.mark.parametrize("before", [b"", b"\r\n"])
@pytest.mark.parametrize("parts", [(FILE % SOUND, FORMAT, END), (MODEL % b"said", FILE % b"abc", END), (END,)])
async def test_a_form_whose_model_is_named_elsewhere_is_given_it(before: bytes, parts: tuple[bytes, ...]) -> None:
    async def named(exchange: Exchange, send: Send) -> None:
        with await FormUpload.begin_named(exchange, MOST) as upload:
            exchange.respond(200, b"", b"%d" % await send(stream(upload, "there")))

    body = before + b"".join(parts)
    given = body.replace(b"said", b"there") if b"said" in body else before + MODEL % b"there" + b"".join(parts)
    async with passage() as through:
        through.through(named)
        for sized in (True, False):
            assert await through.asks(body, sized=sized) == (200, b"200")
        assert through.provider.bodies == [given, given]


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("size", [1_000, 3_000_000])
async def test_a_small_form_is_kept_and_of_a_long_one_the_beginning(size: int, sized: bool) -> None:
    body = MODEL % b"m" + FILE % bytes(size) + END

    async def small(exchange: Exchange, send: Send) -> None:
        with await FormUpload.begin(exchange, MOST) as upload:
            await upload.small()
            await upload.opened()
            assert upload.opening == bytes(min(size, 4096))
            assert upload.field("model") == "m"
            assert upload.kept <= (2 << 20)
            if size == 1_000:
                assert upload.bytes_to_come == 0
            else:
                assert upload.bytes_to_come == (len(body) - upload.kept if sized else None)
            await send(stream(upload, "m"))
            assert upload.repeatable == (size == 1_000)
            assert upload.file_bytes == size
        exchange.respond(200, b"", b"")

    async with passage() as through:
        through.through(small)
        assert (await through.asks(body, sized=sized))[0] == 200
        assert through.provider.bodies == [body]


async def test_a_form_that_was_not_kept_is_sent_once() -> None:
    async def twice(exchange: Exchange, send: Send) -> None:
        with await FormUpload.begin(exchange, MOST) as upload:
            first = upload.pieces("a")
            await anext(first)
            await first.aclose()
            states = [upload.repeatable]  # what was kept is still there
            assert await send(stream(upload, "b")) == 200
            states.append(upload.repeatable)
            assert states == [True, False]
            with pytest.raises(RuntimeError):
                await anext(upload.pieces("c"))
        exchange.respond(200, b"", b"")

    async with passage() as through:
        through.through(twice)
        assert (await through.asks(form("model first", b"m")))[0] == 200


@pytest.mark.req("UPLOAD-003")
async def test_a_client_that_names_the_model_last_costs_disk_and_no_memory() -> None:
    body = FILE % bytes(30 << 20) + MODEL % b"m" + END
    async with passage() as through:
        through.through(replaced)
        client = await through.at.client()
        client.send(head(len(body)))
        tracemalloc.start()
        await asyncio.to_thread(bytes, 1)  # the threads that write are there
        before = tracemalloc.get_traced_memory()[0]
        most = 0
        for at in range(0, len(body), 1 << 18):
            client.send(body[at : at + (1 << 18)])
            await client.sent()
            most = max(most, tracemalloc.get_traced_memory()[0] - before - len(b"".join(through.provider.bodies)))
        tracemalloc.stop()
        assert (await client.answer())[0] == 200
        assert most < 8 << 20
        assert through.provider.bodies == [FILE % bytes(30 << 20) + MODEL % b"m-there" + END]
        await client.leave()


@pytest.mark.req("UPLOAD-003")
async def test_a_provider_that_reads_slowly_slows_the_client() -> None:
    async with passage() as through:
        through.provider.reading.clear()
        through.through(replaced)
        client = await through.at.client()
        body = MODEL % b"m" + FILE % bytes(24 << 20) + END
        client.send(head(len(body)) + body)
        await until(lambda: through.at.connections and not through.at.line.transport.is_reading())
        assert through.at.line.current.inflow.left > 8 << 20
        through.provider.reading.set()
        assert (await client.answer())[0] == 200
        assert len(through.provider.bodies[0]) == len(body) + len("-there")
        await client.leave()


BROKEN: Final = {
    "no form": (b"hello", b'code":"invalid_form'),
    "no model": (FILE % SOUND + END, b"missing_required_parameter"),
    "cut before the model": (FILE % SOUND, b"invalid_form"),
    "a second model": (MODEL % b"m" + FILE % SOUND + MODEL % b"n" + END, b"'model' is there twice"),
    "cut behind the model": (MODEL % b"m" + FILE % SOUND, b"ends before its last boundary"),
}


@pytest.mark.req("UPLOAD-004")
@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("way", [replaced, kept])
async def test_a_form_that_turns_out_wrong_is_a_400_and_no_provider_hears_it_whole(what: str, way: Way) -> None:
    body, said = BROKEN[what]
    async with passage() as through:
        through.through(way)
        status, answer = await through.asks(body)
        assert status == 400
        assert said in answer
        assert through.provider.bodies == []


async def test_another_content_type_is_a_400() -> None:
    async with passage() as through:
        through.through(replaced)
        client = await through.at.client()
        client.send(head(2, b"application/json") + b"{}")
        assert (await client.answer())[0] == 400
        await client.leave()


@pytest.mark.req("UPLOAD-005")
async def test_a_provider_that_refuses_early_is_heard_by_a_client_that_still_sends() -> None:
    async def refuses(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 415 No\r\ncontent-length: 0\r\n\r\n")
        await peer.gone()

    async with doorway() as at, serving(refuses) as server, client_with() as upstream:
        through = Passage(at, Provider(), upstream, server)
        through.through(replaced)
        client = await at.client()
        body = MODEL % b"m" + FILE % bytes(20 << 20) + END
        client.send(head(len(body)) + body)
        status, headers, answer = await client.answer()
        assert (status, headers["connection"], answer) == (200, "close", b"415")
        await client.leave()


@pytest.mark.req("UPLOAD-005")
async def test_a_client_that_leaves_stops_the_upload() -> None:
    async with passage() as through:
        through.through(replaced)
        client = await through.at.client()
        client.send(head(1000) + MODEL % b"m" + FILE[:-10])
        await until(lambda: through.provider.heads)
        await client.leave()
        await until(lambda: not through.at.state.tasks)
        assert through.provider.bodies == []


async def test_any_other_body_just_passes() -> None:
    async def passes(exchange: Exchange, send: Send) -> None:
        exchange.respond(200, b"", b"%d" % await send(passing_body(exchange)))

    async with passage() as through:
        through.through(passes)
        for sized in (True, False):
            assert await through.asks(SOUND, sized=sized) == (200, b"200")
        assert through.provider.bodies == [SOUND, SOUND]
        assert [b"content-length" in head for head in through.provider.heads] == [True, False]


# --- what is kept ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [10, 1 << 20, (1 << 20) + 1, 3 << 20])
async def test_what_is_kept_can_be_read_at_any_place_while_more_comes(size: int) -> None:
    spool = Spool(MOST)
    data = bytes(range(256)) * (size // 256 + 1)
    for at in range(0, len(data), 100_001):
        await spool.append(data[at : at + 100_001])
        assert await spool.read(at, 10) == data[at : at + 10]
    assert spool.size == len(data)
    assert await spool.read(5, 300_000) == data[5:300_005]
    assert await spool.read(len(data), 10) == b""
    spool.close()
    spool.close()


async def test_no_more_is_kept_than_is_allowed() -> None:
    spool = Spool(100)
    await spool.append(bytes(100))
    with pytest.raises(BodyTooLarge):
        await spool.append(b"x")


async def test_a_disk_that_takes_no_more_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    with pytest.raises(Unavailable):
        await Spool(MOST).append(bytes(2 << 20))
