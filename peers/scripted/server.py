"""The socket of the scripted upstream.

Besides the dialects there are three paths for clients that check: `/control/asked/{mark}` lists the requests with that
mark as they came, `/control/open/{mark}` opens its gate, `/control/left/{mark}` answers once its connection was left.
Every wait is bounded.
"""

import itertools
import json
import re
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any, Final

from peers.scripted import chat, gemini, messages, responses, vectors
from peers.scripted.model import (
    CREDENTIAL,
    Asked,
    Break,
    Fault,
    Gate,
    Hang,
    Refused,
    Reply,
    Silence,
    Step,
    cue_of,
    must,
)
from peers.scripted.scenes import play

WAIT: Final = 10.0
MODELS: Final = ("scripted-model", "scripted-vectors")
# What Posthouse writes around state that it carries for another model: no provider may ever see it.
SEALED: Final = '"ph1.'
READERS: Final[dict[str, tuple[ModuleType, Callable[[dict[str, Any]], Asked]]]] = {
    "/v1/chat/completions": (chat, chat.read),
    "/v1/responses": (responses, responses.read),
    "/v1/completions": (vectors, vectors.read),
}
_GEMINI: Final = re.compile(r"/v1(?:beta)?/models/([^:]+):(\w+)")
_LEFT: Final = 0.02


class Visit:
    """A request as it came. `left` is set when its connection was left before the answer was whole."""

    def __init__(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> None:
        self.path = path
        self.headers = headers
        self.body = body
        self.mark = cue_of(json.dumps(body))[1]
        self.left = threading.Event()


class Upstream(ThreadingHTTPServer):
    """`refused` says what was wrong with requests, but for those that a scene refuses."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, models: tuple[str, ...]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models = models
        self._lock = threading.Lock()
        self._visits: list[Visit] = []
        self._gates: dict[str, threading.Event] = {}
        self.refused: list[str] = []
        self.threads = messages.Threads()
        self.numbers = itertools.count()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may leave in the middle of a stream: that is what some of the checks are about."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def asked(self) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
        """(path, headers in lower case, body) of every POST, in order."""
        return [(visit.path, visit.headers, visit.body) for visit in self.visits()]

    def note(self, visit: Visit) -> None:
        with self._lock:
            self._visits.append(visit)

    def visits(self, mark: str | None = None) -> list[Visit]:
        with self._lock:
            return [visit for visit in self._visits if mark is None or visit.mark == mark]

    def gate(self, mark: str) -> threading.Event:
        with self._lock:
            return self._gates.setdefault(mark, threading.Event())


@contextmanager
def running(models: tuple[str, ...] = MODELS) -> Iterator[Upstream]:
    """`models` are those that it lists; it answers for any."""
    server = Upstream(models)
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
    disable_nagle_algorithm = True
    visit: Visit

    def log_message(self, format: str, *args: object) -> None:
        pass

    @property
    def _plain_path(self) -> str:
        return self.path.partition("?")[0]

    @property
    def _dialect(self) -> ModuleType:
        """Whose error form fits the path."""
        if "/messages" in self.path or "anthropic-version" in self.headers:
            return messages
        return gemini if self.path.startswith("/v1beta") or "x-goog-api-key" in self.headers else chat

    # What there is

    def do_GET(self) -> None:
        path = self._plain_path
        if path.startswith("/control/"):
            self._control(*path.removeprefix("/control/").split("/"))
        elif self._authorized():
            self._models(path)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.visit = Visit(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        self.server.note(self.visit)
        if not self._authorized():
            return
        try:
            must(SEALED not in json.dumps(body), "state that was sealed for another model")
            must(isinstance(body, dict), "the body is no object")
            must((self.headers.get("content-type") or "").startswith("application/json"), "content-type")
            self._post(self._plain_path, body)
        except Refused as refused:
            # What a check does wrong on purpose has a cue that says so.
            if "The scene" not in refused.message and "[fail-" not in json.dumps(body):
                self.server.refused.append(f"{self.path}: {refused.message}")
            self._json(self._dialect.error(refused.status, refused.message, refused.code), refused.status)

    def _post(self, path: str, body: dict[str, Any]) -> None:
        version = self.headers.get("anthropic-version")
        named = _GEMINI.fullmatch(path)
        if path in READERS:
            dialect, read = READERS[path]
            self._answer(dialect, read(body))
        elif path == "/v1/messages":
            body = self.server.threads.unfolded(body, self.headers.get("anthropic-beta") or "")
            self.server.threads.keep(body, self._answer(messages, messages.read(body, version)))
        elif named and named[2] in ("generateContent", "streamGenerateContent"):
            must("alt=sse" in self.path or named[2] == "generateContent", "a stream without alt=sse")
            self._answer(gemini, gemini.read(body, named[1], named[2] == "streamGenerateContent"))
        else:
            self._json(self._other(path, named, body))

    def _other(self, path: str, named: re.Match[str] | None, body: dict[str, Any]) -> dict[str, Any]:
        if path == "/v1/embeddings":
            return vectors.embeddings(body)
        if path == "/v1/messages/count_tokens":
            return {"input_tokens": chat.size(body)}
        if path == "/v1/responses/input_tokens":
            return {"object": "response.input_tokens", "input_tokens": chat.size(body)}
        if named and named[2] in ("embedContent", "batchEmbedContents"):
            return vectors.gemini_embeddings(body, batch=named[2] == "batchEmbedContents")
        if named and named[2] == "countTokens":
            return {"totalTokens": chat.size(body)}
        raise Refused(f"no such path: {path}", 404)

    def _models(self, path: str) -> None:
        kind, _, name = path.partition("/models")
        name = name.removeprefix("/")
        names = [model for model in self.server.models if name in ("", model)]
        if not names or kind not in ("/v1", "/v1beta"):
            self._json(self._dialect.error(404, f"no such path or model: {path}"), 404)
            return
        listed = [self._card(model) for model in names]
        if name:
            self._json(listed[0])
        elif self._dialect is gemini:
            self._json({"models": listed})
        elif self._dialect is messages:
            self._json({"data": listed, "has_more": False, "first_id": names[0], "last_id": names[-1]})
        else:
            self._json({"object": "list", "data": listed})

    def _card(self, model: str) -> dict[str, Any]:
        if self._dialect is gemini:
            return {"name": f"models/{model}", "displayName": model, "supportedGenerationMethods": ["generateContent"]}
        if self._dialect is messages:
            return messages.card(model)
        return {"id": model, "object": "model", "created": 1_790_000_000, "owned_by": "peers"}

    def _authorized(self) -> bool:
        headers = self.headers
        given = (headers.get("authorization") or "").removeprefix("Bearer ")
        others = [headers.get(name) for name in ("x-api-key", "x-goog-api-key", "api-key")]
        if CREDENTIAL in (given, *others):
            return True
        self._json(self._dialect.error(401, "Incorrect API key provided.", "invalid_api_key"), 401)
        return False

    # Answers

    def _answer(self, dialect: ModuleType, asked: Asked) -> dict[str, Any]:
        """The whole answer, also where it was told otherwise."""
        if asked.model == "missing-model":
            raise Refused("The scene has no such model.", 404, "model_not_found")
        asked.id = f"peer{next(self.server.numbers)}"
        reply = play(asked)
        whole: dict[str, Any] = dialect.whole(asked, reply)
        if asked.stream:
            self._stream(dialect.Stream(asked), reply)
        elif all(self._waited(step) for step in reply.steps):
            if any(isinstance(step, Fault) for step in reply.steps):
                raise Refused("The scene wants an error.", 500)
            self._json(whole)
        return whole

    def _stream(self, stream: Any, reply: Reply) -> None:
        self.send_response(200)
        self.send_header("content-type", stream.kind)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self._frames(stream.begin())
        for step in reply.steps:
            if isinstance(step, Fault):
                self._frames(stream.fault())
                break
            if not self._waited(step):
                return
            if not isinstance(step, Gate | Silence):
                self._frames(stream.say(step))
        else:
            self._frames(stream.end(reply))
        self.wfile.write(b"0\r\n\r\n")

    def _frames(self, frames: Iterator[bytes]) -> None:
        for frame in frames:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(frame), frame))

    def _waited(self, step: Step) -> bool:
        """Whether the answer goes on after a step that says nothing."""
        if isinstance(step, Gate):
            if not self.server.gate(self.visit.mark).wait(WAIT):
                self.server.refused.append(f"{self.path}: nobody opened the gate: what was said did not arrive")
        elif isinstance(step, Silence):
            time.sleep(step.seconds)
        elif isinstance(step, Hang):
            self._until_left()
            self.close_connection = True
            return False
        elif isinstance(step, Break):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return False
        return True

    def _until_left(self) -> None:
        until = time.monotonic() + 2 * WAIT
        while time.monotonic() < until:
            readable, _, _ = select.select([self.connection], [], [], _LEFT)
            if readable and self.connection.recv(1, socket.MSG_PEEK) == b"":
                self.visit.left.set()
                return

    def _json(self, payload: Any, status: int = 200) -> None:
        data = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    # For clients that check

    def _control(self, verb: str, mark: str) -> None:
        if verb == "open":
            self.server.gate(mark).set()
            self._json({"open": True})
        elif verb == "left":
            visits = self.server.visits(mark)
            self._json({"left": bool(visits) and all(visit.left.wait(WAIT) for visit in visits)})
        else:
            visits = self.server.visits(mark)
            self._json([{"path": one.path, "headers": one.headers, "body": one.body} for one in visits])
