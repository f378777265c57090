"""chat.completions, whole requests: to and from the inner form.

Needed where the two sides speak different dialects; where they speak the same, bytes pass and nothing here runs.
Members of a request that the inner form does not name are carried in `extra`; some of them (`SHARED`) mean the same,
under the same name, in the Responses API, and are carried over.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.items import InnerRequest, OpaqueTool, Sampling, Thinking, Tool
from posthouse.dialects.codec import Addressed, Encoded, Maker
from posthouse.dialects.openai_chat_head import decode_head
from posthouse.dialects.openai_chat_items import decode_messages, encode_messages
from posthouse.dialects.openai_chat_parts import DIALECT, Dropped, Json
from posthouse.dialects.openai_chat_tools import (
    decode_format,
    decode_tool_choice,
    decode_tools,
    encode_format,
    encode_tool,
    encode_tool_choice,
)
from posthouse.dialects.openai_members import asking, stops_in, take, value_of, with_address
from posthouse.dialects.thinking import effort_of

# Read by `decode_head` or below; everything else starts out as `extra`.
_NAMED: Final = frozenset(
    {"model", "messages", "stream", "max_completion_tokens", "max_tokens", "temperature", "top_p", "stop", "n"}
)
# Values that ask for nothing, or for what is so anyway.
_IDLE: Final[Mapping[str, tuple[bytes, ...]]] = {
    "logit_bias": (b"{}",),
    "logprobs": (b"false",),
    "modalities": (b'["text"]',),
    "store": (b"false",),
    "top_logprobs": (b"0",),
}
# Usage is told where it is asked for, and nothing that is translated is padded.
_OPTIONS: Final = frozenset({"include_usage", "include_obfuscation"})
_MAX_STOPS: Final = 4
_NOWHERE: Final = Addressed("")


class _CacheOptions(Struct, omit_defaults=True):
    """What both dialects have; the Responses API has more, and a longer life."""

    mode: str | None = None
    ttl: str | None = None


_decode_cache_options: Final = Decoder(_CacheOptions).decode
_decode_members: Final = Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


def decode_request(body: bytes, addressed: Addressed = _NOWHERE) -> InnerRequest:
    """InvalidRequest naming the field that does not fit."""
    head = decode_head(with_address(body, addressed))
    fields = head.fields
    extra = asking(fields, _NAMED, _IDLE)
    tools = decode_tools(extra.pop("tools", None))
    choice = decode_tool_choice(extra)
    output_format = decode_format(extra)
    if (options := value_of(extra, "stream_options")) is not None and options.keys() <= _OPTIONS:
        del extra["stream_options"]
    return InnerRequest(
        dialect=DIALECT,
        model=head.model,
        items=decode_messages(fields["messages"]),
        tools=tools,
        tool_choice=choice,
        parallel_tools=take(extra, "parallel_tool_calls", bool),
        output_format=output_format,
        thinking=Thinking(take(extra, "reasoning_effort", str)),
        verbosity=take(extra, "verbosity", str),
        # The newer name of the two is the one that is kept beside the other.
        user=take(extra, "user", str) or take(extra, "safety_identifier", str),
        sampling=Sampling(
            max_output=head.max_output,
            temperature=value_of(fields, "temperature"),
            top_p=value_of(fields, "top_p"),
            stop=stops_in(fields),
            choices=value_of(fields, "n"),
            seed=take(extra, "seed", int),
            presence_penalty=take(extra, "presence_penalty", float),
            frequency_penalty=take(extra, "frequency_penalty", float),
        ),
        stream=head.stream,
        include_usage=head.include_usage,
        extra=extra,
    )


def encode_request(request: InnerRequest, maker: Maker) -> Encoded:
    """A body of chat.completions, and what has no place in it. Compactions and foreign state are left out."""
    dropped: Dropped = {}
    sampling = request.sampling
    body: Json = {"model": request.model, "messages": encode_messages(request.items, maker, dropped)}
    body.update(_tool_members(request, dropped))
    body.update(
        {
            "response_format": encode_format(request.output_format),
            "reasoning_effort": _effort(request.thinking, dropped),
            "verbosity": request.verbosity,
            "max_completion_tokens": sampling.max_output,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "stop": _stops(request, dropped),
            "n": sampling.choices,
            "seed": sampling.seed,
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            # Its successor, `safety_identifier`, is known to fewer servers.
            "user": request.user,
            "stream": request.stream or None,
            "stream_options": {"include_usage": True} if request.include_usage else None,
        }
    )
    if sampling.top_k is not None:
        dropped["top_k"] = None
    body = {name: value for name, value in body.items() if value is not None}
    for name, raw in request.extra.items():
        if request.dialect == DIALECT:
            body[name] = raw
            continue
        carry = SHARED.get(name) if request.dialect == "openai_responses" else None
        carried = raw if carry is None else carry(raw)
        if carry is not None and carried is not None:
            body.setdefault(name, carried)
        if (carry is None or carried != raw) and not _holds_anyway(name, raw):
            dropped[name] = None
    return Encoded(_encode(body), tuple(dropped))


def _tool_members(request: InnerRequest, dropped: Dropped) -> Json:
    tools = [encode_tool(tool) for tool in request.tools if isinstance(tool, Tool) or tool.dialect == DIALECT]
    if any(isinstance(tool, OpaqueTool) and tool.dialect != DIALECT for tool in request.tools):
        dropped["tool.opaque"] = None
    if not tools and request.dialect != DIALECT:
        # Servers refuse what belongs to tools where there are none.
        if request.tool_choice is not None and request.tool_choice.mode in ("required", "named"):
            dropped["tool_choice"] = None
        return {}
    return {
        "tools": tools or None,
        "tool_choice": encode_tool_choice(request.tool_choice),
        "parallel_tool_calls": request.parallel_tools,
    }


def _effort(thinking: Thinking, dropped: Dropped) -> str | None:
    if thinking.budget is None:
        return thinking.effort
    if thinking.budget > 0 or thinking.effort is not None:
        dropped["thinking_budget"] = None
    return thinking.effort or effort_of(thinking.budget)


def _stops(request: InnerRequest, dropped: Dropped) -> list[str] | None:
    """Other dialects have room for more than this one."""
    stop = request.sampling.stop
    if request.dialect != DIALECT and len(stop) > _MAX_STOPS:
        dropped["stop"] = None
        stop = stop[:_MAX_STOPS]
    return list(stop) or None


def _holds_anyway(name: str, raw: Raw) -> bool:
    """Whether what is asked is so without being said: a provider keeps nothing."""
    return bytes(raw) == b"null" or (name == "store" and bytes(raw) == b"false")


def _as_it_is(raw: Raw) -> Raw | None:
    return raw


def _tier(raw: Raw) -> Raw | None:
    return None if bytes(raw) == b'"ultrafast"' else raw


def _cache_options(raw: Raw) -> Raw | None:
    """Mode and the one life that both know. The same bytes where nothing else is said."""
    try:
        options = _decode_cache_options(raw)
        if _decode_members(raw).keys() <= {"mode", "ttl"} and options.ttl in (None, "30m"):
            return raw
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    options.ttl = options.ttl if options.ttl == "30m" else None
    return Raw(_encode(options)) if options != _CacheOptions() else None


# Members of the Responses API that mean the same here (both schemas compared, 2026-11-20), and what of their values is
# known here too. Not `store` (here: keep for distillation; there: keep to be fetched) nor `top_logprobs` (no logprobs
# come back).
SHARED: Final[Mapping[str, Callable[[Raw], Raw | None]]] = {
    "metadata": _as_it_is,
    "moderation": _as_it_is,
    "prompt_cache_key": _as_it_is,
    "prompt_cache_options": _cache_options,
    "prompt_cache_retention": _as_it_is,
    "safety_identifier": _as_it_is,
    "service_tier": _tier,
}
