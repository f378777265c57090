"""Fireworks AI.

Model names are paths (accounts/fireworks/models/...). A rerank answers `data`. Pictures have an interface of their own,
and sound has hosts of its own: neither is offered here.

Sources: the fireworks-ai package 1.2.30 (address, members of a request), models.dev (2026-06), LiteLLM 1.109 (rerank).
Checked: 2026-11-21. Not confirmed: `stream_options`, which the package does not list though other clients send it.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="fireworks",
    title="Fireworks AI",
    docs="https://docs.fireworks.ai",
    checked="2026-11-21",
    base_url="https://api.fireworks.ai/inference/v1",
    env=("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"),
    base_url_env="FIREWORKS_BASE_URL",
    aliases=("fireworks-ai",),
    offers=("rerank",),
    price_provider="fireworks",
)
