"""completions, the API of models that go on writing: the door through which the rest of the house reaches this dialect.

openai_completions_head     a request, checked and read as far as the spine needs
openai_completions_codec    whole requests; openai_completions_prompt: a conversation as one prompt
openai_completions_answers  whole answers
openai_completions_stream   streams; openai_completions_joined: of several prompts, as one

A request may have several prompts. A provider of this dialect takes them at once; where the other side speaks another,
`split` makes a request of each, and `join` one answer of theirs (of streams: `Renumbered`).
"""

from collections.abc import Mapping
from typing import Final

from posthouse.core.errors import PosthouseError
from posthouse.core.items import InnerRequest, InnerResponse
from posthouse.core.requests import ModelRequest
from posthouse.dialects import openai_completions_answers, openai_completions_codec
from posthouse.dialects.codec import Addressed, Codec, Dialect, Encoded, Maker, ReplyHead, Whole
from posthouse.dialects.openai_completions_answers import join
from posthouse.dialects.openai_completions_codec import split
from posthouse.dialects.openai_completions_head import decode_head, prompt_of, prompts_in
from posthouse.dialects.openai_completions_joined import Renumbered
from posthouse.dialects.openai_completions_stream import CompletionDecoder, CompletionEncoder, usage_event
from posthouse.dialects.openai_errors import encode_error

__all__ = [
    "CODEC",
    "CompletionEncoder",
    "CompletionsCodec",
    "Renumbered",
    "decode_head",
    "join",
    "prompts",
    "split",
    "usage_event",
]


def prompts(request: ModelRequest) -> int:
    """How many prompts a request has."""
    return prompts_in(prompt_of(request.fields))


class CompletionsCodec:
    """codec.Codec for completions."""

    name: Dialect = "openai_completions"
    members: Mapping[str, str] = {
        "choices": "n",
        "max_output": "max_tokens",
    }

    def decode_request(self, body: bytes, addressed: Addressed) -> InnerRequest:
        """Of one prompt that is text."""
        return openai_completions_codec.decode_request(body, addressed)

    def encode_request(self, request: InnerRequest, maker: Maker) -> Encoded:
        return openai_completions_codec.encode_request(request, maker)

    def decode_response(self, body: bytes, maker: Maker) -> InnerResponse:
        return openai_completions_answers.decode_response(body)

    def encode_response(self, response: InnerResponse, head: ReplyHead) -> bytes:
        return openai_completions_answers.encode_response(response, head)

    def read_whole(self, body: bytes) -> Whole:
        return openai_completions_answers.read_whole(body)

    def decoder(self, maker: Maker) -> CompletionDecoder:
        return CompletionDecoder()

    def encoder(self, head: ReplyHead) -> CompletionEncoder:
        return CompletionEncoder(head)

    def encode_error(self, error: PosthouseError, request_id: str) -> bytes:
        return encode_error(error)


CODEC: Final[Codec] = CompletionsCodec()
