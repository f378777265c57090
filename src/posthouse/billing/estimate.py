"""Estimates: how much a request may consume, before anybody has counted; and counting where no provider does.

* `rough_input_tokens`, on the path of every request, looks at sizes only: 2 tokens for 5 bytes of body. It is meant to
  be too high rather than too low, since budgets and limits are charged ahead with it and get back what was too much.
  The figures, measured with nine vocabularies on twenty kinds of text, are in docs/billing.md: English and code are
  over-counted by 1.5 to 2.1, Chinese by 1.1 to 2; dense numbers (CSV, hex) may be under-counted by 2. Media in base64
  are not text.
* `reserve_of` makes money of it; `reserve_for` does where a request says itself what it may consume.
* `TokenCounter` counts with a vocabulary, in a thread: only for answers that came without usage.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from posthouse.billing.model import MILLION, Price, Rates
from posthouse.billing.prompt import count_request
from posthouse.billing.vocabulary import Vocabularies
from posthouse.core.money import Money
from posthouse.core.requests import ModelRequest, Operation
from posthouse.core.usage import Usage

# Tokens of one image where nobody says its size: about the most that vendors charge at their default detail (1,600 to
# 2,500; wire.md section 7).
IMAGE_TOKENS: Final = 2_500
# Bytes of base64 for one token of other media, on the dear side: 32 tokens for each second of speech at 128 kbit/s, a
# page of text for each 16 KB of PDF, and text that was merely wrapped.
_AUDIO_BYTES: Final = 600
_FILE_BYTES: Final = 16
_TEXT_BYTES: Final = 4

# Operations whose input is text or tokens in one member.
_PLAIN: Final[Mapping[Operation, str]] = {"embeddings": "input", "completions": "prompt"}
# The member that holds the conversation, and what stands beside each image in it.
_ELSEWHERE: Final[Mapping[Operation, tuple[str, bytes]]] = {
    "responses": ("input", b'"input_image"'),
    "messages": ("messages", b'"image"'),
    "generate_content": ("contents", b'"image/'),
}

_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_LARGE: Final = 16 * 1024
_STEP: Final = 4096
_WINDOW: Final = 64
_AROUND: Final = 96  # bytes in which a medium says its kind


def rough_input_tokens(request: ModelRequest) -> int:
    """Tokens of input, rather too many than too few. 1 us for 1 KB, 10 us for 64 KB, 50 us for 1 MB of image."""
    operation = request.operation
    name, mark = "messages", b'"image_url":'
    if operation != "chat.completions":
        if operation in _PLAIN:
            return _rough_plain_tokens(request, _PLAIN[operation])
        name, mark = _ELSEWHERE[operation]
    size = request.body_size
    media = 0
    raw = request.fields.get(name)
    if raw is not None:
        messages = bytes(raw)
        if size <= _LARGE:
            # Looking for a word takes 0.5 ns a byte: nothing here, too much in a long body, where text weighs more.
            media = messages.count(mark) * IMAGE_TOKENS if mark in messages else 0
        else:
            removed, media = _media_in(messages)
            size -= removed
    return size * 2 // 5 + media + 1


def reserve_of(price: Price, rough: int, output: int, tier: str = "") -> Money:
    """The most that a call is expected to cost: `rough` tokens of input and `output` of output (over all choices), at
    the dearest price that may hold for a request that asks for `tier`.

    Input may be written to a cache and output may be reasoning, which some models charge more for.
    """
    nano = _reserve_of(price, rough, output)
    if tier and price.variants:
        nano = max([_reserve_of(one, rough, output) for one in price.asked(tier)])
    return Money(nano if price.exchange is None else price.exchange.of(nano), price.currency)


def _reserve_of(price: Price, rough: int, output: int) -> int:
    rates = price.rates_for(rough) if price.tiers else price.rates
    total = rough * max(rates.input, rates.cache_write) + output * max(rates.output, rates.reasoning)
    return price.rounded(total, MILLION)


def reserve_for(price: Price, expected: Usage, tier: str = "") -> Money:
    """The most that a call costs which consumes no more than `expected`, class by class and unit by unit, at the
    dearest price that may hold for a request that asks for `tier`.

    Of `input` any part may be written to a cache or read from one, of `output` any part may be reasoning; images may be
    of any kind that `expected.image_kind` leaves open. ValueError where the price does not cover it.
    """
    if not price.covers(expected):
        raise ValueError("a reserve for a use that the price does not cover")
    nano = max([_reserve_for(one, expected) for one in price.asked(tier)])
    return Money(nano if price.exchange is None else price.exchange.of(nano), price.currency)


def _reserve_for(price: Price, expected: Usage) -> int:
    reached = [tier.rates for tier in price.tiers if expected.total_input > tier.above]
    total = max(_most_by_tokens(rates, expected) for rates in (price.rates, *reached)) * 1000
    units = price.units
    if units is not None:
        total += units.thousandths(expected, units.most_of_image(expected.image_kind))
    return price.rounded(total, MILLION * 1000)


def _most_by_tokens(rates: Rates, expected: Usage) -> int:
    """In 10^-6 of a nano-unit."""
    fresh = max(rates.input, rates.cache_read, rates.cache_write, rates.cache_write_1h)
    cached = expected.cache_read + expected.cache_write + expected.cache_write_1h
    return (
        (expected.input + cached) * fresh
        + (expected.output + expected.reasoning) * max(rates.output, rates.reasoning)
        + (expected.audio_input + expected.audio_cache_read) * max(rates.audio_input, rates.audio_cache_read)
        + expected.audio_output * rates.audio_output
        + (expected.image_input + expected.image_cache_read) * max(rates.image_input, rates.image_cache_read)
        + expected.image_output * rates.image_output
    )


class TokenCounter:
    """Counts off the loop, in one thread of its own that starts when first needed."""

    def __init__(self, vocabularies: Vocabularies | None = None) -> None:
        self._vocabularies = vocabularies if vocabularies is not None else Vocabularies()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="posthouse-tokens")

    async def count(self, text: str, model: str) -> int:
        """Tokens of plain text in the vocabulary of a model's family."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._count, text, model)

    async def count_request(self, request: ModelRequest, model: str) -> int:
        """Tokens of input of a whole request, by the recipe in prompt.py."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._count_request, request, model)

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _count(self, text: str, model: str) -> int:
        return self._vocabularies.of(model).count(text)

    def _count_request(self, request: ModelRequest, model: str) -> int:
        return count_request(request, self._vocabularies.of(model))


def _rough_plain_tokens(request: ModelRequest, name: str) -> int:
    """Arrays of token ids are counted by their commas; text as everywhere."""
    raw = request.fields.get(name)
    if raw is None:
        return request.body_size * 2 // 5 + 1
    text = bytes(raw)
    start = text[:64].lstrip(b"[ \t\r\n")
    if text[:1] == b"[" and start[:1].isdigit():
        return text.count(b",") + 1
    return len(text) * 2 // 5 + 1


def _media_in(messages: bytes) -> tuple[int, int]:
    """(bytes of base64 that are not text, tokens for what they carry). Looks at 64 bytes in every 4 KiB."""
    removed = tokens = 0
    position = _STEP
    while position < len(messages):
        if messages[position : position + _WINDOW].translate(None, _BASE64):
            position += _STEP
            continue
        start = messages.rfind(b'"', 0, position) + 1
        end = messages.find(b'"', position)
        end = len(messages) if end < 0 else end
        around = messages[max(0, start - _AROUND) : start] + messages[end : end + _AROUND]
        worth = _media_tokens(around, messages[start : start + 64], end - start)
        if worth is not None:
            removed += end - start
            tokens += worth
        position = end + _STEP
    return removed, tokens


def _media_tokens(around: bytes, head: bytes, size: int) -> int | None:
    """Tokens for a long string of base64 by what it or its neighbours say it is; None where it is text that only looks
    so."""
    kind = head
    if not head.startswith(b"data:"):
        if b'"data"' not in around:
            return None
        kind = around  # a source with its media type, inline data with its MIME type, OpenAI's input_audio
    if b"image/" in kind:
        return IMAGE_TOKENS
    if b"audio/" in kind or b"video/" in kind:
        return size // _AUDIO_BYTES
    if b"text/" in kind:
        return size // _TEXT_BYTES
    if kind is head or b"application/" in kind:
        return size // _FILE_BYTES
    return size // _AUDIO_BYTES
