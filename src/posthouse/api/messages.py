"""The messages of a websocket: how a request is said in one, and how the events and errors of its answer are.

    chat        the body of /chat/completions; chunks, then `[DONE]`; {"error": {...}}
    responses   the body of /responses, or OpenAI's {"type": "response.create", ...}; its events, of which one is the
                last; {"type": "error", "status": ..., "error": {...}}

`{"type": "cancel"}` is understood in both.
"""

from typing import Final, Protocol

import msgspec
from msgspec import Raw

from posthouse.core.errors import InvalidRequest
from posthouse.dialects.fields import STRING, check_fields, decode_fields

_CHECKS: Final = {"type": STRING}
_TOLD: Final = (b"retry-after", b"x-should-retry", b"x-ratelimit-")
_encode: Final = msgspec.json.Encoder().encode


class Form(Protocol):
    def request(self, message: bytes) -> bytes | None:
        """The body that the same request has over HTTP, always streamed; None: the answer under way is not wanted any
        more. InvalidRequest where the message is neither."""

    def event(self, data: bytes) -> bytes:
        """The message for the data of one event; b"" for none."""

    def error(self, status: int, headers: bytes, body: bytes) -> bytes:
        """The message for an error response, its header lines and its body."""


class ChatForm:
    def request(self, message: bytes) -> bytes | None:
        return _request(message, None)

    def event(self, data: bytes) -> bytes:
        return data

    def error(self, status: int, headers: bytes, body: bytes) -> bytes:
        return body


class ResponsesForm:
    def request(self, message: bytes) -> bytes | None:
        return _request(message, "response.create")

    def event(self, data: bytes) -> bytes:
        if data == b"[DONE]":  # every message is JSON
            return b""
        if data.startswith(b'{"error":'):
            return _encode({"type": "error", **decode_fields(data)})
        return data

    def error(self, status: int, headers: bytes, body: bytes) -> bytes:
        error = decode_fields(bytes(decode_fields(body)["error"]))
        told = _told(headers)
        if told:
            error["headers"] = Raw(_encode(told))
        return _encode({"type": "error", "status": status, "error": error})


CHAT: Final = ChatForm()
RESPONSES: Final = ResponsesForm()


def _request(message: bytes, create: str | None) -> bytes | None:
    fields = decode_fields(message)
    kind = check_fields(fields, _CHECKS).get("type")
    if kind == "cancel":
        return None
    if kind is not None and kind != create:
        known = "cancel" if create is None else f"{create}, cancel"
        raise InvalidRequest(f"Unknown type of message: expected none, {known}.", param="type", code="invalid_value")
    fields.pop("type", None)
    if create is not None and "stream_id" in fields:
        raise InvalidRequest(
            "One request at a time is answered on a websocket: there are no streams to name.",
            param="stream_id",
            code="invalid_value",
        )
    fields["stream"] = Raw(b"true")
    return _encode(fields)


def _told(headers: bytes) -> dict[str, str]:
    """When to try again, in the words of the headers that say so."""
    lines = [line.partition(b": ") for line in headers.split(b"\r\n") if line.startswith(_TOLD)]
    return {name.decode("latin-1"): value.decode("latin-1") for name, _, value in lines}
