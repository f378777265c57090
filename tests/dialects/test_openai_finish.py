"""Why an answer ended."""

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
