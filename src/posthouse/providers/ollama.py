"""Ollama.

A server of one's own, found on its standard port when nothing is configured. It knows `max_tokens` only and ignores
what it does not know. A conversation that is too long loses its beginning without a word: raise the model's `num_ctx`.
Responses (without state), Messages and text completions are known too. In the cloud: `base_url` https://ollama.com/v1
and a key.

Sources: ollama's own openai/openai.go (request, errors, embeddings, list of models), docs.ollama.com (OpenAI and
Anthropic compatibility). Checked: 2026-11-21.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="ollama",
    title="Ollama",
    docs="https://docs.ollama.com/api/openai-compatibility",
    checked="2026-11-21",
    base_url="http://127.0.0.1:11434/v1",
    auth="none",
    env=("OLLAMA_API_KEY",),
    base_url_env="OLLAMA_BASE_URL",
    wires=("chat.completions", "responses", "messages", "completions"),
    rename={"max_completion_tokens": "max_tokens"},
    free=True,
    found_locally=True,
)
