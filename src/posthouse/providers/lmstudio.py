"""LM Studio.

A desktop application's server. The documented members of a request end at `max_tokens`. Responses, Messages (from
0.4.1 on) and text completions are known too.

Sources: lmstudio.ai/docs (OpenAI- and Anthropic-compatible endpoints), lmstudio-bug-tracker#2339 (a conversation that
is too long may come back as an empty 200). Checked: 2026-11-21. Not confirmed: that `stream_options` is honoured by
old versions; without usage, tokens are counted.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="lmstudio",
    title="LM Studio",
    docs="https://lmstudio.ai/docs/developer/openai-compat",
    checked="2026-11-21",
    base_url="http://127.0.0.1:1234/v1",
    auth="none",
    base_url_env="LMSTUDIO_BASE_URL",
    aliases=("lm-studio",),
    wires=("chat.completions", "responses", "messages", "completions"),
    rename={"max_completion_tokens": "max_tokens"},
    free=True,
)
