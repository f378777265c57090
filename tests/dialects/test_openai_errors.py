"""Error bodies, ours and those of upstreams."""

import json
from typing import Any

import pytest

from posthouse.core.errors import InvalidRequest, NotFound, RateLimited, UpstreamFailure
from posthouse.dialects.openai_errors import StreamError, decode_error, encode_error


@pytest.mark.req("CHAT-ERR-001")
def test_all_four_members_are_always_there() -> None:
    assert json.loads(encode_error(NotFound("no such model"))) == {
        "error": {"message": "no such model", "type": "not_found_error", "param": None, "code": None}
    }
    assert json.loads(encode_error(InvalidRequest("bad", param="n", code="invalid_value")))["error"] == {
        "message": "bad",
        "type": "invalid_request_error",
        "param": "n",
        "code": "invalid_value",
    }


@pytest.mark.req("CHAT-ERR-001")
def test_a_limit_says_which_one_in_its_type() -> None:
    error = json.loads(encode_error(RateLimited("slow down", dimension="tokens", retry_after=1)))["error"]
    assert (error["type"], error["code"]) == ("tokens", "rate_limit_exceeded")


def test_a_message_with_quotes_and_other_scripts_stays_json() -> None:
    message = 'a "quote", 漢字, \x00 and \n'
    assert json.loads(encode_error(UpstreamFailure("server", message)))["error"]["message"] == message


@pytest.mark.req("CHAT-ERR-002")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"message": "m", "type": "t", "code": 400, "param": None}, StreamError("m", "t", "400", None)),
        ({"message": "m", "type": None, "code": "c", "param": "p"}, StreamError("m", None, "c", "p")),
        ({"msg": "m"}, StreamError("m")),
        ({"detail": "m", "code": True}, StreamError("m")),
        ({"message": ["not text"]}, StreamError("the upstream reported an error")),
        ("plain", StreamError("plain")),
        (True, StreamError("the upstream reported an error")),
        (["x"], StreamError("the upstream reported an error")),
    ],
)
def test_every_shape_of_error_is_read(value: Any, expected: StreamError) -> None:
    assert decode_error(value) == expected


@pytest.mark.parametrize("value", [None, "", {}, [], False, 0])
def test_what_is_falsy_is_no_error(value: Any) -> None:
    assert decode_error(value) is None
