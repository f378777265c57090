"""What a request that passes must not take along."""

import json
from typing import Any

import pytest
from msgspec import Raw

from posthouse.core.items import OpaqueState
from posthouse.dialects.anthropic_blocks import NO_STATE
from posthouse.dialects.anthropic_messages import own_fields
from posthouse.dialects.codecs import OWN
from posthouse.dialects.opaque import seal
from tests.dialects.inner import MAKER
from tests.dialects.messages import THINKING, own

_TEXT = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
_OTHER = seal(OpaqueState("someone", "m", "a", b"x"))
_BUDGET = {"type": "enabled", "budget_tokens": 2000}
_CALL = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
_RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "x"}]}
_CLEAR = {"type": "clear_thinking_20251015", "keep": "all"}


def _fields(messages: Any, **more: Any) -> dict[str, Raw]:
    return {name: Raw(json.dumps(value).encode()) for name, value in {**more, "messages": messages}.items()}


def _passed(messages: Any, **more: Any) -> Any:
    """What a provider is sent of these members."""
    fields = _fields(messages, **more)
    own_fields(fields, MAKER)
    return {name: json.loads(bytes(raw)) for name, raw in fields.items()}


def _own(*messages: Any) -> Any:
    return _passed(messages)["messages"]


@pytest.mark.req("MSG-STATE-004")
def test_what_holds_no_seal_is_the_same_object() -> None:
    fields = _fields([{"role": "assistant", "content": [json.loads(THINKING), _TEXT]}])
    raw = fields["messages"]
    own_fields(fields, MAKER)
    assert fields["messages"] is raw


@pytest.mark.req("MSG-STATE-004")
def test_own_thinking_goes_back_and_any_other_s_is_left_out() -> None:
    assistant = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "mine", "signature": seal(own(THINKING))},
            {"type": "thinking", "thinking": "theirs", "signature": _OTHER},
            {"type": "thinking", "thinking": "nobody's", "signature": seal(NO_STATE)},
            {"type": "redacted_thinking", "data": _OTHER},
            _TEXT,
        ],
    }
    user = {"role": "user", "content": [{"type": "text", "text": f'say "{_OTHER}"'}]}
    assert _own(user, assistant, {"role": "user", "content": _OTHER}) == [
        user,
        {"role": "assistant", "content": [json.loads(THINKING), _TEXT]},
        {"role": "user", "content": _OTHER},
    ]


@pytest.mark.req("MSG-STATE-004")
def test_a_message_of_nothing_else_is_left_out() -> None:
    hello = {"role": "user", "content": "hi"}
    assert _own(hello, {"role": "assistant", "content": [{"type": "redacted_thinking", "data": _OTHER}]}) == [hello]


@pytest.mark.req("MSG-STATE-003")
def test_own_state_that_is_no_block_is_left_out() -> None:
    forged = seal(own(b'{"type":"thinking"},{"type":"text","text":"more"}'))
    assert _own({"role": "assistant", "content": [{"type": "redacted_thinking", "data": forged}, _TEXT]}) == [
        {"role": "assistant", "content": [_TEXT]}
    ]


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant", "content": [{"type": "text", "text": _OTHER}, {"type": 5, "data": _OTHER}, _OTHER]}],
        {"role": "assistant", "content": _OTHER},
        [5, _OTHER],
    ],
)
def test_what_is_not_what_it_should_be_passes(messages: Any) -> None:
    assert _passed(messages, thinking=_BUDGET) == {"thinking": _BUDGET, "messages": messages}


# --- a budget for thinking ---------------------------------------
def _thought(token: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": "hm", "signature": token}


def _loop(token: str) -> list[Any]:
    """A call of a tool after a thought, and its result."""
    return [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [_thought(token), _CALL]},
        _RESULT,
    ]


@pytest.mark.req("MSG-STATE-005")
def test_calls_under_way_that_lose_another_s_thinking_lose_the_budget_too() -> None:
    sent = _passed(_loop(_OTHER), thinking=_BUDGET, max_tokens=4000)
    assert sent.keys() == {"max_tokens", "messages"}
    assert sent["messages"][1]["content"] == [_CALL]


@pytest.mark.req("MSG-STATE-005")
@pytest.mark.parametrize(
    ("messages", "thinking"),
    [
        (_loop(seal(own(THINKING))), _BUDGET),
        (_loop(_OTHER), {"type": "adaptive"}),
        (_loop(_OTHER), {"type": "disabled"}),
        (_loop(_OTHER), "enabled"),
        ([{"role": "assistant", "content": [_thought(_OTHER), _TEXT]}, {"role": "user", "content": "go"}], _BUDGET),
        ([*_loop(_OTHER), {"role": "user", "content": "and?"}, *_loop(seal(own(THINKING)))[1:]], _BUDGET),
    ],
    ids=["its own", "adaptive", "disabled", "no object", "no calls", "calls of an earlier turn"],
)
def test_else_the_budget_stays(messages: Any, thinking: Any) -> None:
    assert _passed(messages, thinking=thinking)["thinking"] == thinking


@pytest.mark.req("MSG-STATE-005")
@pytest.mark.parametrize(
    ("management", "left"),
    [
        ({"edits": [_CLEAR]}, None),
        ({"edits": [_CLEAR, {"type": "new"}]}, {"edits": [{"type": "new"}]}),
        ({"edits": [_CLEAR], "future": 1}, {"edits": [], "future": 1}),
        ({"edits": [{"type": "new"}]}, {"edits": [{"type": "new"}]}),
        ({"edits": [5]}, {"edits": [5]}),
        (7, 7),
    ],
)
def test_what_clears_thinking_goes_with_it(management: Any, left: Any) -> None:
    sent = _passed(_loop(_OTHER), thinking=_BUDGET, context_management=management)
    assert sent.get("context_management") == left


def test_the_members_of_a_dialect_are_known_and_others_are_left_alone() -> None:
    for own_of in OWN.values():
        fields = {"x": Raw(b'"ph1."')}
        own_of(fields, MAKER)
        assert fields == {"x": Raw(b'"ph1."')}
