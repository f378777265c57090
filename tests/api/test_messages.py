"""The messages of a websocket, in both forms."""

import json
from typing import Any

import pytest

from posthouse.api.messages import CHAT, RESPONSES, Form
from posthouse.core.errors import InvalidRequest, RateLimited
from posthouse.dialects.openai_errors import encode_error

BOTH = pytest.mark.parametrize("form", [CHAT, RESPONSES], ids=["chat", "responses"])


def body(form: Form, message: str) -> Any:
    made = form.request(message.encode())
    assert made is not None
    return json.loads(made)


@pytest.mark.req("WS-003")
@BOTH
@pytest.mark.parametrize("stream", [{}, {"stream": False}, {"stream": None}, {"stream": 7}])
def test_a_request_is_the_body_of_the_same_over_http_and_always_streamed(form: Form, stream: dict[str, Any]) -> None:
    assert body(form, json.dumps({"model": "m", **stream})) == {"model": "m", "stream": True}
    assert form.request(b'{"x": {"b": 1.10, "a":2}}') == b'{"x":{"b": 1.10, "a":2},"stream":true}'


@pytest.mark.req("WS-003")
def test_a_request_for_a_response_may_be_said_as_openai_says_it() -> None:
    assert body(RESPONSES, '{"type": "response.create", "model": "m"}') == {"model": "m", "stream": True}
    assert body(RESPONSES, '{"type": null, "model": "m"}') == {"model": "m", "stream": True}


@BOTH
def test_a_wish_to_cancel_is_no_request(form: Form) -> None:
    assert form.request(b'{"type":"cancel"}') is None
    assert form.request(b'{"type":"cancel","event_id":"1"}') is None


@pytest.mark.req("WS-004")
@pytest.mark.parametrize(
    ("form", "message", "param"),
    [
        (CHAT, b"", None),
        (CHAT, b"hello", None),
        (CHAT, b"[]", None),
        (CHAT, b"[" * 100_000, None),
        (CHAT, b'{"model": "m"', None),
        (CHAT, b'{"type": 1}', "type"),
        (CHAT, b'{"type": "response.create", "model": "m"}', "type"),
        (RESPONSES, b'{"type": "response.steer"}', "type"),
        (RESPONSES, b'{"type": ["cancel"]}', "type"),
        (RESPONSES, b'{"type": "response.create", "stream_id": "a"}', "stream_id"),
    ],
    ids=range(10),
)
def test_a_message_that_is_neither_is_refused(form: Form, message: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        form.request(message)
    assert caught.value.param == param


@pytest.mark.req("WS-003")
def test_events_pass_and_the_end_of_a_chat_is_said() -> None:
    assert CHAT.event(b'{"id":"1"}') == RESPONSES.event(b'{"id":"1"}') == b'{"id":"1"}'
    assert CHAT.event(b"[DONE]") == b"[DONE]"
    assert RESPONSES.event(b"[DONE]") == b""
    assert json.loads(RESPONSES.event(b'{"error":{"code":"a"}}')) == {"type": "error", "error": {"code": "a"}}


@pytest.mark.req("WS-004")
def test_an_error_is_that_of_http_and_for_responses_in_openai_s_envelope() -> None:
    error = RateLimited("Slowly.", dimension="requests", retry_after=2.0)
    plain = encode_error(error)
    lines = b"content-type: application/json\r\nretry-after: 2\r\nx-request-id: a\r\nx-ratelimit-limit-requests: 1\r\n"
    assert CHAT.error(429, lines, plain) == plain
    inner = json.loads(plain)["error"]
    assert json.loads(RESPONSES.error(429, b"", plain)) == {"type": "error", "status": 429, "error": inner}
    told = {"retry-after": "2", "x-ratelimit-limit-requests": "1"}
    assert json.loads(RESPONSES.error(429, lines, plain))["error"] == {**inner, "headers": told}
