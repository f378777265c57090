"""What is known of the models of the gpt and o families, wherever they are served under names that tell them.

Models from gpt-5.4 on refuse function tools over chat completions unless `reasoning_effort` is `none` (a 400 that names
`reasoning_effort`; later ones also where it is not given): such a request goes over responses. Models that think refuse
`temperature` and `top_p` while they do: what is translated for them is freed of both. Models that never think refuse an
effort ("Unsupported parameter: 'reasoning.effort'") and to be asked for their thoughts ("Encrypted content is not
supported with this model"): they are freed of these.

Above: the rows of those who serve them. Sources: openai/openai-openapi#541, BerriAI/litellm#34569 and
livekit/agents#5088 (function tools). Checked: 2026-11-21. Not confirmed: which models take a temperature where no
effort is given; that a name that is none of these thinks.
"""

import re
from typing import Final

from msgspec.structs import replace

from posthouse.core.items import InnerRequest, Thinking
from posthouse.core.requests import ModelRequest, Operation
from posthouse.providers.model import Detour

_GPT: Final = re.compile(r"gpt-(\d{1,2})(?:\.(\d{1,2}))?(?![\d.o])")
_THINKS: Final = re.compile(r"o[134](?:-|$)")
# Also as the base of a model that was trained further: `ft:gpt-4o-mini-2024-07-18:...`; and 3.5 without its dot.
_NEVER_THINKS: Final = re.compile(r"(?:^|[:/])(?:chatgpt-|gpt-[34]|gpt-5-chat)")
_NO_TOOLS: Final = (5, 4)
# Between these nothing is thought unless it is asked for.
_CALM: Final = ((5, 1), (5, 3))


def version(model: str) -> tuple[int, int]:
    """(0, 0) for any other family; `ft:` and a vendor's prefix may stand before the name."""
    found = _GPT.search(model)
    return (0, 0) if found is None else (int(found[1]), int(found[2] or 0))


def uses_functions(request: ModelRequest) -> bool:
    tools = request.fields.get("tools")
    return tools is not None and b'"function"' in bytes(tools)


def thinks_with_functions(request: ModelRequest) -> bool:
    """Whether a chat has function tools and does not forbid thought."""
    effort = request.fields.get("reasoning_effort")
    return uses_functions(request) and (effort is None or bytes(effort) != b'"none"')


def refuses_functions(wire: Operation, model: str) -> bool:
    """Whether function tools are refused over this wire as long as the model thinks."""
    return wire == "chat.completions" and version(model) >= _NO_TOOLS and _NEVER_THINKS.search(model) is None


def detour(wire: Operation, model: str) -> Detour | None:
    """As `Provider.detour`."""
    return _DETOUR if refuses_functions(wire, model) else None


def refuses(wire: Operation, model: str) -> tuple[str, ...]:
    """As `Provider.refuses`."""
    return ("include",) if wire == "responses" and _NEVER_THINKS.search(model) else ()


def fit(request: InnerRequest, model: str) -> tuple[InnerRequest, tuple[str, ...]]:
    """As `Provider.fit`."""
    if _NEVER_THINKS.search(model):
        return _without_thinking(request)
    sampling = request.sampling
    given = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if all(value is None for value in given.values()) or not _thinks(request, model):
        return request, ()
    lost = tuple(name for name, value in given.items() if value not in (None, 1))
    return replace(request, sampling=replace(sampling, temperature=None, top_p=None)), lost


def _without_thinking(request: InnerRequest) -> tuple[InnerRequest, tuple[str, ...]]:
    thinking = request.thinking
    if thinking == Thinking():
        return request, ()
    lost = {"effort": thinking.effort not in (None, "none"), "thinking_budget": bool(thinking.budget)}
    return replace(request, thinking=Thinking()), tuple(name for name, value in lost.items() if value)


def _thinks(request: InnerRequest, model: str) -> bool:
    found, effort = version(model), request.thinking.effort
    if found < (5, 0) or "-chat" in model:
        return _THINKS.match(model) is not None
    if effort == "none" and found >= _CALM[0]:
        return False
    return effort is not None or not _CALM[0] <= found <= _CALM[1]


_DETOUR: Final = Detour("responses", thinks_with_functions)
