"""When a rate limit that is used up begins anew, where a provider says so in headers other than `retry-after`.

Above: `failures.py`. Three spellings are read: `x-ratelimit-remaining-tokens` beside `x-ratelimit-reset-tokens`, the
same with the dimension before the word (`...-ratelimit-tokens-reset`), and `ratelimit-reset` alone. A reset is a number
of seconds, a duration such as `6m0s` or `20ms`, an instant in ISO 8601, or an epoch in seconds or milliseconds.
"""

import datetime as dt
import math
import re
from collections.abc import Sequence
from typing import Final

_HEADER: Final = re.compile(r"(?:[a-z]+-)?ratelimit-(?:(.+)-)?(remaining|reset)(?:-(.+))?\Z")
_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?\Z")
_UNITS: Final = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
_EPOCH: Final = 1e9  # seconds: what is larger is no duration
_EPOCH_MS: Final = 1e11
_MAX_HEADERS: Final = 100
_MAX_VALUE: Final = 40


def reset_of(headers: Sequence[tuple[bytes, bytes]], now: float) -> float | None:
    """Seconds until every limit of which nothing remains begins anew; None where the headers do not tell. `now` is in
    seconds since the epoch. Names are in lower case; whatever makes no sense is passed over."""
    remaining: dict[str, str] = {}
    resets: dict[str, str] = {}
    for raw, value in headers[:_MAX_HEADERS]:
        match = _HEADER.match(raw.decode("latin-1"))
        if match is not None and len(value) <= _MAX_VALUE:
            dimension = match[1] or match[3] or ""
            (remaining if match[2] == "remaining" else resets)[dimension] = value.decode("latin-1").strip()
    waits = [
        seconds_of(resets[dimension], now)
        for dimension in resets
        if remaining.get(dimension) == "0" or (not remaining and not dimension)
    ]
    known = [wait for wait in waits if wait is not None and wait >= 0]
    return max(known) if known else None


def seconds_of(text: str, now: float) -> float | None:
    """How far a reset is from `now`; None where it cannot be read. Negative where it has passed."""
    try:
        number = float(text)
    except ValueError:
        return _duration(text) if text[-1:] == "s" else _instant(text, now)
    if math.isnan(number) or number < 0:
        return None
    if number >= _EPOCH_MS:
        return number / 1000 - now
    return number - now if number >= _EPOCH else number


def _duration(text: str) -> float | None:
    match = _DURATION.match(text)
    if match is None:
        return None
    return sum(float(part) * unit for part, unit in zip(match.groups(), _UNITS, strict=True) if part is not None)


def _instant(text: str, now: float) -> float | None:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    try:
        return moment.timestamp() - now
    except (OverflowError, ValueError):
        return None
