"""Requests of gemini, whole, to and from the inner form. The model and whether to stream stand in the path.

What the inner form does not name is carried in `extra` by its dotted path (`generationConfig.speechConfig`), so that a
report of what was lost names it, and is written into this dialect again.
"""

import re
from typing import Any, Final

import msgspec
from msgspec import Raw

from posthouse.core.items import (
    InnerRequest,
    Items,
    MessageItem,
    OpaqueState,
    OpaqueTool,
    OutputFormat,
    Sampling,
    Thinking,
    Tool,
    ToolCallItem,
    ToolChoice,
)
from posthouse.core.parts import AudioPart, FilePart, ImagePart, TextPart
from posthouse.dialects.codec import Addressed, Encoded, Maker
from posthouse.dialects.custom import as_function
from posthouse.dialects.fields import MAX_TOKENS, Fields, decode_fields, missing
from posthouse.dialects.gemini_contents import ContentReader, ContentWriter, sign_current_turn
from posthouse.dialects.gemini_fields import DIALECT, ERRORS, Json, Members, invalid
from posthouse.dialects.gemini_parts import Lost, encode_part, unsealed
from posthouse.dialects.gemini_schema import json_schema
from posthouse.dialects.pairing import BEGINNING, side_by_side
from posthouse.dialects.thinking import shown_of

MAX_CHOICES: Final = 128
_encode = msgspec.json.Encoder().encode

# What ids look like that calls are given; one that stands anywhere in a body is not given again.
_MADE_UP: Final = re.compile(rb'"(call_[0-9]+)"')
_EFFORTS: Final = {
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}
_MODES: Final = {"AUTO": "auto", "ANY": "required", "NONE": "none", "VALIDATED": "auto"}
_MODE_OF: Final = {"auto": "AUTO", "required": "ANY", "none": "NONE", "named": "ANY"}
# Objects whose unknown members are carried one by one.
_NESTED: Final = ("generationConfig.", "toolConfig.")
# What an instruction cannot hold: it is text.
_MEDIA: Final[dict[type, str]] = {ImagePart: "part.image", FilePart: "part.file", AudioPart: "part.audio"}
# More than five stop sequences are refused (ai.google.dev/api/generate-content, GenerationConfig; 2026-11).
_MAX_STOPS: Final = 5


def decode_request(body: bytes, addressed: Addressed) -> InnerRequest:
    """InvalidRequest naming the member that does not fit."""
    members = Members(decode_fields(body))
    members.raw("model")  # the path says it
    reader = ContentReader(unsealed, taken=[name.decode() for name in _MADE_UP.findall(body)])
    _read_system(members, reader)
    contents = members.objects("contents")
    if not contents:
        raise missing("contents")
    for content in contents:
        reader.read(content)
    extra: Fields = {}
    tools = _decode_tools(members)
    choice = _decode_tool_choice(members.object("toolConfig"), extra)
    config = members.object("generationConfig") or Members({})
    output_format = _decode_format(config)
    thinking = _decode_thinking(config.object("thinkingConfig"), extra)
    sampling = Sampling(
        max_output=config.whole("maxOutputTokens", 0, MAX_TOKENS),
        temperature=config.number("temperature"),
        top_p=config.number("topP"),
        top_k=config.whole("topK"),
        stop=tuple(config.strings("stopSequences")),
        choices=config.whole("candidateCount", 1, MAX_CHOICES),
        seed=config.whole("seed"),
        presence_penalty=config.number("presencePenalty"),
        frequency_penalty=config.number("frequencyPenalty"),
    )
    _keep(config, "generationConfig", extra)
    return InnerRequest(
        dialect=DIALECT,
        model=addressed.model,
        items=reader.said(),
        tools=tools,
        tool_choice=choice,
        output_format=output_format,
        thinking=thinking,
        sampling=sampling,
        stream=addressed.stream,
        extra={**members.rest(), **extra},
    )


def _keep(members: Members | None, path: str, extra: Fields) -> None:
    """What nobody read of `members`."""
    if members is not None:
        extra.update({f"{path}.{name}": raw for name, raw in members.rest().items()})


def _read_system(members: Members, reader: ContentReader) -> None:
    """A content, or a string in its place, as some clients send it."""
    raw = members.rest().get("systemInstruction")
    if raw is None:
        return
    try:
        text: Any = msgspec.json.decode(raw, type=str)
    except ERRORS:
        text = None
    if text is not None:
        members.raw("systemInstruction")
        if text:
            reader.items.append(MessageItem("system", (TextPart(text),)))
        return
    content = members.object("systemInstruction")
    if content is not None and content.rest().get("parts", Raw(b"[]")) != Raw(b"[]"):
        reader.read(content, "system")


def _decode_tools(members: Members) -> tuple[Tool | OpaqueTool, ...]:
    """One Tool for each declared function; what else an object declares becomes a tool that only this dialect knows."""
    tools: list[Tool | OpaqueTool] = []
    for tool in members.objects("tools") or ():
        declared = tool.objects("functionDeclarations")
        for function in declared or ():
            name = function.string("name")
            if not name:
                raise invalid(function.at("name"), "a function needs a name")
            schema = _decode_schema(function, "parameters", "parametersJsonSchema")
            tools.append(Tool(name, "function", function.string("description"), schema=schema))
        if tool or declared is None:
            tools.append(OpaqueTool(DIALECT, _encode(tool.rest())))
    return tuple(tools)


def _decode_schema(members: Members, subset: str, full: str) -> bytes | None:
    raw, older = members.raw(full), members.raw(subset)
    if raw is not None:
        return bytes(raw)
    return None if older is None else json_schema(older, members.at(subset))


def _decode_tool_choice(config: Members | None, extra: Fields) -> ToolChoice | None:
    """The nearest choice; what it does not say (several allowed functions, VALIDATED) stays beside it."""
    calling = None if config is None else config.object("functionCallingConfig")
    _keep(config, "toolConfig", extra)
    if calling is None:
        return None
    said = calling.string("mode")
    mode = (said or "AUTO").upper()
    path = "toolConfig.functionCallingConfig"
    allowed = calling.rest().get("allowedFunctionNames")
    names = calling.strings("allowedFunctionNames")
    choice: ToolChoice | None
    if mode == "ANY" and len(names) == 1:
        choice = ToolChoice("named", names[0])
    else:
        if allowed is not None and names:
            extra[f"{path}.allowedFunctionNames"] = allowed
        if said is not None and mode not in ("AUTO", "ANY", "NONE"):
            extra[f"{path}.mode"] = Raw(_encode(said))
        inner: Any = _MODES.get(mode)
        choice = None if inner is None else ToolChoice(inner)
    _keep(calling, path, extra)
    return choice


def _decode_format(config: Members) -> OutputFormat | None:
    """Formats that the inner form has no word for (an enumeration, YAML) stay where they are."""
    kind = config.rest().get("responseMimeType")
    value = None if kind is None else _string(kind)
    if value not in (None, "text/plain", "application/json"):
        return None
    config.string("responseMimeType")
    schema = _decode_schema(config, "responseSchema", "responseJsonSchema")
    if schema is not None:
        return OutputFormat("json_schema", schema=schema)
    if value is None:
        return None
    return OutputFormat("text" if value == "text/plain" else "json_object")


def _string(raw: Raw) -> str | None:
    try:
        return msgspec.json.decode(raw, type=str)
    except ERRORS:
        return None


def _decode_thinking(config: Members | None, extra: Fields) -> Thinking:
    if config is None:
        return Thinking()
    path = "generationConfig.thinkingConfig"
    level = config.string("thinkingLevel")
    budget = config.whole("thinkingBudget")
    if budget is not None and budget < 0:  # -1: as the model likes, which is more than to leave it out
        extra[f"{path}.thinkingBudget"] = Raw(b"%d" % budget)
        budget = None
    effort = None if level is None or level.upper() == "THINKING_LEVEL_UNSPECIFIED" else level.lower()
    thinking = Thinking(effort, budget, config.boolean("includeThoughts"))
    _keep(config, path, extra)
    return thinking


# --- for a provider ----------------------------------------------
def encode_request(request: InnerRequest, maker: Maker) -> Encoded:
    """A body of generateContent. Its `dropped` is in order of appearance in the body."""
    lost: Lost = {}
    native = request.dialect == DIALECT
    leading, items = _split_system(request.items)
    if leading and not items:  # no conversation without contents: who has only instructions says them as the user
        items, leading = tuple([MessageItem("user", item.parts) for item in leading]), ()
        lost["role"] = None

    def signature_of(state: OpaqueState) -> str | None:
        own = (state.provider, state.model, state.account) == (maker.provider, maker.model, maker.account)
        nobodys = native and not (state.provider or state.model or state.account)
        return state.payload.decode("utf-8", "replace") if own or nobodys else None

    writer = ContentWriter(signature_of, lost, faithful=native)
    writer.write(items if native else _in_turns(items, lost))
    contents = writer.contents or [{"role": "user", "parts": [{"text": " "}]}]  # neither none nor empty is accepted
    sign_current_turn(contents)
    body: Json = {"contents": contents}
    if system := _encode_system(leading, lost):
        body["systemInstruction"] = {"parts": system}
    if tools := _encode_tools(request, lost):
        body["tools"] = tools
    if calling := _encode_tool_choice(request, lost):
        body["toolConfig"] = {"functionCallingConfig": calling}
    if config := _encode_config(request, lost):
        body["generationConfig"] = config
    said = {"user": request.user, "verbosity": request.verbosity}
    lost.update({name: None for name, value in said.items() if value is not None})
    if request.parallel_tools is False and tools and not (request.tool_choice and request.tool_choice.mode == "none"):
        lost["parallel_tools"] = None
    for name, raw in request.extra.items():
        if native:
            _put(body, name, raw)
        else:
            lost[name] = None
    return Encoded(_encode(body), tuple(lost))


def _in_turns(items: Items, lost: Lost) -> Items:
    """The API refuses a turn that calls functions unless as many results follow it, and something goes before it."""
    told, orphans = side_by_side(items)
    if orphans:
        lost["role"] = None
    first = next((item for item in told if isinstance(item, MessageItem | ToolCallItem)), None)
    if isinstance(first, ToolCallItem):
        told.insert(0, MessageItem("user", (TextPart(BEGINNING),)))
    return tuple(told)


def _put(body: Json, name: str, raw: Raw) -> None:
    *path, last = name.split(".") if name.startswith(_NESTED) else [name]
    for step in path:
        if not isinstance(body.get(step), dict):
            body[step] = {}
        body = body[step]
    body[last] = raw


def _split_system(items: Items) -> tuple[tuple[MessageItem, ...], Items]:
    leading: list[MessageItem] = []
    for item in items:
        if not isinstance(item, MessageItem) or item.role not in ("system", "developer"):
            break
        leading.append(item)
    return tuple(leading), items[len(leading) :]


def _encode_system(messages: tuple[MessageItem, ...], lost: Lost) -> list[Json]:
    parts: list[Json] = []
    for message in messages:
        if message.name is not None:
            lost["name"] = None
        for part in message.parts:
            media = _MEDIA.get(type(part))
            if media is not None:
                lost[media] = None
            elif (encoded := encode_part(part, lost)) is not None:
                parts.append(encoded)
    return parts


def _encode_tools(request: InnerRequest, lost: Lost) -> list[Any]:
    functions: list[Json] = []
    tools: list[Any] = []
    for tool in request.tools:
        if isinstance(tool, OpaqueTool):
            if tool.dialect == DIALECT:
                tools.append(Raw(tool.payload))
            else:
                lost["tool.opaque"] = None
            continue
        if not functions:
            tools.append({"functionDeclarations": functions})
        functions.append(_encode_function(tool, lost))
    return tools


def _encode_function(tool: Tool, lost: Lost) -> Json:
    if tool.kind == "custom":
        lost["tool.custom"] = None
        tool = as_function(tool)
    function: Json = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.schema is not None:
        function["parametersJsonSchema"] = Raw(tool.schema)
    if tool.strict:
        lost["tool.strict"] = None
    return function


def _encode_tool_choice(request: InnerRequest, lost: Lost) -> Json | None:
    choice = request.tool_choice
    if choice is None:
        return None
    if not any(isinstance(tool, Tool) for tool in request.tools):
        if choice.mode in ("required", "named"):  # a demand without functions is refused
            lost["tool_choice"] = None
        return None
    calling: Json = {"mode": _MODE_OF[choice.mode]}
    if choice.mode == "named":
        calling["allowedFunctionNames"] = [choice.name]
    return calling


def _encode_config(request: InnerRequest, lost: Lost) -> Json:
    sampling = request.sampling
    seed, stop = sampling.seed, sampling.stop
    if seed is not None and not -(2**31) <= seed < 2**31:
        seed = lost.setdefault("seed")
    if len(stop) > _MAX_STOPS:
        stop = stop[:_MAX_STOPS]
        lost["stop"] = None
    config: Json = {
        "maxOutputTokens": sampling.max_output,
        "temperature": sampling.temperature,
        "topP": sampling.top_p,
        "topK": sampling.top_k,
        "stopSequences": list(stop) or None,
        "candidateCount": sampling.choices,
        "seed": seed,
        "presencePenalty": sampling.presence_penalty,
        "frequencyPenalty": sampling.frequency_penalty,
        "thinkingConfig": _encode_thinking(request, lost) or None,
        **_encode_format(request.output_format),
    }
    return {name: value for name, value in config.items() if value is not None}


def _encode_format(output: OutputFormat | None) -> Json:
    if output is None:
        return {}
    if output.kind == "text":
        return {"responseMimeType": "text/plain"}
    schema = None if output.schema is None else Raw(output.schema)
    return {"responseMimeType": "application/json", "responseJsonSchema": schema}


def _encode_thinking(request: InnerRequest, lost: Lost) -> Json:
    """A level or a budget: both at once are refused, so that a budget, which says more, goes before an effort."""
    thinking = request.thinking
    effort, budget = thinking.effort, thinking.budget
    native = request.dialect == DIALECT
    if effort == "none" and budget is None:
        effort, budget = None, 0
    level = effort.upper() if native and effort is not None else _EFFORTS.get(effort or "")
    if not native:
        if effort in ("xhigh", "max") or (effort is not None and (level is None or budget is not None)):
            lost["effort"] = None
        if budget is not None:
            level = None
    config = {"thinkingLevel": level, "thinkingBudget": budget, "includeThoughts": shown_of(request)}
    return {name: value for name, value in config.items() if value is not None}
