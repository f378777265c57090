"""What a key wants of its requests, done to a request that a face has decoded.

Above: `asking.py`. Defaults are top-level members in the words of the dialect that the client speaks, so they are set
in the dialects whose parameters stand there; generateContent keeps its own deeper, and has none. A name that is an
alias is another model's from here on: permissions, prices and records see that.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from posthouse.core.caller import Wishes
from posthouse.core.requests import ModelRequest, Operation
from posthouse.dialects import anthropic_messages, openai_chat_head, openai_completions, openai_responses

_DECODERS: Final[Mapping[Operation, Callable[[bytes], ModelRequest]]] = {
    "chat.completions": openai_chat_head.decode_head,
    "responses": openai_responses.decode_head,
    "messages": anthropic_messages.decode_head,
    "completions": openai_completions.decode_head,
}
# Several names of one thing: a client that has said it by one of them has said it.
_SAME: Final = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})
_encode: Final = msgspec.json.Encoder().encode


def heeded(request: ModelRequest, wishes: Wishes) -> ModelRequest:
    """The request with the defaults that it lacks, for the model that it means. InvalidRequest where a default cannot
    stand in it. Done twice, it is as if done once."""
    decode = _DECODERS.get(request.operation)
    if decode is not None and wishes.defaults:
        fields = request.fields
        said = not _SAME.isdisjoint(fields)
        missing = {
            name: value
            for name, value in wishes.defaults.items()
            if name not in fields and not (said and name in _SAME)
        }
        if missing:
            made = decode(_encode(fields | missing))
            made.headers = request.headers
            request = made
    request.model = wishes.aliases.get(request.model, request.model)
    return request
