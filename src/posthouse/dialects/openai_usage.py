"""OpenAI's usage object, which counts classes inside each other, to and from `core.usage`, which does not.

`prompt_tokens` includes cached, cache-write, audio and image tokens; `completion_tokens` includes reasoning, audio and
image tokens. Some vendors name the cached ones elsewhere, and some report reasoning outside `completion_tokens` (told
by a total that is the sum of all three): each form is recognised by its members, not by a vendor's name.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder
from msgspec.structs import astuple, replace

from posthouse.core.usage import MOST_TOKENS, Usage

NO_USAGE: Final = Raw(b"null")  # an absent member
_TIER: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")
Count = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]


def usage_of(payload: Any) -> Usage | None:
    """Disjoint usage; None where there is none or where the prompt or the completion is no count (negative, no integer,
    above MOST_TOKENS).

    The sums hold: `total_input` is the reported prompt, `total_output` the reported completion. A detail that claims
    more than is left of its total is cut to that, and one that is no count says nothing.
    """
    if not isinstance(payload, dict):
        return None
    get = payload.get
    prompt, completion, total = get("prompt_tokens"), get("completion_tokens"), get("total_tokens")
    if prompt is None and completion is None:
        return None
    prompt, completion = _whole(prompt), _whole(completion)
    if prompt is None or completion is None:
        return None
    into = get("prompt_tokens_details")
    out = get("completion_tokens_details")
    if not into and not out and total is not None and len(payload) == 3:
        return Usage(input=prompt, output=completion)
    into = into if isinstance(into, dict) else {}
    out = out if isinstance(out, dict) else {}
    reasoning = first_count(out, "reasoning_tokens")
    if reasoning and total == prompt + completion + reasoning:
        completion += reasoning
    rest = prompt
    rest -= (cache_read := min(rest, _cached(payload, into)))
    rest -= (cache_write := min(rest, first_count(into, "cache_write_tokens", "cache_creation_input_tokens")))
    kept = into.get("cached_tokens_details")
    kept = kept if isinstance(kept, dict) else {}
    cache_read -= (audio_kept := min(cache_read, first_count(kept, "audio_tokens")))
    cache_read -= (image_kept := min(cache_read, first_count(kept, "image_tokens")))
    rest -= (audio_input := min(rest, max(0, first_count(into, "audio_tokens") - audio_kept)))
    rest -= (image_input := min(rest, max(0, first_count(into, "image_tokens") - image_kept)))
    visible = completion
    visible -= (reasoning := min(visible, reasoning))
    visible -= (audio_output := min(visible, first_count(out, "audio_tokens")))
    visible -= (image_output := min(visible, first_count(out, "image_tokens")))
    return Usage(
        input=rest,
        cache_read=cache_read,
        cache_write=cache_write,
        output=visible,
        reasoning=reasoning,
        audio_input=audio_input,
        audio_output=audio_output,
        image_input=image_input,
        image_output=image_output,
        audio_cache_read=audio_kept,
        image_cache_read=image_kept,
    )


def at_tier(usage: Usage | None, tier: Any) -> Usage | None:
    """The same, served at the tier that an answer names; what names none is as it was."""
    if usage is None or not isinstance(tier, str) or not _TIER.match(tier):
        return usage
    return replace(usage, tier=tier)


class _Into(Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None
    cached_tokens_details: Any = None


class _Out(Struct, gc=False):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class _Plain(Struct, gc=False):
    """The usual usage object. What does not fit it, or counts more than text, is read the long way."""

    prompt_tokens: Count
    completion_tokens: Count = 0
    prompt_tokens_details: _Into | None = None
    completion_tokens_details: _Out | None = None
    prompt_cache_hit_tokens: int | None = None
    cached_tokens: int | None = None


_decode_plain = Decoder(_Plain).decode
_decode_any = Decoder(Any).decode


def usage_in(raw: Raw) -> Usage | None:
    """`usage_of` for a member that is still bytes. 1.5 us where only text was counted, which `usage_of` takes 6 for."""
    try:
        plain = _decode_plain(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _odd_usage_in(raw)
    into, out = plain.prompt_tokens_details, plain.completion_tokens_details
    if (
        plain.prompt_cache_hit_tokens
        or plain.cached_tokens
        or (into is not None and any(astuple(into)))
        or (out is not None and any(astuple(out)))
    ):
        return usage_of(_decode_any(raw))
    return Usage(plain.prompt_tokens, 0, 0, 0, plain.completion_tokens)


def _odd_usage_in(raw: Raw) -> Usage | None:
    """None also where it cannot be read at all: a number beyond all bounds, half a character."""
    try:
        return usage_of(_decode_any(raw))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def usage_payload(usage: Usage) -> dict[str, Any]:
    """The usage object of chat.completions; `usage_of` turns it back, but for the life of a cache write."""
    return {
        "prompt_tokens": usage.total_input,
        "completion_tokens": usage.total_output,
        "total_tokens": usage.total,
        "prompt_tokens_details": {
            "cached_tokens": usage.total_cache_read,
            "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
            "audio_tokens": usage.audio_input + usage.audio_cache_read,
            "image_tokens": usage.image_input + usage.image_cache_read,
            **kept_details(usage),
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.audio_output,
            "image_tokens": usage.image_output,
        },
    }


def kept_details(usage: Usage) -> dict[str, Any]:
    """What of the cached tokens was sound or images, told only where there was some."""
    told = {"audio_tokens": usage.audio_cache_read, "image_tokens": usage.image_cache_read}
    return {"cached_tokens_details": told} if any(told.values()) else {}


def _cached(payload: Mapping[str, Any], into: Mapping[str, Any]) -> int:
    return first_count(into, "cached_tokens") or first_count(payload, "prompt_cache_hit_tokens", "cached_tokens")


def first_count(source: Mapping[str, Any], *names: str) -> int:
    """The first of these details that is a count and not zero; 0 where none is."""
    for name in names:
        value = source.get(name)
        if value is not None and (count := _whole(value)):
            return count
    return 0


def _whole(value: Any) -> int | None:
    """A count of tokens; null is 0, None where it makes no sense."""
    if value is None:
        return 0
    if type(value) is not int or value < 0 or value > MOST_TOKENS:
        return None
    return value
