"""chat.completions: the door through which the rest of the house reaches this dialect.

openai_chat_head    the hot door of a request: checked and read as far as the spine needs
openai_chat_stream  the observer of a stream on its way through
openai_chat_whole   whole answers, and the way between whole and streamed
openai_usage        usage objects; openai_errors: error bodies

Where the other side speaks another dialect, `CODEC` translates:

openai_chat_codec   requests; openai_chat_items: their messages, openai_chat_parts, openai_chat_tools
openai_chat_answers whole answers; openai_chat_details: opaque state in messages
openai_chat_events  chunks; openai_chat_decoder and openai_chat_encoder: streams of them
"""

from collections.abc import Mapping
from typing import Final

from posthouse.core.errors import PosthouseError
from posthouse.core.items import InnerRequest, InnerResponse
from posthouse.dialects import openai_chat_answers, openai_chat_codec
from posthouse.dialects.codec import Addressed, Codec, Dialect, Encoded, Maker, ReplyHead, Whole
from posthouse.dialects.openai_chat_decoder import ChatDecoder
from posthouse.dialects.openai_chat_details import own_messages
from posthouse.dialects.openai_chat_encoder import ChatEncoder
from posthouse.dialects.openai_chat_head import decode_head, encode_body
from posthouse.dialects.openai_chat_stream import DONE, ChatStream, usage_chunk
from posthouse.dialects.openai_chat_text import Emitted
from posthouse.dialects.openai_chat_whole import (
    ChatCollector,
    WholeReply,
    collect,
    to_events,
    whole_text,
    whole_usage,
)
from posthouse.dialects.openai_errors import StreamError, decode_error, encode_error
from posthouse.dialects.openai_usage import usage_of, usage_payload

MEMBERS: Final[Mapping[str, str]] = {
    "choices": "n",
    "effort": "reasoning_effort",
    "max_output": "max_completion_tokens",
    "name": "messages.name",
    "output_format": "response_format",
    "parallel_tools": "parallel_tool_calls",
    "part.audio": "messages.content.input_audio",
    "part.detail": "messages.content.image_url.detail",
    "part.file": "messages.content.file",
    "part.image": "messages.content.image_url",
    "part.opaque": "messages.content",
    "role": "messages.role",
    "tool.custom": "tools.custom",
    "tool.opaque": "tools",
    "tool.strict": "tools.function.strict",
}


class ChatCodec:
    """codec.Codec for chat.completions."""

    name: Dialect = "openai_chat"
    members: Mapping[str, str] = MEMBERS

    def decode_request(self, body: bytes, addressed: Addressed) -> InnerRequest:
        return openai_chat_codec.decode_request(body, addressed)

    def encode_request(self, request: InnerRequest, maker: Maker) -> Encoded:
        return openai_chat_codec.encode_request(request, maker)

    def decode_response(self, body: bytes, maker: Maker) -> InnerResponse:
        """No state of the maker's own is found: what is in `reasoning_details` unsealed has no inner form."""
        return openai_chat_answers.decode_response(body)

    def encode_response(self, response: InnerResponse, head: ReplyHead) -> bytes:
        return openai_chat_answers.encode_response(response, head)

    def read_whole(self, body: bytes) -> Whole:
        return openai_chat_answers.read_whole(body)

    def decoder(self, maker: Maker) -> ChatDecoder:
        return ChatDecoder()

    def encoder(self, head: ReplyHead) -> ChatEncoder:
        return ChatEncoder(head)

    def encode_error(self, error: PosthouseError, request_id: str) -> bytes:
        return encode_error(error)


CODEC: Final[Codec] = ChatCodec()

__all__ = [
    "CODEC",
    "DONE",
    "ChatCodec",
    "ChatCollector",
    "ChatStream",
    "Emitted",
    "StreamError",
    "WholeReply",
    "collect",
    "decode_error",
    "decode_head",
    "encode_body",
    "encode_error",
    "own_messages",
    "to_events",
    "usage_chunk",
    "usage_of",
    "usage_payload",
    "whole_text",
    "whole_usage",
]
