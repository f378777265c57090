"""Requests of completions through the inner form, and back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import (
    CompactionItem,
    InnerRequest,
    MessageItem,
    OpaqueState,
    OutputFormat,
    ReasoningItem,
    Sampling,
    Thinking,
    Tool,
    ToolCallItem,
    ToolChoice,
    ToolResultItem,
)
from posthouse.core.parts import AudioPart, FilePart, ImagePart, OpaquePart, RefusalPart, TextPart
from posthouse.dialects import openai_chat
from posthouse.dialects.codec import INNER_NAMES, Addressed
from posthouse.dialects.openai_completions import CODEC, decode_head, split
from posthouse.dialects.openai_completions_codec import MAX_PROMPTS, ROOM
from posthouse.dialects.openai_completions_prompt import CUE, STOP
from tests.dialects.completions import NOWHERE, body, decode, dropped, encode, head
from tests.dialects.inner import MAKER, PIXEL, WORDS, requests
from tests.dialects.published import approve


def user(text: str = "Once", **more: Any) -> MessageItem:
    return MessageItem("user", (TextPart(text),), **more)


def asked(*items: Any, **more: Any) -> InnerRequest:
    """A request of another dialect."""
    return InnerRequest(dialect="openai_chat", model="m", items=items, **more)


# --- there and back ----------------------------------------------
_OWN = st.builds(
    InnerRequest,
    dialect=st.just("openai_completions"),
    model=st.just("m"),
    items=WORDS.map(lambda text: (user(text),)),
    user=st.none() | WORDS,
    sampling=st.builds(
        Sampling,
        max_output=st.integers(1, 1000),
        temperature=st.none() | st.floats(0, 2),
        top_p=st.none() | st.floats(0, 1),
        stop=st.lists(WORDS, max_size=4).map(tuple),
        choices=st.none() | st.integers(1, 128),
        seed=st.none() | st.integers(-(2**63), 2**63 - 1),
        presence_penalty=st.none() | st.floats(-2, 2),
        frequency_penalty=st.none() | st.floats(-2, 2),
    ),
    stream=st.booleans(),
    include_usage=st.booleans(),
)


@pytest.mark.req("COMP-REQ-006")
@given(_OWN)
def test_a_request_of_the_inner_form_survives_the_wire(request: InnerRequest) -> None:
    encoded = CODEC.encode_request(request, MAKER)
    assert CODEC.decode_request(encoded.body, NOWHERE) == request
    assert encoded.dropped == ()


@pytest.mark.req("COMP-REQ-006")
def test_a_request_of_the_wire_says_the_same_afterwards() -> None:
    members = {
        "model": "m",
        "prompt": "Once",
        "max_tokens": 5,
        "suffix": "end",
        "logprobs": 5,
        "best_of": 3,
        "logit_bias": {"50256": -100},
        "stop": ["a"],
        "seed": 1,
        "user": "ann",
        "n": 2,
        "presence_penalty": 0.5,
        "future": [1],
    }
    assert encode(decode(**members)) == members


@pytest.mark.req("COMP-REQ-007")
def test_a_model_in_messages_is_asked_plainly() -> None:
    request = decode(suffix="end", logprobs=5, best_of=3, logit_bias={"5": 1}, echo=True, user="ann", temperature=0)
    encoded = openai_chat.CODEC.encode_request(request, MAKER)
    assert json.loads(encoded.body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Once"}],
        "max_completion_tokens": 16,
        "temperature": 0,
        "user": "ann",
    }
    assert encoded.dropped == ("suffix", "logprobs", "best_of", "logit_bias")
    assert request.echo


def test_what_asks_for_nothing_is_not_told_as_lost() -> None:
    request = decode(suffix="", logprobs=None, best_of=1, logit_bias={}, echo=False, n=None, stop=None)
    assert request.extra == {}
    assert not request.echo
    assert decode(n=3, best_of=3).extra == {}


def test_what_is_said_outside_the_body_counts_where_the_body_says_nothing() -> None:
    request = CODEC.decode_request(b'{"prompt":"a"}', Addressed("engine"))
    assert request.model == "engine"


@pytest.mark.req("COMP-REQ-008")
@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": [""]}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": [5]}, "stop"),
    ],
)
def test_what_cannot_be_asked_in_messages_is_refused_by_its_name(members: dict[str, Any], param: str) -> None:
    assert head(**members).fields.keys() >= members.keys()  # a provider of the dialect is asked all the same
    with pytest.raises(InvalidRequest) as caught:
        decode(**members)
    assert caught.value.param == param


def test_one_prompt_in_an_array_is_one_prompt() -> None:
    assert decode(prompt=["Once"]).items == (user(),)


# --- from other dialects -----------------------------------------
@pytest.mark.req("COMP-REQ-009")
@given(requests(dialect="openai_responses"))
def test_what_is_written_is_what_the_published_schema_describes(request: InnerRequest) -> None:
    encoded = CODEC.encode_request(request, MAKER)
    approve(json.loads(encoded.body), "CreateCompletionRequest")
    assert set(encoded.dropped) <= set(INNER_NAMES)
    decode_head(encoded.body)


def test_one_text_of_the_user_s_is_the_prompt() -> None:
    request = asked(user("Once"), stream=True)
    assert encode(request) == {
        "model": "m",
        "prompt": "Once",
        "max_tokens": ROOM,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_cap_of_nothing_is_not_taken_for_none() -> None:
    assert encode(asked(user("Once"), sampling=Sampling(max_output=0)))["max_tokens"] == 0


@pytest.mark.req("COMP-REQ-010")
def test_a_conversation_is_written_down_as_a_play() -> None:
    state = OpaqueState("p", "m", "a", b"")
    request = asked(
        MessageItem("system", (TextPart("Be brief."),)),
        user("Look."),
        ReasoningItem("hm", state),
        MessageItem("assistant", (TextPart("I look."),)),
        ToolCallItem("c", "look", '{"a":1}'),
        ToolResultItem("c", (TextPart("seen"),)),
        ToolResultItem("d", (TextPart("no eyes"),), failed=True),
        CompactionItem(state),
        MessageItem("assistant", (RefusalPart("No."),)),
        user("And?"),
        sampling=Sampling(stop=("x",)),
    )
    assert encode(request)["prompt"] == "\n\n".join(
        [
            "Be brief.",
            "User: Look.",
            "Assistant: I look.",
            'Assistant calls look (c): {"a":1}',
            "Result of c: seen",
            "Failure of d: no eyes",
            "Assistant: No.",
            "User: And?",
            CUE,
        ]
    )
    assert encode(request)["stop"] == ["x", STOP]
    assert dropped(request) == ()


@pytest.mark.req("COMP-REQ-009")
def test_what_has_no_place_is_told_once_and_in_order() -> None:
    parts = (
        ImagePart(PIXEL),
        FilePart("f"),
        AudioPart("x", transcript="hi"),
        OpaquePart("gemini", b"{}"),
        ImagePart("u"),
    )
    request = asked(
        MessageItem("user", parts, "ann"),
        tools=(Tool("f"),),
        tool_choice=ToolChoice("required"),
        output_format=OutputFormat("json_object"),
        thinking=Thinking("high", 5),
        verbosity="low",
        sampling=Sampling(top_k=5, stop=tuple("abcde")),
        extra={"store": Raw(b"true"), "nothing": Raw(b"null")},
    )
    assert dropped(request) == (
        "name",
        "part.image",
        "part.file",
        "part.audio",
        "part.opaque",
        "stop",
        "tools",
        "tool_choice",
        "output_format",
        "effort",
        "thinking_budget",
        "verbosity",
        "top_k",
        "store",
    )
    assert encode(request)["prompt"] == f"User: hi\n\n{CUE}"
    assert len(encode(request)["stop"]) == 4


def test_what_asks_for_the_usual_loses_nothing() -> None:
    request = asked(
        user(), output_format=OutputFormat("text"), thinking=Thinking("none", 0), tool_choice=ToolChoice("none")
    )
    assert dropped(request) == ()


# --- several prompts ---------------------------------------------
@pytest.mark.req("COMP-SPLIT-001")
@given(st.lists(WORDS, min_size=1, max_size=5), st.none() | st.integers(1, 3))
def test_several_prompts_become_requests_of_one_each(prompts: list[str], choices: int | None) -> None:
    bodies = split(head(prompt=prompts, n=choices, user="ann", stream=True))
    found = [CODEC.decode_request(one, NOWHERE) for one in bodies]
    whole = decode(n=choices, user="ann", stream=True)
    assert found == [replace(whole, items=(user(text),)) for text in prompts]


@pytest.mark.parametrize("prompt", ["Once", [1, 2], None])
def test_one_prompt_is_one_request(prompt: Any) -> None:
    (one,) = split(head(prompt=prompt))
    assert json.loads(one) == {"model": "m", "prompt": prompt}


def test_arrays_of_tokens_stay_tokens() -> None:
    assert [json.loads(one)["prompt"] for one in split(head(prompt=[[1], [2, 3]]))] == [[1], [2, 3]]


def test_a_request_is_not_split_without_bound() -> None:
    for members in ({"prompt": ["a"] * (MAX_PROMPTS + 1)}, {"prompt": ["a"] * 100, "suffix": "x" * (1 << 20)}):
        with pytest.raises(InvalidRequest) as caught:
            split(head(**members))
        assert caught.value.param == "prompt"


_JUNK = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.lists(WORDS)


@pytest.mark.req("COMP-REQ-004")
@given(
    st.dictionaries(
        st.sampled_from(["prompt", "stop", "user", "seed", "suffix", "logprobs", "presence_penalty", "n", "best_of"]),
        _JUNK,
    )
)
def test_whatever_a_client_sends_is_read_or_refused(members: dict[str, Any]) -> None:
    try:
        request = decode(**members)
    except InvalidRequest:
        return
    assert CODEC.encode_request(request, MAKER).body
    assert body(**members)
