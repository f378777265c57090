"""Requests of the Responses API to and from the inner form.

Members that the inner form does not name are carried in `extra`; they are written into this dialect again, and those of
`SHARED` from and to chat.completions too, which has them by the same name and with the same meaning. A provider keeps
nothing for us (`store` is false) where the client did not speak this dialect; so reasoning must come back encrypted.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from posthouse.core.items import InnerRequest, Item, Items, MessageItem, Sampling, Thinking
from posthouse.core.parts import TextPart
from posthouse.dialects.codec import Encoded, Maker
from posthouse.dialects.fields import Fields, kind_of
from posthouse.dialects.openai_members import asking
from posthouse.dialects.openai_responses_head import STATEFUL, read_head
from posthouse.dialects.openai_responses_items import DIALECT, ItemWriter, Json, decode_items, decode_parts, invalid
from posthouse.dialects.openai_responses_tools import (
    decode_format,
    decode_tool_choice,
    decode_tools,
    encode_format,
    encode_tool_choice,
    encode_tools,
    value_of,
)
from posthouse.dialects.thinking import shown_of

# Not `store` (there: keep for distillation; here: keep to be fetched) nor `top_logprobs` (no logprobs come back).
SHARED: Final = frozenset(
    {
        "metadata",
        "moderation",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
    }
)
# What an answer repeats of what was asked, apart from the members that the inner form names. Not `store`: nothing is.
_ECHOED: Final = (
    "metadata",
    "truncation",
    "max_tool_calls",
    "top_logprobs",
    "prompt_cache_key",
    "prompt_cache_retention",
)
# Read by `read_head` or taken from its values; everything else starts out as `extra`.
_NAMED: Final = frozenset(
    {"model", "input", "instructions", "stream", "max_output_tokens", "temperature", "top_p", "tools"}
    | {"parallel_tool_calls", "text", "reasoning", *STATEFUL}
)
# Values that ask for nothing, or for what is so anyway: thoughts always come with what can be sent back.
_IDLE: Final[Mapping[str, tuple[bytes, ...]]] = {
    "include": (b"[]", b'["reasoning.encrypted_content"]'),
    "store": (b"false",),
    "truncation": (b'"disabled"',),
}
_PADDING: Final = "include_obfuscation"  # there is none in what is translated
_MIN_OUTPUT: Final = 16  # published schema: minimum of max_output_tokens
_MAX_IDENTIFIER: Final = 64  # published schema: maxLength of safety_identifier
# What is said where nothing can be: an empty array is refused.
_NOTHING: Final[Json] = {"type": "message", "role": "user", "content": ""}
_INCLUDE: Final = ["reasoning.encrypted_content"]
_FROM_INSTRUCTIONS: Final = "system"  # the role that every dialect knows
_NULL: Final = Raw(b"null")
_encode = msgspec.json.Encoder().encode
_decode_input = msgspec.json.Decoder(str | list[Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw] | None).decode


def decode_request(body: bytes) -> InnerRequest:
    """InvalidRequest naming the member that does not fit."""
    head, values = read_head(body)
    fields = head.fields
    extra = asking(fields, _NAMED, _IDLE)
    options = value_of(extra.get("stream_options"), "stream_options")
    if isinstance(options, dict) and options.keys() <= {_PADDING}:
        del extra["stream_options"]
    tools = decode_tools(fields.get("tools"))
    choice = decode_tool_choice(extra)
    text = _object(fields, "text")
    output_format = _take_format(text)
    verbosity = _take(text, "verbosity")
    reasoning = _object(fields, "reasoning")
    thinking = _take_thinking(reasoning)
    for name, rest in (("text", text), ("reasoning", reasoning)):
        if rest:
            extra[name] = Raw(_encode(rest))
    return InnerRequest(
        dialect=DIALECT,
        model=head.model,
        items=_decode_items(fields["input"], values.get("instructions")),
        tools=tools,
        tool_choice=choice,
        parallel_tools=values.get("parallel_tool_calls"),
        output_format=output_format,
        thinking=thinking,
        verbosity=verbosity,
        user=_take(extra, "safety_identifier") or _take(extra, "user"),
        sampling=Sampling(max_output=head.max_output, temperature=values.get("temperature"), top_p=values.get("top_p")),
        stream=head.stream,
        extra=extra,
    )


def _decode_items(raw: Raw, instructions: str | None) -> Items:
    try:
        content = _decode_input(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise invalid(error, "input") from None
    first: list[Item] = [MessageItem(_FROM_INSTRUCTIONS, (TextPart(instructions),))] if instructions else []
    if isinstance(content, str):
        return (*first, MessageItem("user", decode_parts(content, "input")))
    return (*first, *decode_items(content, "input"))


def _object(fields: Fields, name: str) -> Fields:
    """A member that is an object, without its members that are null."""
    raw = fields.get(name)
    members = None if raw is None else _decode_object(raw)
    return {member: value for member, value in (members or {}).items() if kind_of(value) != "null"}


def _take_format(text: Fields) -> Any:
    raw = text.get("format")
    output_format = None if raw is None else decode_format(raw)
    if output_format is not None:
        del text["format"]
    return output_format


def _take_thinking(reasoning: Fields) -> Thinking:
    """Takes `effort` out, and `summary` where it says no more than that there shall be one."""
    effort = _take(reasoning, "effort")
    summary = reasoning.get("summary")
    if summary is not None and bytes(summary) == b'"auto"':
        del reasoning["summary"]
    return Thinking(effort, shown=None if summary is None else True)


def _take(fields: Fields, name: str) -> str | None:
    """Takes a member out that is a text and not an empty one; any other stays there."""
    raw = fields.get(name)
    if raw is None or kind_of(raw) != "a string":
        return None
    value: str = value_of(raw, name)
    if value:
        del fields[name]
    return value or None


def encode_request(request: InnerRequest, maker: Maker) -> Encoded:
    """A body for a provider that keeps no responses for us, but for a client that asked in this dialect."""
    own = request.dialect == DIALECT
    writer = ItemWriter(maker, own)
    dropped = writer.dropped
    instructions, items = _split_instructions(request.items)
    said = writer.write(items)
    if not said and instructions is not None:
        instructions, said = None, writer.write(request.items[:1])
    body: Json = {"model": request.model}
    if instructions is not None:
        body["instructions"] = instructions
    body["input"] = said or [_NOTHING]
    body.update(_parameters(request, dropped))
    if request.stream:
        body["stream"] = True
    if not own:
        body["store"] = False
        body["include"] = _INCLUDE
    _drop_sampling(request, dropped)
    for name, raw in request.extra.items():
        if own or (name in SHARED and request.dialect == "openai_chat"):
            body[name] = _merged(body.get(name), raw)
        elif kind_of(raw) != "null" and not _holds_anyway(name, raw):
            dropped[name] = None
    return Encoded(_encode(body), tuple(dropped))


def _split_instructions(items: Items) -> tuple[str | None, Items]:
    """A leading system message of one text is what this dialect calls instructions."""
    match items:
        case (MessageItem("system", (TextPart(text),), None), _, *_) if text:
            return text, items[1:]
    return None, items


def _parameters(request: InnerRequest, dropped: dict[str, None]) -> Json:
    """Members that the inner form names, but for the model, the items and `stream`."""
    sampling = request.sampling
    max_output = sampling.max_output
    if max_output is not None and max_output < _MIN_OUTPUT and request.dialect != DIALECT:
        max_output = _MIN_OUTPUT
        dropped["max_output"] = None
    text = {"format": encode_format(request.output_format), "verbosity": request.verbosity}
    said = {
        "tools": encode_tools(request, dropped) or None,
        "tool_choice": encode_tool_choice(request.tool_choice),
        "parallel_tool_calls": request.parallel_tools,
        "text": {name: value for name, value in text.items() if value is not None} or None,
        "reasoning": _encode_thinking(request, dropped) or None,
        "max_output_tokens": max_output,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if request.user is not None:
        # Either names whoever asks; a longer one than the newer member takes is told by the older.
        newer = "safety_identifier" not in request.extra and len(request.user) <= _MAX_IDENTIFIER
        said["safety_identifier" if newer else "user"] = request.user
    return {name: value for name, value in said.items() if value is not None}


def _encode_thinking(request: InnerRequest, dropped: dict[str, None]) -> Json:
    thinking = request.thinking
    effort = thinking.effort
    if thinking.budget is not None and effort is None:
        if thinking.budget == 0:
            effort = "none"
        else:
            dropped["thinking_budget"] = None
    said = {"effort": effort, "summary": "auto" if shown_of(request) else None}
    return {name: value for name, value in said.items() if value is not None}


def _drop_sampling(request: InnerRequest, dropped: dict[str, None]) -> None:
    sampling = request.sampling
    asked = {
        "choices": sampling.choices is not None and sampling.choices > 1,
        "seed": sampling.seed is not None,
        "stop": bool(sampling.stop),
        "presence_penalty": bool(sampling.presence_penalty),
        "frequency_penalty": bool(sampling.frequency_penalty),
        "top_k": sampling.top_k is not None,
    }
    dropped.update({name: None for name, value in asked.items() if value})


def _holds_anyway(name: str, raw: Raw) -> bool:
    """Whether what is asked is so without being said: a provider keeps nothing."""
    return name == "store" and bytes(raw) == b"false"


def _merged(said: Any, raw: Raw) -> Any:
    """A member of `extra`; an object joins what is said of it already."""
    if not isinstance(said, dict) or kind_of(raw) != "an object":
        return raw
    return {**said, **(_decode_object(raw) or {})}


def echo_of(request: InnerRequest) -> Json:
    """What an answer to a request of this dialect repeats of it."""
    instructions, _ = _split_instructions(request.items)
    repeated = {name: raw for name in _ECHOED if kind_of(raw := request.extra.get(name, _NULL)) != "null"}
    echo: Json = {"instructions": instructions, **_parameters(request, {}), **repeated}
    if "tool_choice" in request.extra:
        echo["tool_choice"] = request.extra["tool_choice"]
    for name in ("text", "reasoning"):
        if name in request.extra:
            echo[name] = _merged(echo.get(name), request.extra[name])
    return echo
