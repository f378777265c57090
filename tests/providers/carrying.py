"""Requests on their way from one dialect to a provider of another, for tests."""

from typing import Any, Final

import msgspec

from posthouse.core.requests import ModelRequest, Operation
from posthouse.dialects import anthropic_messages
from posthouse.providers.call import call
from posthouse.providers.model import Provider, deployment
from posthouse.providers.prepare import Prepared, prepare
from tests.providers.asking import account
from tests.providers.vendor import Vendor

FAR: Final = 1e12
SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def way(row: Provider, operation: Operation, model: str = "vendor/model-1", name: str = "main") -> Prepared:
    return prepare(deployment(account(row, name=name), "public-name", model), operation)


async def told(row: Provider, request: ModelRequest, model: str = "vendor/model-1") -> dict[str, Any]:
    """What the vendor was asked."""
    vendor = Vendor(row)
    await call(way(row, request.operation, model), request, vendor, FAR, "req_1")
    return vendor.body


def messages(**more: object) -> ModelRequest:
    body = {"model": "public-name", "max_tokens": 1000, "messages": [{"role": "user", "content": "Hi"}]}
    return anthropic_messages.decode_head(msgspec.json.encode(body | more))
