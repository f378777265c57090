"""A client of bare sockets: it sends exactly the bytes that a test wants, as slowly as it wants, and leaves."""

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

WAIT = 20.0  # seconds: the bound of every wait


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error of an answer in OpenAI's shape, whose four keys are all there."""
        error: dict[str, Any] = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        assert isinstance(error["message"], str), error
        assert error["message"], error
        assert isinstance(error["type"], str), error
        return error


def request(
    path: str, body: bytes | dict[str, Any] = b"", key: str | None = None, method: str = "POST", extra: str = ""
) -> bytes:
    """A whole request. `extra` is complete header lines."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = f"{method} {path} HTTP/1.1\r\nhost: house\r\n{extra}"
    if key is not None:
        lines += f"authorization: Bearer {key}\r\n"
    if data or method == "POST":
        lines += f"content-type: application/json\r\ncontent-length: {len(data)}\r\n"
    return lines.encode("latin-1") + b"\r\n" + data


def refused(response: Response) -> Response:
    """A 4xx in OpenAI's shape."""
    assert 400 <= response.status < 500, response
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"].startswith("req_")
    assert response.error["message"]
    return response


class Wire:
    """One connection. `receive_buffer` makes the kernel take little, for readers that are slow on purpose."""

    def __init__(self, port: int, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(WAIT)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self._held = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(
        self,
        path: str,
        body: bytes | dict[str, Any] = b"",
        key: str | None = None,
        method: str = "POST",
        extra: str = "",
    ) -> Response:
        """Sends a request as `request` makes it and reads the answer."""
        self.send(request(path, body, key, method, extra))
        return self.response(bodyless=method == "HEAD")

    def leave(self) -> float:
        """Closes; the monotonic time of it."""
        left = time.monotonic()
        self.socket.close()
        return left

    def reset(self) -> float:
        """Closes with RST; the monotonic time of it."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return self.leave()

    def receive(self) -> bytes:
        """What has come; empty at the end, clean or not."""
        try:
            return self.socket.recv(65_536)
        except ConnectionError:
            return b""

    def until(self, mark: bytes) -> bytes:
        """Everything up to `mark` and with it."""
        while mark not in self._held:
            data = self.receive()
            assert data, f"the connection ended without {mark!r}: {self._held!r}"
            self._held += data
        found, _, self._held = self._held.partition(mark)
        return found + mark

    def exactly(self, size: int) -> bytes:
        while len(self._held) < size:
            data = self.receive()
            assert data, "the connection ended inside of a body"
            self._held += data
        found, self._held = self._held[:size], self._held[size:]
        return found

    def rest(self) -> bytes:
        """Everything until the connection ends."""
        pieces = [self._held]
        self._held = b""
        while data := self.receive():
            pieces.append(data)
        return b"".join(pieces)

    def ended(self) -> bool:
        """Whether the server closes with nothing more to say."""
        return self.rest() == b""

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next answer; interim answers are passed over."""
        while True:
            first, *lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
            status = int(first.split(" ")[1])
            if status >= 200:
                pairs = (line.partition(":") for line in lines if line)
                return status, {name.lower(): value.strip() for name, _, value in pairs}

    def response(self, *, bodyless: bool = False) -> Response:
        status, headers = self.head()
        if bodyless or status in (204, 304):
            return Response(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Response(status, headers, b"".join(self.pieces()))
        if "content-length" in headers:
            return Response(status, headers, self.exactly(int(headers["content-length"])))
        return Response(status, headers, self.rest())

    def pieces(self) -> Iterator[bytes]:
        """The chunks of a chunked body, as they were sent."""
        while True:
            size = int(self.until(b"\r\n").rstrip(), 16)
            data = self.exactly(size)
            assert self.exactly(2) == b"\r\n"
            if not size:
                return
            yield data

    def events(self) -> Iterator[bytes]:
        """The events of a chunked stream, each with its blank line, as they come."""
        held = b""
        for piece in self.pieces():
            *whole, held = (held + piece).split(b"\n\n")
            for event in whole:
                yield event + b"\n\n"
        assert held == b""


def payloads(stream: bytes) -> list[Any]:
    """The data of every event of a whole stream, decoded; `[DONE]` as it is, comments left out."""
    found: list[Any] = []
    for event in stream.split(b"\n\n"):
        if event.startswith(b"data: "):
            data = event.removeprefix(b"data: ")
            found.append("[DONE]" if data == b"[DONE]" else json.loads(data))
    return found


def eventually(condition: Callable[[], Any], what: str, timeout: float = WAIT) -> Any:
    """The first true value of `condition`. Looks every few milliseconds; AssertionError after `timeout` seconds."""
    until = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < until, what
        time.sleep(0.005)  # the pause of a bounded wait
    return value
