"""gemini's list of models, as our clients see it."""

from typing import Any, Final

import msgspec
from msgspec import Struct

GENERATES: Final = ("generateContent", "streamGenerateContent", "countTokens")
EMBEDS: Final = ("embedContent", "batchEmbedContents")

_encode = msgspec.json.Encoder().encode


class GeminiModel(Struct, frozen=True):
    """`id` without `models/`; `methods` are what may stand behind the colon of its path. Limits in tokens."""

    id: str
    methods: tuple[str, ...] = GENERATES
    title: str | None = None
    input_limit: int | None = None
    output_limit: int | None = None


def encode_model(model: GeminiModel) -> bytes:
    return _encode(_object(model))


def encode_models(models: list[GeminiModel]) -> bytes:
    """All of them: there is no further page."""
    return _encode({"models": [_object(model) for model in models]})


def _object(model: GeminiModel) -> dict[str, Any]:
    members = {
        "name": f"models/{model.id}",
        "baseModelId": model.id,
        "version": "001",  # the API requires one; ours have none
        "displayName": model.title or model.id,
        "inputTokenLimit": model.input_limit,
        "outputTokenLimit": model.output_limit,
        "supportedGenerationMethods": model.methods,
    }
    return {name: value for name, value in members.items() if value is not None}
