"""How much to think, as a word, and who sees it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.items import InnerRequest, Thinking
from posthouse.dialects.thinking import budget_of, effort_of, shown_of

_ORDER = ["none", "minimal", "low", "medium", "high"]


def test_no_number_is_too_large() -> None:
    assert effort_of(10**400) == "high"


def test_an_effort_has_a_budget_that_means_it() -> None:
    for effort in _ORDER[1:]:
        assert effort_of(budget_of(effort) or 0) == effort
    assert budget_of("max") == budget_of("xhigh") == budget_of("high")
    assert budget_of("none") is budget_of("utmost") is None


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
