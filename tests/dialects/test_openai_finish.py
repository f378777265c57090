"""Why an answer ended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.dialects.openai_finish import meant, written

_KNOWN = frozenset({"stop", "length"})


@given(st.none() | st.text() | st.integers() | st.lists(st.text()), st.booleans())
def test_whatever_is_said_is_a_word_or_nothing(reason: object, called: bool) -> None:
    inner = meant(reason, called)
    assert inner is None or inner
    assert written(inner, _KNOWN) in _KNOWN


def test_our_own_words_mean_themselves() -> None:
    assert [meant(word) for word in ("stop", "length", "tool_calls", "content_filter")] == [
        "stop",
        "length",
        "tool_calls",
        "content_filter",
    ]


@pytest.mark.parametrize(
    ("reason", "inner"),
    [("STOP", "stop"), ("LENGTH", "length"), ("tool-calls", "tool_calls"), ("Content_Filter", "content_filter")],
)
def test_the_usual_words_are_known_however_they_are_spelt(reason: str, inner: str) -> None:
    assert meant(reason) == inner


def test_a_stop_in_capitals_after_calls_means_the_calls() -> None:
    assert meant("STOP", called=True) == "tool_calls"
