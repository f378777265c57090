"""Cerebras.

Errors are flat: {message, type, param, code}. A conversation that is too long can be a 400 or 413 with no body at
all, so that a bare 413 means that. There are no embeddings. A message with `reasoning_content` is a 400: thoughts of
earlier turns are `reasoning`. So is an unknown member at the top: labels that others know are dropped.

Sources: the cerebras-cloud-sdk package 1.91 (address, members, no embeddings), models.dev (2026-06), LiteLLM 1.109,
QwenLM/qwen-code#11045 (`reasoning_content`), zed-industries/zed#36215 (unknown members). Checked: 2026-11-21. The
413 without a body and the codes are from reports of other clients.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="cerebras",
    title="Cerebras",
    docs="https://inference-docs.cerebras.ai",
    checked="2026-11-21",
    base_url="https://api.cerebras.ai/v1",
    env=("CEREBRAS_API_KEY",),
    base_url_env="CEREBRAS_BASE_URL",
    paths={"embeddings": None},
    thoughts="reasoning",
    drop=("metadata", "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "store"),
    codes={
        "413": "context_length",
        "wrong_api_key": "auth",
        "token_quota_exceeded": "rate",
        "request_quota_exceeded": "rate",
        "queue_exceeded": "overloaded",
    },
    price_provider="cerebras",
)
