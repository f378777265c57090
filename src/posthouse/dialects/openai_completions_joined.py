"""Streams of completions, one for each of several prompts, as the one stream that was asked for."""

from typing import Any, Final

import msgspec

from posthouse.core.usage import Usage
from posthouse.dialects.openai_completions_answers import summed
from posthouse.dialects.openai_usage import usage_of, usage_payload
from posthouse.dialects.sse import data_of, split_events

_DONE: Final = b"data: [DONE]\n\n"
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
_encode: Final = msgspec.json.Encoder().encode


class Renumbered:
    """Blocks of whole events of our own encoder, prompt after prompt: choices are counted through, the answer keeps the
    id of its first stream, and what ends a stream is said once, at the end, with the sum of all usage."""

    def __init__(self) -> None:
        self._first = 0
        self._next = 0
        self._id: Any = None
        self._usages: list[Usage] = []
        self._last: dict[str, Any] = {}

    def feed(self, block: bytes) -> bytes:
        out: list[bytes] = []
        for event in split_events(block):
            data = data_of(event)
            if data is None:
                out.append(event)
            elif not data.startswith(b"[DONE]"):
                out.append(self._told(_decode(data)))
        return b"".join(out)

    def next_prompt(self) -> None:
        self._first = self._next

    def end(self) -> bytes:
        if not self._usages:
            return _DONE
        return _event({**self._last, "choices": [], "usage": usage_payload(summed(self._usages))}) + _DONE

    def _told(self, chunk: dict[str, Any]) -> bytes:
        self._id = self._id or chunk.get("id")
        chunk["id"] = self._id
        choices = chunk["choices"]
        if not choices:
            usage = usage_of(chunk.get("usage"))
            if usage is not None:
                self._usages.append(usage)
            self._last = chunk
            return b""
        for choice in choices:
            choice["index"] += self._first
            self._next = max(self._next, choice["index"] + 1)
        return _event(chunk)


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + _encode(chunk) + b"\n\n"
