"""xAI.

Reasoning tokens are counted beside `completion_tokens`, not inside; the dialect tells by the total. Usage comes by
itself. Errors are flat: {code, error}, both text. The vendor calls chat completions deprecated in favour of
responses, in which alone models tell their thoughts and their state: what must be translated goes there.

Pictures have an `aspect_ratio` and a `resolution`, and neither `size` nor `quality` nor `style`. Edits are asked for in
JSON, unlike elsewhere, and not offered; sound has interfaces of its own.

Sources: docs.x.ai (REST reference, comparison of the two, image generation), LiteLLM 1.109 (usage, address), clients'
reports of errors. Checked: 2026-11-21. Not confirmed: that an empty account is a 403 or 429 with words about credits;
the words decide.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="xai",
    title="xAI",
    docs="https://docs.x.ai",
    checked="2026-11-21",
    base_url="https://api.x.ai/v1",
    env=("XAI_API_KEY",),
    base_url_env="XAI_BASE_URL",
    aliases=("grok", "x-ai"),
    wires=("responses", "chat.completions"),
    offers=("images.generations",),
    price_provider="x-ai",
)
