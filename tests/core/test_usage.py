"""Usage: classes that do not overlap."""

from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.usage import NO_USAGE, Usage


@given(st.builds(Usage, *[st.integers(0, 10**9)] * 10))
def test_every_class_counts_in_exactly_one_total(usage: Usage) -> None:
    assert usage.total_input + usage.total_output == usage.total
    assert usage.total == sum(getattr(usage, name) for name in usage.__struct_fields__)


def test_no_usage_is_nothing() -> None:
    assert NO_USAGE.total == 0
