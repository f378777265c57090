"""Errors and lists of models, as the Messages API writes them."""

import json

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
    RequestTimeout,
    Unauthenticated,
    Unavailable,
    UpstreamFailure,
)
from posthouse.dialects.anthropic_errors import decode_error, error_event
from posthouse.dialects.anthropic_messages import CODEC, encode_model, encode_models
from posthouse.dialects.openai_errors import StreamError
from posthouse.dialects.openai_models import ModelCard


@pytest.mark.req("MSG-ERR-001")
def test_an_error_has_the_api_s_shape() -> None:
    error = InvalidRequest("messages.0: Input should be an object", param="messages.0", code="invalid_type")
    assert json.loads(CODEC.encode_error(error, "req_1")) == {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": "messages.0: Input should be an object",
            "details": {"error_code": "invalid_type"},
        },
        "request_id": "req_1",
    }
    assert "details" not in json.loads(CODEC.encode_error(NotFound("x"), "req_1"))["error"]


@pytest.mark.req("MSG-ERR-001")
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("x"), "invalid_request_error"),
        (Unauthenticated("x"), "authentication_error"),
        (Forbidden("x"), "permission_error"),
        (NotFound("x"), "not_found_error"),
        (MethodNotAllowed("x"), "invalid_request_error"),
        (RequestTimeout("x"), "invalid_request_error"),
        (BodyTooLarge("x"), "request_too_large"),
        (RateLimited("x", dimension="tokens", retry_after=1), "rate_limit_error"),
        (InsufficientQuota("x"), "billing_error"),
        (Unavailable("x"), "overloaded_error"),
        (PosthouseError("x"), "api_error"),
        (UpstreamFailure("rate", "x"), "rate_limit_error"),
        (UpstreamFailure("context_length", "x"), "invalid_request_error"),
        (UpstreamFailure("overloaded", "x"), "overloaded_error"),
        (UpstreamFailure("quota", "x"), "api_error"),
        (UpstreamFailure("timeout", "x"), "timeout_error"),
        (UpstreamFailure("server", "x"), "api_error"),
    ],
)
def test_an_error_is_named_by_its_status(error: PosthouseError, kind: str) -> None:
    assert json.loads(CODEC.encode_error(error, "r"))["error"]["type"] == kind


@pytest.mark.req("MSG-STREAM-006")
def test_a_stream_breaks_with_an_event_of_the_same_shape() -> None:
    name, data = error_event(UpstreamFailure("server", "broke")).decode().rstrip("\n").split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: ")) == {
        "type": "error",
        "error": {"type": "api_error", "message": "broke"},
    }


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"type": "t", "message": "m", "details": {"error_code": "c"}}, StreamError("m", "t", "c")),
        ({"type": "t", "message": "m", "code": 5, "details": {"error_code": 5}}, StreamError("m", "t", "5")),
        ({"message": "m", "details": "x"}, StreamError("m")),
        ("busy", StreamError("busy")),
        (None, StreamError("the upstream reported an error")),
        ({}, StreamError("the upstream reported an error")),
    ],
)
def test_whatever_an_upstream_calls_an_error_is_one(value: object, error: StreamError) -> None:
    assert decode_error(value) == error


@pytest.mark.req("MSG-MODELS-001")
def test_models_are_told_in_the_api_s_shape() -> None:
    cards = [ModelCard("a", 1_700_000_000), ModelCard("b", 10**18)]
    first, second = (
        {"type": "model", "id": "a", "display_name": "a", "created_at": "2023-11-14T22:13:20Z", "lifecycle": "active"},
        {"type": "model", "id": "b", "display_name": "b", "created_at": "9999-12-31T23:59:59Z", "lifecycle": "active"},
    )
    assert json.loads(encode_model(cards[0])) == first
    assert json.loads(encode_models(cards, has_more=True)) == {
        "data": [first, second],
        "has_more": True,
        "first_id": "a",
        "last_id": "b",
    }


@pytest.mark.req("MSG-MODELS-001")
def test_no_models_have_no_first() -> None:
    assert json.loads(encode_models([])) == {"data": [], "has_more": False, "first_id": None, "last_id": None}
