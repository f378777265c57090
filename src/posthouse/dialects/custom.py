"""Custom tools over a wire that has only functions.

Such a tool is written as a function with one text, `input`, and `tool.custom` is told to be dropped: by the codec of a
dialect that has no custom tools, and by `as_functions` for a provider that does not take those of its dialect. What the
model then calls is a function with an object; for the client it is a call of its custom tool with the text.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from posthouse.core.events import Event, Failed, Finished, ToolCallDelta, ToolCallStarted, UsageReported
from posthouse.core.items import InnerRequest, InnerResponse, Item, OpaqueTool, Tool, ToolCallItem
from posthouse.core.requests import Operation
from posthouse.dialects.errors import DialectError

MAX_INPUT: Final = 4 << 20  # characters
MAX_CALLS: Final = 1024
# The wires whose dialect has custom tools. The codecs of the others write functions.
WIRES: Final[frozenset[Operation]] = frozenset({"chat.completions", "responses"})
_WHOLE_INPUT: Final = "The whole input of the tool, as free text."


class _Input(Struct):
    input: str


class _Grammar(Struct, tag="grammar"):
    syntax: str
    definition: str


_decode_input: Final = msgspec.json.Decoder(_Input).decode
_decode_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_grammar: Final = msgspec.json.Decoder(_Grammar).decode
_encode: Final = msgspec.json.Encoder().encode


def customs_of(request: InnerRequest) -> frozenset[str]:
    """The names of a request's custom tools."""
    return frozenset(tool.name for tool in request.tools if isinstance(tool, Tool) and tool.kind == "custom")


def as_function(tool: Tool) -> Tool:
    """A custom tool as a function with one text; its grammar binds nobody, so the model is told of it."""
    rule = ""
    if tool.format is not None:
        try:
            grammar = _decode_grammar(tool.format)
            rule = f" It must follow this grammar ({grammar.syntax}):\n{grammar.definition}"
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            pass  # any text, as far as we know
    member = {"type": "string", "description": _WHOLE_INPUT + rule}
    schema = {"type": "object", "properties": {"input": member}, "required": ["input"], "additionalProperties": False}
    return Tool(tool.name, "function", tool.description, schema=_encode(schema))


def as_functions(request: InnerRequest) -> tuple[InnerRequest, tuple[str, ...]]:
    """A request whose custom tools, a choice of one of them and calls of them are functions, and what that drops."""

    def function(tool: Tool | OpaqueTool) -> Tool | OpaqueTool:
        return as_function(tool) if isinstance(tool, Tool) and tool.kind == "custom" else tool

    def called(item: Item) -> Item:
        if isinstance(item, ToolCallItem) and item.kind == "custom":
            return replace(item, kind="function", arguments=_encode(_Input(item.arguments)).decode())
        return item

    choice = request.tool_choice
    if choice is not None and choice.kind == "custom":
        choice = replace(choice, kind="function")
    dropped = ("tool.custom",) if customs_of(request) else ()
    tools, items = tuple(map(function, request.tools)), tuple(map(called, request.items))
    return replace(request, items=items, tools=tools, tool_choice=choice), dropped


def unwrapped(arguments: str) -> str:
    """The text in `{"input": text}`; anything else as it stands, since that is what the model wrote."""
    try:
        return _decode_input(arguments.encode("utf-8", "surrogatepass")).input
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return arguments


def turned_back(response: InnerResponse, customs: frozenset[str]) -> InnerResponse:
    """A whole answer with calls of these functions as calls of custom tools."""

    def turned(item: Item) -> Item:
        if isinstance(item, ToolCallItem) and item.kind == "function" and item.name in customs:
            return replace(item, kind="custom", arguments=unwrapped(item.arguments))
        return item

    choices = tuple(replace(choice, items=tuple(map(turned, choice.items))) for choice in response.choices)
    return replace(response, choices=choices)


class _Held:
    """What a call is called with, as far as it has come; `tried`: its length when it was not whole yet."""

    __slots__ = ("pieces", "size", "tried")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.size = 0
        self.tried = 0

    def is_whole(self) -> bool:
        """Told seldom and cheaply, since text may come by turns with a long call: no is also said too often."""
        if not self.pieces or self.size < 2 * self.tried or not self.pieces[-1].rstrip().endswith("}"):
            return False
        self.tried = self.size
        return _is_whole("".join(self.pieces))


class CustomCalls:
    """The same for a stream: the arguments of such a call are held back until it is whole. Calls of one choice may come
    by turns."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._open: dict[tuple[int, int], _Held] = {}  # (choice, call)
        self._closed: set[tuple[int, int]] = set()
        self._size = 0

    def turned(self, events: Sequence[Event]) -> list[Event]:
        """DialectError where the calls that are open have more than MAX_INPUT characters, or are too many."""
        out: list[Event] = []
        for event in events:
            if isinstance(event, ToolCallDelta):
                self._argue(event, out)
                continue
            if self._open and not isinstance(event, UsageReported | Failed):
                self._close(event.choice, out, all_of_them=isinstance(event, Finished))
            if isinstance(event, ToolCallStarted) and event.kind == "function" and event.name in self._names:
                if len(self._open) + len(self._closed) >= MAX_CALLS:
                    raise DialectError("an answer calls too many tools")
                self._open[event.choice, event.call] = _Held()
                event = replace(event, kind="custom")
            out.append(event)
        return out

    def _argue(self, event: ToolCallDelta, out: list[Event]) -> None:
        place = (event.choice, event.call)
        held = self._open.get(place)
        if held is not None:
            self._size += len(event.arguments)
            if self._size > MAX_INPUT:
                raise DialectError("a call of a tool is too large")
            held.pieces.append(event.arguments)
            held.size += len(event.arguments)
        elif place not in self._closed:
            out.append(event)

    def _close(self, choice: int, out: list[Event], *, all_of_them: bool) -> None:
        """Gives the input of a choice's open calls: at its end of all, else of the last one if it is whole (what stayed
        open longer comes by turns)."""
        places = [place for place in self._open if place[0] == choice]
        for place in places if all_of_them else places[-1:]:
            held = self._open[place]
            if not all_of_them and not held.is_whole():
                continue
            arguments = "".join(held.pieces)
            del self._open[place]
            self._closed.add(place)
            self._size -= len(arguments)
            out.append(ToolCallDelta(unwrapped(arguments), "custom", place[1], place[0]))


def _is_whole(arguments: str) -> bool:
    try:
        _decode_object(arguments.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True
