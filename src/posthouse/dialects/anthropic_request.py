"""A client's request of the Messages API to the inner form.

Members that the inner form does not name, or whose value it cannot say, are carried in `extra` as they came.
"""

from typing import Final, TypeVar

from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import (
    InnerRequest,
    Item,
    Items,
    MessageItem,
    OpaqueTool,
    OutputFormat,
    Sampling,
    Thinking,
    Tool,
    ToolChoice,
)
from posthouse.core.requests import ModelRequest
from posthouse.dialects.anthropic_blocks import BlockReader, decode_parts
from posthouse.dialects.anthropic_fields import DIALECT, read, refusal, type_at
from posthouse.dialects.anthropic_head import head_of
from posthouse.dialects.codec import Addressed
from posthouse.dialects.fields import Fields, decode_fields, kind_of, missing, model_of

# Read from the head; everything else starts out as `extra`.
_NAMED: Final = frozenset({"model", "messages", "max_tokens", "stream"})
_NULL: Final = Raw(b"null")
T = TypeVar("T")


class _Message(Struct, gc=False):
    role: str
    content: Raw


_messages: Final = Decoder(list[_Message])
_system: Final = Decoder(str | list[Raw])
_number: Final = Decoder(float | None)
_integer: Final = Decoder(int | None)
_texts: Final = Decoder(list[str] | None)
_tools: Final = Decoder(list[Raw] | None)


def decode_request(body: bytes, addressed: Addressed) -> InnerRequest:
    """InvalidRequest naming the member that does not fit."""
    return _inner(_head(body, addressed, counted=False))


def decode_count_request(body: bytes, addressed: Addressed) -> InnerRequest:
    """A request to count tokens, as the request whose input is to be counted."""
    return _inner(_head(body, addressed, counted=True))


def _head(body: bytes, addressed: Addressed, counted: bool) -> ModelRequest:
    fields = decode_fields(body)
    model = addressed.model if addressed.model and "model" not in fields else model_of(fields)
    head = head_of(fields, model, len(body))
    if counted:
        head.stream = False
        return head
    if head.max_output is None:
        raise missing("max_tokens")
    if "stream" not in fields:
        head.stream = addressed.stream
    return head


def _inner(head: ModelRequest) -> InnerRequest:
    fields = head.fields
    extra = {name: raw for name, raw in fields.items() if name not in _NAMED}
    if extra.pop("thread", _NULL) != _NULL:
        # Said as the API says it, upon which its SDK sends the whole conversation instead.
        raise InvalidRequest(
            "Threads are kept by the provider, and this model's has none: send the whole conversation.",
            param="thread",
            code="thread_unsupported_request",
        )
    system = _decode_system(extra.pop("system", _NULL))
    items = system + _decode_messages(fields["messages"])
    choice, parallel = _decode_choice(extra)
    effort, output_format = _decode_output(extra)
    return InnerRequest(
        dialect=DIALECT,
        model=head.model,
        items=items,
        tools=_decode_tools(extra.pop("tools", _NULL)),
        tool_choice=choice,
        parallel_tools=parallel,
        output_format=output_format,
        thinking=_decode_thinking(extra, effort),
        user=_decode_user(extra),
        sampling=Sampling(
            max_output=head.max_output,
            temperature=_take(extra, "temperature", _number),
            top_p=_take(extra, "top_p", _number),
            top_k=_take(extra, "top_k", _integer),
            stop=tuple(_take(extra, "stop_sequences", _texts) or ()),
        ),
        stream=head.stream,
        extra=extra,
    )


def _take(extra: Fields, name: str, decoder: Decoder[T]) -> T | None:
    raw = extra.pop(name, None)
    return None if raw is None else read(decoder, raw, name)


def _decode_system(raw: Raw) -> Items:
    if raw == _NULL:
        return ()
    parts = decode_parts(read(_system, raw, "system"), "system")
    return (MessageItem("system", parts),) if parts else ()


def _decode_messages(raw: Raw) -> Items:
    reader = BlockReader()
    items: list[Item] = []
    messages = read(_messages, raw, "messages")
    for index, message in enumerate(messages):
        if message.role not in ("user", "assistant", "system"):
            raise refusal(f"messages.{index}.role", "Input should be 'user', 'assistant' or 'system'")
        items += reader.items(message.role, message.content, f"messages.{index}.content")
    return tuple(items)


class _ToolKind(Struct):
    type: str | None = None


class _Function(Struct):
    """Members that guide only this API (a cache breakpoint, who may call it, examples) are left out."""

    name: str
    input_schema: Raw
    description: str | None = None
    strict: bool | None = None


_tool_kind: Final = Decoder(_ToolKind)
_function: Final = Decoder(_Function)


def _decode_tools(raw: Raw) -> tuple[Tool | OpaqueTool, ...]:
    return tuple(_decode_tool(tool, f"tools.{index}") for index, tool in enumerate(read(_tools, raw, "tools") or ()))


def _decode_tool(raw: Raw, where: str) -> Tool | OpaqueTool:
    if read(_tool_kind, raw, where).type not in (None, "custom"):
        return OpaqueTool(DIALECT, bytes(raw))
    tool = read(_function, raw, where)
    if kind_of(tool.input_schema) != "an object":
        raise refusal(f"{where}.input_schema", "Input should be an object", "invalid_type")
    return Tool(tool.name, "function", tool.description, schema=bytes(tool.input_schema), strict=tool.strict)


class _Choice(Struct):
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


_choice: Final = Decoder(_Choice)


def _decode_choice(extra: Fields) -> tuple[ToolChoice | None, bool | None]:
    """Takes `tool_choice` out of `extra`, also as `parallel_tools`; one of an unknown type stays there."""
    raw = extra.get("tool_choice", _NULL)
    if raw == _NULL:
        extra.pop("tool_choice", None)
        return None, None
    kind = type_at(raw, "tool_choice")
    value = read(_choice, raw, "tool_choice")
    parallel = None if value.disable_parallel_tool_use is None else not value.disable_parallel_tool_use
    match kind:
        case "auto" | "none":
            choice = ToolChoice(kind)
        case "any":
            choice = ToolChoice("required")
        case "tool":
            if value.name is None:
                raise missing("tool_choice.name")
            choice = ToolChoice("named", value.name)
        case _:
            return None, parallel
    del extra["tool_choice"]
    return choice, parallel


class _Thinking(Struct):
    budget_tokens: int | None = None
    display: str | None = None


_thinking: Final = Decoder(_Thinking)


def _decode_thinking(extra: Fields, effort: str | None) -> Thinking:
    """Takes `thinking` out of `extra`; one of an unknown type stays there.

    Adaptive thinking without an effort is the model's own way, as is a request that says nothing at all.
    """
    raw = extra.get("thinking", _NULL)
    if raw == _NULL:
        extra.pop("thinking", None)
        return Thinking(effort)
    kind = type_at(raw, "thinking")
    value = read(_thinking, raw, "thinking")
    shown = {"summarized": True, "omitted": False}.get(value.display or "")
    match kind:
        case "adaptive":
            thinking = Thinking(effort, shown=shown)
        case "enabled":
            if value.budget_tokens is None:
                raise missing("thinking.budget_tokens")
            if value.budget_tokens < 0:
                raise refusal("thinking.budget_tokens", "Input should be greater than or equal to 0")
            thinking = Thinking(effort, value.budget_tokens, shown)
        case "disabled":
            thinking = Thinking("none") if effort is None else Thinking(effort, 0)
        case _:
            return Thinking(effort)
    del extra["thinking"]
    return thinking


class _Format(Struct, tag_field="type", tag="json_schema"):
    schema: Raw


class _Output(Struct):
    effort: str | None = None
    format: _Format | None = None


_output: Final = Decoder(_Output | None)
_members: Final = Decoder(dict[str, Raw] | None)


def _decode_output(extra: Fields) -> tuple[str | None, OutputFormat | None]:
    """Effort and format of `output_config`, which stays in `extra` where it holds more than these."""
    raw = extra.get("output_config", _NULL)
    members = read(_members, raw, "output_config") or {}
    value = read(_output, raw, "output_config") or _Output()
    if not members.keys() - {"effort", "format"}:
        extra.pop("output_config", None)
    if value.format is None:
        return value.effort, None
    if kind_of(value.format.schema) != "an object":
        raise refusal("output_config.format.schema", "Input should be an object", "invalid_type")
    return value.effort, OutputFormat("json_schema", schema=bytes(value.format.schema))


class _Metadata(Struct):
    user_id: str | None = None


_metadata: Final = Decoder(_Metadata | None)


def _decode_user(extra: Fields) -> str | None:
    """`metadata.user_id`; the metadata stay in `extra` where they hold more than that."""
    raw = extra.get("metadata", _NULL)
    members = read(_members, raw, "metadata") or {}
    value = read(_metadata, raw, "metadata") or _Metadata()
    if not members.keys() - {"user_id"}:
        extra.pop("metadata", None)
    return value.user_id
