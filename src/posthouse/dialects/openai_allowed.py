"""A choice among some of the tools, which both dialects of OpenAI have, for whoever cannot say it.

    chat.completions  {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function",
                      "function": {"name": "f"}}]}}
    responses         {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}

The tools that may not be called are not told of; what is lost is that the list stays the same from turn to turn, which
a provider's cache would like. Hosted tools in such a list are of no concern: no other dialect is told of them anyway.
"""

from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from posthouse.core.items import InnerRequest, Tool, ToolChoice

_MEMBER: Final = "tool_choice"
_DIALECTS: Final = frozenset({"openai_chat", "openai_responses"})
_KINDS: Final = ("function", "custom")


class _Named(Struct, gc=False):
    name: Any = None


class _Allowed(Struct, gc=False):
    """One tool of the list, in either dialect."""

    type: Any = None
    name: Any = None
    function: _Named | None = None
    custom: _Named | None = None

    def named(self) -> tuple[Any, Any]:
        inner = self.custom if self.type == "custom" else self.function
        return self.type, self.name if inner is None else inner.name


class _List(Struct, gc=False):
    mode: Any = None
    tools: list[_Allowed] | None = None


class _Choice(Struct, gc=False):
    type: Any = None
    mode: Any = None
    tools: list[_Allowed] | None = None
    allowed_tools: _List | None = None


_decode: Final = Decoder(_Choice).decode


def narrowed(request: InnerRequest) -> InnerRequest:
    """The request with those tools only that may be called. The same object where its choice says nothing of that, or
    says what makes no sense."""
    raw = request.extra.get(_MEMBER)
    if raw is None or request.dialect not in _DIALECTS:
        return request
    try:
        choice = _decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return request
    said = choice.allowed_tools or _List(choice.mode, choice.tools)
    if choice.type != "allowed_tools" or said.mode not in ("auto", "required") or said.tools is None:
        return request
    names = {tool.named() for tool in said.tools if tool.type in _KINDS and isinstance(tool.named()[1], str)}
    tools = tuple(tool for tool in request.tools if not isinstance(tool, Tool) or (tool.kind, tool.name) in names)
    extra = {name: raw for name, raw in request.extra.items() if name != _MEMBER}
    return replace(request, tools=tools, tool_choice=ToolChoice(said.mode), extra=extra)
