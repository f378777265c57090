"""Errors of gemini: `{"error": {"code", "message", "status", "details"}}`, in the words of google.rpc."""

from typing import Any, Final

import msgspec

from posthouse.core.errors import PosthouseError, RateLimited, UpstreamFailure
from posthouse.dialects.gemini_fields import ERRORS, Json
from posthouse.dialects.openai_errors import StreamError

_encode = msgspec.json.Encoder().encode

# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto; those that it has no status for go to the
# nearest one.
_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TYPE: Final = "type.googleapis.com/google.rpc."


def encode_error(error: PosthouseError, request_id: str = "") -> bytes:
    """The body of an error response; also the data of an error event in a stream.

    `details` name the field, say when to try again, and carry our code and the id of the request, where there are such.
    """
    default = "INVALID_ARGUMENT" if 400 <= error.status < 500 else "INTERNAL"
    body: Json = {"code": error.status, "message": error.message, "status": _STATUS.get(error.status, default)}
    if details := _details(error, request_id):
        body["details"] = details
    return _encode({"error": body})


def _details(error: PosthouseError, request_id: str) -> list[Json]:
    details: list[Json] = []
    if error.code is not None:
        details.append({"@type": f"{_TYPE}ErrorInfo", "reason": error.code.upper(), "domain": "posthouse"})
    if error.param is not None:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
    wait = error.retry_after if isinstance(error, RateLimited | UpstreamFailure) else None
    if wait is not None:
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{max(0.0, wait):.3f}s"})
    if request_id:
        details.append({"@type": f"{_TYPE}RequestInfo", "requestId": request_id})
    return details


def error_in(data: bytes) -> StreamError | None:
    """The error in a body or in the data of an event, which may stand in an array. None where there is none.

    `type` is the status (`RESOURCE_EXHAUSTED`), `code` the number that HTTP has for it.
    """
    try:
        value: Any = msgspec.json.decode(data)
    except ERRORS:
        return None
    if isinstance(value, list) and value:
        value = value[0]
    error = value.get("error") if isinstance(value, dict) else None
    if not error:
        return None
    if not isinstance(error, dict):
        return StreamError(error if isinstance(error, str) else "the upstream reported an error")
    message, status, code = error.get("message"), error.get("status"), error.get("code")
    return StreamError(
        message=message if isinstance(message, str) else "the upstream reported an error",
        type=status if isinstance(status, str) else None,
        code=str(code) if isinstance(code, int | str) and not isinstance(code, bool) else None,
    )
