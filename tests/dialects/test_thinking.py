"""How much to think, as a word, and who sees it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.items import InnerRequest, Thinking
from posthouse.dialects.thinking import effort_of, shown_of

_ORDER = ["none", "minimal", "low", "medium", "high"]


@given(st.integers(-1, 10**6), st.integers(-1, 10**6))
def test_more_is_never_less(one: int, other: int) -> None:
    less, more = sorted((one, other))
    assert _ORDER.index(effort_of(less)) <= _ORDER.index(effort_of(more))


def test_usual_budgets_are_their_efforts() -> None:
    assert [effort_of(budget) for budget in (0, 512, 1_024, 4_096, 16_384)] == _ORDER


@pytest.mark.parametrize(
    ("dialect", "thinking", "shown"),
    [
        ("anthropic_messages", Thinking(budget=1024), True),
        ("anthropic_messages", Thinking(budget=1024, shown=False), False),
        ("anthropic_messages", Thinking(budget=0), None),
        ("anthropic_messages", Thinking("high"), None),
        ("gemini", Thinking(budget=1024), None),
        ("gemini", Thinking(shown=True), True),
    ],
)
def test_a_budget_of_the_messages_api_shows_the_thoughts(dialect: str, thinking: Thinking, shown: bool | None) -> None:
    assert shown_of(InnerRequest(dialect, "m", (), thinking=thinking)) is shown
