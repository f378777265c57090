"""The Messages API: the door through which the rest of the house reaches this dialect.

anthropic_head      the hot door of a request; counting tokens
anthropic_request   a client's request to the inner form, with the blocks of its messages in anthropic_blocks
anthropic_body      the inner form to a provider's body, with its messages in anthropic_turns, their blocks in
                    anthropic_parts, JSON schemas in anthropic_schema; pairing brings results to their calls
anthropic_whole     whole answers; anthropic_usage: usage and stop reasons
anthropic_decoder   a provider's stream; anthropic_encoder: a client's
anthropic_own       a client's request that passes, without what the house had sealed
anthropic_errors    error bodies; anthropic_models: the list of models; anthropic_fields: naming what does not fit
"""

from collections.abc import Mapping
from typing import Final

from posthouse.core.errors import PosthouseError
from posthouse.core.items import InnerRequest, InnerResponse
from posthouse.dialects import anthropic_body, anthropic_errors, anthropic_request, anthropic_whole
from posthouse.dialects.anthropic_body import DEFAULT_MAX_TOKENS
from posthouse.dialects.anthropic_decoder import MessagesDecoder
from posthouse.dialects.anthropic_encoder import MessagesEncoder
from posthouse.dialects.anthropic_head import (
    check_limit,
    decode_count_head,
    decode_head,
    decode_open_head,
    encode_count,
)
from posthouse.dialects.anthropic_models import encode_model, encode_models
from posthouse.dialects.anthropic_own import own_fields
from posthouse.dialects.anthropic_request import decode_count_request
from posthouse.dialects.codec import Addressed, Codec, Dialect, Encoded, Maker, ReplyHead, Whole

_MEMBERS: Final = {
    "effort": "output_config.effort",
    "max_output": "max_tokens",
    "output_format": "output_config.format",
    "parallel_tools": "tool_choice.disable_parallel_tool_use",
    "part.file": "document",
    "part.image": "image",
    "part.opaque": "content",
    "stop": "stop_sequences",
    "thinking_budget": "thinking.budget_tokens",
    "tool.opaque": "tools",
    "tool.strict": "tools.strict",
    "user": "metadata.user_id",
}


class _Messages:
    name: Dialect = "anthropic_messages"
    members: Mapping[str, str] = _MEMBERS

    def decode_request(self, body: bytes, addressed: Addressed) -> InnerRequest:
        return anthropic_request.decode_request(body, addressed)

    def encode_request(self, request: InnerRequest, maker: Maker) -> Encoded:
        return anthropic_body.encode_request(request, maker)

    def decode_response(self, body: bytes, maker: Maker) -> InnerResponse:
        return anthropic_whole.decode_response(body, maker)

    def encode_response(self, response: InnerResponse, head: ReplyHead) -> bytes:
        return anthropic_whole.encode_response(response, head)

    def read_whole(self, body: bytes) -> Whole:
        return anthropic_whole.read_whole(body)

    def decoder(self, maker: Maker) -> MessagesDecoder:
        return MessagesDecoder(maker)

    def encoder(self, head: ReplyHead) -> MessagesEncoder:
        return MessagesEncoder(head)

    def encode_error(self, error: PosthouseError, request_id: str) -> bytes:
        return anthropic_errors.encode_error(error, request_id)


CODEC: Final[Codec] = _Messages()

__all__ = [
    "CODEC",
    "DEFAULT_MAX_TOKENS",
    "check_limit",
    "decode_count_head",
    "decode_count_request",
    "decode_head",
    "decode_open_head",
    "encode_count",
    "encode_model",
    "encode_models",
    "own_fields",
]
