"""Usage: classes that do not overlap."""

from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.usage import NO_USAGE, Usage

TOKENS = Usage.__struct_fields__[: Usage.__struct_fields__.index("images")]


@given(st.builds(Usage, *[st.integers(0, 10**9)] * len(TOKENS)))
def test_every_class_counts_in_exactly_one_total(usage: Usage) -> None:
    assert usage.total_input + usage.total_output == usage.total
    assert usage.total == sum(getattr(usage, name) for name in TOKENS)


def test_units_count_in_no_total() -> None:
    assert Usage(images=1, audio_ms=2, characters=3, searches=4, image_kind="1024x1024").total == 0


def test_no_usage_is_nothing() -> None:
    assert NO_USAGE.total == 0
