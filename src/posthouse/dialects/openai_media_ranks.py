"""Judgements and ranks: what the spine reads of a whole answer to a moderation or a rerank. The answers pass as they
came.

A moderation is {id, model, results}. A rerank is {results} (Cohere, Jina), {data} (Voyage) or a bare array; what it
consumed stands in `usage` (`total_tokens`, and perhaps what they are made of), in `meta.billed_units.search_units`, in
`meta.tokens`, or in `tokens`.

Sources: OpenAI's published OpenAPI document; LiteLLM 1.109 (cohere, jina_ai, voyage, fireworks_ai, dashscope);
docs.siliconflow.cn (rerank); docs.sglang.io (native API). Checked: 2026-11-21.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct
from msgspec.json import Decoder

from posthouse.core.requests import ModelRequest
from posthouse.core.usage import MOST_SEARCHES, MOST_TOKENS, Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_whole import WholeReply
from posthouse.dialects.openai_errors import decode_error
from posthouse.dialects.openai_usage import usage_of

# Some vendors write counts as 1.0.
_Number = Annotated[float, Meta(ge=0, le=MOST_TOKENS, multiple_of=1)]
_Searches = Annotated[float, Meta(ge=0, le=MOST_SEARCHES, multiple_of=1)]


class _Judged(Struct, gc=False):
    id: Any = None
    results: list[msgspec.Raw] | None = None
    usage: Any = None
    error: Any = None


class _Units(Struct, gc=False):
    search_units: _Searches | None = None
    input_tokens: _Number | None = None
    output_tokens: _Number | None = None
    total_tokens: _Number | None = None


class _Meta(Struct, gc=False):
    billed_units: _Units | None = None
    tokens: _Units | None = None


class _Ranked(Struct, gc=False):
    id: Any = None
    results: list[msgspec.Raw] | None = None
    data: list[msgspec.Raw] | None = None
    usage: Any = None
    meta: Any = None
    tokens: Any = None
    error: Any = None


_decode_judged: Final = Decoder(_Judged).decode
_decode_ranked: Final = Decoder(_Ranked).decode
_decode_list: Final = Decoder(list[dict[str, msgspec.Raw]]).decode
_LIST: Final = b"["


def read_moderation(body: bytes, _: ModelRequest) -> WholeReply:
    """Usage and error of a moderation; a finish reason where it holds results. DialectError where it is none."""
    try:
        reply = _decode_judged(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise DialectError("the answer holds no judgements") from None
    usage = _tokens(reply.usage)
    return WholeReply(usage, "stop" if reply.results else None, decode_error(reply.error), _text(reply.id))


def read_ranks(body: bytes, _: ModelRequest) -> WholeReply:
    """Usage and error of a rerank; a finish reason where it holds ranks. DialectError where it is none."""
    try:
        if body.lstrip()[:1] == _LIST:
            return WholeReply(None, "stop" if _decode_list(body) else None, None)
        reply = _decode_ranked(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise DialectError("the answer holds no ranks") from None
    ranks = reply.results if reply.results is not None else reply.data
    return WholeReply(_ranked(reply), None if ranks is None else "stop", decode_error(reply.error), _text(reply.id))


def _ranked(reply: _Ranked) -> Usage | None:
    """Searches and tokens, whichever were told."""
    meta = _as(reply.meta, _Meta) or _Meta()
    billed = meta.billed_units or _Units()
    searches = None if billed.search_units is None else round(billed.search_units)
    read = _tokens(reply.usage)
    for told in (meta.tokens, billed, _as(reply.tokens, _Units)):
        if read is None and told is not None:
            counts = (told.input_tokens or 0) + (told.output_tokens or 0)
            read = Usage(input=round(counts)) if counts else None
    if searches is None:
        return read
    return msgspec.structs.replace(read or Usage(), searches=searches)


def _tokens(payload: Any) -> Usage | None:
    """Tokens that were read: what vendors count as written is none of an answer's, and charged as read."""
    if not isinstance(payload, dict):
        return None
    if "prompt_tokens" not in payload:
        told = _as(payload, _Units)
        if told is None or (told.total_tokens is None and told.input_tokens is None):
            return None
        return Usage(input=round(told.total_tokens if told.total_tokens is not None else told.input_tokens or 0))
    found = usage_of(payload)
    return found if found is None else Usage(input=found.total)


def _as(payload: Any, kind: Any) -> Any:
    if not isinstance(payload, dict):
        return None
    try:
        return msgspec.convert(payload, kind)
    except (msgspec.ValidationError, RecursionError):
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
