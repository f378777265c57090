"""gemini (generateContent and its family): the door through which the rest of the house reaches this dialect.

gemini_head        the hot door of a request, and counting tokens
gemini_own         what a request that passes to a provider must not take along
gemini_request     requests, whole; gemini_contents, gemini_parts, gemini_schema: what they are made of; pairing brings
                   results to their calls
gemini_response    whole answers; gemini_stream: streams; gemini_array: a stream as one JSON array
gemini_usage       usageMetadata; gemini_errors: error bodies
gemini_defaults    parameters that are set where a request lacks them
gemini_embeddings  vectors; gemini_models: the list of models
"""

from collections.abc import Mapping
from typing import Final

from posthouse.core.errors import PosthouseError
from posthouse.core.items import InnerRequest, InnerResponse
from posthouse.dialects import gemini_errors, gemini_request, gemini_response
from posthouse.dialects.codec import Addressed, Codec, Dialect, Encoded, Maker, ReplyHead, Whole
from posthouse.dialects.gemini_array import ArrayForm, as_array
from posthouse.dialects.gemini_defaults import is_own, with_defaults
from posthouse.dialects.gemini_embeddings import (
    Embedded,
    Embedding,
    decode_batch,
    decode_batch_embed,
    decode_embed,
    encode_batch,
    encode_embedding,
    encode_embeddings,
)
from posthouse.dialects.gemini_errors import error_in
from posthouse.dialects.gemini_head import count_in, decode_count, decode_head, encode_count
from posthouse.dialects.gemini_models import EMBEDS, GENERATES, GeminiModel, encode_model, encode_models
from posthouse.dialects.gemini_own import own_contents
from posthouse.dialects.gemini_stream import HEARTBEAT, GeminiDecoder, GeminiEncoder

_CONFIG: Final = "generationConfig"
_MEMBERS: Final = {
    "choices": f"{_CONFIG}.candidateCount",
    "effort": f"{_CONFIG}.thinkingConfig.thinkingLevel",
    "frequency_penalty": f"{_CONFIG}.frequencyPenalty",
    "max_output": f"{_CONFIG}.maxOutputTokens",
    "output_format": f"{_CONFIG}.responseMimeType",
    "part.audio": "contents.parts.inlineData",
    "part.file": "contents.parts.inlineData",
    "part.image": "contents.parts.inlineData",
    "part.opaque": "contents.parts",
    "presence_penalty": f"{_CONFIG}.presencePenalty",
    "role": "contents.role",
    "seed": f"{_CONFIG}.seed",
    "stop": f"{_CONFIG}.stopSequences",
    "temperature": f"{_CONFIG}.temperature",
    "thinking_budget": f"{_CONFIG}.thinkingConfig.thinkingBudget",
    "tool.opaque": "tools",
    "tool_choice": "toolConfig.functionCallingConfig",
    "top_k": f"{_CONFIG}.topK",
    "top_p": f"{_CONFIG}.topP",
}


class GeminiCodec:
    """See `codec.Codec`."""

    name: Dialect = "gemini"
    members: Mapping[str, str] = _MEMBERS

    def decode_request(self, body: bytes, addressed: Addressed) -> InnerRequest:
        return gemini_request.decode_request(body, addressed)

    def encode_request(self, request: InnerRequest, maker: Maker) -> Encoded:
        return gemini_request.encode_request(request, maker)

    def decode_response(self, body: bytes, maker: Maker) -> InnerResponse:
        return gemini_response.decode_response(body, maker)

    def encode_response(self, response: InnerResponse, head: ReplyHead) -> bytes:
        return gemini_response.encode_response(response, head)

    def read_whole(self, body: bytes) -> Whole:
        return gemini_response.read_whole(body)

    def decoder(self, maker: Maker) -> GeminiDecoder:
        return GeminiDecoder(maker)

    def encoder(self, head: ReplyHead) -> GeminiEncoder:
        return GeminiEncoder(head)

    def encode_error(self, error: PosthouseError, request_id: str) -> bytes:
        return gemini_errors.encode_error(error, request_id)


CODEC: Codec = GeminiCodec()

__all__ = [
    "CODEC",
    "EMBEDS",
    "GENERATES",
    "HEARTBEAT",
    "ArrayForm",
    "Embedded",
    "Embedding",
    "GeminiModel",
    "as_array",
    "count_in",
    "decode_batch",
    "decode_batch_embed",
    "decode_count",
    "decode_embed",
    "decode_head",
    "encode_batch",
    "encode_count",
    "encode_embedding",
    "encode_embeddings",
    "encode_model",
    "encode_models",
    "error_in",
    "is_own",
    "own_contents",
    "with_defaults",
]
