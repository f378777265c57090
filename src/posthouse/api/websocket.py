"""One websocket: requests as messages, one after the other, and their answers as messages.

For clients that cannot have server-sent events. Above: `sockets.py`, which opens it, and the faces, for which a
`SocketExchange` is an exchange as any other: what they write as events goes out as messages. So admission, limits,
money and errors are those of HTTP. Below: `websockets`, which keeps the frames (docs/adr/0006).

    client                                                  we
    a request (the body of POST on this path)               the data of each event; the end of the form
    another one before that end                             an error, `request_in_progress`; the answer goes on
    {"type": "cancel"}                                      the answer stops; an error, `request_cancelled`
    binary, no UTF-8, too large                             closed: 1003, 1007, 1009
    silent for two heartbeats, or not reading               the connection is cut, the answer cancelled
"""

import asyncio
from typing import Final, cast

from msgspec import Struct
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol as Frames

from posthouse.api.exchange import Exchange
from posthouse.api.line import NEVER, Line
from posthouse.api.messages import Form
from posthouse.core.errors import PosthouseError
from posthouse.dialects.openai_errors import encode_error
from posthouse.dialects.sse import data_of, split_events

_GOODBYE_SECONDS: Final = 5.0
# What we may owe a client that asks and does not read: pongs and errors.
_MOST_OWED: Final = 64 << 10


class RequestInProgress(PosthouseError):
    """A websocket answers one request at a time."""

    status = 409
    type = "invalid_request_error"
    code = "request_in_progress"


class RequestCancelled(PosthouseError):
    """Said on a websocket in place of the rest of an answer that its client no longer wants."""

    status = 499
    type = "invalid_request_error"
    code = "request_cancelled"


class Asked(Struct, frozen=True, eq=False):
    """What every request of one websocket has in common: the path, the headers of its opening, the form of messages."""

    target: bytes
    raw_headers: list[tuple[bytes, bytes]]
    form: Form


class SocketExchange(Exchange):
    """An exchange whose answer goes out as messages. Header lines and the status of a success are not told."""

    __slots__ = ("_form", "_line")

    def __init__(self, line: "SocketLine", now: float, asked: Asked) -> None:
        super().__init__(line, now)
        self._line = line
        self._form = asked.form
        self.method = b"POST"
        self.target = asked.target
        self.raw_headers = asked.raw_headers
        self.headers = dict(asked.raw_headers)

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        if self.gone or self.started:
            return
        self.started = self.finished = True
        self._line.say(body if status < 400 else self._form.error(status, headers, body))
        self._line.release(self)

    def start(self, status: int, headers: bytes, now: float) -> None:
        self.started = True

    def write(self, data: bytes, now: float) -> None:
        if self.gone:
            return
        self.last_write = now
        for event in split_events(data):
            payload = data_of(event)
            if payload is not None and (message := self._form.event(payload)):
                self._line.say(message)

    def end(self, data: bytes = b"") -> None:
        if self.gone or self.finished:
            return
        self.finished = True
        if data:
            self.write(data, self.last_write)
        self._line.release(self)

    def beat(self, now: float, interval: float, headers: bytes) -> None:
        """Pings keep a websocket alive."""


class SocketLine(Line):
    """Takes a connection over from HTTP, `before`, once `frames` have agreed to it."""

    def __init__(self, before: Line, frames: Frames, asked: Asked) -> None:
        super().__init__(before.house, before.state, before.loop)
        self.draining = before.draining
        self.write_paused = before.write_paused
        self._frames = frames
        self._asked = asked
        self._fragments = bytearray()
        self._said = 0  # bytes, since the beginning
        self._owed = 0  # of these, in answer to what came while it did not read
        self._pinged = self.loop.time()
        self._silent_since = NEVER  # the client owes us a sign of life; never: it does not
        self._unsent = 0

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.state.connections.add(self)  # type: ignore[arg-type]  # uvicorn lists its own classes; any will do

    def connection_lost(self, exc: Exception | None) -> None:
        self.state.connections.discard(self)
        self.closing = True
        self.transport = None
        self.resume_writing()
        self._cancel()

    def data_received(self, data: bytes) -> None:
        self._silent_since = NEVER
        if self.closing:
            self.discard(len(data))
            return
        said = self._said
        self._frames.receive_data(data)
        for event in self._frames.events_received():
            if isinstance(event, Frame) and self._frames.state is State.OPEN:
                self._received(event)
        self._flush()
        self._owed = self._owed + self._said - said if self.write_paused else 0
        if self._owed > _MOST_OWED and self.transport is not None:
            self.transport.abort()

    def resume_writing(self) -> None:
        self._silent_since = NEVER
        super().resume_writing()

    # What an exchange calls

    def say(self, message: bytes) -> None:
        if self._frames.state is State.OPEN:
            self._frames.send_text(message)
            self._flush()

    def release(self, exchange: Exchange) -> None:
        self.state.total_requests += 1
        self.current = None
        if self.draining:
            self._farewell()

    # What the server calls

    def shutdown(self) -> None:
        """No new work: closed when idle, else after the answer under way."""
        self.draining = True
        if self.current is None:
            self._farewell()

    def sweep(self, now: float) -> None:
        """Once a second: pings, and an end for clients that give no sign of life, or do not answer our farewell."""
        transport, interval = self.transport, self.options.heartbeat
        if transport is None:
            return
        if now >= self.deadline:
            self.deadline = NEVER
            self.end_overdue(transport)
            return
        unsent, self._unsent = self._unsent, transport.get_write_buffer_size()
        if self.write_paused and self._unsent < unsent:
            self._silent_since = NEVER  # it reads, slowly
        if now - self._silent_since >= interval:
            transport.abort()
        elif self._silent_since == NEVER and now - self._pinged >= interval:
            self._pinged = self._silent_since = now
            if not self.write_paused and self._frames.state is State.OPEN:
                self._frames.send_ping(b"")
                self._flush()

    # Messages

    def _received(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.BINARY:
                self._frames.fail(CloseCode.UNSUPPORTED_DATA, "messages are text")
            case Opcode.TEXT | Opcode.CONT:
                self._fragments += frame.data
                if frame.fin:
                    message, self._fragments = bytes(self._fragments), bytearray()
                    self._message(message)
            case _:
                pass  # the frames have answered it

    def _message(self, message: bytes) -> None:
        exchange = SocketExchange(self, self.loop.time(), self._asked)
        try:
            if not message.isascii():
                str(message, "utf-8")
            body = self._asked.form.request(message)
        except UnicodeDecodeError:
            self._frames.fail(CloseCode.INVALID_DATA, "messages are UTF-8")
        except PosthouseError as error:
            self._ask(exchange, error)
        else:
            if body is None:
                self._cancel()
            else:
                exchange.body = body
                self._ask(exchange)

    def _ask(self, exchange: Exchange, refusal: PosthouseError | None = None) -> None:
        """Who the caller is, is asked again for each request: a key may have been revoked."""
        if self.current is not None:
            busy = RequestInProgress("This websocket is answering another request: wait for its end, or cancel it.")
            self.house.refused(exchange, busy)
            self._complain(busy)
            return
        self.house.admit(exchange)
        if exchange.refusal is None:
            exchange.refusal = refusal
        self.run(exchange)

    def _cancel(self) -> None:
        """As where the client has left."""
        exchange = self.current
        if exchange is not None and not exchange.gone and exchange.task is not None:
            exchange.task.add_done_callback(self._stopped)
            self.forsake(exchange)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        exchange = self.current
        if exchange is not None and exchange.task is task:
            self._complain(RequestCancelled("The request was cancelled."))
            self.release(exchange)

    def _complain(self, error: PosthouseError) -> None:
        self.say(self._asked.form.error(error.status, b"", encode_error(error)))

    # The end

    def _flush(self) -> None:
        """Sends what the frames have to say."""
        for data in self._frames.data_to_send():
            if data:
                self._said += len(data)
                self.send(data)
            else:
                self._over()

    def _over(self) -> None:
        """The frames have said their last."""
        self._cancel()
        transport = self.transport
        if transport is None:
            return
        if self._frames.close_rcvd is not None:
            self.close(transport)
        else:
            self.part(transport)

    def _farewell(self) -> None:
        if self._frames.state is State.OPEN:
            self._frames.send_close(CloseCode.GOING_AWAY, "the server is shutting down")
            self.deadline = self.loop.time() + _GOODBYE_SECONDS
            self._flush()
