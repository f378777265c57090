"""chat.completions, whole: requests and answers to and from the inner form.

Needed where the two sides speak different dialects; where they speak the same, bytes pass and nothing here runs.
Members of a request that the inner form does not name are carried in `extra` and written only into this dialect again.
"""

from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import (
    Choice,
    InnerRequest,
    InnerResponse,
    Items,
    MessageItem,
    OpaqueTool,
    OutputFormat,
    ReasoningItem,
    Sampling,
    Tool,
    ToolCallItem,
    ToolChoice,
)
from posthouse.core.parts import AudioPart, RefusalPart, TextPart
from posthouse.dialects.errors import DialectError
from posthouse.dialects.fields import Fields
from posthouse.dialects.openai_chat_head import decode_head
from posthouse.dialects.openai_chat_items import (
    DIALECT,
    Json,
    decode_message,
    decode_messages,
    encode_call,
    encode_messages,
)
from posthouse.dialects.openai_usage import usage_of, usage_payload

# Read by `decode_head` or below; everything else starts out as `extra`.
_NAMED: Final = frozenset(
    {"model", "messages", "stream", "max_completion_tokens", "max_tokens", "temperature", "top_p", "stop", "n"}
)
_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def decode_request(body: bytes) -> InnerRequest:
    """InvalidRequest naming the field that does not fit."""
    head = decode_head(body)
    fields = head.fields
    extra = {name: raw for name, raw in fields.items() if name not in _NAMED}
    tools = _decode_tools(extra.pop("tools", None))
    choice = _decode_tool_choice(extra)
    output_format = _decode_format(extra)
    if _value(extra, "stream_options") == {"include_usage": True}:
        del extra["stream_options"]
    return InnerRequest(
        dialect=DIALECT,
        model=head.model,
        items=decode_messages(_value(fields, "messages")),
        tools=tools,
        tool_choice=choice,
        parallel_tools=_take(extra, "parallel_tool_calls", bool),
        output_format=output_format,
        effort=_take(extra, "reasoning_effort", str),
        sampling=Sampling(
            max_output=head.max_output,
            temperature=_value(fields, "temperature"),
            top_p=_value(fields, "top_p"),
            stop=_decode_stop(fields),
            choices=_value(fields, "n"),
            seed=_take(extra, "seed", int),
        ),
        stream=head.stream,
        include_usage=head.include_usage,
        extra=extra,
    )


def encode_request(request: InnerRequest) -> bytes:
    """A body of chat.completions; what has no place in it (compactions, opaque state, foreign parts) is left out."""
    sampling = request.sampling
    body: Json = {"model": request.model, "messages": encode_messages(request.items)}
    optional = {
        "tools": [_encode_tool(tool) for tool in request.tools if isinstance(tool, Tool) or tool.dialect == DIALECT],
        "tool_choice": _encode_tool_choice(request.tool_choice),
        "parallel_tool_calls": request.parallel_tools,
        "response_format": _encode_format(request.output_format),
        "reasoning_effort": request.effort,
        "max_completion_tokens": sampling.max_output,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop": list(sampling.stop),
        "n": sampling.choices,
        "seed": sampling.seed,
        "stream": request.stream or None,
        "stream_options": {"include_usage": True} if request.include_usage else None,
    }
    body.update({name: value for name, value in optional.items() if value is not None and value != []})
    if request.dialect == DIALECT:
        body.update(request.extra)
    return _encode(body)


def decode_response(body: bytes) -> InnerResponse:
    """DialectError where the body is no chat completion."""
    try:
        whole = _decode_object(body)
        choices = tuple(
            Choice(tuple(decode_message({"role": "assistant", **choice["message"]})), choice.get("finish_reason"))
            for choice in whole["choices"]
        )
    except (msgspec.DecodeError, UnicodeError, RecursionError, KeyError, TypeError, InvalidRequest):
        raise DialectError("the answer is not a chat completion") from None
    created = whole.get("created")
    return InnerResponse(
        id=str(whole.get("id") or ""),
        model=str(whole.get("model") or ""),
        created=created if isinstance(created, int) else 0,
        choices=choices,
        usage=usage_of(whole.get("usage")),
    )


def encode_response(response: InnerResponse) -> bytes:
    body: Json = {
        "id": response.id,
        "object": "chat.completion",
        "created": response.created,
        "model": response.model,
        "choices": [
            {
                "index": index,
                "message": _encode_answer(choice.items),
                "logprobs": None,
                "finish_reason": choice.finish,
            }
            for index, choice in enumerate(response.choices)
        ],
    }
    if response.usage is not None:
        body["usage"] = usage_payload(response.usage)
    return _encode(body)


def _encode_answer(items: Items) -> Json:
    """One message out of all that a choice holds; its text is joined, as this dialect has one place for it."""
    message: Json = {"role": "assistant", "content": None, "refusal": None}
    calls: list[Json] = []
    for item in items:
        if isinstance(item, ToolCallItem):
            calls.append(encode_call(item))
        elif isinstance(item, ReasoningItem) and item.text:
            message["reasoning_content"] = message.get("reasoning_content", "") + item.text
        elif isinstance(item, MessageItem):
            for part in item.parts:
                if isinstance(part, TextPart):
                    message["content"] = (message["content"] or "") + part.text
                elif isinstance(part, RefusalPart):
                    message["refusal"] = (message["refusal"] or "") + part.text
                elif isinstance(part, AudioPart):
                    message["audio"] = {"id": part.id, "data": part.data, "format": part.format}
            if not item.parts:
                message["content"] = message["content"] or ""
    if calls:
        message["tool_calls"] = calls
    return message


class _Function(Struct, forbid_unknown_fields=True):
    name: str
    description: str | None = None
    parameters: Raw = Raw(b"null")
    strict: bool | None = None


class _FunctionTool(Struct, tag="function", forbid_unknown_fields=True):
    function: _Function


class _Custom(Struct, forbid_unknown_fields=True):
    name: str
    description: str | None = None
    format: Raw = Raw(b"null")


class _CustomTool(Struct, tag="custom", forbid_unknown_fields=True):
    custom: _Custom


def _decode_tools(raw: Raw | None) -> tuple[Tool | OpaqueTool, ...]:
    if raw is None:
        return ()
    return tuple(_decode_tool(payload) for payload in msgspec.json.decode(raw, type=list[Raw] | None) or ())


def _decode_tool(payload: Raw) -> Tool | OpaqueTool:
    try:
        tool = msgspec.json.decode(payload, type=_FunctionTool | _CustomTool)
    except msgspec.DecodeError:
        return OpaqueTool(DIALECT, bytes(payload))
    if isinstance(tool, _CustomTool):
        custom = tool.custom
        return Tool(custom.name, "custom", custom.description, format=_json(custom.format))
    function = tool.function
    return Tool(
        function.name, "function", function.description, schema=_json(function.parameters), strict=function.strict
    )


def _encode_tool(tool: Tool | OpaqueTool) -> Any:
    if isinstance(tool, OpaqueTool):
        return Raw(tool.payload)
    inner = {
        "name": tool.name,
        "description": tool.description,
        "parameters": None if tool.schema is None else Raw(tool.schema),
        "format": None if tool.format is None else Raw(tool.format),
        "strict": tool.strict,
    }
    return {"type": tool.kind, tool.kind: {name: value for name, value in inner.items() if value is not None}}


class _Name(Struct, forbid_unknown_fields=True):
    name: str


class _NamedFunction(Struct, tag="function", forbid_unknown_fields=True):
    function: _Name


class _NamedCustom(Struct, tag="custom", forbid_unknown_fields=True):
    custom: _Name


_decode_choice = msgspec.json.Decoder(Literal["none", "auto", "required"] | _NamedFunction | _NamedCustom).decode


def _decode_tool_choice(extra: Fields) -> ToolChoice | None:
    """Takes `tool_choice` out of `extra` where the inner form can say it; what it cannot stays there."""
    raw = extra.get("tool_choice")
    if raw is None:
        return None
    try:
        value = _decode_choice(raw)
    except msgspec.DecodeError:
        return None
    del extra["tool_choice"]
    match value:
        case _NamedFunction(function=function):
            return ToolChoice("named", function.name)
        case _NamedCustom(custom=custom):
            return ToolChoice("named", custom.name, "custom")
        case mode:
            return ToolChoice(mode)


def _encode_tool_choice(choice: ToolChoice | None) -> Any:
    if choice is None or choice.mode != "named":
        return None if choice is None else choice.mode
    return {"type": choice.kind, choice.kind: {"name": choice.name}}


class _TextFormat(Struct, tag="text", forbid_unknown_fields=True):
    pass


class _ObjectFormat(Struct, tag="json_object", forbid_unknown_fields=True):
    pass


class _Schema(Struct, forbid_unknown_fields=True):
    name: str
    description: str | None = None
    schema: Raw = Raw(b"null")
    strict: bool | None = None


class _SchemaFormat(Struct, tag="json_schema", forbid_unknown_fields=True):
    json_schema: _Schema


_Format = _TextFormat | _ObjectFormat | _SchemaFormat


def _decode_format(extra: Fields) -> OutputFormat | None:
    """Takes `response_format` out of `extra` where the inner form can say it."""
    raw = extra.get("response_format")
    if raw is None:
        return None
    try:
        value: _Format = msgspec.json.decode(raw, type=_Format)
    except msgspec.DecodeError:
        return None
    del extra["response_format"]
    match value:
        case _TextFormat():
            return OutputFormat("text")
        case _ObjectFormat():
            return OutputFormat("json_object")
        case _SchemaFormat(json_schema=inner):
            return OutputFormat("json_schema", inner.name, inner.description, _json(inner.schema), inner.strict)


def _encode_format(output: OutputFormat | None) -> Any:
    if output is None or output.kind != "json_schema":
        return None if output is None else {"type": output.kind}
    inner = {
        "name": output.name,
        "description": output.description,
        "schema": None if output.schema is None else Raw(output.schema),
        "strict": output.strict,
    }
    return {"type": "json_schema", "json_schema": {name: value for name, value in inner.items() if value is not None}}


def _json(raw: Raw) -> bytes | None:
    """The bytes of a member, None where it is absent or null."""
    return None if bytes(raw) == b"null" else bytes(raw)


def _decode_stop(fields: Fields) -> tuple[str, ...]:
    stop = _value(fields, "stop")
    if isinstance(stop, str):
        return (stop,)
    for text in stop or ():
        if not isinstance(text, str):
            raise InvalidRequest("Invalid 'stop': expected strings.", param="stop", code="invalid_type")
    return tuple(stop or ())


def _value(fields: Fields, name: str) -> Any:
    raw = fields.get(name)
    try:
        return None if raw is None else msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise InvalidRequest(f"Invalid '{name}'.", param=name, code="invalid_value") from None


def _take(extra: Fields, name: str, kind: type) -> Any:
    """Takes a member of this type out of `extra`; one of another type stays there, and None is returned."""
    value = _value(extra, name)
    if type(value) is not kind:
        return None
    del extra[name]
    return value
