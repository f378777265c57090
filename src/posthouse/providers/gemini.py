"""Google Gemini (the Gemini API of AI Studio, not Vertex AI).

generateContent: the model and the verb stand in the path, a stream is another verb with `alt=sse`. The key goes into
`x-goog-api-key`. Usage comes with the last chunk of every stream. Errors are {error: {code, message, status, details}},
in a stream sometimes in a list; `details` holds `reason` (a wrong key is a 400 `API_KEY_INVALID`) and `retryDelay`. No
billing in a country without a free tier is a 400 `FAILED_PRECONDITION`. `GET /models` comes in pages, by `pageToken`;
names begin with `models/`.

Embeddings are batchEmbedContents, which takes texts and no tokens, and tells no usage: they are counted.

Sources: ai.google.dev (API reference, troubleshooting), the google-genai package 3.4.0. Checked:
2026-11-21. Not confirmed: that every 429 has a `retryDelay`.
"""

from typing import Final

from posthouse.core.usage import Usage
from posthouse.dialects.gemini_embeddings import decode_batch, encode_batch
from posthouse.providers.model import Provider, Vectors


def _vectors(body: bytes) -> tuple[list[list[float]], Usage | None]:
    found = decode_batch(body)
    return found.vectors, found.usage


ROW: Final = Provider(
    name="gemini",
    title="Google Gemini",
    docs="https://ai.google.dev/api",
    checked="2026-11-21",
    base_url="https://generativelanguage.googleapis.com/v1beta",
    auth="x-goog-api-key",
    env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    base_url_env="GEMINI_BASE_URL",
    aliases=("google", "google-ai-studio"),
    wires=("generate_content",),
    paths={"embeddings": "/{model}:batchEmbedContents", "models": "/models?pageSize=1000"},
    vectors=Vectors(encode_batch, _vectors),
    stream_usage="always",
    codes={
        "api_key_invalid": "auth",
        "api_key_expired": "auth",
        "api_key_service_blocked": "auth",
        "consumer_suspended": "auth",
        "consumer_invalid": "auth",
        "billing_disabled": "quota",
        "failed_precondition": "auth",
        "unauthenticated": "auth",
        "permission_denied": "auth",
        "unavailable": "overloaded",
        "deadline_exceeded": "timeout",
        "internal": "server",
        "not_found": "not_found",
    },
    price_provider="google",
)
