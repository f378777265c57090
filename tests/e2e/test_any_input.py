"""Whatever a client sends, on whatever route: never a fault of ours, always an answer in its dialect; and nothing of
the model surface without a key."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posthouse.core.requests import TEXTS, Operation
from tests.dialects.gemini_samples import RICH as GEMINI
from tests.dialects.natives import replayed
from tests.e2e.answers import answers
from tests.e2e.faces import FACES
from tests.e2e.house import ADMIN_KEY, PRICE, Place, provider, running
from tests.e2e.odd_bodies import Json, Schemas, mutated
from tests.e2e.speakers import SPEAKERS, say
from tests.e2e.upstream import Script, Upstream, Visit
from tests.e2e.wire import Response, Wire

EXAMPLES: Final = int(os.environ.get("POSTHOUSE_TEST_EXAMPLES", "25"))
DOCUMENT: Final = Path(
    os.environ.get("POSTHOUSE_SPEC", Path(__file__).parents[2].parent / "shared" / "spec" / "openai-openapi.json")
)
# What needs no key: it says nothing of models, keys, or what was asked.
OPEN: Final = {"/", "/healthz", "/readyz", "/metrics", "/admin/*"}
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
ECHO: Final = '[[providers]]\nname = "here"\ntype = "echo"\n'
MODELS: Final = ["echo", *(f"m-{wire}" for wire in TEXTS)]


class Faults(logging.Handler):
    """What the house says of itself that it should not have to."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))

    def taken(self) -> list[str]:
        said, self.said = self.said, []
        return said


@pytest.fixture(scope="module")
def faults() -> Iterator[Faults]:
    handler = Faults()
    logging.getLogger("posthouse").addHandler(handler)
    yield handler
    logging.getLogger("posthouse").removeHandler(handler)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, faults: Faults) -> Iterator[Place]:
    """A house with a provider for every wire, and one in the house."""
    environ = {"POSTHOUSE_ROUTING_MAX_ATTEMPTS": "1", "POSTHOUSE_ROUTING_COOLDOWN": "0"}
    with Upstream() as upstream:
        upstream.scripts = {f"m-{wire}": _says(wire) for wire in TEXTS} | {"*": _says("generate_content")}
        config = ECHO + "".join(
            provider(upstream.base_url, f'"m-{wire}"', f'wires = ["{wire}"]', name=f"main-{wire}")
            + PRICE.replace('"m"', f'"m-{wire}"')
            for wire in TEXTS
        )
        with running(tmp_path_factory.mktemp("house"), config, environ) as house:
            yield Place(house, upstream)
            house.verified()


def _says(wire: Operation) -> Script:
    speaker = SPEAKERS[wire]
    whole = answers(speaker.whole("One", [(11, 7)]))

    async def script(visit: Visit) -> None:
        if visit.json.get("stream") is not True and "alt=sse" not in visit.path:
            await whole(visit)
            return
        await visit.start_stream()
        await say(visit, [*speaker.first("One"), *speaker.end([(11, 7)]), speaker.last([(11, 7)])])
        await visit.end_stream()

    return script


# --- what must hold of every answer ----------------------------------------------------------------------------------
def _openai(answer: Response) -> None:
    assert set(answer.json["error"]) == {"message", "type", "param", "code"}
    assert answer.json["error"]["message"] and answer.json["error"]["type"]


def _messages(answer: Response) -> None:
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] and answer.json["error"]["message"]
    assert answer.json["request_id"] == answer.headers["x-request-id"] == answer.headers["request-id"]


def _gemini(answer: Response) -> None:
    error = answer.json["error"]
    assert (error["code"], bool(error["message"]), error["status"].isupper()) == (answer.status, True, True)


def shape_of(path: str) -> Callable[[Response], None]:
    if "/messages" in path:
        return _messages
    return _gemini if path.startswith("/v1beta") else _openai


def judge(path: str, answer: Response, faults: Faults) -> None:
    assert faults.taken() == []
    assert answer.status < 500, answer
    assert answer.headers["x-request-id"].startswith("req_")
    if answer.status == 200:
        assert answer.body
        return
    assert answer.headers["content-type"] == "application/json"
    shape_of(path)(answer)


class Line:
    """One connection for many requests, made again where an answer closed it."""

    def __init__(self, here: Place) -> None:
        self._here = here
        self._wire: Wire | None = None

    def ask(self, path: str, body: bytes) -> Response:
        if self._wire is None:
            self._wire = self._here.house.wire()
        answer = self._wire.ask(path, body, ADMIN_KEY)
        if answer.headers.get("connection") == "close":
            self.close()
        return answer

    def close(self) -> None:
        if self._wire is not None:
            self._wire.socket.close()
            self._wire = None


@pytest.fixture(scope="module")
def line(here: Place) -> Iterator[Line]:
    made = Line(here)
    yield made
    made.close()


# --- good bodies with something wrong in them ------------------------------------------------------------------------
def _rich(face: Operation) -> Json:
    """A body with much in it: a conversation with calls, tools, a picture, a schema."""
    kit = FACES[face]
    answers_: dict[Operation, Json] = {
        "chat.completions": {
            "choices": [
                {
                    "message": {
                        "role": "assistant",
                        "content": "a",
                        "reasoning_content": "hm",
                        "reasoning_details": [{"type": "reasoning.encrypted", "data": "ph1.AAAA", "index": 1}],
                        "tool_calls": [
                            {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}},
                            {"id": "call_2", "type": "custom", "custom": {"name": "run", "input": "x"}},
                        ],
                    }
                }
            ]
        },
        "responses": {
            "output": [
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "ph1.AAAA"},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
                {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
                {"type": "custom_tool_call", "call_id": "call_2", "name": "run", "input": "x"},
            ]
        },
        "messages": {
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "ph1.AAAA"},
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                {"type": "tool_use", "id": "call_1", "name": "look", "input": {}},
                {"type": "tool_use", "id": "call_2", "name": "look", "input": {"a": [1]}},
            ]
        },
    }
    if face == "generate_content":
        return GEMINI
    if face == "completions":
        more = {"n": 2, "stop": ["x"], "suffix": "y", "logit_bias": {"1": 2}, "echo": True, "best_of": 2}
        return {**kit.ask("Hi"), **kit.usage, **more, "stream": True}
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 2000}, "metadata": {"user_id": "u"}}
    more = {"temperature": 0.5, "top_p": 0.9, "stream": True, "user": "u", "store": False}
    return {
        **(kit.image or {}),
        **(kit.tools or {}),
        **(kit.schema or {}),
        **kit.usage,
        **replayed(face, answers_[face]),
        **(thinking if face == "messages" else {"reasoning": {"effort": "low"}, "reasoning_effort": "low"}),
        **more,
    }


ROUTES: Final[dict[str, Json]] = {
    "/v1/chat/completions": _rich("chat.completions"),
    "/v1/responses": _rich("responses"),
    "/v1/messages": _rich("messages"),
    "/v1beta/models/{model}:generateContent": _rich("generate_content"),
    "/v1beta/models/{model}:streamGenerateContent?alt=sse": _rich("generate_content"),
    "/v1beta/models/{model}:streamGenerateContent": _rich("generate_content"),
    "/v1/completions": _rich("completions"),
    "/v1/messages/count_tokens": _rich("messages"),
    "/v1/responses/input_tokens": _rich("responses"),
    "/v1beta/models/{model}:countTokens": {"generateContentRequest": {**GEMINI, "model": "m"}},
}
# What the provider in the house does with its own models only.
DOES: Final = {
    "mbed": "echo-embedding",
    "/images/": "echo-image",
    "/audio/speech": "echo-speech",
    "/audio/trans": "echo-transcription",
    "/moderations": "echo-moderation",
    "/rerank": "echo-rerank",
}
OTHERS: Final[dict[str, Json]] = {
    "/v1/embeddings": {"input": ["a", "b"], "dimensions": 8, "encoding_format": "base64", "user": "u"},
    "/v1beta/models/{model}:embedContent": {"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 8},
    "/v1beta/models/{model}:batchEmbedContents": {"requests": [{"content": {"parts": [{"text": "a"}]}}]},
    "/v1/images/generations": {"prompt": "a cat", "n": 1, "size": "64x64", "quality": "low", "stream": True},
    "/v1/images/edits": {"prompt": "a cat", "images": [{"image_url": "data:image/png;base64,AAAA"}]},
    "/v1/images/variations": {"image": "data:image/png;base64,AAAA", "n": 1},
    "/v1/audio/speech": {"input": "a", "voice": "alloy", "response_format": "pcm", "speed": 1.0},
    "/v1/audio/transcriptions": {"file": "a", "language": "en"},
    "/v1/audio/translations": {"file": "a", "prompt": "b"},
    "/v1/moderations": {"input": ["a", {"type": "text", "text": "b"}]},
    "/v1/rerank": {"query": "a", "documents": ["a", {"text": "b"}], "top_n": 1, "return_documents": True},
}


def does(route: str) -> str:
    return next((model for mark, model in DOES.items() if mark in route), "echo")


_settings: Final = settings(
    max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.mark.req("ANY-001")
@pytest.mark.parametrize("route", ROUTES)
@_settings
@given(data=st.data())
def test_a_good_body_with_something_wrong_is_never_a_fault_of_ours(
    line: Line, faults: Faults, route: str, data: st.DataObject
) -> None:
    model = data.draw(st.sampled_from(MODELS))
    good = ROUTES[route] if "{model}" in route else {"model": model, **ROUTES[route]}
    path = route.replace("{model}", model)
    judge(path, line.ask(path, data.draw(mutated(good))), faults)


@pytest.mark.req("ANY-001")
@pytest.mark.parametrize("route", OTHERS)
@_settings
@given(data=st.data())
def test_nor_is_one_on_the_routes_that_are_no_conversation(
    line: Line, faults: Faults, route: str, data: st.DataObject
) -> None:
    model = does(route)
    good = OTHERS[route] if "{model}" in route else {"model": model, **OTHERS[route]}
    path = route.replace("{model}", model)
    judge(path, line.ask(path, data.draw(mutated(good))), faults)


# --- what the published document allows ------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def schemas() -> Schemas:
    if not DOCUMENT.is_file():
        pytest.skip(f"no OpenAPI document at {DOCUMENT} (POSTHOUSE_SPEC names another place)")
    return Schemas(json.loads(DOCUMENT.read_text("utf-8")))


PUBLISHED: Final = (
    "/chat/completions",
    "/completions",
    "/responses",
    "/responses/input_tokens",
    "/embeddings",
    "/images/generations",
    "/images/edits",
    "/audio/speech",
    "/moderations",
)


@pytest.mark.req("ANY-002")
@pytest.mark.parametrize("route", PUBLISHED)
@_settings
@given(data=st.data())
def test_what_the_published_document_allows_is_never_a_fault_of_ours(
    line: Line, faults: Faults, schemas: Schemas, route: str, data: st.DataObject
) -> None:
    bodies = schemas.bodies(route)
    assert bodies is not None
    spoken = route in ("/chat/completions", "/completions", "/responses")
    model = data.draw(st.sampled_from(MODELS)) if spoken else does(route)
    body = {**data.draw(bodies), "model": model}
    judge(f"/v1{route}", line.ask(f"/v1{route}", json.dumps(body).encode()), faults)


def test_every_route_of_the_document_that_there_is_here_is_tried(here: Place, schemas: Schemas) -> None:
    paths = here.house.house.door.paths()
    offered = {path.removeprefix("/v1") for path in paths if path.startswith("/v1/") and not path.endswith("*")}
    assert {path for path in offered if schemas.bodies(path) is not None} == set(PUBLISHED)


# --- names in the path -----------------------------------------------------------------------------------------------
NAMES: Final = (
    "%ED%A0%80",
    "%00",
    "%FF%FE",
    "a%2F..%2Fb",
    "..",
    "%2e%2e%2f",
    "a" * 3_000,
    "%",
    "%zz",
    "a:b:c",
    ":",
    "%E2%80%AE",
    "+",
    "m-chat.completions%20",
)


@pytest.mark.req("ANY-001")
@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_the_path_may_be_anything(here: Place, faults: Faults, name: str) -> None:
    verbs = (
        "generateContent",
        "streamGenerateContent?alt=sse",
        "countTokens",
        "embedContent",
        "batchEmbedContents",
        "x",
    )
    paths = [f"/v1beta/models/{name}:{verb}" for verb in verbs]
    paths += [f"/openai/deployments/{name}/chat/completions", f"/v1/engines/{name}/completions"]
    for path in paths:
        with here.house.wire() as wire:
            answer = wire.ask(path, json.dumps({**GEMINI, **FACES["chat.completions"].ask("Hi")}).encode(), ADMIN_KEY)
        judge(path, answer, faults)
        assert answer.status in (400, 404), answer
    for path in (f"/v1/models/{name}", f"/v1beta/models/{name}", f"/v1/engines/{name}"):
        with here.house.wire() as wire:
            answer = wire.ask(path, b"", ADMIN_KEY, method="GET")
        judge(path, answer, faults)
        assert answer.status in (400, 404), answer


# --- keys ------------------------------------------------------------------------------------------------------------
@pytest.mark.req("ANY-003")
@pytest.mark.parametrize("method", METHODS)
def test_no_route_answers_without_a_key_but_those_that_are_known_to_be_open(here: Place, method: str) -> None:
    answered: dict[str, Any] = {}
    for path in here.house.house.door.paths():
        place = path.replace("*", "m")
        with here.house.wire() as wire:
            bare = wire.ask(place, b"" if method == "GET" else b"{}", None, method=method)
        with here.house.wire() as wire:
            wrong = wire.ask(place, b"" if method == "GET" else b"{}", "sk-ph-nobody", method=method)
        if {bare.status, wrong.status} - {401, 405}:
            answered[path] = (bare.status, wrong.status)
    assert answered.keys() <= OPEN, answered
    if method == "GET":
        assert answered.keys() == OPEN
