"""Events of a chat stream, made by hand."""

import json
from typing import Any, Final

HEAD: Final = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
USAGE: Final = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
DONE: Final = b"data: [DONE]\n\n"


def event(value: Any, newline: bytes = b"\n") -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + newline * 2


def chunk(delta: Any = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {**HEAD, "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more}


def text(content: str) -> bytes:
    return event(chunk({"content": content}))


def usage_event(usage: Any = None) -> bytes:
    return event({**HEAD, "choices": [], "usage": USAGE if usage is None else usage})


ROLE: Final = event(chunk({"role": "assistant", "content": ""}))
STOP: Final = event(chunk(finish="stop"))
