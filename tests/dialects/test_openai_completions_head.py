"""The hot door of completions."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import InvalidRequest
from posthouse.dialects.openai_completions import decode_head
from posthouse.dialects.openai_completions_head import prompt_of
from tests.dialects.completions import body, head

_TOKENS = st.lists(st.integers(0, 2**31), min_size=1, max_size=4)
_PROMPTS = st.one_of(
    st.text(max_size=5),
    st.lists(st.text(max_size=5), min_size=1, max_size=4),
    _TOKENS,
    st.lists(_TOKENS, min_size=1, max_size=4),
)


@pytest.mark.req("COMP-REQ-001")
@given(_PROMPTS)
def test_a_prompt_has_four_forms(prompt: Any) -> None:
    request = head(prompt=prompt)
    assert prompt_of(request.fields) == prompt
    several = isinstance(prompt, list) and not isinstance(prompt[0], int)
    assert request.choices == (len(prompt) if several else 1)


@pytest.mark.parametrize("raw", [b'{"model":"m"}', b'{"model":"m","prompt":null}'])
def test_without_a_prompt_a_document_begins(raw: bytes) -> None:
    request = decode_head(raw)
    assert prompt_of(request.fields) is None
    assert request.choices == 1


@pytest.mark.req("COMP-REQ-002")
@pytest.mark.parametrize(
    "prompt", [5, True, {}, [], [[]], ["a", 5], ["a", None], [1, [2]], [-1], [1.5], [[1], []], [[["a"]]], [None]]
)
def test_any_other_prompt_is_refused_by_its_name(prompt: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        head(prompt=prompt)
    assert caught.value.param == "prompt"
    assert caught.value.status == 400


@pytest.mark.req("COMP-REQ-003")
def test_what_is_generated_is_counted() -> None:
    assert head(n=3).choices == 3
    assert head(prompt=["a", "b"], n=3).choices == 6
    assert head(prompt=["a", "b"], n=2, best_of=5).choices == 10
    assert head(prompt=[1, 2, 3], n=2).choices == 2
    assert head(n=None, best_of=None).choices == head(best_of=0).choices == 1


@pytest.mark.req("COMP-REQ-003")
@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"best_of": 129}, "best_of"),
        ({"prompt": ["a"] * 100, "n": 41}, "prompt"),
        ({"prompt": ["a"] * 4097}, "prompt"),
    ],
)
def test_what_is_too_much_or_too_little_is_refused(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        head(**members)
    assert caught.value.param == param


@pytest.mark.req("COMP-REQ-004")
@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("model", 5),
        ("stream", "yes"),
        ("stream_options", 5),
        ("stream_options", {"include_usage": "yes"}),
        ("n", "two"),
        ("best_of", 1.5),
        ("max_tokens", -1),
        ("max_tokens", 2**31),
        ("temperature", "hot"),
        ("top_p", []),
        ("echo", 1),
        ("suffix", 5),
        ("stop", 5),
    ],
)
def test_a_member_of_a_wrong_type_is_named(member: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        head(**{member: value})
    assert caught.value.param == member


@pytest.mark.req("COMP-REQ-005")
def test_everything_of_the_old_days_passes_as_it_came() -> None:
    members = {
        "suffix": "end",
        "max_tokens": 5,
        "temperature": 0,
        "top_p": 1,
        "n": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
        "logprobs": 5,
        "echo": True,
        "stop": ["a"],
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "best_of": 1,
        "logit_bias": {"50256": -100},
        "seed": 1,
        "user": "ann",
        "unknown": {"a": [1]},
    }
    request = head(**members)
    assert json.loads(json.dumps({"model": "m", "prompt": "Once", **members})) == {
        name: json.loads(bytes(raw)) for name, raw in request.fields.items()
    }
    assert (request.operation, request.dialect) == ("completions", "openai_completions")
    assert (request.stream, request.include_usage, request.max_output) == (True, True, 5)
    assert head().max_output is None


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b'{"model":"m","prompt":' + b"[" * 100_000])
def test_what_is_no_request_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_head(raw)


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["model", "prompt", "n", "best_of", "stop", "stream_options", "echo"]), _JUNK))
def test_whatever_a_client_sends_is_read_or_refused(members: dict[str, Any]) -> None:
    try:
        assert head(**members).body_size == len(body(**members))
    except InvalidRequest as error:
        assert error.param in {*members, None}
