"""What a limiter promises, and how it says no.

A limit per minute or hour is a bucket that holds as much: a subject with 60 requests a minute may send 60 at once, then
one a second. A limit per day is a counter of the calendar day. `remaining` is what would still be admitted now, `reset`
the time until that is the whole limit again, as in OpenAI's headers.
"""

import math
from typing import Final, Literal, Protocol

from msgspec import Struct

from posthouse.core.caller import Caller, SubjectKind
from posthouse.core.errors import RateLimited, retry_headers

Dimension = Literal["requests", "tokens", "images", "concurrency"]
Span = Literal["minute", "hour", "day", "request"]


_HEAD_OF_REQUESTS: Final = (
    b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %d\r\nx-ratelimit-reset-requests: %b\r\n"
)
_HEAD_OF_TOKENS: Final = _HEAD_OF_REQUESTS.replace(b"-requests", b"-tokens")


class Window(Struct, frozen=True, gc=False):
    """One bucket as it stood: `limit` and `remaining` in requests or tokens, `reset_us` in microseconds."""

    limit: int
    remaining: int
    reset_us: int


class Standing(Struct, frozen=True, gc=False):
    """The tightest bucket of each kind over all subjects of a caller; None where no subject has such a limit."""

    requests: Window | None
    tokens: Window | None

    def head(self) -> bytes:
        """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}` as complete header lines; empty when unlimited."""
        head = b""
        if self.requests is not None:
            head = _HEAD_OF_REQUESTS % (self.requests.limit, self.requests.remaining, duration(self.requests.reset_us))
        if self.tokens is not None:
            head += _HEAD_OF_TOKENS % (self.tokens.limit, self.tokens.remaining, duration(self.tokens.reset_us))
        return head

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The same, apart."""
        lines = [line.partition(b": ") for line in self.head().splitlines()]
        return [(name, value) for name, _, value in lines]


class Grant(Protocol):
    """What was taken for one request. Whoever holds one settles it where it can, and always releases it."""

    def settle(self, actual_tokens: int, actual_images: int = 0) -> None:
        """Makes the tokens and images charged those really used: gives the rest back, or charges what is missing, in
        the same window. Counts once."""

    def release(self, charged: int = 0) -> None:
        """The request is over: frees its place, and lets what was charged stand if nobody settled. Idempotent.

        `charged`: what it cost, in nano-units of the currency of the caller's budgets.
        """

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The `x-ratelimit-*` headers as of the last time its subjects asked; empty when unlimited."""
        ...

    def head(self) -> bytes:
        """The same as complete header lines."""
        ...


class Limiting(Protocol):
    """A limiter. Not for several threads."""

    def admit(self, caller: Caller, tokens: int, images: int = 0) -> Grant:
        """Takes one request, `tokens` tokens, `images` images and one place from every subject, or raises and takes
        nothing.

        `tokens` is what the request is expected to use at most: its input and its output. Raises `LimitReached`.
        """
        ...


class Refusal(Struct, frozen=True, gc=False):
    """Why one subject said no. `retry_after` in seconds; infinite where the whole limit is less than was wanted."""

    scope: SubjectKind
    dimension: Dimension
    limit: int
    wanted: int
    retry_after: float
    span: Span = "minute"

    def message(self) -> str:
        whose = f"this {self.scope}"
        if self.dimension == "concurrency":
            if math.isinf(self.retry_after):
                return f"The limits of {whose} allow no requests (its concurrency is {self.limit})."
            return f"Too many requests of {whose} at once: limit {self.limit}. Wait until one of them has ended."
        if not math.isinf(self.retry_after):
            wait = duration(math.ceil(self.retry_after * 1_000_000)).decode()
            return (
                f"Rate limit of {whose} reached on {self.dimension} per {self.span}: limit {self.limit}, "
                f"wanted {self.wanted}. Try again in {wait}."
            )
        if self.dimension == "requests":
            return f"The limits of {whose} allow no requests (its requests per {self.span} are {self.limit})."
        if self.dimension == "images":
            return (
                f"Request too large for {whose} on images per {self.span}: limit {self.limit}, wanted {self.wanted}. "
                "Ask for fewer images; waiting does not help."
            )
        return (
            f"Request too large for {whose} on tokens per {self.span}: limit {self.limit}, wanted {self.wanted} (the "
            "input and the most output asked for). Shorten the input or lower the output cap; waiting does not help."
        )


class LimitReached(RateLimited):
    """A limit of ours: after `retry_after` seconds the same request passes, if nobody else was quicker."""

    def __init__(self, refusal: Refusal, standing: Standing) -> None:
        super().__init__(refusal.message(), dimension=refusal.dimension, retry_after=refusal.retry_after)
        self.scope = refusal.scope
        self.dimension = refusal.dimension
        self.standing = standing

    def headers(self) -> list[tuple[str, str]]:
        limits = [(name.decode(), value.decode()) for name, value in self.standing.headers()]
        if math.isinf(self.retry_after):
            # No wait helps: without this the SDKs would try again for nothing.
            return [("x-should-retry", "false"), *limits]
        return [*retry_headers(self.retry_after), *limits]


def duration(us: int) -> bytes:
    """Microseconds as OpenAI writes them, in Go's notation and rounded up to a millisecond: `12ms`, `7.66s`, `6m0s`."""
    ms = -(-us // 1000)
    if ms < 1000:
        return b"%dms" % ms if ms else b"0s"
    minutes, ms = divmod(ms, 60_000)
    seconds, ms = divmod(ms, 1000)
    text = b"%d" % seconds
    if ms:
        text += (b".%03d" % ms).rstrip(b"0")
    if minutes < 60:
        return b"%dm%bs" % (minutes, text) if minutes else text + b"s"
    return b"%dh%dm%bs" % (*divmod(minutes, 60), text)
