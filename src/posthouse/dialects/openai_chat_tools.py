"""Tools, the choice among them, and the form of the output in chat.completions, to and from the inner form.

A tool of a kind that we do not know stays as it came; a choice or a form that the inner form cannot say stays with the
request (`InnerRequest.extra`).
"""

from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.items import OpaqueTool, OutputFormat, Tool, ToolChoice
from posthouse.dialects.fields import Fields, kind_of
from posthouse.dialects.openai_chat_parts import DIALECT, Json, invalid

_NULL: Final = Raw(b"null")


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: Raw = _NULL
    strict: bool | None = None


class _Custom(Struct):
    name: str
    description: str | None = None
    format: Raw = _NULL


class _Tool(Struct):
    """Marks beside these members, such as those for a cache, have no inner form."""

    type: str = "function"
    function: _Function | None = None
    custom: _Custom | None = None


class _Type(Struct):
    type: str = "function"


class _Grammar(Struct):
    syntax: str
    definition: str


class _NestedFormat(Struct, tag="grammar"):
    """As this dialect writes it; the inner form has no level in between."""

    grammar: _Grammar


class _FlatFormat(Struct, tag="grammar"):
    syntax: str
    definition: str


_encode = msgspec.json.Encoder().encode
_decode_list: Final = Decoder(list[Raw] | None).decode
_decode_type: Final = Decoder(_Type).decode
_decode_tool: Final = Decoder(_Tool).decode
_decode_nested: Final = Decoder(_NestedFormat).decode
_decode_flat: Final = Decoder(_FlatFormat).decode


def decode_tools(raw: Raw | None) -> tuple[Tool | OpaqueTool, ...]:
    """InvalidRequest naming the tool that does not fit."""
    if raw is None:
        return ()
    return tuple(_tool(payload, f"tools[{index}]") for index, payload in enumerate(_decode_list(raw) or ()))


def _tool(payload: Raw, where: str) -> Tool | OpaqueTool:
    try:
        kind = _decode_type(payload).type
        if kind not in ("function", "custom"):
            return OpaqueTool(DIALECT, bytes(payload))
        tool = _decode_tool(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise invalid(where, "a tool has a type and what is called after it") from None
    if kind == "custom" and tool.custom is not None:
        return Tool(tool.custom.name, "custom", tool.custom.description, format=_flat(tool.custom.format))
    if kind != "function" or tool.function is None:
        raise invalid(where, "a tool has a type and what is called after it")
    function = tool.function
    if kind_of(function.parameters) not in ("an object", "null"):
        raise invalid(f"{where}.function.parameters", "expected a JSON schema")
    schema = _json(function.parameters)
    return Tool(function.name, "function", function.description, schema=schema, strict=function.strict)


def encode_tool(tool: Tool | OpaqueTool) -> Any:
    if isinstance(tool, OpaqueTool):
        return Raw(tool.payload)
    inner = {
        "name": tool.name,
        "description": tool.description,
        "parameters": None if tool.schema is None else Raw(tool.schema),
        "format": None if tool.format is None else _nested(tool.format),
        "strict": tool.strict,
    }
    return {"type": tool.kind, tool.kind: {name: value for name, value in inner.items() if value is not None}}


def _flat(raw: Raw) -> bytes | None:
    try:
        grammar = _decode_nested(raw).grammar
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _json(raw)
    return _encode(_FlatFormat(grammar.syntax, grammar.definition))


def _nested(payload: bytes) -> Any:
    try:
        flat = _decode_flat(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Raw(payload)
    return _NestedFormat(_Grammar(flat.syntax, flat.definition))


class _Name(Struct):
    name: str


class _NamedFunction(Struct, tag="function"):
    function: _Name


class _NamedCustom(Struct, tag="custom"):
    custom: _Name


_decode_choice = Decoder(Literal["none", "auto", "required"] | _NamedFunction | _NamedCustom).decode


def decode_tool_choice(extra: Fields) -> ToolChoice | None:
    """Takes `tool_choice` out of `extra` where the inner form can say it; what it cannot stays there."""
    raw = extra.get("tool_choice")
    if raw is None:
        return None
    try:
        value = _decode_choice(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    del extra["tool_choice"]
    match value:
        case _NamedFunction(function=function):
            return ToolChoice("named", function.name)
        case _NamedCustom(custom=custom):
            return ToolChoice("named", custom.name, "custom")
        case mode:
            return ToolChoice(mode)


def encode_tool_choice(choice: ToolChoice | None) -> Any:
    if choice is None or choice.mode != "named":
        return None if choice is None else choice.mode
    return {"type": choice.kind, choice.kind: {"name": choice.name}}


class _Schema(Struct):
    name: str
    description: str | None = None
    schema: Raw = _NULL
    strict: bool | None = None


class _Format(Struct):
    type: str
    json_schema: _Schema | None = None


_decode_format: Final = Decoder(_Format).decode


def decode_format(extra: Fields) -> OutputFormat | None:
    """Takes `response_format` out of `extra` where the inner form can say it."""
    raw = extra.get("response_format")
    if raw is None:
        return None
    try:
        value = _decode_format(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    match value:
        case _Format(type="text" | "json_object" as kind):
            made = OutputFormat("text" if kind == "text" else "json_object")
        case _Format(type="json_schema", json_schema=_Schema() as inner):
            made = OutputFormat("json_schema", inner.name, inner.description, _json(inner.schema), inner.strict)
        case _:
            return None
    del extra["response_format"]
    return made


def encode_format(output: OutputFormat | None) -> Json | None:
    if output is None or output.kind != "json_schema":
        return None if output is None else {"type": output.kind}
    inner = {
        # The name is required here, and in no other dialect.
        "name": output.name or "output",
        "description": output.description,
        "schema": None if output.schema is None else Raw(output.schema),
        "strict": output.strict,
    }
    return {"type": "json_schema", "json_schema": {name: value for name, value in inner.items() if value is not None}}


def _json(raw: Raw) -> bytes | None:
    """The bytes of a member, None where it is absent or null."""
    return None if bytes(raw) == b"null" else bytes(raw)
