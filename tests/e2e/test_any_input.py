"""Whatever JSON a client sends, on whatever route of models: never a fault of ours, always an answer in its dialect."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.api import anthropic, gemini, openai
from posthouse.core.requests import Operation
from tests.dialects.gemini_samples import RICH as GEMINI
from tests.dialects.natives import replayed
from tests.e2e.anything import MODELS, Target, anything, judge, target
from tests.e2e.faces import FACES
from tests.e2e.house import ADMIN_KEY
from tests.e2e.odd_bodies import Json, Schemas, mutated

DOCUMENT: Final = Path(
    os.environ.get("POSTHOUSE_SPEC", Path(__file__).parents[2].parent / "shared" / "spec" / "openai-openapi.json")
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("house")) as made:
        yield made


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
    "/openai/deployments/{model}/chat/completions": _rich("chat.completions"),
    "/v1/engines/{model}/completions": _rich("completions"),
}
# What the provider in the house does with its own models only.
DOES: Final = {
    "mbed": "echo-embedding",
    "/images/": "echo-image",
    "/audio/speech": "echo-speech",
    "/moderations": "echo-moderation",
    "/rerank": "echo-rerank",
}
OTHERS: Final[dict[str, Json]] = {
    "/v1/embeddings": {"input": ["a", "b"], "dimensions": 8, "encoding_format": "base64", "user": "u"},
    "/v1beta/models/{model}:embedContent": {"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 8},
    "/v1beta/models/{model}:batchEmbedContents": {"requests": [{"content": {"parts": [{"text": "a"}]}}]},
    "/v1/images/generations": {"prompt": "a cat", "n": 1, "size": "64x64", "quality": "low", "stream": True},
    "/v1/images/edits": {"prompt": "a cat", "images": [{"image_url": "data:image/png;base64,AAAA"}]},
    "/v1/audio/speech": {"input": "a", "voice": "alloy", "response_format": "pcm", "speed": 1.0},
    "/v1/moderations": {"input": ["a", {"type": "text", "text": "b"}]},
    "/v1/rerank": {"query": "a", "documents": ["a", {"text": "b"}], "top_n": 1, "return_documents": True},
}


def does(route: str) -> str:
    return next((model for mark, model in DOES.items() if mark in route), "echo")


def good_body(route: str, model: str, stream: bool) -> tuple[str, Json]:
    """Where to ask, and a body that is right there."""
    body = dict(EVERYTHING[route])
    if "{model}" not in route:
        body["model"] = model
    if "stream" in body:
        body["stream"] = stream
    return route.replace("{model}", model), body


EVERYTHING: Final = {**ROUTES, **OTHERS}


@pytest.mark.req("ANY-001")
@pytest.mark.parametrize("route", EVERYTHING)
def test_what_is_right_is_answered(here: Target, route: str) -> None:
    for model in MODELS if route in ROUTES else [does(route)]:
        for stream in (False, True):
            path, good = good_body(route, model, stream)
            answer = here.line.ask(path, json.dumps(good).encode())
            judge(path, answer, here.faults)
            assert answer.status == 200, (model, answer)


@pytest.mark.req("ANY-001")
@pytest.mark.parametrize("route", EVERYTHING)
@anything
@given(data=st.data())
def test_a_good_body_with_something_wrong_is_never_a_fault_of_ours(
    here: Target, route: str, data: st.DataObject
) -> None:
    model = data.draw(st.sampled_from(MODELS)) if route in ROUTES else does(route)
    path, good = good_body(route, model, data.draw(st.booleans()))
    judge(path, here.line.ask(path, data.draw(mutated(good))), here.faults)


@pytest.mark.req("ANY-001")
@pytest.mark.parametrize("route", EVERYTHING)
def test_a_model_that_is_for_something_else_is_refused(here: Target, route: str) -> None:
    for model in {"echo", *DOES.values()}:
        path, good = good_body(route, model, stream=True)
        answer = here.line.ask(path, json.dumps(good).encode())
        judge(path, answer, here.faults)
        assert (answer.status == 200) == (model == does(route) or "oken" in route), (model, answer)


BASES: Final = {*anthropic.BASES, *gemini.BASES, *openai.BASES}
# Forms, the control plane and what passes have tests of their own.
_ELSEWHERE: Final = (
    *("/admin/*", "/admin/api/invitations/accept", "/providers/*"),
    *("/audio/transcriptions", "/audio/translations", "/images/variations"),
)


@pytest.mark.req("ANY-001")
def test_every_route_that_takes_json_is_tried(here: Target) -> None:
    """By the door's own list."""
    offered = {
        _canonical(path)
        for path in here.house.house.door.paths()
        if not path.endswith(_ELSEWHERE) and here.line.ask(path.replace("*", "m"), b"{").status != 405
    }
    tried = {_canonical(route.partition("?")[0].partition("{")[0] + "*" * ("{" in route)) for route in EVERYTHING}
    assert tried == offered


def _canonical(path: str) -> str:
    """Without the base, of which any will do."""
    return path.removeprefix(max((base for base in BASES if path.startswith(f"{base}/")), key=len))


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
@anything
@given(data=st.data())
def test_what_the_published_document_allows_is_never_a_fault_of_ours(
    here: Target, schemas: Schemas, route: str, data: st.DataObject
) -> None:
    bodies = schemas.bodies(route)
    assert bodies is not None
    spoken = route in ("/chat/completions", "/completions", "/responses")
    model = data.draw(st.sampled_from(MODELS)) if spoken else does(route)
    body = {**data.draw(bodies), "model": model}
    judge(f"/v1{route}", here.line.ask(f"/v1{route}", json.dumps(body).encode()), here.faults)


def test_every_route_of_the_document_that_there_is_here_is_tried(here: Target, schemas: Schemas) -> None:
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
def test_a_name_in_the_path_may_be_anything(here: Target, name: str) -> None:
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
        judge(path, answer, here.faults)
        assert answer.status in (400, 404), answer
    for path in (f"/v1/models/{name}", f"/v1beta/models/{name}", f"/v1/engines/{name}"):
        with here.house.wire() as wire:
            answer = wire.ask(path, b"", ADMIN_KEY, method="GET")
        judge(path, answer, here.faults)
        assert answer.status in (400, 404), answer
