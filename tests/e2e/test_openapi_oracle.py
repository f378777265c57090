"""OpenAI's published schemas as oracle over what the house really answers: whole answers, chunks, lists and errors."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.e2e.answers import USAGE, answers, asked, chunk, completion, embedded, fault, frames, held, streams
from tests.e2e.house import ADMIN_KEY, PRICE, Place, provider, running
from tests.e2e.oracle import Oracle, published
from tests.e2e.upstream import Upstream
from tests.e2e.wire import Response, payloads, request

CHAT: Final = "/v1/chat/completions"
ECHO: Final = """
[[providers]]
name = "here"
type = "echo"
"""


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return published()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Upstream() as upstream:
        config = provider(upstream.base_url) + ECHO + PRICE
        with running(tmp_path_factory.mktemp("house"), config) as house:
            yield Place(house, upstream)


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {"*": answers(completion())}


def ask(here: Place, body: dict[str, Any] | bytes, path: str = CHAT, key: str = ADMIN_KEY) -> Response:
    with here.house.wire() as wire:
        return wire.ask(path, body, key)


TOOL: Final = {
    "type": "function",
    "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}},
}
ASKED: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "two choices": {"n": 2},
    "a tool": {"tools": [TOOL], "tool_choice": "required"},
    "little room": {"max_tokens": 3},
    "JSON": {"response_format": {"type": "json_object"}},
    "with usage": {"stream_options": {"include_usage": True}},
}


@pytest.mark.req("CHAT-E2E-015")
@pytest.mark.parametrize("how", ASKED)
def test_whole_answers_of_the_built_in_model_satisfy_the_schema(here: Place, oracle: Oracle, how: str) -> None:
    wish = {name: value for name, value in ASKED[how].items() if name != "stream_options"}
    answer = ask(here, asked("echo", **wish))
    assert answer.status == 200
    oracle.approves(answer.json, "CreateChatCompletionResponse")


@pytest.mark.req("CHAT-E2E-015")
@pytest.mark.parametrize("how", ASKED)
def test_chunks_of_the_built_in_model_satisfy_the_schema(here: Place, oracle: Oracle, how: str) -> None:
    *chunks, done = payloads(ask(here, asked("echo", stream=True, **ASKED[how])).body)
    assert done == "[DONE]"
    for one in chunks:
        oracle.approves(one, "CreateChatCompletionStreamResponse")


@pytest.mark.req("CHAT-E2E-015")
@pytest.mark.parametrize(
    "script",
    [
        streams(["Hello", " there"]),
        streams(["Hello"], usage=None),
        answers(completion()),
        answers(completion(usage=None)),
        frames(chunk({"content": "a"}, "stop", usage=USAGE), "[DONE]"),
    ],
    ids=["usual", "without usage", "whole though asked for a stream", "whole without usage", "usage at the finish"],
)
def test_whatever_the_provider_does_the_chunks_satisfy_the_schema(here: Place, oracle: Oracle, script: Any) -> None:
    here.upstream.scripts["m"] = script
    body = asked(stream=True, stream_options={"include_usage": True})
    *chunks, done = payloads(ask(here, body).body)
    assert done == "[DONE]"
    assert chunks[-1]["usage"]["total_tokens"] > 0
    for one in chunks:
        oracle.approves(one, "CreateChatCompletionStreamResponse")


@pytest.mark.req("CHAT-E2E-015")
def test_a_stream_that_nobody_asked_for_becomes_an_answer_that_satisfies_the_schema(
    here: Place, oracle: Oracle
) -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{"}}
    here.upstream.scripts["m"] = frames(
        chunk({"role": "assistant", "content": ""}),
        chunk({"tool_calls": [call]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}),
        chunk({}, "tool_calls"),
        chunk(None, usage=USAGE),
        "[DONE]",
    )
    answer = ask(here, asked())
    oracle.approves(answer.json, "CreateChatCompletionResponse")
    assert answer.json["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "{}"


@pytest.mark.req("CHAT-E2E-015", "EMBED-E2E-001")
def test_embeddings_satisfy_the_schema(here: Place, oracle: Oracle) -> None:
    here.upstream.scripts["m"] = answers(embedded([[0.5, 1.0]]))
    for model in ("m", "echo-embedding"):
        answer = ask(here, {"model": model, "input": ["one", "two"]}, "/v1/embeddings")
        oracle.approves(answer.json, "CreateEmbeddingResponse")


@pytest.mark.req("CHAT-E2E-015", "MODELS-E2E-001")
def test_models_satisfy_the_schema(here: Place, oracle: Oracle) -> None:
    with here.house.wire() as wire:
        listed = wire.ask("/v1/models", b"", ADMIN_KEY, method="GET").json
        oracle.approves(listed, "ListModelsResponse")
        assert {model["id"] for model in listed["data"]} >= {"m", "echo"}
        for model in listed["data"]:
            one = wire.ask(f"/v1/models/{model['id']}", b"", ADMIN_KEY, method="GET").json
            oracle.approves(one, "Model")
            assert one == model


@pytest.mark.req("CHAT-E2E-015", "CHAT-E2E-011")
def test_every_kind_of_error_satisfies_the_schema(here: Place, oracle: Oracle) -> None:
    poor = here.house.new_key(budget={"amount": "0.000000001", "currency": "USD", "period": "total"})
    slow = here.house.new_key(limits={"rpm": 1})
    narrow = here.house.new_key(models=["echo"])
    found = {
        "malformed": ask(here, b"{"),
        "wrong type": ask(here, asked(n="two")),
        "unknown key": ask(here, asked(), key="nobody"),
        "unknown model": ask(here, asked("nothing")),
        "unknown route": ask(here, asked(), path="/v1/nothing"),
        "wrong method": ask(here, asked(), path="/v1/models"),
        "no money": ask(here, asked(), key=poor),
        "model not allowed": ask(here, asked(), key=narrow),
        "too fast": next(answer for answer in (ask(here, asked(), key=slow) for _ in range(3)) if answer.status != 200),
        "admin's only": ask(here, {"name": "x"}, path="/admin/api/keys", key=narrow),
        "admin's unknown": ask(here, {}, path="/admin/api/nothing"),
        "admin's bad input": ask(here, {"name": 7}, path="/admin/api/keys"),
    }
    for status in (400, 401, 429, 500):
        here.upstream.scripts["*"] = answers({"detail": "No."}, status)
        found[f"upstream {status}"] = ask(here, asked())
    assert {name for name, answer in found.items() if not 400 <= answer.status < 600 or answer.status == 500} == set()
    for name, answer in found.items():
        oracle.approves(answer.json, "ErrorResponse")
        assert answer.error["message"], name


@pytest.mark.req("CHAT-E2E-015", "CHAT-E2E-005")
def test_an_error_event_satisfies_the_schema(here: Place, oracle: Oracle) -> None:
    gate = here.upstream.gate()
    here.upstream.scripts["m"] = held(gate, [chunk({"content": "a"})], fault("The tank is empty.", code=7))
    with here.house.wire() as wire:
        wire.send(request(CHAT, asked(stream=True), ADMIN_KEY))
        wire.head()
        events = wire.events()
        next(events)
        gate.open()
        (error,) = payloads(b"".join(events))
    oracle.approves(error, "ErrorResponse")
