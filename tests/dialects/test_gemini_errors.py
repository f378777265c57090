"""Errors in gemini's words."""

import json
from typing import Any

import pytest

from posthouse.core.errors import (
    BodyTooLarge,
    Forbidden,
    InsufficientQuota,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PosthouseError,
    RateLimited,
    Unauthenticated,
    Unavailable,
    UpstreamFailure,
)
from posthouse.dialects.gemini import CODEC, error_in
from posthouse.dialects.openai_errors import StreamError

_TYPE = "type.googleapis.com/google.rpc."


def _encoded(error: PosthouseError, request_id: str = "") -> Any:
    return json.loads(CODEC.encode_error(error, request_id))["error"]


@pytest.mark.req("GEM-ERR-001")
@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (InvalidRequest("no"), 400, "INVALID_ARGUMENT"),
        (Unauthenticated("no", code=""), 401, "UNAUTHENTICATED"),
        (Forbidden("no"), 403, "PERMISSION_DENIED"),
        (NotFound("no"), 404, "NOT_FOUND"),
        (MethodNotAllowed("no"), 405, "UNIMPLEMENTED"),
        (BodyTooLarge("no"), 413, "INVALID_ARGUMENT"),
        (InsufficientQuota("no"), 429, "RESOURCE_EXHAUSTED"),
        (Unavailable("no"), 503, "UNAVAILABLE"),
        (UpstreamFailure("timeout", "no"), 504, "DEADLINE_EXCEEDED"),
        (UpstreamFailure("server", "no"), 502, "UNAVAILABLE"),
        (PosthouseError("no"), 500, "INTERNAL"),
    ],
)
def test_an_error_has_its_status_in_both_vocabularies(error: PosthouseError, code: int, status: str) -> None:
    said = _encoded(error)
    assert (said["code"], said["message"], said["status"]) == (code, "no", status)


@pytest.mark.req("GEM-ERR-001")
def test_a_status_that_has_no_name_takes_that_of_its_family() -> None:
    class Teapot(PosthouseError):
        status = 418

    class Odd(PosthouseError):
        status = 599

    assert [_encoded(error("x"))["status"] for error in (Teapot, Odd)] == ["INVALID_ARGUMENT", "INTERNAL"]


@pytest.mark.req("GEM-ERR-002")
def test_details_say_which_field_when_to_try_again_and_which_request() -> None:
    assert _encoded(InvalidRequest("no", param="contents[0]", code="invalid_value"), "req_1")["details"] == [
        {"@type": f"{_TYPE}ErrorInfo", "reason": "INVALID_VALUE", "domain": "posthouse"},
        {"@type": f"{_TYPE}BadRequest", "fieldViolations": [{"field": "contents[0]", "description": "no"}]},
        {"@type": f"{_TYPE}RequestInfo", "requestId": "req_1"},
    ]
    limited = RateLimited("slow", dimension="tokens", retry_after=1.5)
    assert {"@type": f"{_TYPE}RetryInfo", "retryDelay": "1.500s"} in _encoded(limited)["details"]
    assert "details" not in _encoded(PosthouseError("x"))


@pytest.mark.req("GEM-ERR-003")
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error":{"code":400,"message":"m","status":"S"}}', StreamError("m", "S", "400")),
        (b'[{"error":{"code":"x","message":5}}]', StreamError("the upstream reported an error", None, "x")),
        (b'{"error":"plain"}', StreamError("plain")),
        (b'{"error":[1]}', StreamError("the upstream reported an error")),
        (b'{"error":null}', None),
        (b'{"candidates":[]}', None),
        (b"[]", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
    ],
)
def test_a_providers_error_is_read_whatever_form_it_has(body: bytes, error: StreamError | None) -> None:
    assert error_in(body) == error
