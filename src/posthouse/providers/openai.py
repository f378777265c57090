"""OpenAI.

Stream options include `include_obfuscation`: random padding, on by default. A wrong key is a 401 `invalid_api_key`;
an empty account a 429 `insufficient_quota`.

What its models refuse, and what goes over responses instead, is told by their names: see `gpt`.

Chat completions have no place for thoughts. Images, sound and moderations stand at their usual places; reranking there
is none.

Sources: the openai package 3.52.0 (base URL, variables, stream options, paths), OpenAI's published OpenAPI document.
Checked: 2026-11-21.
"""

from typing import Final

from posthouse.providers import gpt
from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="openai",
    title="OpenAI",
    docs="https://platform.openai.com/docs/api-reference",
    checked="2026-11-21",
    base_url="https://api.openai.com/v1",
    env=("OPENAI_API_KEY",),
    base_url_env="OPENAI_BASE_URL",
    wires=("responses", "chat.completions", "completions"),
    thoughts=None,
    customs=("chat.completions", "responses"),
    offers=(
        "images.generations",
        "images.edits",
        "images.variations",
        "audio.speech",
        "audio.transcriptions",
        "audio.translations",
        "moderations",
    ),
    detour=gpt.detour,
    fit=gpt.fit,
    refuses=gpt.refuses,
    obfuscation=True,
    price_provider="openai",
)
