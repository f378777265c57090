"""Whole answers of completions through the inner form, and back."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from openai.types import Completion

from posthouse.core.items import Choice, InnerResponse, MessageItem, ReasoningItem, ToolCallItem
from posthouse.core.parts import AudioPart, ImagePart, RefusalPart, TextPart
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Whole
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_completions import CODEC, join
from posthouse.dialects.openai_completions_answers import summed
from posthouse.dialects.openai_errors import StreamError
from posthouse.dialects.openai_usage import usage_of
from tests.dialects.chunks import USAGE
from tests.dialects.completions import decode as request_of
from tests.dialects.inner import HEAD, MAKER, WORDS, answers, usages
from tests.dialects.published import approve
from tests.dialects.recordings import everything

_ECHOING = replace(HEAD, request=request_of(prompt="Once ", echo=True))


def decode(value: Any) -> InnerResponse:
    return CODEC.decode_response(value if isinstance(value, bytes) else json.dumps(value).encode(), MAKER)


def answer(*texts: str, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    choices = [
        {"text": text, "index": index, "logprobs": None, "finish_reason": finish} for index, text in enumerate(texts)
    ]
    return {"id": "cmpl-abc", "object": "text_completion", "created": 1, "model": "m", "choices": choices, **more}


def said(text: str, finish: str | None = "stop") -> Choice:
    return Choice((MessageItem("assistant", (TextPart(text),)),), finish)


@pytest.mark.req("COMP-WHOLE-001")
@given(st.lists(st.builds(said, WORDS, st.sampled_from(["stop", "length", "content_filter"]))), st.none() | usages())
def test_an_answer_of_the_inner_form_survives_the_wire(choices: list[Choice], usage: Usage | None) -> None:
    response = InnerResponse(HEAD.id, HEAD.model, HEAD.created, tuple(choices), usage)
    assert decode(CODEC.encode_response(response, HEAD)) == response


@pytest.mark.req("COMP-WHOLE-001")
def test_an_answer_of_the_wire_says_the_same_afterwards() -> None:
    whole = answer("a", "b", finish="length")
    head = replace(HEAD, created=1)
    assert json.loads(CODEC.encode_response(decode(whole), head)) == whole


@pytest.mark.req("COMP-WHOLE-002")
@given(answers())
def test_an_answer_is_what_the_published_schema_and_the_sdk_describe(response: InnerResponse) -> None:
    for head in (HEAD, _ECHOING):
        body = CODEC.encode_response(response, head)
        approve(json.loads(body), "CreateCompletionResponse")
        Completion.model_validate_json(body, strict=True)


def test_only_words_are_an_answer() -> None:
    parts = (TextPart("a"), RefusalPart("b"), AudioPart("x", transcript="c"), AudioPart("x"), ImagePart("u"))
    items = (ReasoningItem("hm"), MessageItem("assistant", parts), ToolCallItem("c", "f", "{}"))
    response = InnerResponse("x", "m", 1, (Choice(items, "tool_calls"),))
    assert json.loads(CODEC.encode_response(response, HEAD))["choices"] == answer("abc")["choices"]


@pytest.mark.req("COMP-WHOLE-003")
def test_the_prompt_is_repeated_where_it_was_asked_for() -> None:
    response = InnerResponse("x", "m", 1, (said("upon"), said("there")))
    texts = [choice["text"] for choice in json.loads(CODEC.encode_response(response, _ECHOING))["choices"]]
    assert texts == ["Once upon", "Once there"]
    silent = replace(HEAD, request=request_of())
    assert json.loads(CODEC.encode_response(response, silent))["choices"][0]["text"] == "upon"


def test_an_answer_may_lack_what_a_lenient_client_does_without() -> None:
    choices = [{"text": "b", "index": 1, "finish_reason": "eos"}, {"index": 0, "text": None}]
    assert decode({"choices": choices}) == InnerResponse("", "", 0, (said("", None), said("b")))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"\xff", b'{"choices":[1]}', b'{"choices":[{"text":5}]}', b'{"choices":' + b"[" * 10**5]
)
def test_what_is_no_answer_is_an_error_of_the_dialect(body: bytes) -> None:
    with pytest.raises(DialectError):
        decode(body)


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "index", "error"]), inner),
    max_leaves=6,
)


@pytest.mark.req("COMP-WHOLE-004")
@given(st.dictionaries(st.sampled_from(["id", "created", "model", "usage", "choices", "error"]), _JUNK))
def test_whatever_a_provider_sends_is_read_or_an_error_of_the_dialect(members: Any) -> None:
    readers: tuple[Callable[[bytes], object], ...] = (decode, CODEC.read_whole, lambda body: join([body]))
    for whole in (members, {**answer("a"), **members}):
        for read in readers:
            try:
                read(json.dumps(whole).encode())
            except DialectError:
                continue


@pytest.mark.req("COMP-WHOLE-005")
def test_the_spine_reads_what_it_needs() -> None:
    whole = CODEC.read_whole(json.dumps(answer("a", finish="max_tokens", usage=USAGE)).encode())
    assert whole == Whole(Usage(input=5, output=3), "length", None, "cmpl-abc")
    assert CODEC.read_whole(json.dumps(answer("a", "b")).encode()).text == "ab"
    assert CODEC.read_whole(b'{"error":{"message":"broke"}}').error == StreamError("broke")
    assert CODEC.read_whole(json.dumps(answer("a", finish="error")).encode()).error is not None


def test_recorded_answers_mean_what_they_say() -> None:
    found = 0
    for recording in everything():
        if recording["endpoint"].endswith("/v1/completions") and not recording["streaming"] and recording["response"]:
            found += 1
            whole = recording["response"]
            response = decode(whole)
            assert response.choices == tuple(said(one["text"], one["finish_reason"]) for one in whole["choices"])
            assert response.usage == usage_of(whole["usage"])
    assert found


# --- several prompts ---------------------------------------------
@pytest.mark.req("COMP-SPLIT-002")
@given(st.lists(st.lists(WORDS, min_size=1, max_size=3), min_size=1, max_size=4), st.lists(usages(), max_size=2))
def test_answers_of_several_prompts_are_one(texts: list[list[str]], told: list[Usage]) -> None:
    responses = [
        InnerResponse("x", "m", 1, tuple(map(said, each)), told[place] if place < len(told) else None)
        for place, each in enumerate(texts)
    ]
    bodies = [CODEC.encode_response(response, HEAD) for response in responses]
    whole = json.loads(join(bodies))
    approve(whole, "CreateCompletionResponse")
    every = [text for each in texts for text in each]
    assert [(choice["index"], choice["text"]) for choice in whole["choices"]] == list(enumerate(every))
    counted = [response.usage for response in responses if response.usage is not None]
    assert decode(whole).usage == (summed(counted) if counted else None)
    assert whole["id"] == json.loads(bodies[0])["id"]


def test_what_only_the_provider_knows_stays_with_its_choice() -> None:
    first, second = answer("a"), answer("b")
    second["choices"][0]["logprobs"] = {"tokens": ["b"]}
    whole = json.loads(join([json.dumps(first).encode(), json.dumps(second).encode()]))
    assert whole["choices"][1] == {**second["choices"][0], "index": 1}
