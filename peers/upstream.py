"""A strict upstream: refuses what OpenAI would refuse, answers with all that OpenAI sends, keeps what it was asked."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

CHAT_MODEL: Final = "gpt-6-astra"
EMBEDDING_MODEL: Final = "text-embedding-3-small"
MODELS: Final = [
    {"id": name, "object": "model", "created": 1_790_000_000, "owned_by": "openai", "shutdown_date": None}
    for name in (CHAT_MODEL, EMBEDDING_MODEL)
]
USAGE: Final = {
    "prompt_tokens": 9,
    "completion_tokens": 3,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
COMMON: Final = {
    "id": "chatcmpl-peer",
    "created": 1_790_000_001,
    "model": CHAT_MODEL,
    "service_tier": "default",
    "system_fingerprint": "fp_peer",
}
ROLES: Final = {"developer", "system", "user", "assistant", "tool", "function"}


class Upstream(ThreadingHTTPServer):
    """`asked` holds (path, headers in lower case, body) of every POST, in order; `refused` says what was wrong."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.refused: list[str] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may leave in the middle of a stream: that is what some of the tests are about."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextmanager
def running() -> Iterator[Upstream]:
    server = Upstream()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    server: Upstream
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.removeprefix("/v1/models").removeprefix("/")
        if not name:
            self._json({"object": "list", "data": MODELS})
        elif found := [model for model in MODELS if model["id"] == name]:
            self._json(found[0])
        else:
            self._refuse(404, f"no such path or model: {self.path}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        if self.headers.get("content-type") != "application/json":
            self._refuse(400, "content-type must be application/json")
        elif self.path == "/v1/chat/completions":
            self._chat(body)
        elif self.path == "/v1/embeddings":
            self._embeddings(body)
        else:
            self._refuse(404, f"no such path: {self.path}")

    def _chat(self, body: dict[str, Any]) -> None:
        messages = body.get("messages")
        if body.get("model") != CHAT_MODEL:
            self._refuse(404, f"no such model: {body.get('model')!r}")
        elif not isinstance(messages, list) or not messages:
            self._refuse(400, "messages must be a list with something in it")
        elif any(message.get("role") not in ROLES for message in messages):
            self._refuse(400, "a message has no role that we know")
        elif body.get("stream"):
            self._stream(body)
        else:
            message: dict[str, Any] = {"role": "assistant", "content": "Hello!", "refusal": None, "annotations": []}
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
            self._json({**COMMON, "object": "chat.completion", "choices": [choice], "usage": USAGE})

    def _stream(self, body: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        with_usage = (body.get("stream_options") or {}).get("include_usage")
        deltas: list[tuple[dict[str, str], str | None]] = [
            ({"role": "assistant", "content": ""}, None),
            ({"content": "Hel"}, None),
            ({"content": "lo!"}, None),
            ({}, "stop"),
        ]
        for delta, reason in deltas:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
            self._event({"choices": [choice], **({"usage": None} if with_usage else {})})
        if with_usage:
            self._event({"choices": [], "usage": USAGE})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, chunk: dict[str, Any]) -> None:
        payload = {**COMMON, "object": "chat.completion.chunk", **chunk}
        self.wfile.write(f"data: {json.dumps(payload)}\n\n".encode())

    def _embeddings(self, body: dict[str, Any]) -> None:
        if body.get("model") != EMBEDDING_MODEL:
            self._refuse(404, f"no such model: {body.get('model')!r}")
        elif not body.get("input"):
            self._refuse(400, "input must not be empty")
        else:
            # 1.0, -0.5 as little-endian floats
            vector = "AACAPwAAAL8=" if body.get("encoding_format") == "base64" else [1.0, -0.5]
            data = [{"object": "embedding", "index": 0, "embedding": vector}]
            usage = {"prompt_tokens": 8, "total_tokens": 8}
            self._json({"object": "list", "data": data, "model": EMBEDDING_MODEL, "usage": usage})

    def _refuse(self, status: int, message: str) -> None:
        self.server.refused.append(message)
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        self._json({"error": error}, status)

    def _json(self, payload: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
