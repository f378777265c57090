"""Any server that speaks OpenAI's dialect.

The operator gives `base_url`, and a credential where the server wants one. Usage is asked for as OpenAI has it; a
server that sends none has its tokens counted. Nothing is renamed or dropped. Whatever is asked for is tried at its
usual place: what the server does not have it refuses itself.

Source: none outside. Checked: 2026-11-21.
"""

from typing import Final

from posthouse.core.requests import MEDIA
from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="openai-compatible",
    title="OpenAI-compatible server",
    docs="docs/providers.md",
    checked="2026-11-21",
    auth="none",
    offers=MEDIA,
    aliases=("compatible", "custom"),
)
