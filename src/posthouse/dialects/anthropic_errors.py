"""Errors of the Messages API: `{"type": "error", "error": {"type", "message", "details"?}, "request_id"}`.

Both versions of the API that are in use read this shape; the newer one looks for `details.error_code` too.
"""

from typing import Any, Final

import msgspec

from posthouse.core.errors import InsufficientQuota, PosthouseError, UpstreamFailure
from posthouse.dialects.openai_errors import StreamError
from posthouse.dialects.openai_errors import decode_error as decode_plain

_TYPE_OF_STATUS: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_encode: Final = msgspec.json.Encoder().encode


def type_of(error: PosthouseError) -> str:
    """The dialect's word for an error. A budget of ours is used up, or the operator's account is: neither is a matter
    of waiting, so neither is called a limit of rate or load."""
    if isinstance(error, InsufficientQuota):
        return "billing_error"
    if isinstance(error, UpstreamFailure) and error.kind == "quota":
        return "api_error"
    return _TYPE_OF_STATUS.get(error.status) or ("invalid_request_error" if error.status < 500 else "api_error")


def encode_error(error: PosthouseError, request_id: str) -> bytes:
    """The body of an error response."""
    return _encode({**_envelope(error), "request_id": request_id})


def error_event(error: PosthouseError) -> bytes:
    """The event that ends a stream that broke."""
    return b"event: error\ndata: " + _encode(_envelope(error)) + b"\n\n"


def _envelope(error: PosthouseError) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": type_of(error), "message": error.message}
    if error.code is not None:
        inner["details"] = {"error_code": error.code}
    return {"type": "error", "error": inner}


def decode_error(value: Any) -> StreamError:
    """What stands under `error` in an answer that is one; an unusable value still is an error."""
    found = decode_plain(value) or StreamError("the upstream reported an error")
    details = value.get("details") if isinstance(value, dict) else None
    code = details.get("error_code") if isinstance(details, dict) else None
    return StreamError(found.message, found.type, code, found.param) if isinstance(code, str) else found
