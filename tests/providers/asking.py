"""Requests and accounts for the tests of this folder."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from posthouse.core.requests import ModelRequest, Operation
from posthouse.dialects import (
    anthropic_messages,
    gemini,
    openai_chat_head,
    openai_completions,
    openai_embeddings,
    openai_responses,
)
from posthouse.providers.model import Deployment, Provider, ProviderAccount, deployment
from posthouse.providers.prepare import Prepared, prepare

CREDENTIAL = "upstream-credential-1"
QUESTION: Final = "What is the weather in Hangzhou?"
MESSAGES = [{"role": "user", "content": QUESTION}]
_SCHEMA: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_TOOL: Final = {"name": "get_weather", "description": "The weather of a city."}


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


def asked(operation: Operation, *, stream: bool = False, tools: bool = False, **more: object) -> ModelRequest:
    """The same question in the words of any text dialect, with one tool where `tools`."""
    body = {**_BODIES[operation], **(_TOOLS.get(operation, {}) if tools else {}), **more}
    if operation == "generate_content":
        return gemini.decode_head(msgspec.json.encode(body), "public-name", stream)
    body |= {"model": "public-name", **({"stream": True} if stream else {})}
    return _DECODERS[operation](msgspec.json.encode(body))


_DECODERS: Final[dict[Operation, Callable[[bytes], ModelRequest]]] = {
    "chat.completions": openai_chat_head.decode_head,
    "responses": openai_responses.decode_head,
    "messages": anthropic_messages.decode_head,
    "completions": openai_completions.decode_head,
}
_BODIES: Final[dict[Operation, dict[str, Any]]] = {
    "chat.completions": {"messages": MESSAGES},
    "responses": {"input": QUESTION},
    "messages": {"messages": MESSAGES, "max_tokens": 1000},
    "generate_content": {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}]},
    "completions": {"prompt": QUESTION},
}
_TOOLS: Final[dict[Operation, dict[str, Any]]] = {
    "chat.completions": {"tools": [{"type": "function", "function": {**_TOOL, "parameters": _SCHEMA}}]},
    "responses": {"tools": [{"type": "function", **_TOOL, "parameters": _SCHEMA}]},
    "messages": {"tools": [{**_TOOL, "input_schema": _SCHEMA}]},
    "generate_content": {"tools": [{"functionDeclarations": [{**_TOOL, "parameters": _SCHEMA}]}]},
}
