"""OpenRouter.

Usage, with its cost, comes with the last chunk of every stream. Comments keep a waiting stream alive. An error inside
a stream is an event with `error` and finish reason `error`, or stands in the choice; its `code` is an HTTP status,
and `metadata.raw` is what the provider behind it said. 402 is an empty account, 403 refused content.

Sources: openrouter.ai/docs (errors, streaming), the openrouter package 1.3.84 (`include_usage` has no effect).
Checked: 2026-11-21.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="openrouter",
    title="OpenRouter",
    docs="https://openrouter.ai/docs",
    checked="2026-11-21",
    base_url="https://openrouter.ai/api/v1",
    env=("OPENROUTER_API_KEY",),
    base_url_env="OPENROUTER_BASE_URL",
    stream_usage="always",
    price_provider="openrouter",
)
