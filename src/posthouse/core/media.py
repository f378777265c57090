"""Images that are made: how their kind is written, and the most tokens that one may take."""

from collections.abc import Mapping
from typing import Final

# The most that any size of the models with three fixed sizes takes, by quality.
_FIXED: Final[Mapping[str, int]] = {"low": 408, "medium": 1_584, "high": 6_240}
# Models with sizes of their caller's take about (side of a grid)^2 x (2,000,000 + pixels) / 4,000,000 for a square; a
# longer image of as many pixels takes less. Both as vendors' tables and calculators of 2026-11 say.
_SIDES: Final[Mapping[str, int]] = {"low": 16, "medium": 48, "high": 96}
_MOST_PIXELS: Final = 8_294_400  # 3840 x 2160
_LONGEST: Final = 32


def kind_of_image(size: str | None, quality: str | None) -> str:
    """`1024x1024/high`, `1024x1024` where no quality is known, `/high` where no size is, `` where neither is.

    It is what a price by kind is looked up by. `auto` is not known: the model chooses.
    """
    shape, grade = _known(size), _known(quality)
    return f"{shape}/{grade}" if grade else shape


def image_tokens(size: str | None, quality: str | None) -> int:
    """The most tokens of output that one image takes where images are sold by tokens; an unknown size or quality is
    taken for the largest."""
    grade = _known(quality)
    if grade not in _SIDES:
        grade = "high"
    return max(_FIXED[grade], _SIDES[grade] ** 2 * (2_000_000 + _pixels(_known(size))) // 4_000_000 + 1)


def _known(text: str | None) -> str:
    lowered = (text or "").strip().lower()[:_LONGEST]
    return "" if lowered == "auto" else lowered


def _pixels(size: str) -> int:
    width, _, height = size.partition("x")
    if width.isascii() and width.isdigit() and height.isascii() and height.isdigit():
        return min(int(width) * int(height), _MOST_PIXELS)
    return _MOST_PIXELS
