"""The tree of errors: what a client is told, and what it may do next."""

from typing import get_args

import pytest

from posthouse.core.errors import (
    FAILOVER_KINDS,
    RETRY_KINDS,
    FailureKind,
    InsufficientQuota,
    InvalidRequest,
    NotFound,
    PosthouseError,
    RateLimited,
    UpstreamFailure,
    retry_headers,
)


def test_an_error_keeps_its_words_and_its_field() -> None:
    error = InvalidRequest("bad", param="n", code="invalid_value")
    assert (str(error), error.message, error.status, error.param, error.code) == (
        "bad",
        "bad",
        400,
        "n",
        "invalid_value",
    )
    assert isinstance(error, PosthouseError)
    assert error.headers() == []


def test_a_code_of_one_error_is_not_that_of_its_class() -> None:
    NotFound("x", code="model_not_found")
    assert NotFound("x").code is None


@pytest.mark.parametrize(
    ("seconds", "whole", "ms"),
    [(0, "1", "1"), (0.001, "1", "2"), (1, "2", "1001"), (1.5, "2", "1501"), (60, "61", "60001")],
)
def test_a_wait_is_rounded_up(seconds: float, whole: str, ms: str) -> None:
    assert retry_headers(seconds) == [("retry-after", whole), ("retry-after-ms", ms)]


def test_a_limit_says_when_to_come_back_and_a_spent_budget_that_it_is_no_use() -> None:
    limited = RateLimited("slow down", dimension="requests", retry_after=2)
    assert (limited.status, limited.type) == (429, "requests")
    assert dict(limited.headers())["retry-after"] == "3"
    assert InsufficientQuota("spent").headers() == [("x-should-retry", "false")]


@pytest.mark.parametrize("kind", get_args(FailureKind))
def test_every_kind_of_failure_has_a_status_and_advice(kind: FailureKind) -> None:
    failure = UpstreamFailure(kind, "broke", retry_after=3)
    assert 400 <= failure.status < 600
    assert failure.status != 500
    assert [name for name, _ in failure.headers()] in ([["x-should-retry"], ["retry-after", "retry-after-ms"]])


def test_what_is_tried_again_may_be_tried_elsewhere() -> None:
    assert RETRY_KINDS < FAILOVER_KINDS
    assert not FAILOVER_KINDS & {"bad_request", "context_length", "content_filter"}
