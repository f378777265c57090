"""How often somebody may be wrong about a code in a minute. Of this server alone: codes are long enough to be guessed
by nobody, and this keeps those who try from taking our time."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from posthouse.core.errors import PosthouseError, RateLimited

_MINUTE: Final = 60.0
_MOST: Final = 10_000  # of whom are remembered; the oldest are forgotten


class Guesses:
    """`each`: of one who asks; `everybody`: of all together, None where there is no such limit. For any thread."""

    def __init__(self, each: int, everybody: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._each = each
        self._everybody = everybody
        self._clock = clock
        self._lock = threading.Lock()
        self._minute = 0
        self._wrong: dict[str, int] = {}
        self._sum = 0

    @contextmanager
    def guess(self, who: str) -> Iterator[None]:
        """Counts a guess beforehand, so that many at once are no more than one after another; one that was right, or
        that we could not answer, is given back. RateLimited where none is left."""
        minute = self._take(who)
        try:
            yield
        except PosthouseError as error:
            if error.status >= 500:
                self._give_back(who, minute)
            raise
        self._give_back(who, minute)

    def _take(self, who: str) -> int:
        now = self._clock()
        minute = int(now // _MINUTE)
        with self._lock:
            if minute != self._minute:
                self._minute, self._wrong, self._sum = minute, {}, 0
            over = self._everybody is not None and self._sum >= self._everybody
            if over or self._wrong.get(who, 0) >= self._each:
                left = _MINUTE - now % _MINUTE
                raise RateLimited("Too many wrong codes; wait a minute.", dimension="requests", retry_after=left)
            self._wrong[who] = self._wrong.pop(who, 0) + 1
            self._sum += 1
            if len(self._wrong) > _MOST:
                del self._wrong[next(iter(self._wrong))]
        return minute

    def _give_back(self, who: str, minute: int) -> None:
        with self._lock:
            if minute == self._minute and self._wrong.get(who):
                self._wrong[who] -= 1
                self._sum -= 1
