"""Mistral AI.

The schema is closed: an unknown member is a 422 `extra_forbidden`. So `stream_options` is dropped (usage comes with the
last chunk by itself), `max_completion_tokens` and `seed` get their names here, and members that only label a request
are dropped. Thoughts of earlier turns are refused as `reasoning_content`. What would change the answer (`logit_bias`,
...) is left for the vendor to refuse in its own words.

Moderations and transcriptions are at their usual places. Speech there is in a form of its own (`voice_id`, and sound
inside of JSON), which is not offered here.

Sources: the mistralai package 3.7.0 (members of a request, paths), TabbyML/tabby#4082 (stream_options),
editor-code-assistant/eca#231 (max_completion_tokens, 2025-12), BerriAI/litellm#30835
(reasoning_content). Checked: 2026-11-21.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="mistral",
    title="Mistral AI",
    docs="https://docs.mistral.ai/api/",
    checked="2026-11-21",
    base_url="https://api.mistral.ai/v1",
    env=("MISTRAL_API_KEY",),
    base_url_env="MISTRAL_BASE_URL",
    offers=("audio.transcriptions", "moderations"),
    thoughts=None,
    stream_usage="always",
    rename={"max_completion_tokens": "max_tokens", "seed": "random_seed"},
    drop=("stream_options", "store", "user", "safety_identifier", "prompt_cache_options", "prompt_cache_retention"),
    codes={"invalid_model": "not_found", "service_tier_capacity_exceeded": "overloaded"},
    price_provider="mistral",
)
