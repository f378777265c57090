"""Tools, the choice between them, and the form of the output, as the Responses API writes them: flat."""

from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import InnerRequest, OpaqueTool, OutputFormat, Tool, ToolChoice
from posthouse.dialects.fields import Fields
from posthouse.dialects.openai_responses_items import DIALECT, Json, invalid

_NULL: Final = Raw(b"null")


class _Typed(Struct, gc=False):
    type: str


class _Function(Struct, gc=False):
    """What else it may have (deferred loading, who may call it) is about tools that run at the provider."""

    name: str
    description: str | None = None
    parameters: Raw = _NULL
    strict: bool | None = None


class _Custom(Struct, gc=False):
    name: str
    description: str | None = None
    format: Raw = _NULL


_decode_list = Decoder(list[Raw] | None).decode
_decode_typed = Decoder(_Typed).decode
_decode_function = Decoder(_Function).decode
_decode_custom = Decoder(_Custom).decode


def decode_tools(raw: Raw | None) -> tuple[Tool | OpaqueTool, ...]:
    """InvalidRequest naming the member of the tool that does not fit."""
    payloads = [] if raw is None else _decode_list(raw) or []
    return tuple([_decode_tool(payload, f"tools[{index}]") for index, payload in enumerate(payloads)])


def _decode_tool(payload: Raw, where: str) -> Tool | OpaqueTool:
    try:
        kind = _decode_typed(payload).type
        if kind == "function":
            function = _decode_function(payload)
            schema = json_of(function.parameters)
            return Tool(function.name, "function", function.description, schema=schema, strict=function.strict)
        if kind == "custom":
            custom = _decode_custom(payload)
            return Tool(custom.name, "custom", custom.description, format=json_of(custom.format))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise invalid(error, where) from None
    return OpaqueTool(DIALECT, bytes(payload))


def encode_tools(request: InnerRequest, dropped: dict[str, None]) -> list[Json | Raw]:
    tools: list[Json | Raw] = []
    for tool in request.tools:
        if isinstance(tool, Tool):
            tools.append(_encode_tool(tool, request.dialect == DIALECT))
        elif tool.dialect == DIALECT:
            tools.append(Raw(tool.payload))
        else:
            dropped["tool.opaque"] = None
    return tools


def _encode_tool(tool: Tool, own: bool) -> Json:
    said: Json = {"type": tool.kind, "name": tool.name}
    if tool.description is not None:
        said["description"] = tool.description
    if tool.kind == "custom":
        if tool.format is not None:
            said["format"] = Raw(tool.format)
        return said
    said["parameters"] = None if tool.schema is None else Raw(tool.schema)
    # Unlike every other dialect, this one makes a schema strict where nothing is said (guide to function calling:
    # optional members become mandatory), so that nothing must be said aloud.
    said["strict"] = tool.strict if tool.strict is not None or own else False
    return said


class _NamedFunction(Struct, tag="function", forbid_unknown_fields=True):
    name: str


class _NamedCustom(Struct, tag="custom", forbid_unknown_fields=True):
    name: str


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
        case _NamedFunction(name):
            return ToolChoice("named", name)
        case _NamedCustom(name):
            return ToolChoice("named", name, "custom")
        case mode:
            return ToolChoice(mode)


def encode_tool_choice(choice: ToolChoice | None) -> Any:
    if choice is None or choice.mode != "named":
        return None if choice is None else choice.mode
    return {"type": choice.kind, "name": choice.name}


class _TextFormat(Struct, tag="text"):
    pass


class _ObjectFormat(Struct, tag="json_object"):
    pass


class _SchemaFormat(Struct, tag="json_schema"):
    name: str
    description: str | None = None
    schema: Raw = _NULL
    strict: bool | None = None


_Format = _TextFormat | _ObjectFormat | _SchemaFormat
_FORMATS: Final = ("text", "json_object", "json_schema")
_decode_format = Decoder(_Format).decode


def decode_format(raw: Raw) -> OutputFormat | None:
    """`text.format`; None where it is of a type that the inner form does not know. InvalidRequest naming the member."""
    try:
        if _decode_typed(raw).type not in _FORMATS:
            return None
        value: _Format = _decode_format(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise invalid(error, "text.format") from None
    match value:
        case _TextFormat():
            return OutputFormat("text")
        case _ObjectFormat():
            return OutputFormat("json_object")
        case _SchemaFormat(name, description, schema, strict):
            return OutputFormat("json_schema", name, description, json_of(schema), strict)


def encode_format(output: OutputFormat | None) -> Json | None:
    if output is None or output.kind != "json_schema":
        return None if output is None else {"type": output.kind}
    said = {
        "type": "json_schema",
        # The name is required here too, and in dialects of another family there is none.
        "name": output.name or "output",
        "description": output.description,
        "schema": None if output.schema is None else Raw(output.schema),
        "strict": output.strict,
    }
    return {name: value for name, value in said.items() if value is not None}


def json_of(raw: Raw) -> bytes | None:
    """The bytes of a member, None where it is absent or null."""
    return None if bytes(raw) == b"null" else bytes(raw)


def value_of(raw: Raw | None, name: str) -> Any:
    """A member decoded, None where it is absent. InvalidRequest where that cannot be."""
    try:
        return None if raw is None else msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise InvalidRequest(f"Invalid '{name}'.", param=name, code="invalid_value") from None
