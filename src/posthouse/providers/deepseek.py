"""DeepSeek.

The reference names `max_tokens` only, so that OpenAI's newer name for it is renamed: an unknown member is ignored,
and the caller's cap with it. Cached input comes as `prompt_cache_hit_tokens`. While a request waits for its turn the
stream carries comments. There are no embeddings. Statuses: 400 format (also "Content Exists Risk"), 401, 402 no
balance, 422 parameters, 429, 500, 503 overloaded.

The Messages API stands under /anthropic with the same key; it ignores versions and betas.

Sources: api-docs.deepseek.com (create chat completion, Anthropic API, error codes, list of models), models.dev
(2026-09), LiteLLM 1.109. Checked: 2026-11-21. Not confirmed: that an unknown member is ignored rather than refused.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="deepseek",
    title="DeepSeek",
    docs="https://api-docs.deepseek.com",
    checked="2026-11-21",
    base_url="https://api.deepseek.com",
    env=("DEEPSEEK_API_KEY",),
    base_url_env="DEEPSEEK_BASE_URL",
    wires=("chat.completions", "messages"),
    paths={"embeddings": None, "messages": "/anthropic/v1/messages"},
    rename={"max_completion_tokens": "max_tokens"},
    price_provider="deepseek",
)
