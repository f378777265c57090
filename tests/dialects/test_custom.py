"""Custom tools over a wire that has only functions: wrapped for the provider, unwrapped for the client."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from posthouse.core.events import Event, Finished, Started, TextDelta, ToolCallDelta, ToolCallStarted
from posthouse.core.items import (
    Choice,
    InnerRequest,
    InnerResponse,
    Item,
    OpaqueTool,
    Tool,
    ToolCallItem,
    ToolChoice,
    ToolResultItem,
)
from posthouse.dialects.custom import (
    MAX_CALLS,
    MAX_INPUT,
    CustomCalls,
    as_function,
    as_functions,
    customs_of,
    turned_back,
    unwrapped,
)
from posthouse.dialects.errors import DialectError
from tests.dialects import inner

FUNCTIONS: inner.Without = frozenset({"customs"})


@given(st.text())
def test_what_was_wrapped_comes_out_as_it_was(text: str) -> None:
    assert unwrapped(json.dumps({"input": text})) == text


@pytest.mark.parametrize("arguments", ["", "ls", "{}", '{"input": 7}', '{"command": "ls"}', "[" * 100_000, "\ud800"])
def test_what_is_not_wrapped_stays_as_the_model_wrote_it(arguments: str) -> None:
    assert unwrapped(arguments) == arguments


def test_the_custom_tools_of_a_request_are_known_by_their_names() -> None:
    tools = (Tool("run", "custom"), Tool("get_weather"), OpaqueTool("any", b"{}"))
    assert customs_of(InnerRequest("any", "m", (), tools=tools)) == {"run"}


def test_only_calls_of_these_functions_are_turned_back() -> None:
    items: tuple[Item, ...] = (
        ToolCallItem("c1", "run", '{"input": "ls"}'),
        ToolCallItem("c2", "get_weather", '{"input": "ls"}'),
    )
    answer = InnerResponse("id", "m", 0, (Choice(items, "tool_calls"),))
    first, second = turned_back(answer, frozenset({"run"})).choices[0].items
    assert first == ToolCallItem("c1", "run", "ls", "custom")
    assert second == items[1]


@pytest.mark.parametrize("form", [None, b'{"type":"text"}', b"{}", b'{"type":"grammar","syntax":"lark"}', b"null"])
def test_a_custom_tool_of_any_text_is_a_function_of_any_text(form: bytes | None) -> None:
    made = as_function(Tool("run", "custom", "Runs it.", format=form))
    assert (made.name, made.kind, made.description, made.strict, made.format) == (
        "run",
        "function",
        "Runs it.",
        None,
        None,
    )
    assert json.loads(made.schema or b"")["properties"]["input"]["description"].endswith("as free text.")


def test_a_grammar_is_told_as_it_stands() -> None:
    form = b'{"type":"grammar","syntax":"lark","definition":"start: \\"a\\"\\n"}'
    schema = json.loads(as_function(Tool("run", "custom", format=form)).schema or b"")
    assert schema["properties"]["input"]["description"].endswith('(lark):\nstart: "a"\n')


@given(st.text())
def test_a_request_becomes_one_of_functions_only(text: str) -> None:
    function, opaque = Tool("get_weather", schema=b"{}"), OpaqueTool("any", b"{}")
    called = ToolCallItem("c1", "get_weather", text)
    items: tuple[Item, ...] = (ToolCallItem("c0", "run", text, "custom"), called, ToolResultItem("c0", ()))
    tools = (Tool("run", "custom"), function, opaque)
    request = InnerRequest("any", "m", items, tools, ToolChoice("named", "run", "custom"))
    made, dropped = as_functions(request)
    assert dropped == ("tool.custom",)
    assert made.tools == (as_function(Tool("run", "custom")), function, opaque)
    assert made.tool_choice == ToolChoice("named", "run")
    first, second, third = made.items
    assert isinstance(first, ToolCallItem)
    assert (first.kind, first.name, unwrapped(first.arguments)) == ("function", "run", text)
    assert (second, third) == items[1:]
    assert as_functions(made) == (made, ())


def wanted(events: Iterable[Event], names: frozenset[str]) -> dict[Any, Any]:
    """What a stream means once the calls of these names are custom ones."""
    meant = inner.meaning_of(events)
    for choice in meant.values():
        for call in choice["calls"].values() if isinstance(choice, dict) else ():
            if call[2] in names:
                call[3:] = ["custom", unwrapped(call[4])]
    return meant


@given(inner.streams(FUNCTIONS), st.data())
def test_a_stream_means_the_same_but_for_those_calls(events: list[Event], data: st.DataObject) -> None:
    called = sorted({event.name for event in events if isinstance(event, ToolCallStarted)})
    names = frozenset(data.draw(st.sets(st.sampled_from(called)))) if called else frozenset()
    wrapped = [
        replace(event, arguments=json.dumps({"input": event.arguments})) if isinstance(event, ToolCallDelta) else event
        for event in events
    ]
    for stream in (events, wrapped):
        calls = CustomCalls(names)
        told = [one for event in stream for one in calls.turned([event])]
        assert inner.meaning_of(told) == wanted(stream, names)


def test_a_call_that_is_whole_is_given_before_the_next_begins() -> None:
    calls = CustomCalls(frozenset({"run"}))
    assert calls.turned([Started(), ToolCallStarted("c1", "run"), ToolCallDelta('{"input": "a"}')])[-1] == (
        ToolCallStarted("c1", "run", "custom")
    )
    first, second = calls.turned([ToolCallStarted("c2", "run", call=1)])
    assert first == ToolCallDelta("a", "custom")
    assert second == ToolCallStarted("c2", "run", "custom", 1)
    assert calls.turned([ToolCallDelta(" ")]) == []  # it has been given
    assert calls.turned([Finished("tool_calls")]) == [ToolCallDelta("", "custom", 1), Finished("tool_calls")]


def test_what_is_held_back_is_bounded() -> None:
    calls = CustomCalls(frozenset({"run"}))
    calls.turned([ToolCallStarted("c1", "run")])
    with pytest.raises(DialectError):
        calls.turned([ToolCallDelta("x" * MAX_INPUT), ToolCallDelta("x")])
    many = CustomCalls(frozenset({"run"}))
    with pytest.raises(DialectError):
        many.turned([ToolCallStarted(f"c{number}", "run", call=number) for number in range(MAX_CALLS + 1)])


def test_other_choices_do_not_close_a_call() -> None:
    calls = CustomCalls(frozenset({"run"}))
    events: list[Event] = [
        ToolCallStarted("c1", "run"),
        ToolCallDelta('{"input"'),
        TextDelta("Hi", choice=1),
        ToolCallDelta(': "a"}'),
        Finished("tool_calls"),
    ]
    assert ToolCallDelta("a", "custom") in calls.turned(events)


def test_words_may_come_between_the_pieces_of_a_call() -> None:
    calls = CustomCalls(frozenset({"run"}))
    begun = calls.turned([ToolCallStarted("c1", "run"), ToolCallDelta('{"inp')])
    assert begun == [ToolCallStarted("c1", "run", "custom")]
    assert calls.turned([TextDelta("Hi")]) == [TextDelta("Hi")]
    assert calls.turned([ToolCallDelta('ut": "a"}'), TextDelta("!")]) == [ToolCallDelta("a", "custom"), TextDelta("!")]
    assert calls.turned([Finished("tool_calls")]) == [Finished("tool_calls")]
