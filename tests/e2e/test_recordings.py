"""Recorded answers of real providers through the whole house: content, tools and usage come out as they went in,
unknown members survive, and the ledger's tokens are the recorded usage.

An ordinary run takes a sample; POSTHOUSE_ALL_RECORDINGS=1 takes all. The excerpt in the repository is always taken.
"""

import ast
import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import pytest

from tests.dialects.recordings import everything, excerpt
from tests.e2e.house import ADMIN_KEY, Place, Stored, place
from tests.e2e.upstream import Visit
from tests.e2e.wire import Response, payloads

_EVERY: Final = 1 if os.environ.get("POSTHOUSE_ALL_RECORDINGS") == "1" else 11
_ROUTES: Final = ("/v1/chat/completions", "/v1/embeddings")
_INPUT: Final = ("input", "cache_read", "cache_write", "cache_write_1h", "audio_input", "image_input")
_OUTPUT: Final = ("output", "reasoning", "audio_output", "image_output")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("house")) as made:
        yield made
        made.house.verified()


@pytest.mark.req("CHAT-E2E-010", "CHAT-E2E-004")
def test_the_excerpt_passes_the_house_unchanged(here: Place) -> None:
    assert _replay(here, excerpt()) > 5


@pytest.mark.req("CHAT-E2E-010", "CHAT-E2E-004")
def test_recorded_answers_pass_the_house_unchanged_and_are_billed_as_they_say(here: Place) -> None:
    assert _replay(here, islice(everything(), 0, None, _EVERY)) > 1_600 // _EVERY - 20


def _replay(here: Place, recordings: Iterable[dict[str, Any]]) -> int:
    """How many were replayed; the usage of all is compared at the end."""
    usages: dict[str, dict[str, Any] | None] = {}
    before = here.house.last_id()
    with here.house.wire() as wire:
        for number, recording in enumerate(recordings):
            if recording["endpoint"] not in _ROUTES:
                continue
            here.upstream.forget()
            here.upstream.scripts["m"] = _script(recording, 97 + 409 * (number % 9))
            asked = {**recording["request"], "model": "m"}
            answer = wire.ask(recording["endpoint"], asked, ADMIN_KEY)
            _check_asked(asked, here.upstream.visit().json)
            usages[answer.headers["x-request-id"]] = _check_answer(recording, answer)
    stored = {one.record["id"]: one for one in here.house.stored_since(before)}
    assert stored.keys() == usages.keys()
    for request_id, usage in usages.items():
        _check_usage(stored[request_id], usage)
    return len(usages)


def _script(recording: dict[str, Any], size: int) -> Any:
    """The recorded answer; a stream in pieces of `size` bytes, wherever that cuts it."""

    async def script(visit: Visit) -> None:
        response = recording["response"]
        if response is None:
            status, error = _refusal(recording)
            await visit.whole(error, status)
        elif recording["streaming"]:
            data = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in response) + b"data: [DONE]\n\n"
            await visit.start_stream()
            for start in range(0, len(data), size):
                await visit.frame(data[start : start + size])
            await visit.end_stream()
        else:
            await visit.whole(response)

    return script


def _refusal(recording: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and body of `Error code: 400 - {...}`."""
    head, _, body = recording["exc"].partition(" - ")
    return int(head.rpartition(" ")[2]), ast.literal_eval(body)


def _check_asked(asked: dict[str, Any], sent: dict[str, Any]) -> None:
    expected = dict(asked)
    if expected.get("stream"):
        expected["stream_options"] = {**(expected.get("stream_options") or {}), "include_usage": True}
    assert sent == expected


def _check_answer(recording: dict[str, Any], answer: Response) -> dict[str, Any] | None:
    """Compares what came out; the usage that was reported."""
    response = recording["response"]
    if response is None:
        _, body = _refusal(recording)
        # An address in it is taken out: it may be one of the provider's own network.
        told, _, address = body["error"]["message"].partition("https://")
        assert answer.error["message"] == told + ("[address]" if address else "")
        return {}
    assert answer.status == 200, answer
    if not recording["streaming"]:
        assert answer.json == response
        usage: dict[str, Any] | None = response["usage"]
        return usage
    *events, last = payloads(answer.body)
    asked_for_usage = (recording["request"].get("stream_options") or {}).get("include_usage")
    expected = [chunk for chunk in response if asked_for_usage or chunk["choices"] or not chunk.get("usage")]
    reported = [chunk["usage"] for chunk in response if chunk.get("usage")]
    finished = any(choice["finish_reason"] for chunk in response for choice in chunk["choices"])
    if not finished:
        assert "error" in last
    else:
        assert last == "[DONE]"
        if asked_for_usage and not reported:
            *events, counted = events
            assert counted["choices"] == []
    assert events == expected
    return reported[-1] if reported else None


def _check_usage(stored: Stored, usage: dict[str, Any] | None) -> None:
    record = stored.record
    if usage == {}:
        assert record["usage_source"] is None
        return
    if usage is None:
        assert record["usage_source"] == "estimated"
        assert record["output"] > 0
        return
    assert record["usage_source"] == "provider"
    prompt, completion = usage["prompt_tokens"], usage.get("completion_tokens", 0)
    assert sum(record[name] for name in _INPUT) == prompt
    assert sum(record[name] for name in _OUTPUT) == completion
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    assert record["cache_read"] == cached
    assert record["reasoning"] == ((usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0)
    assert record["cost"] == (prompt - cached) * 1_000 + cached * 500 + completion * 10_000
    assert sum(leg["amount"] for leg in stored.entries) == 0
