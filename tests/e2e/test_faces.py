"""The faces of the text dialects, all in front of one provider that speaks chat.completions."""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import pytest

from tests.e2e.answers import answers, asked, chunk, completion, embedded, frames, streams
from tests.e2e.house import ADMIN_KEY, Place, place
from tests.e2e.wire import Response, request

MODELS: Final = '"m", "org/m:2", "vectors"'
MESSAGES: Final = [{"role": "user", "content": "Hello"}]
CONTENTS: Final = [{"role": "user", "parts": [{"text": "Hello"}]}]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("house"), models=MODELS) as made:
        yield made


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {"*": answers(completion())}


class Face(NamedTuple):
    """A dialect as its clients see it. `path` of a model, whole or streamed; `text` of a whole answer and of the data
    of each event; `error` type and message of an error body."""

    path: Callable[[str, bool], str]
    body: dict[str, Any]
    text: Callable[[Any], str]
    delta: Callable[[Any], str]
    tokens: Callable[[Any], tuple[int, int]]
    error: Callable[[Any], tuple[str, str]]
    unauthenticated: str
    missing: str
    last: Callable[[Any], bool]


def _openai_error(body: Any) -> tuple[str, str]:
    return body["error"]["type"], body["error"]["message"]


def _chat_delta(data: Any) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in data["choices"])


def _parts(data: Any) -> str:
    return "".join(
        part.get("text", "") for one in data.get("candidates", ()) for part in one.get("content", {}).get("parts", ())
    )


FACES: Final[dict[str, Face]] = {
    "chat.completions": Face(
        path=lambda model, stream: "/v1/chat/completions",
        body={"messages": MESSAGES},
        text=lambda body: str(body["choices"][0]["message"]["content"]),
        delta=_chat_delta,
        tokens=lambda body: (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]),
        error=_openai_error,
        unauthenticated="authentication_error",
        missing="not_found_error",
        last=lambda data: data == "[DONE]",
    ),
    "responses": Face(
        path=lambda model, stream: "/v1/responses",
        body={"input": "Hello"},
        text=lambda body: str(body["output"][-1]["content"][0]["text"]),
        delta=lambda data: data["delta"] if data["type"] == "response.output_text.delta" else "",
        tokens=lambda body: (body["usage"]["input_tokens"], body["usage"]["output_tokens"]),
        error=_openai_error,
        unauthenticated="authentication_error",
        missing="not_found_error",
        last=lambda data: data == "[DONE]",
    ),
    "messages": Face(
        path=lambda model, stream: "/v1/messages",
        body={"messages": MESSAGES, "max_tokens": 100},
        text=lambda body: str(body["content"][0]["text"]),
        delta=lambda data: data["delta"]["text"] if data["type"] == "content_block_delta" else "",
        tokens=lambda body: (body["usage"]["input_tokens"], body["usage"]["output_tokens"]),
        error=_openai_error,
        unauthenticated="authentication_error",
        missing="not_found_error",
        last=lambda data: data["type"] == "message_stop",
    ),
    "generate_content": Face(
        path=lambda model, stream: (
            f"/v1beta/models/{model}:streamGenerateContent?alt=sse"
            if stream
            else f"/v1beta/models/{model}:generateContent"
        ),
        body={"contents": CONTENTS},
        text=_parts,
        delta=_parts,
        tokens=lambda body: (body["usageMetadata"]["promptTokenCount"], body["usageMetadata"]["candidatesTokenCount"]),
        error=lambda body: (body["error"]["status"], body["error"]["message"]),
        unauthenticated="UNAUTHENTICATED",
        missing="NOT_FOUND",
        last=lambda data: "finishReason" in data["candidates"][0],
    ),
}
every_face = pytest.mark.parametrize("name", FACES)


def body_of(name: str, model: str = "m", **more: Any) -> dict[str, Any]:
    body = {**FACES[name].body, **more}
    return body if name == "generate_content" else {"model": model, **body}


def ask(here: Place, name: str, model: str = "m", key: str = ADMIN_KEY, **more: Any) -> Response:
    stream = bool(more.pop("stream", False))
    if stream and name != "generate_content":
        more["stream"] = True
    extra = more.pop("extra", "")
    with here.house.wire() as wire:
        return wire.ask(FACES[name].path(model, stream), body_of(name, model, **more), key, extra=extra)


def events_of(answer: Response) -> list[Any]:
    """The data of each event, decoded where it is JSON."""
    found = [line[6:] for line in answer.body.decode().split("\n") if line.startswith("data: ")]
    return [data if data == "[DONE]" else json.loads(data) for data in found]


# --- answers ---------------------------------------------------------------------------------------------------------
@pytest.mark.req("FACE-001")
@every_face
def test_a_whole_answer_comes_in_the_words_of_the_client(here: Place, name: str) -> None:
    answer = ask(here, name)
    face = FACES[name]
    assert answer.status == 200, answer
    assert face.text(answer.json) == "Hello there"
    assert face.tokens(answer.json) == (11, 7)
    sent = here.upstream.visit()
    assert sent.path == "/v1/chat/completions"
    assert [message["content"] for message in sent.json["messages"]] == ["Hello"]
    stored = here.house.stored(answer.headers["x-request-id"])
    assert (stored.record["operation"], stored.record["usage_source"]) == (name, "provider")
    assert stored.record["cost"] == 11 * 1_000 + 7 * 10_000


@pytest.mark.req("FACE-001")
@every_face
def test_a_stream_comes_in_the_words_of_the_client(here: Place, name: str) -> None:
    here.upstream.scripts["m"] = streams(["Hel", "lo ", "there"])
    answer = ask(here, name, stream=True)
    face = FACES[name]
    assert answer.status == 200, answer
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer)
    assert "".join(face.delta(data) for data in events if data != "[DONE]") == "Hello there"
    assert face.last(events[-1]), events[-1]
    stored = here.house.stored(answer.headers["x-request-id"])
    assert stored.record["cost"] == 11 * 1_000 + 7 * 10_000


# --- errors ----------------------------------------------------------------------------------------------------------
@pytest.mark.req("FACE-002")
@every_face
def test_an_unknown_key_is_refused_in_the_words_of_the_client(here: Place, name: str) -> None:
    answer = ask(here, name, key="sk-ph-nobody")
    assert (answer.status, FACES[name].error(answer.json)[0]) == (401, FACES[name].unauthenticated)


@pytest.mark.req("FACE-002")
@every_face
def test_an_unknown_model_is_refused_in_the_words_of_the_client(here: Place, name: str) -> None:
    answer = ask(here, name, "nobody")
    kind, message = FACES[name].error(answer.json)
    assert (answer.status, kind) == (404, FACES[name].missing)
    assert "nobody" in message


@pytest.mark.req("FACE-002")
@every_face
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model":"m"}', b'{"model":"m","messages":7,"input":7}'])
def test_a_malformed_body_is_refused_in_the_words_of_the_client(here: Place, name: str, body: bytes) -> None:
    face = FACES[name]
    with here.house.wire() as wire:
        answer = wire.ask(face.path("m", False), body, ADMIN_KEY)
    kind, message = face.error(answer.json)
    assert answer.status == 400
    assert kind in ("invalid_request_error", "INVALID_ARGUMENT")
    assert message
    assert here.upstream.visits == []


@pytest.mark.req("FACE-003")
@every_face
def test_a_stream_that_breaks_ends_with_the_error_of_its_dialect(here: Place, name: str) -> None:
    here.upstream.scripts["m"] = frames(chunk({"role": "assistant", "content": "Hel"}), chunk({"content": "lo"}))
    events = events_of(ask(here, name, stream=True))
    assert "".join(FACES[name].delta(data) for data in events if data != "[DONE]" and "error" not in data) == "Hello"
    broken = [data for data in events if data != "[DONE]" and _tells_failure(data)]
    assert broken, events
    assert not any(data != "[DONE]" and "error" not in data and FACES[name].last(data) for data in events)


def _tells_failure(data: Any) -> bool:
    return bool(data.get("error")) or data.get("type") in ("error", "response.failed")


# --- what is lost ----------------------------------------------------------------------------------------------------
@pytest.mark.req("FACE-004")
def test_what_the_provider_cannot_be_told_is_named(here: Place) -> None:
    answer = ask(here, "messages", top_k=5, metadata={"user_id": "u1"})
    assert answer.status == 200
    assert answer.headers["x-posthouse-dropped"] == "top_k"
    assert here.upstream.visit().json["user"] == "u1"
    assert "x-posthouse-dropped" not in ask(here, "messages").headers


@pytest.mark.req("FACE-004")
def test_a_strict_client_is_refused_rather_than_misunderstood(here: Place) -> None:
    answer = ask(here, "messages", top_k=5, extra="x-posthouse-strict: 1\r\n")
    assert answer.status == 400
    assert "top_k" in FACES["messages"].error(answer.json)[1]
    assert here.upstream.visits == []
    assert ask(here, "messages", extra="x-posthouse-strict: 1\r\n").status == 200


# --- keys ------------------------------------------------------------------------------------------------------------
@pytest.mark.req("FACE-005")
@pytest.mark.parametrize("header", ["authorization: Bearer ", "x-api-key: ", "api-key: ", "x-goog-api-key: "])
@every_face
def test_a_key_may_come_in_any_of_four_headers(here: Place, name: str, header: str) -> None:
    line = f"{header}{ADMIN_KEY}\r\n"
    with here.house.wire() as wire:
        wire.send(request(FACES[name].path("m", False), body_of(name), None, extra=line))
        assert wire.response().status == 200


@pytest.mark.req("FACE-005")
def test_the_query_holds_a_key_only_where_a_dialect_puts_it_there(here: Place) -> None:
    with here.house.wire() as wire:
        good = wire.ask(f"/v1beta/models/m:generateContent?key={ADMIN_KEY}", body_of("generate_content"))
        assert good.status == 200
        assert wire.ask("/v1beta/models/m:generateContent?key=x", body_of("generate_content")).status == 401
        assert wire.ask(f"/v1/chat/completions?key={ADMIN_KEY}", asked()).status == 401


# --- lists -----------------------------------------------------------------------------------------------------------
@pytest.mark.req("FACE-006")
def test_the_list_of_models_has_four_forms(here: Place) -> None:
    with here.house.wire() as wire:
        openai = wire.ask("/v1/models", key=ADMIN_KEY, method="GET").json
        paged = "anthropic-version: 2023-06-01\r\n"
        messages = wire.ask("/v1/models?limit=2", key=ADMIN_KEY, method="GET", extra=paged).json
        gemini = wire.ask("/v1beta/models", key=ADMIN_KEY, method="GET").json
        same = wire.ask("/v1/models", method="GET", extra=f"x-goog-api-key: {ADMIN_KEY}\r\n").json
        engines = wire.ask("/v1/engines", key=ADMIN_KEY, method="GET").json
    ids = [model["id"] for model in openai["data"]]
    assert sorted(ids) == ["m", "org/m:2", "vectors"]
    assert [model["id"] for model in messages["data"]] == ids[:2]
    assert (messages["has_more"], messages["last_id"]) == (True, ids[1])
    assert gemini == same
    assert [model["name"] for model in gemini["models"]] == [f"models/{name}" for name in ids]
    assert [engine["object"] for engine in engines["data"]] == ["engine"] * 3


@pytest.mark.req("FACE-006")
def test_a_page_follows_a_page(here: Place) -> None:
    paged = "anthropic-version: 2023-06-01\r\n"
    found: list[str] = []
    with here.house.wire() as wire:
        query = "?limit=1"
        while True:
            page = wire.ask(f"/v1/models{query}", key=ADMIN_KEY, method="GET", extra=paged).json
            found += [model["id"] for model in page["data"]]
            if not page["has_more"]:
                break
            query = f"?limit=1&after_id={page['last_id']}"
        backwards = wire.ask(f"/v1/models?limit=1&before_id={found[-1]}", key=ADMIN_KEY, method="GET", extra=paged).json
        wrong = [
            wire.ask(f"/v1/models?{query}", key=ADMIN_KEY, method="GET", extra=paged)
            for query in ("limit=0", "limit=x", "limit=10001", "after_id=nobody")
        ]
    assert sorted(found) == ["m", "org/m:2", "vectors"]
    assert [model["id"] for model in backwards["data"]] == [found[-2]]
    assert [(answer.status, answer.json["type"]) for answer in wrong] == [(400, "error")] * 4


@pytest.mark.req("FACE-006")
@pytest.mark.parametrize("base", ["/v1/models/", "/v1beta/models/", "/models/", "/v1/engines/"])
@pytest.mark.parametrize("name", ["org/m:2", "org%2Fm:2"])
def test_one_model_is_found_though_its_name_has_a_slash(here: Place, base: str, name: str) -> None:
    with here.house.wire() as wire:
        assert wire.ask(base + name, key=ADMIN_KEY, method="GET").status == 200
        assert wire.ask(base + name + "3", key=ADMIN_KEY, method="GET").status == 404


# --- the model in the path -------------------------------------------------------------------------------------------
@pytest.mark.req("FACE-007")
@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/openai/deployments/m/chat/completions?api-version=2024-10-21", "m"),
        ("/v1/engines/m/chat/completions", "m"),
        ("/engines/org/m:2/chat/completions", "org/m:2"),
        ("/openai/deployments/org%2Fm:2/chat/completions?api-version=1", "org/m:2"),
    ],
)
@pytest.mark.parametrize("said", [{}, {"model": "nobody"}])
def test_the_model_in_the_path_holds(here: Place, path: str, model: str, said: dict[str, str]) -> None:
    with here.house.wire() as wire:
        answer = wire.ask(path, {"messages": MESSAGES, "future": {"b": 1}, **said}, ADMIN_KEY)
        newer = wire.ask("/openai/v1/chat/completions", asked(), ADMIN_KEY)
    assert (answer.status, newer.status) == (200, 200)
    sent = here.upstream.visit(0).json
    assert sent["model"] == model
    assert sent["future"] == {"b": 1}


@pytest.mark.req("FACE-007")
@pytest.mark.parametrize(
    "path", ["/openai/deployments/m/nothing", "/openai/deployments//chat/completions", "/v1/engines/chat/completions"]
)
def test_a_path_without_verb_or_model_is_unknown(here: Place, path: str) -> None:
    with here.house.wire() as wire:
        answer = wire.ask(path, asked(), ADMIN_KEY)
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")


# --- counting --------------------------------------------------------------------------------------------------------
@pytest.mark.req("FACE-008")
@pytest.mark.parametrize(
    ("path", "body", "member"),
    [
        ("/v1/messages/count_tokens", {"model": "m", "messages": MESSAGES}, "input_tokens"),
        ("/v1beta/models/m:countTokens", {"contents": CONTENTS}, "totalTokens"),
        ("/v1/responses/input_tokens", {"model": "m", "input": "Hello"}, "input_tokens"),
    ],
)
def test_tokens_are_counted_here_and_cost_nothing(here: Place, path: str, body: dict[str, Any], member: str) -> None:
    before = here.house.last_id()
    with here.house.wire() as wire:
        answer = wire.ask(path, body, ADMIN_KEY)
        unknown = wire.ask(path.replace("/m:", "/no:"), {**body, "model": "no"}, ADMIN_KEY)
    assert answer.status == 200, answer
    assert 1 <= answer.json[member] <= 20
    assert unknown.status == 404
    assert here.upstream.visits == []
    assert all(not stored.entries for stored in here.house.stored_since(before))


# --- the other form of a stream --------------------------------------------------------------------------------------
@pytest.mark.req("FACE-009")
@pytest.mark.parametrize("whole", [True, False])
def test_a_stream_as_one_array_is_closed_however_it_ends(here: Place, whole: bool) -> None:
    here.upstream.scripts["m"] = streams(["Hel", "lo"]) if whole else frames(chunk({"content": "Hello"}))
    with here.house.wire() as wire:
        answer = wire.ask("/v1beta/models/m:streamGenerateContent", body_of("generate_content"), ADMIN_KEY)
    assert answer.headers["content-type"].startswith("application/json")
    chunks = answer.json
    assert "".join(_parts(one) for one in chunks) == "Hello"
    assert ("error" in chunks[-1]) is not whole


# --- vectors ---------------------------------------------------------------------------------------------------------
@pytest.mark.req("FACE-010")
def test_vectors_come_in_the_form_that_was_asked_for(here: Place) -> None:
    here.upstream.scripts["vectors"] = answers(embedded([[0.5, -1.0], [0.25, 2.0]]))
    content = {"content": {"parts": [{"text": "a"}]}}
    with here.house.wire() as wire:
        one = wire.ask("/v1beta/models/vectors:embedContent", {**content, "outputDimensionality": 2}, ADMIN_KEY)
        two = wire.ask("/v1beta/models/vectors:batchEmbedContents", {"requests": [content, content]}, ADMIN_KEY)
    assert one.json == {"embedding": {"values": [0.5, -1.0]}}
    assert two.json == {"embeddings": [{"values": [0.5, -1.0]}, {"values": [0.25, 2.0]}]}
    first, second = here.upstream.visits
    assert (first.json["input"], first.json["dimensions"]) == (["a"], 2)
    assert second.json["input"] == ["a", "a"]
    here.upstream.scripts["vectors"] = answers({"object": "list", "data": [{"nothing": 1}]})
    with here.house.wire() as wire:
        bad = wire.ask("/v1beta/models/vectors:embedContent", content, ADMIN_KEY)
    assert (bad.status, bad.json["error"]["status"]) == (502, "UNAVAILABLE")
