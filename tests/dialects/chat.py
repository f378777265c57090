"""Requests of chat.completions through the codec, as its tests ask for them."""

import json
from typing import Any, Final

from posthouse.core.items import InnerRequest, MessageItem
from posthouse.core.parts import TextPart
from posthouse.dialects.codec import Addressed
from posthouse.dialects.openai_chat import CODEC
from tests.dialects.inner import MAKER

NOWHERE: Final = Addressed("")


def decode(value: Any) -> InnerRequest:
    return CODEC.decode_request(value if isinstance(value, bytes) else json.dumps(value).encode(), NOWHERE)


def encode(request: InnerRequest) -> Any:
    return json.loads(CODEC.encode_request(request, MAKER).body)


def dropped(request: InnerRequest) -> tuple[str, ...]:
    return CODEC.encode_request(request, MAKER).dropped


def asked(*items: Any, **more: Any) -> InnerRequest:
    """A request of another dialect."""
    return InnerRequest(dialect="anthropic_messages", model="m", items=items, **more)


def messages(*items: Any) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = encode(asked(*items))["messages"]
    return said


def user(text: str = "a") -> MessageItem:
    return MessageItem("user", (TextPart(text),))
