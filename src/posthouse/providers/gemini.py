"""Google Gemini (the Gemini API of AI Studio, not Vertex AI).

generateContent: the model and the verb stand in the path, a stream is another verb with `alt=sse`. The key goes into
`x-goog-api-key`. Usage comes with the last chunk of every stream. Errors are {error: {code, message, status, details}},
in a stream sometimes in a list; `details` holds `reason` (a wrong key is a 400 `API_KEY_INVALID`) and `retryDelay`. No
billing in a country without a free tier is a 400 `FAILED_PRECONDITION`. `GET /models` comes in pages, by `pageToken`;
names begin with `models/`.

Models from 3 on think by `thinkingLevel`, which 2.5 refuses: it thinks by a budget, and those before it not at all.
Only Flash up to 3.6 and Flash Lite know the level MINIMAL; 2.5 Pro and everything from 3 on cannot be told not to
think. Penalties are refused from 2.5 on, and JSON beside functions before 3. What is translated for them is fitted to
that; a request that passes is not touched.

Embeddings are batchEmbedContents, which takes texts and no tokens, and tells no usage: they are counted.

Sources: ai.google.dev (API reference, troubleshooting, thinking), the google-genai package 3.4.0, neurolink#1707
(budgets and levels, measured), litellm-docs#1505 (MINIMAL), google-gemini/cookbook#1290 (penalties),
googleapis/python-genai#867 and alphaXiv/agents#3 (JSON beside functions). Checked: 2026-11-21. Not confirmed: that
every 429 has a `retryDelay`.
"""

import re
from typing import Final

from msgspec.structs import replace

from posthouse.core.items import InnerRequest, Thinking
from posthouse.core.usage import Usage
from posthouse.dialects.gemini_embeddings import decode_batch, encode_batch
from posthouse.dialects.thinking import budget_of
from posthouse.providers.model import Provider, Vectors

# gemini-3-flash-preview, gemini-3.8-flash; what has no number (gemini-flash-latest) is the newest.
_NAME: Final = re.compile(r"gemini-(?:(\d{1,2})(?:\.(\d{1,2}))?-|[a-z])")
_BY_BUDGET: Final = (2, 5)
_BY_LEVEL: Final = (3, 0)
_NO_PENALTY: Final = (2, 5)
_LAST_MINIMAL: Final = (3, 6)
_NEWEST: Final = (99, 0)


def _vectors(body: bytes) -> tuple[list[list[float]], Usage | None]:
    found = decode_batch(body)
    return found.vectors, found.usage


def _fit(request: InnerRequest, model: str) -> tuple[InnerRequest, tuple[str, ...]]:
    found = _NAME.search(model)
    if found is None:
        return request, ()
    version = _NEWEST if found[1] is None else (int(found[1]), int(found[2] or 0))
    lost: dict[str, None] = {}
    sampling, output = request.sampling, request.output_format
    if version >= _NO_PENALTY and (sampling.presence_penalty is not None or sampling.frequency_penalty is not None):
        given = {"presence_penalty": sampling.presence_penalty, "frequency_penalty": sampling.frequency_penalty}
        lost |= {name: None for name, value in given.items() if value}
        request = replace(request, sampling=replace(sampling, presence_penalty=None, frequency_penalty=None))
    if version < _BY_LEVEL and request.tools and output is not None and output.kind != "text":
        lost["output_format"] = None
        request = replace(request, output_format=None)
    if request.thinking != Thinking():
        request = replace(request, thinking=_fit_thinking(request.thinking, model, version, lost))
    return request, tuple(lost)


def _fit_thinking(thinking: Thinking, model: str, version: tuple[int, int], lost: dict[str, None]) -> Thinking:
    said = "effort" if thinking.effort is not None else "thinking_budget"
    off = thinking.budget == 0 or (thinking.budget is None and thinking.effort == "none")
    if version < _BY_BUDGET:
        if not off and (thinking.effort is not None or thinking.budget is not None):
            lost[said] = None
        return Thinking()
    if version < _BY_LEVEL:
        return _by_budget(thinking, model, off, lost)
    if off or thinking.effort == "minimal":
        minimal = "lite" in model or ("flash" in model and version <= _LAST_MINIMAL)
        if off or not minimal:
            lost[said] = None
        return Thinking("minimal" if minimal else "low", None, thinking.shown)
    return thinking


def _by_budget(thinking: Thinking, model: str, off: bool, lost: dict[str, None]) -> Thinking:
    least, most = (128, 32768) if "pro" in model else (512 if "lite" in model else 1, 24576)
    effort, wanted = thinking.effort, 0 if off else thinking.budget
    if effort is not None and wanted is None:
        wanted = budget_of(effort)
        if wanted is None or effort in ("xhigh", "max"):
            lost["effort"] = None
    if wanted is None or (off and "pro" not in model):
        return Thinking(None, wanted, thinking.shown)
    budget = min(max(wanted, least), most)
    if budget != wanted:
        lost["effort" if thinking.budget is None else "thinking_budget"] = None
    return Thinking(None, budget, thinking.shown)


ROW: Final = Provider(
    name="gemini",
    title="Google Gemini",
    docs="https://ai.google.dev/api",
    checked="2026-11-21",
    base_url="https://generativelanguage.googleapis.com/v1beta",
    auth="x-goog-api-key",
    env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    base_url_env="GEMINI_BASE_URL",
    aliases=("google", "google-ai-studio"),
    wires=("generate_content",),
    paths={"embeddings": "/{model}:batchEmbedContents", "models": "/models?pageSize=1000"},
    fit=_fit,
    vectors=Vectors(encode_batch, _vectors),
    stream_usage="always",
    codes={
        "api_key_invalid": "auth",
        "api_key_expired": "auth",
        "api_key_service_blocked": "auth",
        "consumer_suspended": "auth",
        "consumer_invalid": "auth",
        "billing_disabled": "quota",
        "failed_precondition": "auth",
        "unauthenticated": "auth",
        "permission_denied": "auth",
        "unavailable": "overloaded",
        "deadline_exceeded": "timeout",
        "internal": "server",
        "not_found": "not_found",
    },
    price_provider="google",
)
