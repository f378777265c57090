"""A request of the inner form as a body of the Messages API, for one deployment of a provider.

What one model of this API takes and another refuses (sampling at all, adaptive thinking, prefilled answers) is a matter
of the provider's row; here stands what all of them have in common.
"""

import re
from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from posthouse.core.items import InnerRequest, OpaqueTool, Tool, ToolChoice
from posthouse.dialects.anthropic_fields import DIALECT, Json
from posthouse.dialects.anthropic_parts import Losses
from posthouse.dialects.anthropic_schema import Fitted
from posthouse.dialects.anthropic_turns import Conversation, plain
from posthouse.dialects.codec import Encoded, Maker
from posthouse.dialects.custom import as_function

# The API demands a cap where other dialects have none: the largest that every model of it still served accepts.
DEFAULT_MAX_TOKENS: Final = 8192
_LEAST_BUDGET: Final = 1024
_EFFORTS: Final = frozenset({"low", "medium", "high", "xhigh", "max"})
_MODES: Final = {"none": "none", "auto": "auto", "required": "any", "named": "tool"}
_JSON_ONLY: Final = "Answer with one valid JSON object and nothing else: no words around it, no code fence."
# The API refuses mail addresses and telephone numbers as names of users.
_PERSONAL: Final = re.compile(r".*@.*|\+?[\d\s().-]{7,}", re.DOTALL)
_MAX_USER: Final = 256
_NO_SCHEMA: Final = b'{"type":"object"}'
_encode: Final = msgspec.json.Encoder().encode
_decode_members: Final = Decoder(dict[str, Raw]).decode


def encode_request(request: InnerRequest, maker: Maker) -> Encoded:
    """For the deployment that `maker` is. Custom tools become functions with one text, `input`; whoever gave them turns
    the calls back."""
    losses = Losses()
    own = request.dialect == DIALECT
    conversation = Conversation(maker, own, losses)
    conversation.add(request.items)
    tools = [tool for tool in (_encode_tool(tool, own, losses) for tool in request.tools) if tool is not None]
    choice = _encode_choice(request, bool(tools), losses)
    forced = choice is not None and choice["type"] in ("any", "tool")
    effort = _effort_of(request, own, losses)
    thinking, max_tokens = _encode_thinking(request, effort, forced or conversation.lacks_thinking(), losses)
    output = {"effort": effort, "format": _encode_format(request, own, conversation, losses)}
    body: Json = {
        "model": request.model,
        "max_tokens": max_tokens,
        "system": plain(conversation.system),
        "messages": conversation.messages(),
        "tools": tools,
        "tool_choice": choice,
        "thinking": thinking,
        "output_config": {name: value for name, value in output.items() if value is not None},
        **_encode_sampling(request, own, thinking is not None and thinking["type"] != "disabled", losses),
        "metadata": _encode_user(request.user, own, losses),
        "stream": request.stream or None,
    }
    body = {name: value for name, value in body.items() if value not in (None, [], {}, "") or name == "messages"}
    _tell_unsaid(request, losses)
    if own:
        body.update(request.extra)
    else:
        for name in request.extra:
            losses.add(name)
    return Encoded(_encode(body), losses.names())


def _encode_tool(tool: Tool | OpaqueTool, own: bool, losses: Losses) -> Any:
    if isinstance(tool, OpaqueTool):
        if tool.dialect == DIALECT:
            return Raw(tool.payload)
        losses.add("tool.opaque")
        return None
    if tool.kind == "custom":
        losses.add("tool.custom")
        tool = as_function(tool)
    body: Json = {"name": tool.name}
    if tool.description is not None:
        body["description"] = tool.description
    body["input_schema"] = _encode_schema(tool, own, losses)
    if tool.strict is not None:
        body["strict"] = tool.strict
    return body


def _encode_schema(tool: Tool, own: bool, losses: Losses) -> Json | Raw:
    """The API demands an object, of the type object."""
    payload = tool.schema or _NO_SCHEMA
    if own:
        return Raw(payload)
    try:
        members: Json = _decode_members(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Raw(_NO_SCHEMA)
    if tool.strict:
        fitted = Fitted(payload)
        if fitted.weakened:
            losses.add("tool.strict")
        members = fitted.schema or members
    return members if "type" in members else {"type": "object", **members}


def _encode_choice(request: InnerRequest, any_tools: bool, losses: Losses) -> Json | None:
    """Without tools there is nothing to choose from, and the API refuses the member."""
    choice, parallel = request.tool_choice, request.parallel_tools
    if not any_tools:
        if choice is not None and choice.mode in ("required", "named"):
            losses.add("tool_choice")
        return None
    if choice is None:
        if parallel is not False:
            return None
        choice = ToolChoice("auto")
    body: Json = {"type": _MODES[choice.mode]}
    if choice.mode == "named":
        body["name"] = choice.name
    if parallel is not None and choice.mode != "none":
        body["disable_parallel_tool_use"] = not parallel
    return body


def _effort_of(request: InnerRequest, own: bool, losses: Losses) -> str | None:
    """The word for an effort; None where nothing is to be said, or no thinking is wanted."""
    effort = request.thinking.effort
    if effort is None or effort == "none":
        return None
    if effort == "minimal":
        return "low"
    if effort not in _EFFORTS and not own:
        losses.add("effort")
        return None
    return effort


def _encode_thinking(
    request: InnerRequest, effort: str | None, no_budget: bool, losses: Losses
) -> tuple[Json | None, int]:
    """`thinking` and `max_tokens`. A budget fits into the cap; with a forced choice of tools, or with calls of tools
    whose thinking is gone (`no_budget`), the API refuses one, so it is left out. Adaptive thinking bears both."""
    wanted, limit = request.thinking, request.sampling.max_output
    max_tokens = DEFAULT_MAX_TOKENS if limit is None else limit
    if wanted.effort == "none" or wanted.budget == 0:
        return {"type": "disabled"}, max_tokens
    display = {} if wanted.shown is None else {"display": "summarized" if wanted.shown else "omitted"}
    if wanted.budget is None:
        adaptive = effort is not None or wanted.shown is not None
        return {"type": "adaptive", **display} if adaptive else None, max_tokens
    if limit is None:
        max_tokens += max(wanted.budget, _LEAST_BUDGET)
    budget = min(max(wanted.budget, _LEAST_BUDGET), max_tokens - 1)
    if no_budget or budget < _LEAST_BUDGET:
        losses.add("thinking_budget")
        return None, max_tokens
    if budget != wanted.budget:
        losses.add("thinking_budget")
    return {"type": "enabled", "budget_tokens": budget, **display}, max_tokens


def _encode_format(request: InnerRequest, own: bool, conversation: Conversation, losses: Losses) -> Json | None:
    """A schema binds the model; a wish for any JSON object becomes an instruction."""
    output = request.output_format
    if output is None or output.kind == "text":
        return None
    if output.kind == "json_schema" and output.schema is not None:
        if own:
            return {"type": "json_schema", "schema": Raw(output.schema)}
        fitted = Fitted(output.schema)
        if fitted.weakened:
            losses.add("output_format")
        if fitted.schema is not None:
            return {"type": "json_schema", "schema": fitted.schema}
    losses.add("output_format")
    conversation.system.append({"type": "text", "text": _JSON_ONLY})
    return None


def _encode_sampling(request: InnerRequest, own: bool, thinks: bool, losses: Losses) -> Json:
    sampling = request.sampling
    temperature, top_p, top_k = sampling.temperature, sampling.top_p, sampling.top_k
    stop = [text for text in sampling.stop if text.strip()]  # the API refuses blanks
    if len(stop) < len(sampling.stop):
        losses.add("stop")
    if not own:
        if temperature is not None and (temperature > 1 or (thinks and temperature != 1)):
            losses.add("temperature")
            temperature = None if thinks else 1.0
        if top_p is not None and (temperature is not None or (thinks and top_p < 0.95)):
            if top_p != 1:
                losses.add("top_p")
            top_p = None
        if top_k is not None and thinks:
            losses.add("top_k")
            top_k = None
    return {"stop_sequences": stop, "temperature": temperature, "top_p": top_p, "top_k": top_k}


def _encode_user(user: str | None, own: bool, losses: Losses) -> Json | None:
    if user is None:
        return None
    if not own and (len(user) > _MAX_USER or _PERSONAL.fullmatch(user)):
        losses.add("user")
        return None
    return {"user_id": user}


def _tell_unsaid(request: InnerRequest, losses: Losses) -> None:
    """What this dialect has no word for; a value that is everyone's default says nothing."""
    sampling = request.sampling
    unsaid = {
        "verbosity": request.verbosity is not None,
        "choices": sampling.choices not in (None, 1),
        "seed": sampling.seed is not None,
        "presence_penalty": bool(sampling.presence_penalty),
        "frequency_penalty": bool(sampling.frequency_penalty),
    }
    for name, lost in unsaid.items():
        if lost:
            losses.add(name)
