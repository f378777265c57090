"""What is no conversation: embeddings in two dialects, and completions of a prompt."""

import struct
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, Final

from peers.scripted.chat import usage_of
from peers.scripted.model import Asked, Reply, Said, Text, Turn, event, known, list_of, must, text_of

VECTOR: Final = (1.0, -0.5)
EMBEDDING: Final = frozenset("input model dimensions encoding_format user".split())
COMPLETION: Final = frozenset(
    "model prompt best_of echo frequency_penalty logit_bias logprobs max_tokens n presence_penalty seed stop stream"
    " stream_options suffix temperature top_p user".split()
)


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    """Vectors of two numbers, the first of which tells how long the input is."""
    known(body, EMBEDDING, "embeddings")
    given = body.get("input")
    texts = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else list_of(given, "input")
    must(texts, "input is empty")
    encoded = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": number, "embedding": _encoded(text) if encoded else _vector(text)}
        for number, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    return {"object": "list", "data": data, "model": text_of(body.get("model"), "model"), "usage": usage}


def _vector(text: Any) -> list[float]:
    return [float(len(text)), VECTOR[1]]


def _encoded(text: Any) -> str:
    return b64encode(struct.pack("<2f", *_vector(text))).decode()


def gemini_embeddings(body: dict[str, Any], *, batch: bool) -> dict[str, Any]:
    found = []
    for one in list_of(body.get("requests"), "requests") if batch else [body]:
        known(one, frozenset({"model", "content", "taskType", "title", "outputDimensionality"}), "embedContent")
        text = "".join(text_of(part.get("text"), "content.parts") for part in one["content"]["parts"])
        found.append({"values": _vector(text)})
    return {"embeddings": found} if batch else {"embedding": found[0]}


def read(body: dict[str, Any]) -> Asked:
    known(body, COMPLETION, "completions")
    prompt = body.get("prompt")
    prompts = [prompt] if isinstance(prompt, str) else list_of(prompt, "prompt")
    must(len(prompts) == 1, "this upstream takes one prompt at a time")
    text = text_of(prompts[0], "prompt")
    return Asked(
        wire="completions",
        model=text_of(body.get("model"), "model"),
        stream=bool(body.get("stream")),
        turns=[Turn("user", text)],
        results=[],
        pictures=[],
        states=[],
        tools={},
        usage=bool((body.get("stream_options") or {}).get("include_usage")),
    )


def _chunk(asked: Asked, text: str, reason: str | None) -> dict[str, Any]:
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": reason}
    common = {"id": f"cmpl-{asked.id}", "object": "text_completion", "created": 1_790_000_001, "model": asked.model}
    return {**common, "choices": [choice]}


def whole(asked: Asked, reply: Reply) -> dict[str, Any]:
    text = "".join(said.text for said in reply.said if isinstance(said, Text))
    return {**_chunk(asked, text, "length" if reply.finish == "length" else "stop"), "usage": usage_of(reply.usage)}


class Stream:
    """The events of one answer, in order: `begin`, `say` for each step, `end`."""

    kind = "text/event-stream"

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def begin(self) -> Iterator[bytes]:
        return iter(())

    def say(self, said: Said) -> Iterator[bytes]:
        if isinstance(said, Text):
            yield event(_chunk(self._asked, said.text, None))

    def end(self, reply: Reply) -> Iterator[bytes]:
        yield event(_chunk(self._asked, "", "length" if reply.finish == "length" else "stop"))
        if self._asked.usage:
            yield event({**_chunk(self._asked, "", None), "choices": [], "usage": usage_of(reply.usage)})
        yield b"data: [DONE]\n\n"

    def fault(self) -> Iterator[bytes]:
        return iter(())
