"""How long the answers of a model have been: what is charged ahead to limits on tokens, in place of the most that a
client asks for, which many set far above what they ever get.

A histogram with buckets that grow by a quarter: its estimate is never below the true quantile of what it has seen, and
at most a quarter above it. Old answers fade: the counts are halved when they are many. Bounded in models and in size.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from posthouse.core.caller import Subject

ENOUGH: Final = 40
"""Answers before which nothing is concluded."""
FADE_AT: Final = 2048
MAX_MODELS: Final = 1024


def _bounds() -> tuple[int, ...]:
    bounds = [1]
    while bounds[-1] < 10_000_000:
        bounds.append(max(bounds[-1] + 1, bounds[-1] * 5 // 4))
    return tuple(bounds)


BOUNDS: Final = _bounds()
"""The most tokens of each bucket but the last, which is for whatever is more."""


class Sketch:
    """The lengths of one model's answers, in tokens."""

    __slots__ = ("_counts", "_number")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._number = 0

    def add(self, tokens: int) -> None:
        self._counts[bisect_left(BOUNDS, tokens)] += 1
        self._number += 1
        if self._number >= FADE_AT:
            self._counts = [count // 2 for count in self._counts]
            self._number = sum(self._counts)

    def most(self) -> int | None:
        """A length that 95 of 100 answers do not pass; None before there were enough, or where it is beyond measure."""
        if self._number < ENOUGH:
            return None
        beyond = self._number // 20  # so many may be longer
        for index in range(len(BOUNDS), -1, -1):
            beyond -= self._counts[index]
            if beyond < 0:
                return BOUNDS[index] if index < len(BOUNDS) else None
        return None


class Outputs:
    """By the name that was asked for. The models that were asked longest ago are forgotten first."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, Sketch] = OrderedDict()

    def __len__(self) -> int:
        return len(self._models)

    def add(self, model: str, tokens: int) -> None:
        """The answer to one request has come whole, with so many tokens for each choice."""
        sketch = self._models.get(model)
        if sketch is None:
            if len(self._models) >= MAX_MODELS:
                self._models.popitem(last=False)
            sketch = self._models[model] = Sketch()
        else:
            self._models.move_to_end(model)
        sketch.add(tokens)

    def likely(self, model: str, choices: int, cap: int, subjects: Sequence[Subject]) -> int:
        """Tokens of output to charge ahead: `cap`, or less where answers are known to be shorter. A limit on a single
        request is of the most that it may use, so where there is one the cap stays."""
        sketch = self._models.get(model)
        most = None if sketch is None else sketch.most()
        if most is None or most * choices >= cap:
            return cap
        for subject in subjects:
            if subject.limits.request_tokens is not None:
                return cap
        return most * choices
