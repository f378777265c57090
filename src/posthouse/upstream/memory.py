"""The seam without a socket: answers from memory, for tests and for providers that live in this process."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from posthouse.core.errors import UpstreamFailure
from posthouse.upstream.model import UpstreamRequest, UpstreamResponse


class MemoryResponse:
    """An answer made of `chunks`: bytes in order, or an async iterator of them. An UpstreamFailure among them is raised
    at its place, as a connection that breaks off there would be. Header names are in lower case."""

    __slots__ = ("_chunks", "closed", "headers", "status")

    def __init__(
        self,
        status: int,
        headers: list[tuple[bytes, bytes]],
        chunks: AsyncIterator[bytes] | Sequence[bytes | UpstreamFailure],
    ) -> None:
        self.status = status
        self.headers = headers
        self.closed = False
        self._chunks: AsyncIterator[bytes | UpstreamFailure] | None
        self._chunks = _each(chunks) if isinstance(chunks, Sequence) else aiter(chunks)

    async def chunk(self) -> bytes:
        while self._chunks is not None:
            piece = await anext(self._chunks, None)
            if piece is None:
                self._chunks = None
            elif isinstance(piece, UpstreamFailure):
                self.close()
                raise piece
            elif piece:  # an empty piece would read as the end
                return piece
        return b""

    async def read(self, limit: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while piece := await self.chunk():
            size += len(piece)
            if size > limit:
                self.close()
                raise UpstreamFailure("server", "The provider's answer is larger than this gateway accepts.")
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        self.closed = True
        self._chunks = None

    def finish(self) -> None:
        self.close()


class ScriptedTransport:
    """A Transport that answers from a function; the function may raise UpstreamFailure as a client would."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Callable[[UpstreamRequest], Awaitable[UpstreamResponse]]) -> None:
        self._answer = answer

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        return await self._answer(request)

    async def aclose(self) -> None:
        return None


async def _each(pieces: Sequence[bytes | UpstreamFailure]) -> AsyncIterator[bytes | UpstreamFailure]:
    for piece in pieces:
        yield piece
