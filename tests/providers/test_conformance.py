"""Every built-in provider, the same questions: complete, stream, tool call, errors, usage, abort.

The recordings are made by hand from the vendors' documentation and from what other clients report: none is a capture,
none holds a real key. They show that each known form is understood, not that a vendor still speaks it.
"""

import asyncio
from typing import Any

import msgspec
import pytest

from posthouse.core.errors import UpstreamFailure
from posthouse.core.usage import Usage
from posthouse.dialects.sse import data_of, split_events
from posthouse.providers.call import call
from posthouse.providers.discovery import models_of
from posthouse.providers.failures import failure_of
from posthouse.providers.model import Provider, deployment
from posthouse.providers.prepare import Prepared, prepare
from posthouse.providers.registry import BUILTIN
from posthouse.providers.reply import Reply
from posthouse.upstream.memory import MemoryResponse
from posthouse.upstream.model import Transport, UpstreamRequest, UpstreamResponse
from tests.providers.asking import CREDENTIAL, account, chat, embeddings, prepared
from tests.providers.vendor import RECORDINGS, WIRES, Refusal, Vendor, counted, expected, refusals, usage_of

FAR = 1e12
RECORDED = [row for row in BUILTIN if row.transport is None]
PASSING = [row for row in RECORDED if "chat.completions" in row.wires]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
FORCED = {"type": "function", "function": {"name": "get_weather"}}

rows = pytest.mark.parametrize("row", BUILTIN, ids=lambda row: row.name)
recorded = pytest.mark.parametrize("row", RECORDED, ids=lambda row: row.name)
passing = pytest.mark.parametrize("row", PASSING, ids=lambda row: row.name)


def transport_of(row: Provider) -> Transport:
    return Vendor(row) if row.transport is None else row.transport()


def ready(row: Provider, operation: Any = "chat.completions") -> Prepared:
    """A deployment whose model the transport knows."""
    if row.transport is None:
        return prepared(row, operation)
    own = {"chat.completions": "echo", "embeddings": "echo-embedding"}[operation]
    return prepare(deployment(account(row), "public-name", own), operation)


async def rest(reply: Reply) -> bytes:
    """All that a client would get."""
    assert reply.stream is not None
    assert reply.response is not None
    out = [reply.first]
    while data := await reply.response.chunk():
        out.append(reply.stream.feed(data))
    out.append(reply.stream.finish())
    return b"".join(out)


def chunks_in(stream: bytes) -> list[dict[str, Any]]:
    found = (data_of(event) for event in split_events(stream))
    return [msgspec.json.decode(data) for data in found if data is not None and data != b"[DONE]"]


def said(chunks: list[dict[str, Any]], member: str = "content") -> str:
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta.get(member) or "" for delta in deltas)


def arguments_in(chunks: list[dict[str, Any]]) -> tuple[str, str]:
    calls = [
        call_ for chunk in chunks for choice in chunk["choices"] for call_ in choice["delta"].get("tool_calls") or []
    ]
    functions = [call_["function"] for call_ in calls]
    return functions[0]["name"], "".join(function.get("arguments") or "" for function in functions)


def test_every_row_has_recordings_and_every_recording_a_row() -> None:
    folders = {path for path in RECORDINGS.iterdir() if path.is_dir()} - {WIRES}
    assert {path.name for path in folders} == {row.name for row in RECORDED}


@rows
async def test_complete(row: Provider) -> None:
    reply = await call(ready(row), chat(), transport_of(row), FAR)
    assert reply.whole is not None
    assert reply.whole.finish_reason == "stop"
    body = msgspec.json.decode(reply.body)
    assert body["choices"][0]["message"]["content"]
    assert isinstance(reply.whole.usage, Usage)
    assert reply.whole.usage.total == body["usage"]["total_tokens"]


@passing
async def test_complete_passes_the_bytes_and_counts_every_token_once(row: Provider) -> None:
    reply = await call(ready(row), chat(), Vendor(row), FAR)
    assert reply.body == (RECORDINGS / row.name / "chat.json").read_bytes()
    assert reply.whole is not None
    assert counted(reply.whole.usage) == usage_of(expected(row))


@rows
@pytest.mark.parametrize("wants_usage", [False, True])
async def test_stream(row: Provider, wants_usage: bool) -> None:
    request = chat(stream=True, **({"stream_options": {"include_usage": True}} if wants_usage else {}))
    reply = await call(ready(row), request, transport_of(row), FAR)
    stream = reply.stream
    assert stream is not None
    assert stream.committed
    chunks = chunks_in(await rest(reply))
    assert said(chunks)
    assert (stream.finish_reason, stream.error) == ("stop", None)
    assert stream.usage is not None
    extra = [chunk for chunk in chunks if not chunk["choices"] and chunk.get("usage")]
    assert wants_usage or not extra


@passing
async def test_stream_passes_every_event_and_counts_every_token_once(row: Provider) -> None:
    request = chat(stream=True, stream_options={"include_usage": True})
    reply = await call(ready(row), request, Vendor(row), FAR)
    out = await rest(reply)
    whole = expected(row)
    assert said(chunks_in(out)) == whole.text
    assert reply.stream is not None
    assert counted(reply.stream.usage) == usage_of(whole)
    came = [
        event for event in split_events((RECORDINGS / row.name / "stream.sse").read_bytes()) if b"[DONE]" not in event
    ]
    if row.repair is None:
        assert split_events(out) == came
    else:
        assert len(split_events(out)) == len(came)


@rows
async def test_tool_call(row: Provider) -> None:
    request = chat(stream=True, tools=TOOLS, tool_choice=FORCED)
    reply = await call(ready(row), request, transport_of(row), FAR)
    name, arguments = arguments_in(chunks_in(await rest(reply)))
    assert name == "get_weather"
    assert isinstance(msgspec.json.decode(arguments), dict)
    assert reply.stream is not None
    assert reply.stream.finish_reason == "tool_calls"


@passing
async def test_what_the_vendor_sees(row: Provider) -> None:
    vendor = Vendor(row)
    await call(ready(row), chat(stream=True, max_completion_tokens=9, x_unknown={"a": None}), vendor, FAR)
    assert vendor.seen is not None
    assert vendor.seen.target.partition(b"?")[0].endswith(b"/chat/completions")
    assert (CREDENTIAL.encode() in vendor.seen.headers) == (row.auth != "none")
    assert vendor.body["model"] == "vendor/model-1"
    assert vendor.body["x_unknown"] == {"a": None}
    assert vendor.body[row.rename.get("max_completion_tokens", "max_completion_tokens")] == 9
    asks = bool((vendor.body.get("stream_options") or {}).get("include_usage"))
    assert asks == (row.stream_usage == "include_usage")


REFUSALS = [
    pytest.param(row, found, id=f"{row.name}-{found.status}-{found.kind}")
    for row in RECORDED
    for found in refusals(row)
]
BROKEN_STREAMS = [
    pytest.param(row, found, id=f"{row.name}-{found.kind}")
    for row in RECORDED
    for found in refusals(row, "stream_errors.json")
]


@pytest.mark.parametrize(("row", "refusal"), REFUSALS)
@pytest.mark.parametrize("stream", [False, True])
async def test_error_mapping(row: Provider, refusal: Refusal, stream: bool) -> None:
    vendor = Vendor(row, refusal)
    with pytest.raises(UpstreamFailure) as caught:
        await call(prepared(row, credential=CREDENTIAL), chat(stream=stream), vendor, FAR)
    failure = caught.value
    assert (failure.kind, failure.upstream_status) == (refusal.kind, refusal.status)
    assert (failure.retry_after, failure.param) == (refusal.retry_after, refusal.param)
    assert 0 < len(failure.message) <= 2_000
    for inside in (CREDENTIAL, "https://", ".internal", "/srv/", "/opt/", "127.0.0.1", "org-", "org_"):
        assert inside not in failure.message
    assert vendor.response is not None
    assert vendor.response.closed


@pytest.mark.parametrize(("row", "refusal"), BROKEN_STREAMS)
async def test_error_inside_a_stream(row: Provider, refusal: Refusal) -> None:
    with pytest.raises(UpstreamFailure) as caught:
        await call(prepared(row), chat(stream=True), Vendor(row, refusal), FAR)
    assert caught.value.kind == refusal.kind
    assert "example.com" not in caught.value.message


@recorded
def test_every_class_of_error_has_a_kind_whatever_the_vendor(row: Provider) -> None:
    kinds = {status: failure_of(row, status, [], b"").kind for status in (401, 404, 429, 500, 503)}
    assert kinds == {401: "auth", 404: "not_found", 429: "rate", 500: "server", 503: "overloaded"}


@pytest.mark.parametrize(
    "row", [row for row in BUILTIN if row.path_of("embeddings") is not None], ids=lambda row: row.name
)
async def test_embeddings(row: Provider) -> None:
    reply = await call(ready(row, "embeddings"), embeddings(), transport_of(row), FAR)
    assert reply.whole is not None
    body = msgspec.json.decode(reply.body)
    assert body["data"][0]["embedding"]
    if row.vectors is None:
        assert reply.whole.usage is not None
        assert reply.whole.usage.total_input == body["usage"]["prompt_tokens"]


@rows
async def test_abort_after_the_answer_began_reaches_the_vendor(row: Provider) -> None:
    reply = await call(ready(row), chat(stream=True), transport_of(row), FAR)
    response = reply.response
    assert isinstance(response, MemoryResponse)
    response.close()
    assert response.closed
    assert await response.chunk() == b""


class Silent:
    """A transport whose answer begins and then says nothing. `waiting` is set once somebody waits for it."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.response: MemoryResponse | None = None

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        self.response = MemoryResponse(200, [(b"content-type", b"text/event-stream")], self._nothing())
        return self.response

    async def aclose(self) -> None:
        return None

    async def _nothing(self) -> Any:
        self.waiting.set()
        await asyncio.Event().wait()
        yield b""


@recorded
async def test_abort_before_the_answer_began_reaches_the_vendor(row: Provider) -> None:
    silent = Silent()
    task = asyncio.create_task(call(ready(row), chat(stream=True), silent, FAR))
    await asyncio.wait_for(silent.waiting.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert silent.response is not None
    assert silent.response.closed


def test_the_vendors_list_of_models_is_read() -> None:
    lists = [row for row in RECORDED if expected(row).models is not None]
    assert lists
    for row in lists:
        assert models_of((RECORDINGS / row.name / "models.json").read_bytes()) == expected(row).models
