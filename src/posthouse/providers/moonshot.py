"""Moonshot AI (Kimi).

The international house is `base_url` https://api.moonshot.ai/v1 with keys of its own. Errors have a `type` and no
code. An empty account is a 429 `exceeded_current_quota_error` (a help page says 403), an overload a 429
`engine_overloaded_error`. Cached input is `usage.cached_tokens`; older streams put usage into the choice. The Messages
API stands under /anthropic of either house.

Sources: platform.kimi.com and platform.moonshot.ai (API overview, chat, error codes), models.dev (2026-06), LiteLLM
1.109. Checked: 2026-11-21. Both names of the cap on output are documented; `max_tokens` is the deprecated one. Not
confirmed: embeddings, which the reference does not list, so that they are refused here.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="moonshot",
    title="Moonshot AI (Kimi)",
    docs="https://platform.moonshot.cn/docs",
    checked="2026-11-21",
    base_url="https://api.moonshot.cn/v1",
    env=("MOONSHOT_API_KEY",),
    base_url_env="MOONSHOT_BASE_URL",
    aliases=("kimi",),
    wires=("chat.completions", "messages"),
    sites=("moonshot.ai",),
    paths={"embeddings": None, "messages": "/../anthropic/v1/messages"},
    codes={"permission_denied_error": "auth", "resource_not_found_error": "not_found"},
    currency="CNY",
    price_provider="moonshotai",
)
