"""OpenRouter.

Usage, with its cost, comes with the last chunk of every stream. Comments keep a waiting stream alive. An error inside
a stream is an event with `error` and finish reason `error`, or stands in the choice; its `code` is an HTTP status,
and `metadata.raw` is what the provider behind it said. 402 is an empty account, 403 refused content.

The Responses API and the Messages API are known too; neither keeps state. Pictures are made at `/images`; speech,
transcriptions and reranking are at their usual places.

Sources: openrouter.ai/docs (errors, streaming, responses, messages), the openrouter package 1.3.84 (paths;
`include_usage` has no effect). Checked: 2026-11-21.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="openrouter",
    title="OpenRouter",
    docs="https://openrouter.ai/docs",
    checked="2026-11-21",
    base_url="https://openrouter.ai/api/v1",
    env=("OPENROUTER_API_KEY",),
    base_url_env="OPENROUTER_BASE_URL",
    wires=("chat.completions", "responses", "messages"),
    offers=("images.generations", "audio.speech", "audio.transcriptions", "rerank"),
    paths={"images.generations": "/images"},
    stream_usage="always",
    price_provider="openrouter",
)
