"""What a key wants of its requests, done to a request that a face has decoded.

Above: `asking.py`. Defaults are top-level members in the words of the dialect that the client speaks, and are set as
they stand in the dialects whose parameters stand there, but for the cap of output, which each calls by a name of its
own. generateContent keeps its parameters deeper: see `gemini_defaults`. A name that is an alias is another model's from
here on: permissions, prices and records see that.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import Raw

from posthouse.core.caller import Wishes
from posthouse.core.requests import ModelRequest, Operation
from posthouse.dialects import anthropic_messages, gemini, openai_chat_head, openai_completions, openai_responses
from posthouse.dialects.fields import Fields

_DECODERS: Final[Mapping[Operation, Callable[[bytes], ModelRequest]]] = {
    "chat.completions": openai_chat_head.decode_head,
    "responses": openai_responses.decode_head,
    "messages": anthropic_messages.decode_open_head,
    "completions": openai_completions.decode_head,
}
# Several names of one thing: a client that has said it by one of them has said it.
_CAPS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
# What a dialect calls it that does not know the other names.
_CAP_OF: Final[Mapping[Operation, str]] = {
    "responses": "max_output_tokens",
    "messages": "max_tokens",
    "completions": "max_tokens",
}
_encode: Final = msgspec.json.Encoder().encode


def heeded(request: ModelRequest, wishes: Wishes) -> ModelRequest:
    """The request with the defaults that it lacks, for the model that it means. InvalidRequest where a default cannot
    stand in it. Done twice, it is as if done once."""
    if wishes.defaults:
        request = _completed(request, wishes.defaults)
    request.model = wishes.aliases.get(request.model, request.model)
    return request


def _completed(request: ModelRequest, defaults: Mapping[str, Raw]) -> ModelRequest:
    if request.operation == "generate_content":
        fields = gemini.with_defaults(request.fields, defaults)
        if fields is request.fields or not request.fields:  # what is only counted has none
            return request
        return gemini.decode_head(_encode(fields), request.model, request.stream)
    decode = _DECODERS.get(request.operation)
    missing = {} if decode is None else _missing(request, defaults)
    if decode is None or not missing:
        return request
    made = decode(_encode(request.fields | missing))
    made.headers, made.stream = request.headers, request.stream
    return made


def _missing(request: ModelRequest, defaults: Mapping[str, Raw]) -> Fields:
    """What a request lacks of them, by the names that it has in its dialect."""
    fields = request.fields
    missing = {
        name: value
        for name, value in defaults.items()
        if name not in fields and name not in _CAPS and not gemini.is_own(name)
    }
    caps = {name: defaults[name] for name in _CAPS if name in defaults}
    if caps and fields.keys().isdisjoint(_CAPS):
        own = _CAP_OF.get(request.operation)
        missing |= caps if own is None else {own: caps.get(own, next(iter(caps.values())))}
    return missing
