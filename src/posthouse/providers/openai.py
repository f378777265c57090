"""OpenAI.

Stream options include `include_obfuscation`: random padding, on by default. A wrong key is a 401 `invalid_api_key`;
an empty account a 429 `insufficient_quota`.

Sources: the openai package 3.52.0 (base URL, variables, stream options) and OpenAI's published OpenAPI document.
Checked: 2026-11-21.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="openai",
    title="OpenAI",
    docs="https://platform.openai.com/docs/api-reference",
    checked="2026-11-21",
    base_url="https://api.openai.com/v1",
    env=("OPENAI_API_KEY",),
    base_url_env="OPENAI_BASE_URL",
    obfuscation=True,
    price_provider="openai",
)
