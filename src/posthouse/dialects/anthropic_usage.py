"""Usage objects and stop reasons of the Messages API, to and from the inner form.

`input_tokens` excludes what was read from a cache or written to one; `output_tokens` includes thinking.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder
from msgspec.structs import astuple

from posthouse.core.usage import MOST_SEARCHES, MOST_TOKENS, NO_USAGE, Usage

_Count = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]
_Word = Annotated[str, Meta(max_length=32)]


class CacheCreation(Struct, gc=False):
    ephemeral_5m_input_tokens: _Count | None = None
    ephemeral_1h_input_tokens: _Count | None = None


class UsageObject(Struct, gc=False):
    """As it stands on the wire; None where it says nothing. What is `Any` are details: one that makes no sense says
    nothing, and does not make the counts absurd."""

    input_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None
    cache_creation: CacheCreation | None = None
    output_tokens: _Count | None = None
    output_tokens_details: Any = None
    service_tier: _Word | None = None
    speed: _Word | None = None
    server_tool_use: Any = None

    @property
    def tells_input(self) -> bool:
        return not (
            self.input_tokens is None
            and self.cache_creation_input_tokens is None
            and self.cache_read_input_tokens is None
            and self.cache_creation is None
        )


_decode: Final = Decoder(UsageObject).decode
_NULL: Final = Raw(b"null")


def usage_object(raw: Raw) -> UsageObject | None:
    """None where there is none, or where a count in it makes no sense (negative, no integer, above MOST_TOKENS)."""
    if raw == _NULL:
        return None
    try:
        found = _decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return found if any(value is not None for value in astuple(found)) else None


def is_told(raw: Raw) -> bool:
    """Whether there is anything, sensible or not."""
    return raw != _NULL and bytes(raw) != b"{}"


def later(first: UsageObject | None, last: UsageObject | None) -> UsageObject | None:
    """Two reports of one answer as one. Counts are totals, so the last stands where it says something.

    Some vendors count the input only at the start, and report none of it later.
    """
    if first is None or last is None:
        return last or first
    no_input = not (last.input_tokens or last.cache_creation_input_tokens or last.cache_read_input_tokens)
    newer = first if no_input else last
    return UsageObject(
        _or(newer.input_tokens, first.input_tokens),
        _or(newer.cache_creation_input_tokens, first.cache_creation_input_tokens),
        _or(newer.cache_read_input_tokens, first.cache_read_input_tokens),
        newer.cache_creation or first.cache_creation,
        _or(last.output_tokens, first.output_tokens),
        last.output_tokens_details or first.output_tokens_details,
        last.service_tier or first.service_tier,
        last.speed or first.speed,
        last.server_tool_use or first.server_tool_use,
    )


def _or(value: int | None, other: int | None) -> int | None:
    return other if value is None else value


def usage_of(found: UsageObject | None) -> Usage | None:
    """Disjoint usage: `total_input` is the sum of the three input counts, `total_output` is `output_tokens`. None where
    nothing was counted."""
    if found is None or (found.output_tokens is None and not found.tells_input):
        return None
    parts = found.cache_creation or CacheCreation()
    hour = parts.ephemeral_1h_input_tokens or 0
    written = found.cache_creation_input_tokens
    if written is None:
        written = (parts.ephemeral_5m_input_tokens or 0) + hour
    hour = min(hour, written)
    output = found.output_tokens or 0
    thinking = min(output, _detail(found.output_tokens_details, "thinking_tokens", MOST_TOKENS))
    return Usage(
        input=found.input_tokens or 0,
        cache_read=found.cache_read_input_tokens or 0,
        cache_write=written - hour,
        cache_write_1h=hour,
        output=output - thinking,
        reasoning=thinking,
        web_searches=_detail(found.server_tool_use, "web_search_requests", MOST_SEARCHES),
        tier="fast" if found.speed == "fast" else found.service_tier or "",
    )


def _detail(details: Any, name: str, most: int) -> int:
    count = details.get(name) if isinstance(details, dict) else None
    return count if type(count) is int and 0 <= count <= most else 0


def usage_payload(usage: Usage | None) -> dict[str, Any]:
    """The usage object of an answer; `usage_of` turns it back, but for images and audio, which it counts as text."""
    usage = usage or NO_USAGE
    written = usage.cache_write + usage.cache_write_1h
    return {
        "input_tokens": usage.total_input - usage.total_cache_read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.total_cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.total_output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    }


_FINISH_OF: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "refusal": "content_filter",
}
_STOP_OF: Final = {
    "stop": "end_turn",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "length": "max_tokens",
    "content_filter": "refusal",
}
# Reasons of this dialect that the inner form passes as they are.
_OWN: Final = frozenset({*_FINISH_OF, "compaction"})


def finish_of(stop_reason: str) -> str:
    return _FINISH_OF.get(stop_reason, stop_reason)


def stop_reason_of(finish: str, *, called: bool, refused: bool) -> str:
    """`called`: the answer calls a tool; `refused`: it holds a refusal. Clients go by this word alone, and some models
    end such answers like any other."""
    reason = _STOP_OF.get(finish) or (finish if finish in _OWN else "end_turn")
    if reason == "end_turn" and called:
        return "tool_use"
    return "refusal" if reason == "end_turn" and refused else reason
