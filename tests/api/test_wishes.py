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
        gemini.decode_head(b'{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}', "m", False),
    ],
    ids=["embeddings", "generate_content"],
)
def test_others_take_aliases_alone(request_: ModelRequest) -> None:
    made = heeded(request_, wishes({"temperature": 0.2}, m="other"))
    assert (made.model, "temperature" in made.fields) == ("other", False)


def test_a_default_that_cannot_stand_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        heeded(chat(), wishes({"max_tokens": "many"}))
    assert caught.value.param == "max_tokens"


def test_with_nothing_to_set_the_request_is_the_same_object() -> None:
    request = chat(temperature=1)
    assert heeded(request, wishes({"temperature": 0.2})) is request


@given(st.dictionaries(st.sampled_from(["temperature", "top_p", "seed", "n"]), st.integers(1, 5)))
def test_what_is_done_twice_is_as_if_done_once(defaults: dict[str, int]) -> None:
    wanted = wishes(defaults, m="other")
    once = heeded(chat(seed=9), wanted)
    twice = heeded(once, wanted)
    assert (twice.model, twice.fields, twice.choices) == (once.model, once.fields, once.choices)
    assert member(twice, "seed") == 9
