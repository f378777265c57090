"""Where a setting came from, and what is wrong with it, in words that lead to the line."""

import difflib
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Layer = Literal["command line", "environment", "file", "default"]
Level = Literal["error", "warning"]


class Source(Struct, frozen=True):
    """`where`: a flag, a variable's name, or `FILE:LINE`; empty for a default."""

    layer: Layer
    where: str = ""

    def __str__(self) -> str:
        return f"{self.where} ({self.layer})" if self.where else self.layer


class Problem(Struct, frozen=True):
    """An `error` must not be served with; a `warning` is probably a mistake. `message` shows no secret."""

    level: Level
    where: str
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.message) if part)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean ...?)`, or nothing where no known word is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def dotted(path: Iterable[str | int]) -> str:
    """`providers[0].timeout.connect`"""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def path_of(text: str) -> tuple[str | int, ...]:
    """What `dotted` has made `text` of."""
    parts = text.replace("[", ".").replace("]", "").split(".")
    return tuple(int(part) if part.isdecimal() else part for part in parts if part)
