"""The benchmark's requests and answers have the sizes and members that its table names."""

import json

import pytest

from bench import bodies


@pytest.mark.parametrize(
    ("ask", "size"),
    [(bodies.CHAT, 1_024), (bodies.BURST, 1_024), (bodies.PACED, 1_024), (bodies.LARGE, 65_536)],
    ids=lambda value: value.name if isinstance(value, bodies.Ask) else str(value),
)
def test_a_request_body_has_exactly_its_size_and_is_json(ask: bodies.Ask, size: int) -> None:
    assert len(ask.body) == size
    assert json.loads(ask.body)["messages"][0]["role"] == "system"


def test_the_whole_answer_is_one_kilobyte_with_usage() -> None:
    body = bodies.CHAT_ANSWER.partition(b"\r\n\r\n")[2]
    assert len(body) == bodies.ANSWER_BODY
    assert json.loads(body)["usage"]["total_tokens"] == 329


def test_a_stream_has_as_many_chunks_with_choices_as_the_table_says() -> None:
    assert len(bodies.STREAM_CHUNKS) == bodies.CHUNKS
    assert all(chunk.count(b"data: ") == 1 for chunk in bodies.STREAM_CHUNKS)
    assert b'"finish_reason":"stop"' in bodies.STREAM_CHUNKS[-1]
