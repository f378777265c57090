"""Requests and accounts for the tests of this folder."""

import msgspec

from posthouse.core.requests import ModelRequest, Operation
from posthouse.dialects import openai_chat_head, openai_embeddings
from posthouse.providers.model import Deployment, Provider, ProviderAccount, deployment
from posthouse.providers.prepare import Prepared, prepare

CREDENTIAL = "upstream-credential-1"
MESSAGES = [{"role": "user", "content": "What is the weather in Hangzhou?"}]


def account(row: Provider, **settings: object) -> ProviderAccount:
    """An account of a row at its own address, or at one of the tests where it has none."""
    defaults: dict[str, object] = {
        "name": "main",
        "row": row,
        "base_url": row.base_url or "https://resource.example.com/v1",
        "credential": CREDENTIAL if row.auth != "none" else None,
    }
    return ProviderAccount(**(defaults | settings))  # type: ignore[arg-type]


def deployed(row: Provider, **settings: object) -> Deployment:
    return deployment(account(row, **settings), "public-name", "vendor/model-1")


def prepared(row: Provider, operation: Operation = "chat.completions", **settings: object) -> Prepared:
    return prepare(deployed(row, **settings), operation)


def chat(**fields: object) -> ModelRequest:
    return openai_chat_head.decode_head(
        msgspec.json.encode({"model": "public-name", "messages": MESSAGES, **fields}),
    )


def embeddings(**fields: object) -> ModelRequest:
    return openai_embeddings.decode_head(
        msgspec.json.encode({"model": "public-name", "input": "text", **fields}),
    )
