"""Anthropic.

The Messages API. The key goes into `x-api-key`; `anthropic-version` is 2023-06-01, which all models still take, and a
client's own where its request passes. `base_url` may end with /v1 or not, as in the vendor's package.

Errors are {type: error, error: {type, message, details: {error_code}}, request_id}; a spend limit of a tier is a 429
like a rate limit, told by its `error_code` and without `retry-after`, one that the operator has set is a 400; 529 is
overloaded. `GET /models` comes in pages, by `after_id`.

Models before 3.7 do not think. Those before 4.6 think by a budget, and know neither adaptive thinking nor (but for
Opus 4.5) efforts; 4.6 knows both, but of the strongest efforts only Opus `max`. Models from 4.7 on refuse
`temperature`, `top_p` and `top_k` but for the defaults, and budgets; they think as `effort` says. Fable, Mythos and
everything from 5.5 on cannot be told not to think. Adaptive thinking beside a choice that forces tools is refused
before 4.8, and Opus 5.5 refuses to be forced at all. What is translated for them is freed of that; a request that
passes is not touched.

Sources: platform.claude.com (errors, API overview, migration guide, models list), the anthropic package 2.11.0,
LiteLLM 1.109 (forced use of tools), docs.aws.amazon.com/bedrock (claude-messages-adaptive-thinking: who knows it, who
cannot be silenced), langchain-aws#1141 (who thinks when forced). Checked: 2026-11-21. Not confirmed: which other models
refuse to be forced.
"""

import re
from typing import Final

from msgspec.structs import replace

from posthouse.core.items import InnerRequest, Sampling, Thinking, ToolChoice
from posthouse.dialects.thinking import budget_of, effort_of
from posthouse.providers.model import Endpoint, Provider, ProviderAccount

# claude-opus-4-7, claude-sonnet-5, claude-haiku-4-5-20251001, claude-opus-4.6; older names put the number first
# (claude-3-5-sonnet).
_NAME: Final = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_THINKS: Final = (3, 7)
_ADAPTIVE: Final = (4, 6)
_NO_SAMPLING: Final = (4, 7)
_FORCED_THINKS: Final = (4, 8)
_NO_FORCE: Final = (5, 5)
_NOBODYS: Final = (0, 0)
_LEAST_BUDGET: Final = 1024
# What a client that sets no cap gets: thoughts count too, and newer models think unasked. Those before 4.5 may write as
# much only where the prompt leaves room for all of it.
_ROOMY: Final = (4, 5)
_ROOM: Final = 32_000
_STRONGEST: Final = ("xhigh", "max")
_ALWAYS_THINKS: Final = re.compile(r"claude-(?:fable|mythos)-")


def _locate(account: ProviderAccount, endpoint: Endpoint, upstream_model: str) -> str | None:
    path = account.row.path_of(endpoint)
    return None if path is None else f"{account.base_url.rstrip('/').removesuffix('/v1')}/v1{path}"


def _version(model: str) -> tuple[int, int]:
    found = _NAME.search(model)
    return _NOBODYS if found is None else (int(found[1]), int(found[2] or 0))


def _fit(request: InnerRequest, model: str) -> tuple[InnerRequest, tuple[str, ...]]:
    version = _version(model)
    lost: list[str] = []
    if version >= _NO_SAMPLING:
        request = _without_sampling(request, lost)
    choice = request.tool_choice
    forced = choice is not None and choice.mode in ("required", "named")
    if version >= _NO_FORCE and forced:
        lost.append("tool_choice")
        request = replace(request, tool_choice=ToolChoice("auto"))
    if version != _NOBODYS:
        thinking = _fit_thinking(request.thinking, model, version, lost)
        if forced and _ADAPTIVE <= version < _FORCED_THINKS and _is_adaptive(thinking):
            lost += ["effort"] if thinking.effort is not None else []
            thinking = Thinking()
        request = replace(request, thinking=thinking)
    if version >= _ROOMY and request.sampling.max_output is None and request.thinking.budget is None:
        request = replace(request, sampling=replace(request.sampling, max_output=_ROOM))
    return request, tuple(lost)


def _fit_thinking(thinking: Thinking, model: str, version: tuple[int, int], lost: list[str]) -> Thinking:
    effort, budget, shown = thinking.effort, thinking.budget, thinking.shown
    if effort == "none" or budget == 0:
        if version < _NO_FORCE and not _ALWAYS_THINKS.search(model):
            return thinking
        lost.append("effort" if effort == "none" else "thinking_budget")
        return Thinking("low", None, shown)
    if version < _ADAPTIVE:
        return _by_budget(thinking, version, lost)
    if budget and version >= _NO_SAMPLING:
        lost.append("thinking_budget")
        effort, budget = effort or effort_of(budget), None
    if version == _ADAPTIVE and effort in _STRONGEST and not (effort == "max" and "opus" in model):
        lost.append("effort")
        effort = "high"
    return Thinking(effort, budget, shown)


def _by_budget(thinking: Thinking, version: tuple[int, int], lost: list[str]) -> Thinking:
    effort, budget = thinking.effort, thinking.budget
    if version < _THINKS:
        lost += [name for name, said in (("effort", effort), ("thinking_budget", budget)) if said is not None]
        return Thinking()
    usual = None if effort is None else budget_of(effort)
    if effort is not None and (usual is None or budget is not None or effort in _STRONGEST):
        lost.append("effort")
    if budget is None and usual is not None:
        budget = max(usual, _LEAST_BUDGET)
    return Thinking() if budget is None else Thinking(None, budget, thinking.shown)


def _is_adaptive(thinking: Thinking) -> bool:
    if thinking.budget is not None or thinking.effort == "none":
        return False
    return thinking.effort is not None or thinking.shown is not None


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
