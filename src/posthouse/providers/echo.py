"""Echo: a provider inside this process, so that a fresh installation answers and tests need no network.

It is a provider like any other; nothing outside its files knows its name. What it says is a function of what it is
asked (only `created` is the time). It is no language model, and says so. Tokens are counted by one rule
(echo_tokens.py); an image, an audio clip or a file counts as one; names, roles and tool definitions count nothing.
Pictures, speech, judgements and ranks are in echo_desk.py, what is asked for with files in echo_forms.py.

Source: none outside. Checked: 2026-11-21.
"""

import asyncio
import base64
import hashlib
import math
import re
import time
from array import array
from collections.abc import AsyncIterator, Callable
from sys import byteorder
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from posthouse.core.errors import InvalidRequest, NotFound, PosthouseError
from posthouse.core.requests import MEDIA
from posthouse.providers.echo_desk import DESKS, MODELS, Moment, no_model
from posthouse.providers.echo_forms import COUNTERS, HEARING_MODEL, body_of
from posthouse.providers.echo_tokens import tokens_of
from posthouse.providers.model import Provider
from posthouse.providers.sample import sample
from posthouse.upstream.memory import MemoryResponse
from posthouse.upstream.model import UpstreamRequest, UpstreamResponse

CHAT_MODEL: Final = "echo"
EMBEDDING_MODEL: Final = "echo-embedding"
_SHOWN: Final = 16_000  # characters of the question that are repeated
_CHINESE: Final = re.compile(r"[\u4e00-\u9fff]")
_MEMBER: Final = re.compile(r"at `\$\.([^`]+)`")
_encode: Final = msgspec.json.Encoder().encode
_JSON: Final = [(b"content-type", b"application/json")]
_SSE: Final = [(b"content-type", b"text/event-stream")]
_DONE: Final = b"data: [DONE]\n\n"

_ENGLISH: Final = """# Echo

You said{extra}:

{quoted}

This is **echo**, the model built into Posthouse. It repeats what it is told; no language model is behind it.

## Add a real provider

- Set the provider's variable, such as `OPENAI_API_KEY`, and start Posthouse again; `OPENAI_BASE_URL` beside it points
  to any compatible server.
- Or write a `[[providers]]` table into `posthouse.toml`.
- `docs/providers.md` lists every provider with its variable.

```sh
OPENAI_API_KEY=your-key posthouse serve
```
"""
_IN_CHINESE: Final = """# Echo(回声)

你说{extra}:

{quoted}

这是 Posthouse(驿站)内置的 **echo** 模型:它只重复你的话,背后没有语言模型。

## 接入真正的模型

- 设置服务商的环境变量,例如 `OPENAI_API_KEY`,再重新启动;配合 `OPENAI_BASE_URL` 可指向任何兼容的服务。
- 或在 `posthouse.toml` 里写一段 `[[providers]]`。
- `docs/providers.md` 列出了所有服务商和对应的变量。

```sh
OPENAI_API_KEY=your-key posthouse serve
```
"""


class _Message(Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None


class _Chat(Struct):
    model: str
    messages: Annotated[list[_Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop: str | list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None


class _Embeddings(Struct):
    model: str
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=4096)] | None = None


_decode_chat: Final = msgspec.json.Decoder(_Chat).decode
_decode_embeddings: Final = msgspec.json.Decoder(_Embeddings).decode


class _Answer(Struct):
    """What every choice says: `pieces` are tokens of the text, or of the arguments of a call of `tool`."""

    pieces: list[str]
    finish_reason: str
    tool: str | None = None
    call_id: str = ""


class EchoTransport:
    """Answers as OpenAI's HTTP API would. `pace` is the pause in seconds before each event of a stream."""

    def __init__(self, pace: float = 0.0, clock: Callable[[], float] = time.time) -> None:
        self._pace = pace
        self._clock = clock

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        try:
            return await self._answer(request, request.target.partition(b"?")[0])
        except msgspec.MsgspecError as error:
            where = _MEMBER.search(str(error))
            return _refuse(InvalidRequest(str(error), param=where[1] if where else None))
        except PosthouseError as error:
            return _refuse(error)

    async def _answer(self, request: UpstreamRequest, path: bytes) -> MemoryResponse:
        if request.method == b"GET" and path.endswith(b"/models"):
            return MemoryResponse(200, _JSON, [_encode(_models(int(self._clock())))])
        if request.method != b"POST":
            raise NotFound("Echo has no such path.")
        moment = Moment(int(self._clock()), self._pace)
        for end, counter in COUNTERS.items():
            if path.endswith(end):
                return await counter(request, moment)
        body = await body_of(request)
        if path.endswith(b"/chat/completions"):
            return self._chat(body)
        if path.endswith(b"/embeddings"):
            return MemoryResponse(200, _JSON, [await _embeddings(body)])
        desk = next((desk for end, desk in DESKS.items() if path.endswith(end)), None)
        if desk is None:
            raise NotFound("Echo has no such path.")
        return await desk(body, moment)

    async def aclose(self) -> None:
        return None

    def _chat(self, body: bytes) -> MemoryResponse:
        asked = _decode_chat(body)
        if asked.model != CHAT_MODEL:
            raise no_model(asked.model)
        answer = _answer(asked)
        head = {
            "id": "chatcmpl-echo" + hashlib.sha256(body).hexdigest()[:20],
            "object": "chat.completion.chunk" if asked.stream else "chat.completion",
            "created": int(self._clock()),
            "model": CHAT_MODEL,
        }
        if asked.stream:
            return MemoryResponse(200, _SSE, _stream(asked, answer, head, self._pace))
        choices = [
            {"index": index, "message": _message(answer), "logprobs": None, "finish_reason": answer.finish_reason}
            for index in range(asked.n or 1)
        ]
        return MemoryResponse(200, _JSON, [_encode({**head, "choices": choices, "usage": _usage(asked, answer)})])


ROW: Final = Provider(
    name="echo",
    title="Echo (built in)",
    docs="docs/providers.md",
    checked="2026-11-21",
    base_url="http://echo.invalid/v1",
    auth="none",
    offers=MEDIA,
    free=True,
    transport=EchoTransport,
)


def _models(now: int) -> dict[str, Any]:
    names = (CHAT_MODEL, EMBEDDING_MODEL, *MODELS, HEARING_MODEL)
    return {
        "object": "list",
        "data": [{"id": n, "object": "model", "created": now, "owned_by": "posthouse"} for n in names],
    }


def _refuse(error: PosthouseError) -> MemoryResponse:
    fields = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return MemoryResponse(error.status, _JSON, [_encode({"error": fields})])


def _answer(asked: _Chat) -> _Answer:
    tool = _forced_tool(asked)
    if tool is not None:
        name = str(tool.get("name", ""))
        arguments = sample(tool.get("parameters"))
        text = _encode(arguments if isinstance(arguments, dict) else {}).decode()
        call_id = "call_" + hashlib.sha256(f"{name}{text}".encode()).hexdigest()[:24]
        pieces, reason = _cut(asked, text, "tool_calls")
        return _Answer(pieces, reason, name, call_id)
    pieces, reason = _cut(asked, _text(asked), "stop")
    return _Answer(pieces, reason)


def _cut(asked: _Chat, text: str, reason: str) -> tuple[list[str], str]:
    """Tokens of the text up to the first stop sequence and the caller's cap, and why it ends there."""
    stops = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    ends = [text.find(stop) for stop in stops if stop and stop in text]
    pieces = tokens_of(text[: min(ends)] if ends else text)
    cap = asked.max_completion_tokens or asked.max_tokens
    if cap is not None and len(pieces) > cap:
        return pieces[:cap], "length"
    return pieces, reason


def _forced_tool(asked: _Chat) -> dict[str, Any] | None:
    """The function that the caller insists on, None where it leaves the choice to the model."""
    functions: list[dict[str, Any]] = [
        tool["function"] for tool in asked.tools or [] if isinstance(tool.get("function"), dict)
    ]
    match asked.tool_choice:
        case "required":
            if not functions:
                raise InvalidRequest("'tool_choice' is 'required', but there is no function tool.", param="tool_choice")
            return functions[0]
        case {"type": "function", "function": {"name": name}}:
            for function in functions:
                if function.get("name") == name:
                    return function
            raise InvalidRequest("'tool_choice' names a function that is not in 'tools'.", param="tool_choice")
        case _:
            return None


def _text(asked: _Chat) -> str:
    question, others = _question(asked.messages)
    match asked.response_format:
        case {"type": "json_object"}:
            return _encode({"model": CHAT_MODEL, "echo": question}).decode()
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return _encode(sample(schema)).decode()
    quoted = "\n".join(f"> {line}" for line in question.splitlines()) or "> "
    if _CHINESE.search(question):
        return _IN_CHINESE.format(extra=f"(另有 {others} 个附件)" if others else "", quoted=quoted)
    return _ENGLISH.format(extra=f" (with {others} attachment{'s' * (others > 1)})" if others else "", quoted=quoted)


def _question(messages: list[_Message]) -> tuple[str, int]:
    """Text and number of other parts of the last message of the user, or of the last one where there is none."""
    last = next((message for message in reversed(messages) if message.role == "user"), messages[-1])
    text = "\n".join(_texts(last.content))
    if len(text) > _SHOWN:
        text = text[:_SHOWN] + " ..."
    return text, _other_parts(last.content)


def _texts(content: str | list[dict[str, Any]] | None) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content or [] if isinstance(part.get("text"), str)]


def _other_parts(content: str | list[dict[str, Any]] | None) -> int:
    return sum(not isinstance(part.get("text"), str) for part in content) if isinstance(content, list) else 0


def _usage(asked: _Chat, answer: _Answer) -> dict[str, Any]:
    prompt = sum(
        sum(len(tokens_of(text)) for text in _texts(message.content)) + _other_parts(message.content)
        for message in asked.messages
    )
    completion = len(answer.pieces) * (asked.n or 1)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _message(answer: _Answer) -> dict[str, Any]:
    text = "".join(answer.pieces)
    if answer.tool is None:
        return {"role": "assistant", "content": text, "refusal": None}
    call = {"id": answer.call_id, "type": "function", "function": {"name": answer.tool, "arguments": text}}
    return {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}


def _deltas(answer: _Answer) -> list[dict[str, Any]]:
    if answer.tool is None:
        return [{"role": "assistant", "content": ""}, *({"content": piece} for piece in answer.pieces)]
    first = {"index": 0, "id": answer.call_id, "type": "function", "function": {"name": answer.tool, "arguments": ""}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [first]},
        *({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in answer.pieces),
    ]


async def _stream(asked: _Chat, answer: _Answer, head: dict[str, Any], pace: float) -> AsyncIterator[bytes]:
    told = bool(asked.stream_options and asked.stream_options.get("include_usage"))
    nothing: dict[str, Any] = {"usage": None} if told else {}
    steps: list[tuple[dict[str, Any], str | None]] = [(delta, None) for delta in _deltas(answer)]
    for delta, reason in [*steps, ({}, answer.finish_reason)]:
        for index in range(asked.n or 1):
            # Even with no pause the loop gets its turn: other requests run, and a caller that left is noticed.
            await asyncio.sleep(pace)
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
            yield b"data: %b\n\n" % _encode({**head, "choices": [choice], **nothing})
    if told:
        yield b"data: %b\n\n" % _encode({**head, "choices": [], "usage": _usage(asked, answer)})
    yield _DONE


async def _embeddings(body: bytes) -> bytes:
    asked = _decode_embeddings(body)
    if asked.model != EMBEDDING_MODEL:
        raise no_model(asked.model)
    inputs = _inputs(asked.input)
    data = []
    for index, (text, _) in enumerate(inputs):
        if index % 64 == 63:
            await asyncio.sleep(0)  # a batch is long work: the loop gets its turn
        vector = _vector(text, asked.dimensions or 256)
        value = _base64(vector) if asked.encoding_format == "base64" else vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": value})
    tokens = sum(count for _, count in inputs)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return _encode({"object": "list", "data": data, "model": EMBEDDING_MODEL, "usage": usage})


def _inputs(given: str | list[str | int | list[int]]) -> list[tuple[bytes, int]]:
    """Bytes to hash and number of tokens, for each input."""
    if isinstance(given, str):
        given = [given]
    if not given:
        raise InvalidRequest("'input' must not be empty.", param="input")
    if isinstance(given[0], int):
        given = [[item for item in given if isinstance(item, int)]]
    return [
        (item.encode(), len(tokens_of(item))) if isinstance(item, str) else (_encode(item), len(item))
        for item in given
        if not isinstance(item, int)
    ]


def _vector(text: bytes, dimensions: int) -> "array[float]":
    """A unit vector that depends on nothing but the text."""
    raw = array("i", hashlib.shake_256(text).digest(dimensions * 4))
    if byteorder == "big":
        raw.byteswap()
    length = math.sqrt(sum(x * x for x in raw)) or 1.0
    return array("f", [x / length for x in raw])


def _base64(vector: "array[float]") -> str:
    if byteorder == "big":
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()
