"""What answers tell beside their tokens: the service tier, what the vendor's own tools did, and what of a cache was
sound or images; whole, streamed and beside."""

import json
from typing import Any

import pytest
from msgspec import Raw

from posthouse.core.usage import Usage
from posthouse.dialects import gemini_usage, openai_usage
from posthouse.dialects.anthropic_messages import CODEC as MESSAGES
from posthouse.dialects.beside import Beside
from posthouse.dialects.openai_chat import CODEC as CHAT
from posthouse.dialects.openai_chat import ChatStream, whole_usage
from posthouse.dialects.openai_responses import CODEC as RESPONSES
from tests.dialects.inner import MAKER

COUNTED = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def chat(tier: object) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
    return {"id": "x", "object": "chat.completion", "choices": [choice], "usage": COUNTED, "service_tier": tier}


@pytest.mark.parametrize(
    ("told", "tier"),
    [("flex", "flex"), ("default", "default"), (None, ""), (5, ""), ("", ""), ("Ünknown", ""), ("x" * 40, "")],
)
def test_a_chat_tells_its_tier_whole_streamed_and_beside(told: object, tier: str) -> None:
    body = chat(told)
    expected = Usage(input=7, output=3, tier=tier)
    assert whole_usage(_json(body)).usage == expected
    assert CHAT.decode_response(_json(body), MAKER).usage == expected
    beside = Beside(CHAT, b"application/json")
    beside.feed(_json(body))
    assert beside.usage == expected
    chunk = {**body, "choices": [], "object": "chat.completion.chunk"}
    stream = ChatStream(include_usage=True)
    stream.feed(b"data: " + _json(chunk) + b"\n\n")
    assert stream.usage == expected


@pytest.mark.parametrize(
    ("said", "tier"),
    [
        ({"service_tier": "standard"}, "standard"),
        ({"service_tier": "batch"}, "batch"),
        ({"service_tier": "standard", "speed": "fast"}, "fast"),
        ({"speed": "standard"}, ""),
        ({}, ""),
    ],
)
def test_a_message_tells_its_tier_or_its_speed(said: dict[str, str], tier: str) -> None:
    usage = {"input_tokens": 7, "output_tokens": 3, "server_tool_use": {"web_search_requests": 2}, **said}
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": "end_turn",
        "usage": usage,
    }
    expected = Usage(input=7, output=3, web_searches=2, tier=tier)
    assert MESSAGES.read_whole(_json(body)).usage == expected
    start = {"type": "message_start", "message": {**body, "usage": {**usage, "output_tokens": 1}}}
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
    decoder = MESSAGES.decoder(MAKER)
    events = [one for event in (start, delta) for one in decoder.decode(b"data: " + _json(event) + b"\n\n")]
    assert [one.usage for one in events if hasattr(one, "usage")] == [expected]


def test_tools_of_the_vendor_are_counted() -> None:
    output = [
        {"type": "web_search_call", "id": "a", "action": {"type": "search", "query": "q"}},
        {"type": "web_search_call", "id": "b", "action": {"type": "open_page", "url": "https://example"}},
        {"type": "web_search_call", "id": "c"},
        {"type": "file_search_call", "id": "d"},
        {"type": "code_interpreter_call", "id": "e", "container_id": "cntr_1"},
        {"type": "code_interpreter_call", "id": "f", "container_id": "cntr_1"},
        {"type": "code_interpreter_call", "id": "g", "container_id": "cntr_2"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "web_search_call"}]},
    ]
    usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    reply = {"id": "resp_1", "status": "completed", "output": output, "usage": usage, "service_tier": "priority"}
    expected = Usage(input=7, output=3, web_searches=2, file_searches=1, sessions=2, tier="priority")
    assert RESPONSES.read_whole(_json(reply)).usage == expected
    decoder = RESPONSES.decoder(MAKER)
    events = decoder.decode(b"data: " + _json({"type": "response.completed", "response": reply}) + b"\n\n")
    assert [one.usage for one in events if hasattr(one, "usage")] == [expected]


def test_what_of_a_cache_was_sound_or_images_is_told_apart_and_comes_back() -> None:
    payload = {
        "prompt_tokens": 100,
        "completion_tokens": 5,
        "prompt_tokens_details": {
            "cached_tokens": 60,
            "audio_tokens": 30,
            "image_tokens": 20,
            "cached_tokens_details": {"audio_tokens": 25, "image_tokens": 15, "text_tokens": 20},
        },
    }
    usage = openai_usage.usage_of(payload)
    assert usage == Usage(
        input=30, cache_read=20, audio_cache_read=25, image_cache_read=15, audio_input=5, image_input=5, output=5
    )
    assert openai_usage.usage_of(openai_usage.usage_payload(usage)) == usage
    assert gemini_usage.usage_in(Raw(_json(gemini_usage.usage_payload(usage)))) == usage
