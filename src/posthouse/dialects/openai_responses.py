"""The Responses API: the door through which the rest of the house reaches this dialect.

openai_responses_head     the hot door of a request: checked and read as far as the spine needs
openai_responses_items    items; openai_responses_tools: tools and the form of the output
openai_responses_request  requests; openai_responses_whole: answers that come at once
openai_responses_decoder  a provider's stream; openai_responses_encoder: one for a client
openai_responses_events   what may follow what in a stream, as a table

Stateless: what a request says of responses kept earlier is refused.
"""

from collections.abc import Mapping
from typing import Final

from posthouse.core.errors import PosthouseError
from posthouse.core.items import InnerRequest, InnerResponse
from posthouse.dialects.codec import (
    Addressed,
    Codec,
    Dialect,
    Encoded,
    Maker,
    ReplyHead,
    StreamDecoder,
    StreamEncoder,
    Whole,
)
from posthouse.dialects.openai_errors import encode_error
from posthouse.dialects.openai_responses_decoder import ResponsesDecoder
from posthouse.dialects.openai_responses_encoder import ResponsesEncoder
from posthouse.dialects.openai_responses_head import decode_head, encode_input_tokens
from posthouse.dialects.openai_responses_own import own_input
from posthouse.dialects.openai_responses_request import SHARED, decode_request, encode_request
from posthouse.dialects.openai_responses_whole import decode_response, encode_response, read_whole

__all__ = ["CODEC", "SHARED", "decode_head", "encode_input_tokens", "own_input"]


class _Responses:
    name: Dialect = "openai_responses"
    members: Mapping[str, str] = {
        "effort": "reasoning.effort",
        "max_output": "max_output_tokens",
        "output_format": "text.format",
        "parallel_tools": "parallel_tool_calls",
        "part.audio": "input_audio",
        "part.detail": "input_image.detail",
        "part.file": "input_file",
        "part.image": "input_image",
        "part.opaque": "input",
        "thinking_budget": "reasoning",
        "tool.custom": "tools",
        "tool.opaque": "tools",
        "tool.strict": "tools.strict",
        "user": "safety_identifier",
        "verbosity": "text.verbosity",
    }

    def decode_request(self, body: bytes, addressed: Addressed) -> InnerRequest:
        """Model and streaming stand in the body."""
        return decode_request(body)

    def encode_request(self, request: InnerRequest, maker: Maker) -> Encoded:
        return encode_request(request, maker)

    def decode_response(self, body: bytes, maker: Maker) -> InnerResponse:
        return decode_response(body, maker)

    def encode_response(self, response: InnerResponse, head: ReplyHead) -> bytes:
        return encode_response(response, head)

    def read_whole(self, body: bytes) -> Whole:
        return read_whole(body)

    def decoder(self, maker: Maker) -> StreamDecoder:
        return ResponsesDecoder(maker)

    def encoder(self, head: ReplyHead) -> StreamEncoder:
        return ResponsesEncoder(head)

    def encode_error(self, error: PosthouseError, request_id: str) -> bytes:
        """The id of the request stands in the head of the response."""
        return encode_error(error)


CODEC: Final[Codec] = _Responses()
