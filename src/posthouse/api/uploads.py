"""Bodies on their way through the house that are too large to hold: forms with a file, and anything that just passes.

Above: the faces of audio and images, and the raw door. Below: an exchange whose route says `streams_body`, and
`BodyStream` upstream.

    with await FormUpload.begin(exchange, most) as upload:      reads until the model is known
        await upload.small()                                    all of it, if that is at most a MiB
        await upload.whole()                                    all of it, where fields behind the file matter
        request.upload = upload                                 sent once; again as long as nothing of it is gone
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, Callable
from typing import IO, Final, TypeVar, TypeVarTuple, Unpack

from posthouse.api.exchange import Exchange
from posthouse.core.errors import BodyTooLarge, Unavailable
from posthouse.dialects.multipart import FormLimits, FormScan, boundary_of
from posthouse.upstream.model import BodyStream

_MEMORY: Final = 1 << 20  # bytes of a body that are kept in memory; more goes to a file that has no name
_PIECE: Final = 64 << 10
Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Spool:
    """Bytes that wait: the first MiB in memory, all of them in a temporary file beyond that. `most` in bytes."""

    def __init__(self, most: int) -> None:
        self.size = 0
        self._most = most
        self._memory = bytearray()
        self._file: IO[bytes] | None = None

    async def append(self, data: bytes) -> None:
        """BodyTooLarge beyond `most`; Unavailable where the disk does not take it."""
        if self.size + len(data) > self._most:
            raise BodyTooLarge(f"The request's body is larger than {self._most} bytes.")
        if self._file is None:
            self._memory += data
            if len(self._memory) > _MEMORY:
                self._file = await _on_disk(_file_of, self._memory)
                self._memory = bytearray()
        else:
            await _on_disk(_append, self._file, data)
        self.size += len(data)

    async def read(self, start: int, size: int) -> bytes:
        """At most `size` bytes from `start`."""
        if self._file is None:
            return bytes(self._memory[start : start + size])
        return await _on_disk(_read_at, self._file, start, size)

    def close(self) -> None:
        """The bytes are gone. Idempotent."""
        self._memory = bytearray()
        if self._file is not None:
            self._file.close()


class FormUpload:
    """A multipart body that passes byte for byte, but for the value of one field: by default the model's. It is the
    `core.requests.Upload` of its request.

    `scan` knows the fields that have come so far, and `model` is the value that the client sent. What has come is kept
    until it is sent: a client that names the model behind a large file makes us keep the file, on disk. What comes
    while it is sent is not kept.
    """

    def __init__(self, exchange: Exchange, scan: FormScan, most: int) -> None:
        self.scan = scan
        self.content_type = exchange.headers.get(b"content-type", b"")
        self._exchange = exchange
        self._spool = Spool(most)
        self._ended = False
        self._gone = False
        self._sent = False
        self._required = True
        self.at_end: Callable[[], None] | None = None  # called once all of the form has come

    @classmethod
    async def begin(cls, exchange: Exchange, most: int, limits: FormLimits | None = None) -> "FormUpload":
        """Reads until the model is known. Raises InvalidRequest where the form is none, or names none, and what
        `Exchange.read` raises. `most`: bytes of it that may be kept."""
        return await cls._begun(exchange, most, limits, required=True)

    @classmethod
    async def begin_named(cls, exchange: Exchange, most: int) -> "FormUpload":
        """The same, where the client says the model elsewhere: the form need not, and is given it."""
        return await cls._begun(exchange, most, None, required=False)

    @classmethod
    async def _begun(cls, exchange: Exchange, most: int, limits: FormLimits | None, *, required: bool) -> "FormUpload":
        boundary = boundary_of(exchange.headers.get(b"content-type"))
        upload = cls(exchange, FormScan(boundary, limits=limits), most)
        upload._required = required
        try:
            while upload.scan.place is None and not upload._ended:
                await upload._keep_more()
        except BaseException:
            upload.close()
            raise
        return upload

    @property
    def model(self) -> str:
        return self.scan.text[self.scan.name][0]

    @property
    def repeatable(self) -> bool:
        return not self._gone

    @property
    def sent(self) -> bool:
        return self._sent

    @property
    def opening(self) -> bytes:
        return self.scan.opening

    @property
    def file_bytes(self) -> int:
        return self.scan.file_bytes

    @property
    def kept(self) -> int:
        """Bytes that have been read."""
        return self._spool.size

    @property
    def bytes_to_come(self) -> int | None:
        """How many have not been read yet; None where the client has not said."""
        if self._ended:
            return 0
        length = length_of(self._exchange)
        return None if length is None else max(0, length - self._spool.size)

    def field(self, name: str) -> str | None:
        return self.scan.first(name)

    async def whole(self) -> None:
        """Reads the rest of the form, and keeps it."""
        while not self._ended:
            await self._keep_more()

    async def small(self) -> None:
        """Reads on as `whole`, if all of the form is at most a MiB."""
        length = length_of(self._exchange)
        if length is None or length <= _MEMORY:
            while not self._ended and self._spool.size <= _MEMORY:
                await self._keep_more()

    async def opened(self) -> None:
        """Reads on until its first file has begun to come."""
        while not self._ended and not self.scan.opening:
            await self._keep_more()

    def length(self, model: str) -> int | None:
        length = self._spool.size if self._ended else length_of(self._exchange)
        if length is None:
            return None
        new, start, end = self._replacing(model)
        return length + len(new) - (end - start)

    async def pieces(self, model: str) -> AsyncGenerator[bytes, None]:
        if self._gone:
            raise RuntimeError("a form that was not kept can be sent once")
        held = b""  # the last piece is not sent before it is known that all is well
        async for piece in self._all(model):
            if held:
                yield held
            held = piece
        yield held
        self._sent = True

    def close(self) -> None:
        """What was kept is gone; nothing is sent any more. Idempotent. The end of a `with` does it."""
        self._spool.close()

    def __enter__(self) -> "FormUpload":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _replacing(self, model: str) -> tuple[bytes, int, int]:
        """What is put in, in the place of which bytes: the value, or a part of our own before all others."""
        scan = self.scan
        if scan.place is not None:
            return model.encode(), *scan.place
        head = b'--%b\r\ncontent-disposition: form-data; name="%b"\r\n\r\n' % (scan.boundary, scan.name.encode())
        return head + model.encode() + b"\r\n", scan.before, scan.before

    async def _all(self, model: str) -> AsyncGenerator[bytes, None]:
        new, start, end = self._replacing(model)
        async for piece in self._kept(0, start):
            yield piece
        yield new
        async for piece in self._kept(end, self._spool.size):
            yield piece
        while not self._ended:
            piece = await self._exchange.read()
            if piece:
                self._gone = True
                self.scan.feed(piece)
                yield piece
            else:
                self._end()

    async def _kept(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        while start < end:
            piece = await self._spool.read(start, min(_PIECE, end - start))
            start += len(piece)
            yield piece

    async def _keep_more(self) -> None:
        piece = await self._exchange.read()
        if piece:
            self.scan.feed(piece)
            await self._spool.append(piece)
        else:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self.scan.finish(required=self._required)
        if self.at_end is not None:
            self.at_end()


async def read_all(exchange: Exchange) -> bytes:
    """A body that is not too large to hold, of a route that streams others."""
    pieces: list[bytes] = []
    while piece := await exchange.read():
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def passing_body(exchange: Exchange) -> BodyStream:
    """The body as it comes."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        while piece := await exchange.read():
            yield piece

    return BodyStream(pieces(), length_of(exchange))


def length_of(exchange: Exchange) -> int | None:
    """What the client says of its body; None where it does not know itself."""
    if b"transfer-encoding" in exchange.headers:
        return None
    return int(exchange.headers.get(b"content-length", b"0"))


async def _on_disk(work: Callable[[Unpack[Arguments]], Result], *arguments: *Arguments) -> Result:
    try:
        return await asyncio.to_thread(work, *arguments)
    except OSError as error:
        raise Unavailable("This upload cannot be kept until it is sent on: the disk does not take it.") from error


def _file_of(data: bytearray) -> IO[bytes]:
    file = tempfile.TemporaryFile()
    file.write(data)
    return file


def _append(file: IO[bytes], data: bytes) -> None:
    file.seek(0, os.SEEK_END)
    file.write(data)


def _read_at(file: IO[bytes], start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)
