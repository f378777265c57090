"""Anthropic.

The Messages API. The key goes into `x-api-key`; `anthropic-version` is 2023-06-01, which all models still take, and a
client's own where its request passes. `base_url` may end with /v1 or not, as in the vendor's package.

Errors are {type: error, error: {type, message, details: {error_code}}, request_id}; a spend limit of a tier is a 429
like a rate limit, told by its `error_code` and without `retry-after`, one that the operator has set is a 400; 529 is
overloaded. `GET /models` comes in pages, by `after_id`.

Models from 4.7 on refuse `temperature`, `top_p` and `top_k` but for the defaults, and budgets for thinking; they think
as `effort` says. The newest (Opus 5.5) refuse to be forced to use a tool. What is translated for them is freed of that;
a request that passes is not touched.

Sources: platform.claude.com (errors, API overview, migration guide, models list), the anthropic package 2.11.0,
LiteLLM 1.109 (forced use of tools). Checked: 2026-11-21. Not confirmed: which other models refuse to be forced.
"""

import re
from typing import Final

from msgspec.structs import replace

from posthouse.core.items import InnerRequest, Sampling, Thinking, ToolChoice
from posthouse.dialects.thinking import effort_of
from posthouse.providers.model import Endpoint, Provider, ProviderAccount

# claude-opus-4-7, claude-sonnet-5, claude-haiku-4-5-20251001; older names put the number first (claude-3-5-sonnet).
_NAME: Final = re.compile(r"claude-[a-z]+-(\d{1,2})(?:-(\d{1,2}))?(?!\d)")
_NO_SAMPLING: Final = (4, 7)
_NO_FORCE: Final = (5, 5)


def _locate(account: ProviderAccount, endpoint: Endpoint, upstream_model: str) -> str | None:
    path = account.row.path_of(endpoint)
    return None if path is None else f"{account.base_url.rstrip('/').removesuffix('/v1')}/v1{path}"


def _version(model: str) -> tuple[int, int]:
    found = _NAME.search(model)
    return (0, 0) if found is None else (int(found[1]), int(found[2] or 0))


def _fit(request: InnerRequest, model: str) -> tuple[InnerRequest, tuple[str, ...]]:
    version = _version(model)
    lost: list[str] = []
    if version >= _NO_SAMPLING:
        request = _without_sampling(request, lost)
        budget = request.thinking.budget
        if budget:
            lost.append("thinking_budget")
            effort = request.thinking.effort or effort_of(budget)
            request = replace(request, thinking=Thinking(effort, None, request.thinking.shown))
    choice = request.tool_choice
    if version >= _NO_FORCE and choice is not None and choice.mode in ("required", "named"):
        lost.append("tool_choice")
        request = replace(request, tool_choice=ToolChoice("auto"))
    return request, tuple(lost)


def _without_sampling(request: InnerRequest, lost: list[str]) -> InnerRequest:
    sampling = request.sampling
    given = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
    lost += [name for name, value in given.items() if value is not None and not (name != "top_k" and value == 1)]
    kept: Sampling = replace(sampling, temperature=None, top_p=None, top_k=None)
    return replace(request, sampling=kept)


ROW: Final = Provider(
    name="anthropic",
    title="Anthropic",
    docs="https://platform.claude.com/docs/en/api/overview",
    checked="2026-11-21",
    base_url="https://api.anthropic.com/v1",
    auth="x-api-key",
    env=("ANTHROPIC_API_KEY",),
    base_url_env="ANTHROPIC_BASE_URL",
    aliases=("claude",),
    headers=(("anthropic-version", "2023-06-01"),),
    wires=("messages",),
    paths={"embeddings": None, "models": "/models?limit=1000"},
    locate=_locate,
    fit=_fit,
    stream_usage="always",
    codes={
        "enforced_spend_limit_reached": "quota",
        "contract_spend_limit_reached": "quota",
        "ramp_limit_exceeded": "rate",
        "request_too_large": "bad_request",
    },
    price_provider="anthropic",
)
