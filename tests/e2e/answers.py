"""What a provider usually says: bodies, chunks, and scripts for `upstream.py`."""

import json
from typing import Any, Final

from tests.e2e.upstream import Gate, Script, Visit

USAGE: Final = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
ZERO: Final = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def asked(model: str = "m", **more: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}


def completion(text: str = "Hello there", **more: Any) -> dict[str, Any]:
    """A whole chat.completion; `usage=None` leaves the usage out."""
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "upstream-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }
    body.update(more)
    if body["usage"] is None:
        del body["usage"]
    return body


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chat.completion.chunk with one choice; with `delta=None` and no finish, one without choices."""
    choices = [] if delta is None and finish is None else [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "upstream-model",
        "choices": choices,
    }
    body.update(more)
    return body


def embedded(vectors: list[Any], **more: Any) -> dict[str, Any]:
    """A whole answer of embeddings; `usage=None` leaves the usage out."""
    body: dict[str, Any] = {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)],
        "model": "upstream-model",
        "usage": {"prompt_tokens": 11, "total_tokens": 11},
    }
    body.update(more)
    if body["usage"] is None:
        del body["usage"]
    return body


def fault(message: str, **more: Any) -> dict[str, Any]:
    """An error body as OpenAI writes them."""
    return {"error": {"message": message, "type": "server_error", "param": None, "code": None, **more}}


def _text(event: dict[str, Any] | str) -> bytes:
    return (event if isinstance(event, str) else json.dumps(event)).encode()


def answers(body: bytes | dict[str, Any], status: int = 200, extra: str = "") -> Script:
    async def script(visit: Visit) -> None:
        await visit.whole(body, status, extra)

    return script


def frames(*events: dict[str, Any] | str | bytes) -> Script:
    """A stream of just these events, the end of its body together with the last; bytes go as they are."""
    *first, last = [event if isinstance(event, bytes) else b"data: %b\n\n" % _text(event) for event in events]

    async def script(visit: Visit) -> None:
        await visit.start_stream()
        for frame in first:
            await visit.frame(frame)
        await visit.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))

    return script


def streams(
    words: list[str], usage: dict[str, Any] | None = USAGE, *, finish: str | None = "stop", done: bool = True
) -> Script:
    """A well-behaved stream of words; the usage chunk as the vendor's document says."""
    events: list[dict[str, Any] | str] = [chunk({"role": "assistant", "content": ""})]
    events += [chunk({"content": word}) for word in words]
    if finish is not None:
        events.append(chunk({}, finish))
    if usage is not None:
        events.append(chunk(None, usage=usage))
    if done:
        events.append("[DONE]")
    return frames(*events)


def held(gate: Gate, before: list[dict[str, Any]], *after: dict[str, Any] | str) -> Script:
    """A stream that says `before`, waits until the gate is open, and ends in good order with `after`."""

    async def script(visit: Visit) -> None:
        await visit.start_stream()
        for event in before:
            await visit.event(event)
        await gate.passed(visit)
        for more in after:
            await visit.event(more)
        await visit.end_stream()

    return script


async def refuses_connections(visit: Visit) -> None:
    """Resets the connection instead of answering."""
    visit.reset()
