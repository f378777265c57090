"""What a key wants, done to decoded requests of every dialect that can take it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from posthouse.api.wishes import heeded
from posthouse.core.caller import Wishes
from posthouse.core.errors import InvalidRequest
from posthouse.core.requests import ModelRequest
from posthouse.dialects import (
    anthropic_messages,
    gemini,
    openai_chat_head,
    openai_completions,
    openai_embeddings,
    openai_media_heads,
    openai_responses,
)


def wishes(defaults: dict[str, Any] | None = None, **aliases: str) -> Wishes:
    return Wishes({name: Raw(json.dumps(value).encode()) for name, value in (defaults or {}).items()}, aliases)


def chat(**more: Any) -> ModelRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **more}
    return openai_chat_head.decode_head(json.dumps(body).encode())


def member(request: ModelRequest, name: str) -> Any:
    return json.loads(bytes(request.fields[name]))


def test_a_member_that_the_client_did_not_send_is_set_and_one_that_it_sent_is_not() -> None:
    made = heeded(chat(top_p=0.9), wishes({"temperature": 0.2, "top_p": 0.1}))
    assert (member(made, "temperature"), member(made, "top_p")) == (0.2, 0.9)


def test_null_is_said_too() -> None:
    assert member(heeded(chat(temperature=None), wishes({"temperature": 0.2})), "temperature") is None


def test_a_default_counts_as_if_the_client_had_sent_it() -> None:
    made = heeded(chat(), wishes({"max_tokens": 77, "n": 3}))
    assert (made.max_output, made.choices) == (77, 3)
    assert made.body_size > chat().body_size


@pytest.mark.parametrize("said", ["max_tokens", "max_completion_tokens"])
def test_a_cap_that_is_said_by_one_name_has_no_default_by_another(said: str) -> None:
    made = heeded(chat(**{said: 5}), wishes({"max_tokens": 77, "max_completion_tokens": 78, "seed": 1}))
    assert made.max_output == 5
    assert sorted(name for name in made.fields if name.startswith("max_")) == [said]
    assert member(made, "seed") == 1


@pytest.mark.parametrize(
    "request_",
    [
        openai_responses.decode_head(b'{"model":"m","input":"Hi"}'),
        openai_completions.decode_head(b'{"model":"m","prompt":"Hi"}'),
        anthropic_messages.decode_head(
            b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}',
        ),
    ],
    ids=["responses", "completions", "messages"],
)
def test_every_dialect_whose_parameters_stand_at_the_top_takes_defaults(request_: ModelRequest) -> None:
    request_.headers = ((b"anthropic-beta", b"x"),)
    made = heeded(request_, wishes({"temperature": 0.2}, m="other"))
    assert member(made, "temperature") == 0.2
    assert (made.operation, made.model, made.headers) == (request_.operation, "other", request_.headers)


@pytest.mark.parametrize(
    "request_",
    [
        openai_embeddings.decode_head(b'{"model":"m","input":"Hi"}'),
        openai_media_heads.decode_rerank(b'{"model":"m","query":"Hi","documents":["a"]}'),
    ],
    ids=["embeddings", "rerank"],
)
def test_others_take_aliases_alone(request_: ModelRequest) -> None:
    made = heeded(request_, wishes({"temperature": 0.2}, m="other"))
    assert (made.model, "temperature" in made.fields) == ("other", False)


def generating(**more: Any) -> ModelRequest:
    body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], **more}
    return gemini.decode_head(json.dumps(body).encode(), "m", False)


def test_a_cap_goes_by_the_name_that_it_has_in_the_clients_dialect() -> None:
    cap = wishes({"max_completion_tokens": 77}, m="other")
    made = heeded(openai_responses.decode_head(b'{"model":"m","input":"Hi"}'), cap)
    assert (made.max_output, member(made, "max_output_tokens"), "max_completion_tokens" in made.fields) == (
        77,
        77,
        False,
    )
    made = heeded(openai_completions.decode_head(b'{"model":"m","prompt":"Hi"}'), cap)
    assert (made.max_output, member(made, "max_tokens")) == (77, 77)
    both = wishes({"max_output_tokens": 5, "max_tokens": 6})
    open_ = anthropic_messages.decode_open_head(b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}')
    made = heeded(open_, both)
    assert (made.max_output, made.fields.keys() - {"model", "messages"}) == (6, {"max_tokens"})


@pytest.mark.parametrize("stream", [False, True])
def test_parameters_stand_where_generate_content_keeps_them(stream: bool) -> None:
    wanted = wishes({"temperature": 0.2, "max_tokens": 77, "n": 2, "stop": "END", "topK": 5, "reasoning_effort": "low"})
    request = generating()
    request.stream = stream
    made = heeded(request, wanted)
    assert member(made, "generationConfig") == {
        "temperature": 0.2,
        "maxOutputTokens": 77,
        "candidateCount": 2,
        "stopSequences": ["END"],
        "topK": 5,
    }
    assert made.fields.keys() == {"contents", "generationConfig"}
    assert (made.max_output, made.choices, made.stream) == (77, 2, stream)
    assert made.body_size > request.body_size


@pytest.mark.parametrize("place", ["generationConfig", "generation_config"])
@pytest.mark.parametrize("said", ["maxOutputTokens", "max_output_tokens"])
def test_what_a_client_said_in_generation_config_stands_however_it_was_spelled(place: str, said: str) -> None:
    wanted = wishes({"max_tokens": 77, "temperature": 0.2, "generation_config": {"top_k": 3, "temperature": 0.4}})
    made = heeded(generating(**{place: {said: 5, "topK": None}}), wanted)
    assert member(made, place) == {said: 5, "topK": None, "temperature": 0.4}
    assert (made.max_output, set(made.fields)) == (5, {"contents", place})


def test_members_of_generate_content_itself_are_set_beside_its_parameters() -> None:
    safe = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    made = heeded(generating(generationConfig=None), wishes({"safetySettings": safe, "seed": 3}))
    assert (member(made, "safetySettings"), member(made, "generationConfig")) == (safe, {"seed": 3})
    kept = heeded(generating(safety_settings=[]), wishes({"safetySettings": safe}))
    assert (set(kept.fields), member(kept, "safety_settings")) == ({"contents", "safety_settings"}, [])


def test_words_of_generate_content_reach_no_other_dialect() -> None:
    request = chat()
    wanted = wishes({"generationConfig": {"topK": 3}, "safety_settings": [], "topP": 0.5})
    assert heeded(request, wanted) is request


def test_what_is_counted_without_its_members_has_no_defaults() -> None:
    counted = ModelRequest("generate_content", "gemini", "m", {}, 10, inner=None)
    assert heeded(counted, wishes({"temperature": 0.2}, m="other")).fields == {}
    messages = anthropic_messages.decode_count_head(b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}')
    assert heeded(messages, wishes({"system": "Be short."})).fields.keys() == {"model", "messages", "system"}


def test_a_default_of_generate_content_that_cannot_stand_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        heeded(generating(), wishes({"max_tokens": "many"}))
    assert caught.value.param == "generationConfig.maxOutputTokens"


def test_a_default_that_cannot_stand_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        heeded(chat(), wishes({"max_tokens": "many"}))
    assert caught.value.param == "max_tokens"


def test_with_nothing_to_set_the_request_is_the_same_object() -> None:
    request = chat(temperature=1)
    assert heeded(request, wishes({"temperature": 0.2})) is request


NAMES = ["temperature", "top_p", "seed", "n", "max_tokens", "max_output_tokens", "topK", "candidateCount"]


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(1, 5)), st.booleans())
def test_what_is_done_twice_is_as_if_done_once(defaults: dict[str, int], deep: bool) -> None:
    wanted = wishes(defaults, m="other")
    once = heeded(generating(generationConfig={"seed": 9}) if deep else chat(seed=9), wanted)
    twice = heeded(once, wanted)
    assert (twice.model, twice.fields, twice.choices) == (once.model, once.fields, once.choices)
    assert (member(twice, "generationConfig")["seed"] if deep else member(twice, "seed")) == 9
