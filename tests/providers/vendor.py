"""A vendor that answers from its folder of recordings, in pieces that break where it hurts."""

from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from posthouse.core.usage import Usage
from posthouse.providers.model import Provider
from posthouse.upstream.memory import MemoryResponse
from posthouse.upstream.model import UpstreamRequest, UpstreamResponse

RECORDINGS: Final = Path(__file__).parent / "recordings"
_PIECE: Final = 37  # bytes: smaller than any event, and no divisor of one


class Expected(Struct):
    """What a recording says, read by a person."""

    text: str
    usage: dict[str, int]
    models: list[str] | None = None


class Refusal(Struct):
    """One error answer and what it means. `body` is sent as it stands."""

    kind: str
    body: str
    status: int = 200
    headers: dict[str, str] = {}
    retry_after: float | None = None
    param: str | None = None


class Vendor:
    """A transport. `seen` is the last request, `response` the last answer; `refusal` answers everything."""

    def __init__(self, row: Provider, refusal: Refusal | None = None) -> None:
        self.folder = RECORDINGS / row.name
        self.refusal = refusal
        self.seen: UpstreamRequest | None = None
        self.response: MemoryResponse | None = None

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        self.seen = request
        self.response = self._answer(request)
        return self.response

    async def aclose(self) -> None:
        return None

    @property
    def body(self) -> dict[str, Any]:
        """The body of the last request."""
        assert self.seen is not None
        decoded: dict[str, Any] = msgspec.json.decode(self.seen.body)
        return decoded

    def _answer(self, request: UpstreamRequest) -> MemoryResponse:
        if self.refusal is not None:
            headers = [(name.encode(), value.encode()) for name, value in self.refusal.headers.items()]
            streams = self.refusal.body.startswith(("data:", ":"))
            kind = b"text/event-stream" if streams else b"application/json"
            return MemoryResponse(
                self.refusal.status, [*headers, (b"content-type", kind)], pieces(self.refusal.body.encode())
            )
        path = request.target.partition(b"?")[0]
        if path.endswith(b"/embeddings"):
            body = (RECORDINGS / "embeddings.json").read_bytes()
        elif self.body.get("stream"):
            name = "tools.sse" if "tools" in self.body else "stream.sse"
            recorded = (self.folder / name).read_bytes()
            return MemoryResponse(200, [(b"content-type", b"text/event-stream; charset=utf-8")], pieces(recorded))
        else:
            body = (self.folder / "chat.json").read_bytes()
        return MemoryResponse(200, [(b"content-type", b"application/json; charset=utf-8")], pieces(body))


def expected(row: Provider) -> Expected:
    return msgspec.json.decode((RECORDINGS / row.name / "expected.json").read_bytes(), type=Expected)


def refusals(row: Provider, name: str = "errors.json") -> list[Refusal]:
    path = RECORDINGS / row.name / name
    return msgspec.json.decode(path.read_bytes(), type=list[Refusal]) if path.exists() else []


def usage_of(found: Expected) -> Usage:
    return Usage(**found.usage)


def pieces(data: bytes) -> list[bytes]:
    return [data[start : start + _PIECE] for start in range(0, len(data), _PIECE)]
