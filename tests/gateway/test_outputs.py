"""How much output is charged ahead: never more than was asked for, and near what answers have been."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.caller import Limits, Subject
from posthouse.gateway.outputs import BOUNDS, ENOUGH, FADE_AT, MAX_MODELS, Outputs, Sketch


@pytest.mark.req("LIMIT-105")
@given(st.lists(st.integers(0, 200_000), min_size=ENOUGH, max_size=400))
def test_the_estimate_covers_95_of_100_and_is_at_most_a_quarter_above(lengths: list[int]) -> None:
    sketch = Sketch()
    for length in lengths:
        sketch.add(length)
    most = sketch.most()
    assert most is not None
    assert sum(length > most for length in lengths) <= len(lengths) // 20
    exact = sorted(lengths)[len(lengths) - 1 - len(lengths) // 20]
    assert exact <= most <= max(exact * 5 // 4 + 1, 1)


@pytest.mark.req("LIMIT-106")
@given(st.lists(st.integers(0, 20_000), max_size=120), st.integers(1, 4), st.integers(0, 100_000))
def test_never_more_is_charged_ahead_than_was_asked_for(lengths: list[int], choices: int, cap: int) -> None:
    outputs = Outputs()
    for length in lengths:
        outputs.add("m", length)
    assert 0 <= outputs.likely("m", choices, cap, ()) <= cap
    assert outputs.likely("other", choices, cap, ()) == cap
    if len(lengths) < ENOUGH:
        assert outputs.likely("m", choices, cap, ()) == cap


def test_what_was_long_ago_fades() -> None:
    sketch = Sketch()
    for _ in range(FADE_AT):
        sketch.add(100_000)
    for _ in range(FADE_AT * 8):
        sketch.add(100)
    most = sketch.most()
    assert most is not None
    assert 100 <= most <= 126


def test_what_is_beyond_measure_is_no_estimate() -> None:
    sketch = Sketch()
    for _ in range(ENOUGH):
        sketch.add(BOUNDS[-1] + 1)
    assert sketch.most() is None


def test_a_limit_on_one_request_is_of_all_that_it_may_use() -> None:
    outputs = Outputs()
    for _ in range(ENOUGH):
        outputs.add("m", 10)
    bound = Subject("key_1", "key", "k", Limits(request_tokens=1000))
    free = Subject("key_1", "key", "k", Limits(tpm=1000))
    assert outputs.likely("m", 1, 5000, (bound,)) == 5000
    assert outputs.likely("m", 1, 5000, (free,)) < 20
    assert outputs.likely("m", 3, 5000, (free,)) == 3 * outputs.likely("m", 1, 5000, (free,))


def test_the_models_are_bounded_and_those_not_asked_go_first() -> None:
    outputs = Outputs()
    for _ in range(ENOUGH):
        outputs.add("kept", 10)
    for number in range(MAX_MODELS * 2):
        outputs.add(f"model {number}", 1)
        outputs.add("kept", 10)
    assert len(outputs) == MAX_MODELS
    assert outputs.likely("kept", 1, 5000, ()) < 20
