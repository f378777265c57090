"""The bytes of the benchmark, rendered once: what clients ask and what the mock upstream answers.

Requests carry the headers of the official Python client, since those are what a gateway parses in real life. Answers
have the members and sizes of real ones: 1 KB whole, about 250 bytes a chunk.
"""

import json
from dataclasses import dataclass

MODEL_CHAT = "bench-chat"
MODEL_BURST = "bench-burst"
MODEL_PACED = "bench-paced"
MODEL_IDLE = "bench-idle"
MODEL_EMBEDDING = "bench-embed"
MODEL_FOREIGN = "bench-messages"
"""Served by an upstream that speaks the Messages API, so that a chat request for it is translated both ways."""
MODELS = (MODEL_CHAT, MODEL_BURST, MODEL_PACED, MODEL_IDLE, MODEL_EMBEDDING)
"""The mock upstream chooses its behaviour by the model's name: it survives gateways that write the body anew."""

CHUNKS = 64
"""Events of a stream that have choices: the role, 62 pieces of text, the finish."""
PACE = 0.005
"""Seconds between the chunks of a paced stream."""

SMALL_BODY = 1_024
LARGE_BODY = 65_536
ANSWER_BODY = 1_024

_PROSE = (
    "The mail coach left the posthouse before dawn, four horses, two passengers, one bag of letters.\n"
    'At the ford the guard said: "Hold the lamp higher", and nobody answered; the river was loud.\n'
    "Die Straße war naß, 驿站的灯还亮着, and the next relay stood eleven miles off.\n"
    "```python\nfor stage in road:\n    horses = stage.change(horses)\n```\n"
)
_SDK_HEADERS = (
    "Accept-Encoding: gzip, deflate",
    "Connection: keep-alive",
    "Accept: application/json",
    "User-Agent: OpenAI/Python 3.50.0",
    "X-Stainless-Lang: python",
    "X-Stainless-Package-Version: 3.50.0",
    "X-Stainless-OS: Linux",
    "X-Stainless-Arch: x64",
    "X-Stainless-Runtime: CPython",
    "X-Stainless-Runtime-Version: 3.11.7",
    "X-Stainless-Async: false",
    "x-stainless-retry-count: 0",
    "x-stainless-read-timeout: 600",
)


@dataclass(frozen=True, slots=True)
class Ask:
    """One kind of request. `events` is how many `data:` lines the whole answer has (0: it is no stream)."""

    name: str
    path: str
    body: bytes
    events: int = 0


def render(ask: Ask, host: str, secret: str) -> bytes:
    """The whole HTTP request, as the official client would send it to `host` with the key `secret`."""
    lines = (
        f"POST {ask.path} HTTP/1.1",
        f"Host: {host}",
        *_SDK_HEADERS,
        "Content-Type: application/json",
        f"Authorization: Bearer {secret}",
        f"Content-Length: {len(ask.body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + ask.body


def _compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _conversation(turns: int, size: int) -> list[dict[str, str]]:
    """`turns` messages of about `size` bytes of text each, the system's first."""
    text = (_PROSE * (size // len(_PROSE) + 1))[:size]
    roles = ["system", *("user" if turn % 2 else "assistant" for turn in range(1, turns))]
    return [{"role": role, "content": text} for role in roles]


def _chat_body(model: str, size: int, stream: bool) -> bytes:
    """A request body of exactly `size` bytes."""
    turns = 2 if size <= SMALL_BODY else 32
    body: dict[str, object] = {"model": model, "messages": [], "temperature": 0.7, "max_tokens": 256}
    if stream:
        body["stream"] = True
    text = size // turns - 60
    body["messages"] = messages = _conversation(turns, text)
    while len(_compact(body)) > size:
        text -= 8
        body["messages"] = messages = _conversation(turns, text)
    messages[-1]["content"] += "." * (size - len(_compact(body)))
    return _compact(body)


CHAT_PATH = "/v1/chat/completions"
CHAT = Ask("chat", CHAT_PATH, _chat_body(MODEL_CHAT, SMALL_BODY, stream=False))
LARGE = Ask("large", CHAT_PATH, _chat_body(MODEL_CHAT, LARGE_BODY, stream=False))
BURST = Ask("burst", CHAT_PATH, _chat_body(MODEL_BURST, SMALL_BODY, stream=True), CHUNKS + 1)
PACED = Ask("paced", CHAT_PATH, _chat_body(MODEL_PACED, SMALL_BODY, stream=True), CHUNKS + 1)
IDLE = Ask("idle", CHAT_PATH, _chat_body(MODEL_IDLE, SMALL_BODY, stream=True), CHUNKS + 1)
FOREIGN = Ask("foreign", CHAT_PATH, _chat_body(MODEL_FOREIGN, SMALL_BODY, stream=True), CHUNKS + 1)
EMBEDDING = Ask("embeddings", "/v1/embeddings", _compact({"model": MODEL_EMBEDDING, "input": _PROSE}))
"""`events` counts the 64 chunks and `[DONE]`: the client did not ask for the usage chunk. What is translated
has as many: the role, 62 pieces of text, the finish."""


# What the mock upstream answers.

_USAGE = {
    "prompt_tokens": 187,
    "completion_tokens": 142,
    "total_tokens": 329,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
_ID = "chatcmpl-CbQ2mVnXf7wLr0sT9yHk3dEa5uJpG"
_FINGERPRINT = "fp_f12167b370"


def _whole(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\nx-request-id: req_mock\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


def _chat_answer() -> bytes:
    message: dict[str, object] = {"role": "assistant", "content": "", "refusal": None, "annotations": []}
    answer = {
        "id": _ID,
        "object": "chat.completion",
        "created": 1_795_000_000,
        "model": MODEL_CHAT,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _USAGE,
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }
    room = ANSWER_BODY - len(_compact(answer))
    message["content"] = ("The next relay is eleven miles off. " * 20)[:room]
    return _whole(b"200 OK", _compact(answer))


def _embedding_answer() -> bytes:
    vector = [round(((i * 7919) % 2003 - 1001) / 20_000, 6) for i in range(1_024)]
    answer = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": vector}],
        "model": MODEL_EMBEDDING,
        "usage": {"prompt_tokens": 96, "total_tokens": 96},
    }
    return _whole(b"200 OK", _compact(answer))


def _models_answer() -> bytes:
    rows = [{"id": name, "object": "model", "created": 1_795_000_000, "owned_by": "bench"} for name in MODELS]
    return _whole(b"200 OK", _compact({"object": "list", "data": rows}))


def _chunk(delta: dict[str, object], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _frame(_event([choice], {}))


def _event(choices: list[dict[str, object]], more: dict[str, object]) -> bytes:
    head = {"id": _ID, "object": "chat.completion.chunk", "created": 1_795_000_000, "model": MODEL_BURST}
    body = {**head, "service_tier": "default", "system_fingerprint": _FINGERPRINT, "choices": choices, **more}
    return b"data: " + _compact(body) + b"\n\n"


def _frame(data: bytes) -> bytes:
    """An HTTP chunk of its own for each event, as servers that flush each event send them."""
    return b"%x\r\n%s\r\n" % (len(data), data)


CHAT_ANSWER = _chat_answer()
EMBEDDING_ANSWER = _embedding_answer()
MODELS_ANSWER = _models_answer()
NOT_FOUND = _whole(b"404 Not Found", b'{"error":{"message":"no such route","type":"invalid_request_error"}}')
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"x-request-id: req_mock\r\ntransfer-encoding: chunked\r\n\r\n"
)
STREAM_CHUNKS = (
    _chunk({"role": "assistant", "content": "", "refusal": None}, None),
    *(_chunk({"content": f" stage{stage}"}, None) for stage in range(1, CHUNKS - 1)),
    _chunk({}, "stop"),
)
USAGE_CHUNK = _frame(_event([], {"usage": _USAGE}))
STREAM_END = _frame(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def _message_event(kind: str, more: dict[str, object]) -> bytes:
    return _frame(b"event: %s\ndata: %s\n\n" % (kind.encode(), _compact({"type": kind, **more})))


def _message_answer() -> bytes:
    """The same stream in the words of the Messages API, each event in an HTTP chunk of its own."""
    usage: dict[str, object] = {"input_tokens": 123, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 64}
    message: dict[str, object] = {
        "id": "msg_01Nd8cL2vQ",
        "type": "message",
        "role": "assistant",
        "model": MODEL_FOREIGN,
    }
    message |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
    pieces = [{"type": "text_delta", "text": f" stage{stage}"} for stage in range(1, CHUNKS - 1)]
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    return b"".join(
        (
            STREAM_HEAD,
            _message_event("message_start", {"message": message}),
            _message_event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
            *(_message_event("content_block_delta", {"index": 0, "delta": piece}) for piece in pieces),
            _message_event("content_block_stop", {"index": 0}),
            _message_event("message_delta", {"delta": ended, "usage": {**usage, "output_tokens": 142}}),
            _message_event("message_stop", {}),
            b"0\r\n\r\n",
        )
    )


MESSAGE_ANSWER = _message_answer()
