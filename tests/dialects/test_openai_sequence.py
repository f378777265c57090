"""What chunks say, made a legal sequence of events."""

import pytest

from posthouse.core.events import (
    Event,
    Failed,
    Finished,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_sequence import MAX_CALLS, MAX_CHOICES, MAX_HELD, UNSAID, Sequence, made_id


def ordered(*said: Event, whole: bool = True) -> list[Event]:
    sequence = Sequence()
    events = [event for one in said for event in sequence.take([one], b"seed")]
    return events + sequence.end(whole, b"end")


@pytest.mark.req("CHAT-STREAM-017")
def test_a_choice_begins_before_it_says_anything_and_once() -> None:
    assert ordered(TextDelta("a"), Started(), Started(1, "user"), TextDelta("b", 1), whole=False) == [
        Started(),
        TextDelta("a"),
        Started(1, "user"),
        TextDelta("b", 1),
    ]


@pytest.mark.req("CHAT-STREAM-017")
def test_a_choice_ends_once_after_all_it_says() -> None:
    said = (TextDelta("a"), Finished("length"), UsageReported(Usage(1)), TextDelta("b"), Finished("stop"))
    for whole in (True, False):
        assert ordered(*said, whole=whole) == [
            Started(),
            TextDelta("a"),
            UsageReported(Usage(1)),
            TextDelta("b"),
            Finished("stop"),
        ]


def test_nothing_is_said_after_the_end() -> None:
    sequence = Sequence()
    sequence.take([TextDelta("a"), Finished("stop")], b"")
    assert sequence.end(True) == [Finished("stop")]
    assert sequence.take([TextDelta("b"), Finished("stop")], b"") == []
    assert sequence.end(True) == []


def test_a_stream_with_an_end_mark_has_ended_without_a_reason() -> None:
    call = ToolCallStarted("c", "f")
    assert ordered(TextDelta("a"), whole=True)[-1] == Finished("stop")
    assert ordered(call, whole=True)[-1] == Finished("tool_calls")
    assert ordered(TextDelta("a"), whole=False)[-1] == TextDelta("a")
    assert ordered() == []


def test_a_stop_after_calls_means_the_calls() -> None:
    assert ordered(ToolCallStarted("c", "f"), Finished("stop"))[-1] == Finished("tool_calls")
    assert ordered(ToolCallStarted("c", "f"), Finished("length"))[-1] == Finished("length")
    assert ordered(TextDelta("a"), Finished("eos"))[-1] == Finished("stop")


def test_nothing_follows_a_failure() -> None:
    assert ordered(TextDelta("a"), Failed("broke"), TextDelta("b"), Finished("stop")) == [
        Started(),
        TextDelta("a"),
        Failed("broke"),
    ]


# --- calls -------------------------------------------------------
def calls(*said: Event) -> list[Event]:
    """What a choice says of its calls."""
    begun, *events, ended = ordered(*said)
    assert begun == Started()
    assert isinstance(ended, Finished)
    return events


@pytest.mark.req("CHAT-STREAM-018")
def test_calls_are_counted_from_0_however_the_provider_counts() -> None:
    assert calls(
        ToolCallStarted("a", "f", call=7),
        ToolCallDelta("1", call=7),
        ToolCallStarted("b", "g", call=3),
        ToolCallDelta("2", call=3),
        ToolCallDelta("3", call=7),
    ) == [
        ToolCallStarted("a", "f", call=0),
        ToolCallDelta("1", call=0),
        ToolCallStarted("b", "g", call=1),
        ToolCallDelta("2", call=1),
        ToolCallDelta("3", call=0),
    ]


@pytest.mark.req("CHAT-STREAM-018")
@pytest.mark.parametrize("number", [UNSAID, 0])
def test_another_id_with_a_name_is_another_call(number: int) -> None:
    assert calls(
        ToolCallStarted("a", "f", call=number),
        ToolCallDelta("1", call=number),
        ToolCallStarted("b", "f", call=number),
        ToolCallDelta("2", call=number),
    ) == [
        ToolCallStarted("a", "f"),
        ToolCallDelta("1"),
        ToolCallStarted("b", "f", call=1),
        ToolCallDelta("2", call=1),
    ]


@pytest.mark.parametrize("number", [UNSAID, 0])
def test_an_id_and_a_name_may_be_said_with_every_piece(number: int) -> None:
    piece = (ToolCallStarted("a", "f", call=number), ToolCallDelta("1", call=number))
    assert calls(*piece, *piece) == [ToolCallStarted("a", "f"), ToolCallDelta("1"), ToolCallDelta("1")]


def test_calls_without_ids_and_numbers_are_told_apart_by_their_names() -> None:
    piece = (ToolCallStarted("", "f", call=UNSAID), ToolCallDelta("1", call=UNSAID))
    first, second = (event for event in calls(*piece, *piece) if isinstance(event, ToolCallStarted))
    assert (first.call, second.call) == (0, 1)
    assert first.call_id == made_id(b"seed", 0, 0) != second.call_id == made_id(b"seed", 0, 1)


def test_a_call_begins_when_it_has_a_name() -> None:
    assert calls(
        ToolCallStarted("a", ""), ToolCallDelta("1"), ToolCallStarted("", "f"), ToolCallDelta("2")
    ) == [ToolCallStarted("a", "f"), ToolCallDelta("1"), ToolCallDelta("2")]  # fmt: skip
    assert calls(ToolCallDelta("1"), ToolCallStarted("a", "f")) == [ToolCallStarted("a", "f"), ToolCallDelta("1")]


def test_a_call_that_gets_no_name_is_said_at_the_end() -> None:
    assert calls(ToolCallDelta("1", "custom")) == [
        ToolCallStarted(made_id(b"end", 0, 0), "", "custom"),
        ToolCallDelta("1", "custom"),
    ]


def test_no_stream_grows_without_bound() -> None:
    sequence = Sequence()
    for index in range(MAX_CHOICES):
        sequence.take([TextDelta("a", index)], b"")
    with pytest.raises(DialectError):
        sequence.take([TextDelta("a", MAX_CHOICES)], b"")
    sequence = Sequence()
    for number in range(MAX_CALLS):
        sequence.take([ToolCallStarted("c", "f", call=number)], b"")
    with pytest.raises(DialectError):
        sequence.take([ToolCallStarted("c", "f", call=MAX_CALLS)], b"")
    sequence = Sequence()
    sequence.take([ToolCallDelta("x" * MAX_HELD)], b"")
    with pytest.raises(DialectError):
        sequence.take([ToolCallDelta("x")], b"")


def test_a_made_id_fits_every_dialect() -> None:
    made = made_id(b"\xff", 10**12, -1)
    assert made.isascii()
    assert made.replace("_", "").isalnum()
    assert len(made) <= 40


def test_what_is_held_for_a_name_is_given_whole() -> None:
    sequence = Sequence()
    sequence.take([ToolCallDelta(str(number % 10), call=0) for number in range(1_000)], b"x")
    *_, named, held = sequence.take([ToolCallStarted("c", "f", call=0)], b"x")
    assert isinstance(named, ToolCallStarted)
    assert held == ToolCallDelta("0123456789" * 100)


def test_a_function_that_is_called_with_nothing_is_called_with_an_empty_object() -> None:
    begun: list[Event] = [
        ToolCallStarted("c", "f", call=0),
        ToolCallDelta("", call=0),
        ToolCallStarted("d", "g", call=1),
    ]
    ended: list[Event] = [ToolCallDelta("{} ", call=1), Finished("stop")]
    sequence = Sequence()
    sequence.take([*begun, *ended], b"x")
    assert sequence.end(whole=True) == [ToolCallDelta("{}"), Finished("tool_calls")]
    cut = Sequence()
    cut.take([*begun, Finished("length")], b"x")
    assert cut.end(whole=True) == [Finished("length")]
    custom = Sequence()
    custom.take([ToolCallStarted("c", "f", "custom", 0), Finished("tool_calls")], b"x")
    assert custom.end(whole=True) == [Finished("tool_calls")]
