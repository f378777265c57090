"""A vendor that answers from its folder of recordings, in pieces that break where it hurts."""

from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from posthouse.core.requests import Operation
from posthouse.core.usage import Usage
from posthouse.providers.model import Provider
from posthouse.upstream.memory import MemoryResponse
from posthouse.upstream.model import UpstreamRequest, UpstreamResponse

RECORDINGS: Final = Path(__file__).parent / "recordings"
WIRES: Final = RECORDINGS / "wires"  # of what several vendors know alike
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
    """A transport. `seen` is the last request, `response` the last answer; `refusal` answers everything. `contrary`: it
    streams what was not to be streamed, and the other way round."""

    def __init__(self, row: Provider, refusal: Refusal | None = None, *, contrary: bool = False) -> None:
        self.row = row
        self.refusal = refusal
        self.contrary = contrary
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
            streams = self.refusal.body.startswith(("data:", "event:", ":"))
            kind = b"text/event-stream" if streams else b"application/json"
            return MemoryResponse(
                self.refusal.status, [*headers, (b"content-type", kind)], pieces(self.refusal.body.encode())
            )
        path = request.target.partition(b"?")[0].decode()
        if path.endswith("/embeddings"):
            return _json((RECORDINGS / "embeddings.json").read_bytes())
        if path.endswith(":batchEmbedContents"):
            return _json((RECORDINGS / self.row.name / "embeddings.json").read_bytes())
        wire = wire_of(path)
        folder = folder_of(self.row, wire)
        streams = ":stream" in path or bool(self.body.get("stream"))
        if streams is not self.contrary:
            return _events((folder / ("tools.sse" if self.body.get("tools") else "stream.sse")).read_bytes())
        return _json((folder / ("chat.json" if wire == "chat.completions" else "whole.json")).read_bytes())


def wire_of(path: str) -> Operation:
    """What is spoken at an address."""
    ends: dict[str, Operation] = {
        "/chat/completions": "chat.completions",
        "/completions": "completions",
        "/responses": "responses",
        "/messages": "messages",
        "GenerateContent": "generate_content",
        ":generateContent": "generate_content",
    }
    return next(wire for end, wire in ends.items() if path.endswith(end))


def folder_of(row: Provider, wire: Operation) -> Path:
    """The vendor's own recordings, where its first wire is this one or chat completions; else those of the wire."""
    own = RECORDINGS / row.name
    return own if wire == "chat.completions" or (own / "whole.json").exists() else WIRES / wire


def _json(body: bytes) -> MemoryResponse:
    return MemoryResponse(200, [(b"content-type", b"application/json; charset=utf-8")], pieces(body))


def _events(body: bytes) -> MemoryResponse:
    return MemoryResponse(200, [(b"content-type", b"text/event-stream; charset=utf-8")], pieces(body))


def expected(row: Provider, wire: Operation | None = None) -> Expected:
    """Of the vendor's own recordings, or of those of a wire."""
    folder = RECORDINGS / row.name if wire is None else folder_of(row, wire)
    return msgspec.json.decode((folder / "expected.json").read_bytes(), type=Expected)


def refusals(row: Provider, name: str = "errors.json") -> list[Refusal]:
    path = RECORDINGS / row.name / name
    return msgspec.json.decode(path.read_bytes(), type=list[Refusal]) if path.exists() else []


def usage_of(found: Expected) -> Usage:
    return msgspec.convert(found.usage, Usage)


def counted(usage: Usage | None) -> Usage | None:
    """What was counted, at whatever tier it was served: the recordings' counts do not say that."""
    return None if usage is None else msgspec.structs.replace(usage, tier="")


def pieces(data: bytes) -> list[bytes]:
    return [data[start : start + _PIECE] for start in range(0, len(data), _PIECE)]
