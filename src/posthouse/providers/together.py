"""Together AI.

Errors are OpenAI's with an id beside them; a 403 means that input and `max_tokens` exceed the context. The request
has no `max_completion_tokens`. `GET /models` answers a bare array.

Sources: docs.together.ai (error-codes), the together package 3.1.1 (address, members of a request), models.dev
(2026-06). Checked: 2026-11-21. Not confirmed: `stream_options`, which the package does not list though other clients
send it; usage is a member of its chunks.
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
    codes={"403": "context_length"},
    price_provider="together",
)
