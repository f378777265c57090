"""gemini's usageMetadata, whose classes overlap, to and from `core.usage`, whose do not.

`promptTokenCount` includes cached tokens; `candidatesTokenCount` does not include thoughts; results of built-in tools
are counted apart and are input. Details by modality say how much of each was audio or images.
"""

from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from posthouse.core.usage import MOST_TOKENS, Usage
from posthouse.dialects.gemini_fields import ERRORS, Json


class _Counts(Struct, rename="camel", gc=False):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    cached_content_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    total_token_count: int | None = None


class _Odd(_Counts, rename="camel", gc=False):
    """Where what counts nothing by itself makes no sense: that says nothing."""

    cached_content_token_count: Any = None
    total_token_count: Any = None


class _Detail(Struct, rename="camel", gc=False):
    modality: str | None = None
    token_count: int | None = None


class _Details(Struct, rename="camel", gc=False):
    prompt_tokens_details: list[_Detail] | None = None
    cache_tokens_details: list[_Detail] | None = None
    candidates_tokens_details: list[_Detail] | None = None
    tool_use_prompt_tokens_details: list[_Detail] | None = None


_decode = Decoder(_Counts).decode
_decode_odd = Decoder(_Odd).decode
_decode_details = Decoder(_Details).decode


def usage_in(raw: Raw) -> Usage | None:
    """None where nothing was counted, or where a count makes no sense (negative, no integer, above MOST_TOKENS).

    Where no count contradicts another, the sum is the reported total. A detail that claims more than is left of its
    class is cut to that, and one that is no count says nothing. Video and documents are plain input. Every chunk of a
    stream counts: 2 us without media.
    """
    data = bytes(raw)
    try:
        counts = _decode(data)
    except ERRORS:
        try:
            counts = _decode_odd(data)
        except ERRORS:
            return None
    prompt, candidates, thoughts = counts.prompt_token_count, counts.candidates_token_count, counts.thoughts_token_count
    if prompt is None and candidates is None and thoughts is None:
        return None
    prompt, candidates, thoughts = prompt or 0, candidates or 0, thoughts or 0
    tools, cached = counts.tool_use_prompt_token_count or 0, counts.cached_content_token_count
    if min(prompt, candidates, thoughts, tools) < 0 or max(prompt, candidates, thoughts, tools) > MOST_TOKENS:
        return None
    if thoughts and counts.total_token_count == prompt + tools + candidates:
        candidates -= min(thoughts, candidates)  # some deployments count thoughts among the candidates
    cached = min(cached, prompt) if cached and type(cached) is int and cached > 0 else 0
    plain = Usage(prompt - cached + tools, cached, 0, 0, candidates, thoughts)
    return _apart(plain, data) if b'"AUDIO"' in data or b'"IMAGE"' in data else plain


def _apart(plain: Usage, data: bytes) -> Usage:
    """Audio and images out of input and output, as far as the details make sense."""
    try:
        details = _decode_details(data)
    except ERRORS:
        return plain
    into, kept, used = (
        details.prompt_tokens_details,
        details.cache_tokens_details,
        details.tool_use_prompt_tokens_details,
    )
    fresh, output, out = plain.input, plain.output, details.candidates_tokens_details
    cached = plain.cache_read
    cached -= (audio_kept := min(cached, _count(kept, "AUDIO")))
    cached -= (image_kept := min(cached, _count(kept, "IMAGE")))
    fresh -= (audio_input := min(fresh, _fresh(into, kept, "AUDIO") + _count(used, "AUDIO")))
    fresh -= (image_input := min(fresh, _fresh(into, kept, "IMAGE") + _count(used, "IMAGE")))
    output -= (audio_output := min(output, _count(out, "AUDIO")))
    output -= (image_output := min(output, _count(out, "IMAGE")))
    return replace(
        plain,
        input=fresh,
        cache_read=cached,
        output=output,
        audio_input=audio_input,
        image_input=image_input,
        audio_output=audio_output,
        image_output=image_output,
        audio_cache_read=audio_kept,
        image_cache_read=image_kept,
    )


def _fresh(into: list[_Detail] | None, kept: list[_Detail] | None, modality: str) -> int:
    return max(0, _count(into, modality) - _count(kept, modality))


def _count(details: list[_Detail] | None, modality: str) -> int:
    if not details:
        return 0
    return sum([max(0, one.token_count) for one in details if one.modality == modality and one.token_count])


def usage_payload(usage: Usage) -> Json:
    """The usageMetadata of an answer; `usage_in` turns it back, but for cache writes, which it can only call input."""
    written = usage.cache_write + usage.cache_write_1h
    payload: Json = {
        "promptTokenCount": usage.total_input,
        "candidatesTokenCount": usage.total_output - usage.reasoning,
        "totalTokenCount": usage.total,
        "promptTokensDetails": _details(
            usage.input + usage.cache_read + written,
            usage.audio_input + usage.audio_cache_read,
            usage.image_input + usage.image_cache_read,
        ),
    }
    if usage.total_cache_read:
        payload["cachedContentTokenCount"] = usage.total_cache_read
        payload["cacheTokensDetails"] = _details(usage.cache_read, usage.audio_cache_read, usage.image_cache_read)
    if usage.reasoning:
        payload["thoughtsTokenCount"] = usage.reasoning
    if usage.audio_output or usage.image_output:
        payload["candidatesTokensDetails"] = _details(usage.output, usage.audio_output, usage.image_output)
    return payload


def _details(text: int, audio: int, image: int) -> list[Json]:
    counts = (("TEXT", text), ("AUDIO", audio), ("IMAGE", image))
    return [{"modality": name, "tokenCount": count} for name, count in counts if count]
