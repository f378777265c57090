"""Answers in the inner form, whole and as events, either way."""

import pytest
from hypothesis import given

from posthouse.core.events import (
    AudioDelta,
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    ReasoningState,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from posthouse.core.items import Choice, InnerResponse, MessageItem, OpaqueState, ReasoningItem, ToolCallItem
from posthouse.core.parts import AudioPart, RefusalPart, TextPart
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Maker
from posthouse.dialects.codecs import codec_of
from posthouse.dialects.errors import DialectError
from posthouse.dialects.inner import Collector, collected, events_of, text_of
from tests.dialects import inner

STATE = OpaqueState("vendor", "m", "main", b"x")


@given(inner.answers())
def test_a_whole_answer_means_the_same_as_its_events(answer: InnerResponse) -> None:
    collector = Collector()
    collector.add(events_of(answer))
    again = collector.response(answer.id)
    assert inner.meaning_of(events_of(again)) == inner.meaning_of(events_of(answer))
    assert again.usage == answer.usage
    assert text_of(again) == text_of(answer)


@given(inner.streams())
def test_a_stream_means_the_same_once_it_is_collected(events: list[Event]) -> None:
    collector = Collector()
    collector.add(events)
    again = inner.meaning_of(events_of(collector.response("id")))
    for number, choice in inner.meaning_of(events).items():
        if isinstance(choice, Usage):
            assert again["usage"] == choice
        else:
            assert again[number]["calls"] == choice["calls"]
            assert again[number]["finish"] == choice["finish"]


def test_what_follows_each_other_becomes_items_in_that_order() -> None:
    collector = Collector()
    collector.add(
        [
            Started(),
            ReasoningDelta("Let me "),
            ReasoningDelta("see."),
            ReasoningState(STATE),
            TextDelta("It is "),
            TextDelta("sunny."),
            ToolCallStarted("c1", "f"),
            ToolCallDelta('{"a":'),
            ToolCallDelta("1}"),
            ReasoningState(STATE),
            ToolCallStarted("c2", "g", call=1),
            Finished("tool_calls"),
            UsageReported(Usage(input=1)),
            UsageReported(Usage(input=2)),
        ]
    )
    assert collector.response("id") == InnerResponse(
        "id",
        "",
        0,
        (
            Choice(
                (
                    ReasoningItem("Let me see.", STATE),
                    MessageItem("assistant", (TextPart("It is sunny."),)),
                    ToolCallItem("c1", "f", '{"a":1}'),
                    ReasoningItem("", STATE),
                    ToolCallItem("c2", "g", ""),
                ),
                "tool_calls",
            ),
        ),
        Usage(input=2),
    )


def test_texts_and_refusals_side_by_side_are_parts_of_one_message() -> None:
    collector = Collector()
    collector.add(
        events_of(
            InnerResponse("", "", 0, (Choice((MessageItem("assistant", (TextPart("a"), RefusalPart("b"))),), "stop"),))
        )
    )
    (message,) = collector.response("id").choices[0].items
    assert message == MessageItem("assistant", (TextPart("a"), RefusalPart("b")))


def test_a_failure_is_told_beside_what_had_come() -> None:
    collector = Collector()
    collector.add([TextDelta("a"), Failed("broke", "server_error"), TextDelta("b")])
    assert collector.error is not None
    assert collector.error.message == "broke"
    assert text_of(collector.response("id")) == "a"


def test_arguments_without_a_call_are_no_answer() -> None:
    with pytest.raises(DialectError):
        Collector().add([ToolCallDelta("{}")])


def test_a_body_without_an_answer_is_none() -> None:
    for body in (b"", b": nothing\n\n", b"data: [DONE]\n\n"):
        with pytest.raises(DialectError):
            collected(body, codec_of("chat.completions").decoder(Maker("", "", "")))


def test_pieces_of_sound_that_are_padded_each_for_itself_are_one_sound() -> None:
    collector = Collector()
    collector.add([Started(), AudioDelta("aGk="), AudioDelta(transcript="hi"), AudioDelta("aGk="), Finished("stop")])
    [message] = collector.response("r").choices[0].items
    assert message == MessageItem("assistant", (AudioPart("aGloaQ==", None, None, "hi"),))
    plain = Collector()
    plain.add([AudioDelta("aGlo"), AudioDelta("aGk=")])
    [message] = plain.response("r").choices[0].items
    assert message == MessageItem("assistant", (AudioPart("aGloaGk="),))
    broken = Collector()
    broken.add([AudioDelta("a="), AudioDelta("aGk=")])
    with pytest.raises(DialectError):
        broken.response("r")
