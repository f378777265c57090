"""Groq.

The last chunk of a stream carries usage as `x_groq.usage`; `stream_options` is known too, in which case both come. An
error inside a stream is the text `x_groq.error`. 498 means that the flex tier has no room. The Responses API is known
as a beta without state. Sound is at its usual places. A message with `reasoning_content` is a 400: thoughts of earlier
turns are `reasoning`. So is an unknown member at the top: labels that others know are dropped.

Sources: the groq package 1.7.0 (address, XGroq, embeddings, audio), LiteLLM 1.109, janhq/jan#8136 and
agentjido/req_llm#772 (`reasoning_content`), zed-industries/zed#36215 (`prompt_cache_key`). Checked: 2026-11-21. Not
confirmed: `stream_options`, which the package does not list though other clients send it; usage comes either way.
"""

from typing import Any, Final

from posthouse.providers.model import Provider


def _repair(chunk: dict[str, Any]) -> dict[str, Any] | None:
    """Usage and error to where OpenAI has them."""
    own = chunk.get("x_groq")
    if not isinstance(own, dict):
        return None
    if own.get("error"):
        return {**chunk, "error": {"message": str(own["error"]), "type": "server_error", "param": None, "code": None}}
    if own.get("usage") and not chunk.get("usage"):
        return {**chunk, "usage": own["usage"]}
    return None


ROW: Final = Provider(
    name="groq",
    title="Groq",
    docs="https://console.groq.com/docs",
    checked="2026-11-21",
    base_url="https://api.groq.com/openai/v1",
    env=("GROQ_API_KEY",),
    base_url_env="GROQ_BASE_URL",
    wires=("chat.completions", "responses"),
    offers=("audio.speech", "audio.transcriptions", "audio.translations"),
    thoughts="reasoning",
    drop=("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier"),
    repair=_repair,
    repair_marker=b'"x_groq"',
    price_provider="groq",
)
