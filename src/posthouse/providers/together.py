"""Together AI.

Errors are OpenAI's with an id beside them.

Sources: docs.together.ai (chat completions, models), models.dev (2026-06), LiteLLM 1.109. Checked: 2026-11-21. The
host was api.together.xyz before; both answer. `GET /models` answers a bare array. Not confirmed: that
`max_completion_tokens` is known, which the reference does not list; it is renamed.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="together",
    title="Together AI",
    docs="https://docs.together.ai",
    checked="2026-11-21",
    base_url="https://api.together.ai/v1",
    env=("TOGETHER_API_KEY", "TOGETHERAI_API_KEY"),
    base_url_env="TOGETHER_BASE_URL",
    aliases=("togetherai",),
    rename={"max_completion_tokens": "max_tokens"},
    price_provider="together",
)
