"""completions, before a provider that speaks it and before one that does not."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.e2e.answers import answers, chunk, completion, fault, frames, streams
from tests.e2e.house import ADMIN_KEY, Place, place
from tests.e2e.wire import Response

PATHS: Final = ("/v1/completions", "/completions", "/openai/v1/completions")
NAMED: Final = ("/v1/engines/m/completions", "/openai/deployments/m/completions?api-version=1")
TOKENS: Final = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("chat")) as made:
        yield made


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    more = 'wires = ["chat.completions", "completions"]'
    with place(tmp_path_factory.mktemp("native"), more=more) as made:
        yield made


@pytest.fixture(autouse=True)
def _fresh(here: Place, native: Place) -> None:
    for one in (here, native):
        one.upstream.forget()
        one.upstream.scripts = {"*": answers(completion(" and on"))}


def ask(at: Place, prompt: Any = "Once", path: str = "/v1/completions", **more: Any) -> Response:
    with at.house.wire() as wire:
        return wire.ask(path, {"model": "m", "prompt": prompt, **more}, ADMIN_KEY)


def payloads_of(answer: Response) -> list[str]:
    return [line[6:] for line in answer.body.decode().split("\n") if line.startswith("data: ")]


def events_of(answer: Response) -> list[Any]:
    found = payloads_of(answer)
    assert found.pop() == "[DONE]"
    return [json.loads(data) for data in found]


def texts(chunks: list[Any]) -> dict[int, str]:
    """What each choice of a stream says."""
    said: dict[int, str] = {}
    for choice in [choice for one in chunks for choice in one["choices"]]:
        said[choice["index"]] = said.get(choice["index"], "") + choice["text"]
    return said


@pytest.mark.req("FACE-011")
@pytest.mark.parametrize("path", [*PATHS, *NAMED])
def test_one_prompt_becomes_one_message(here: Place, path: str) -> None:
    answer = ask(here, path=path, max_tokens=5, echo=True)
    assert answer.status == 200, answer
    assert answer.json["object"] == "text_completion"
    assert [choice["text"] for choice in answer.json["choices"]] == ["Once and on"]
    assert answer.json["usage"] == {**answer.json["usage"], **TOKENS}
    assert here.upstream.visit().path == "/v1/chat/completions"
    assert here.upstream.visit().json["max_completion_tokens"] == 5


@pytest.mark.req("FACE-011")
def test_a_provider_of_the_dialect_gets_the_bytes(native: Place) -> None:
    whole = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "usage": TOKENS, "future": [1]}
    whole["choices"] = [
        {"text": text, "index": i, "logprobs": None, "finish_reason": "stop"} for i, text in enumerate("ab")
    ]
    native.upstream.scripts["*"] = answers(whole)
    answer = ask(native, ["one", "two"], logprobs=2, best_of=1, suffix="end", logit_bias={"50256": -100})
    assert answer.json == whole
    sent = native.upstream.visit()
    assert sent.path == "/v1/completions"
    assert sent.json == {
        "model": "m",
        "prompt": ["one", "two"],
        "logprobs": 2,
        "best_of": 1,
        "suffix": "end",
        "logit_bias": {"50256": -100},
    }
    assert native.house.stored(answer.headers["x-request-id"]).record["cost"] == 11 * 1_000 + 7 * 10_000


def text_chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    head = {"id": "cmpl-9", "object": "text_completion", "created": 1, "model": "upstream-model"}
    return {**head, "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": finish}]}


@pytest.mark.parametrize("wish", [True, False])
@pytest.mark.parametrize("last", [["[DONE]"], []])
def test_a_stream_that_passes_without_usage_is_counted_and_shown_to_who_asked(
    native: Place, wish: bool, last: list[str]
) -> None:
    said = [text_chunk("Hello"), text_chunk(" there!"), text_chunk("", "stop")]
    native.upstream.scripts["m"] = frames(*said, *last)
    answer = ask(native, stream=True, stream_options={"include_usage": wish})
    record = native.house.stored(answer.headers["x-request-id"]).record
    assert record["usage_source"] == "estimated"
    found: list[Any] = [json.loads(data) if data != "[DONE]" else data for data in payloads_of(answer)]
    assert found[:3] == said
    assert found[3 + wish :] == last
    if wish:
        told = found[3]
        assert (told["id"], told["object"], told["model"], told["choices"]) == ("cmpl-9", "text_completion", "m", [])
        assert (told["usage"]["prompt_tokens"], told["usage"]["completion_tokens"]) == (
            record["input"],
            record["output"],
        )
        assert record["input"] > 0 and record["output"] > 0


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_a_whole_answer_that_passes_without_usage_is_counted_and_passes_as_it_came(native: Place, path: str) -> None:
    body: dict[str, Any] = {"id": "x", "created": 1, "model": "m", "choices": [{"index": 0, "finish_reason": "stop"}]}
    body["choices"][0] |= {"text": "Hi!"} if path == "/v1/completions" else {"message": {"content": "Hi!"}}
    native.upstream.scripts["*"] = answers(json.dumps(body).encode())
    with native.house.wire() as wire:
        asked = {"prompt": "Once"} if path == "/v1/completions" else {"messages": [{"role": "user", "content": "Once"}]}
        answer = wire.ask(path, {"model": "m", **asked}, ADMIN_KEY)
    assert answer.body == json.dumps(body).encode()
    record = native.house.stored(answer.headers["x-request-id"]).record
    assert (record["usage_source"], record["output"] > 0) == ("estimated", True)


@pytest.mark.req("FACE-012")
def test_several_prompts_are_calls_of_their_own_and_one_answer(here: Place) -> None:
    answer = ask(here, ["one", "two", "three"], n=2)
    assert answer.status == 200, answer
    asked = sorted(visit.json["messages"][-1]["content"] for visit in here.upstream.visits)
    assert asked == sorted(["one", "two", "three"])
    assert [choice["index"] for choice in answer.json["choices"]] == [0, 1, 2]
    assert answer.json["usage"]["total_tokens"] == 3 * 18
    assert "x-posthouse-cost" not in answer.headers
    first = answer.headers["x-request-id"]
    for name in (first, f"{first}.2", f"{first}.3"):
        assert here.house.stored(name).record["cost"] == 11 * 1_000 + 7 * 10_000
    here.house.verified()


@pytest.mark.req("FACE-012")
@pytest.mark.parametrize("usage", [True, False])
def test_several_prompts_are_one_stream_with_choices_counted_through(here: Place, usage: bool) -> None:
    here.upstream.scripts["m"] = streams([" and", " on"])
    answer = ask(here, ["one", "two"], stream=True, stream_options={"include_usage": usage})
    chunks = events_of(answer)
    assert texts(chunks) == {0: " and on", 1: " and on"}
    assert len({one["id"] for one in chunks}) == 1
    told = [one["usage"] for one in chunks if one.get("usage")]
    assert [one["total_tokens"] for one in told] == ([36] if usage else [])
    assert here.house.stored(answer.headers["x-request-id"] + ".2").record["stream"] == 1


@pytest.mark.req("FACE-012")
def test_a_prompt_that_fails_fails_the_whole_and_what_was_answered_is_billed(here: Place) -> None:
    async def script(visit: Any) -> None:
        if visit.json["messages"][-1]["content"] == "two":
            await visit.whole(fault("too long", code="context_length_exceeded"), 400)
        else:
            await visit.whole(completion())

    here.upstream.scripts["m"] = script
    answer = ask(here, ["one", "two"])
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    here.house.verified()


@pytest.mark.req("FACE-012")
def test_a_stream_of_several_prompts_that_breaks_says_so(here: Place) -> None:
    here.upstream.scripts["m"] = frames(chunk({"content": "half"}))
    with here.house.wire() as wire:
        answer = wire.ask("/v1/completions", {"model": "m", "prompt": ["a", "b"], "stream": True}, ADMIN_KEY)
    assert b'"error"' in answer.body
    assert b"[DONE]" not in answer.body
    assert len(here.upstream.visits) == 1


@pytest.mark.req("FACE-011")
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": 7}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": "a", "n": 0}, "n"),
        ({"prompt": "a", "n": 3, "best_of": 2}, "best_of"),
        ({"prompt": [1, 2, 3]}, "prompt"),  # tokens of a vocabulary that the provider of chat does not take
    ],
)
def test_bad_input_is_named(here: Place, body: dict[str, Any], param: str) -> None:
    with here.house.wire() as wire:
        answer = wire.ask("/v1/completions", {"model": "m", **body}, ADMIN_KEY)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert here.upstream.visits == []
