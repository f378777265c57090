"""What is sold by other units than tokens: images, sound, characters and searches, and by what a price measures a call.

Above: model (a Price has them). Below: core.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Final, Literal

from msgspec import Struct

from posthouse.core.usage import Usage

Measure = Literal["tokens", "images", "audio", "characters", "searches"]
BY_TOKENS: Final[frozenset[Measure]] = frozenset({"tokens"})
# A price for each call, or none at all: whatever a call consumes is paid with it.
BY_ANYTHING: Final[frozenset[Measure]] = frozenset({"tokens", "images", "audio", "characters", "searches"})
# The unit of a price (settings, seed, JSON) -> what it measures.
MEASURES: Final[Mapping[str, Measure]] = {
    "image": "images",
    "audio_second": "audio",
    "character": "characters",
    "search": "searches",
}
# What a model does besides with tools of its vendor: charged beside its tokens, and a measure of no call.
BESIDE: Final[Mapping[str, str]] = {"web_search": "web_searches", "file_search": "file_searches", "session": "sessions"}
# The unit -> what a price of one is multiplied by to be that of a million: characters are sold by it anyway, and
# searches of the web and of files by the thousand.
SOLD_BY: Final[Mapping[str, int]] = {
    "image": 1_000_000,
    "audio_second": 1_000_000,
    "character": 1,
    "search": 1_000_000,
    "web_search": 1_000,
    "file_search": 1_000,
    "session": 1_000_000,
}


class UnitRates(Struct, frozen=True, omit_defaults=True):
    """Nano-units for a million of each unit, as rates of tokens are: a second of sound may cost a fraction of one.

    `image_kinds` are the images that cost something else than `image`, by size and quality (`1024x1024/high`), by size
    or by quality. `least_audio_ms` is what sound is charged for at least where there is any: some vendors charge each
    call for ten seconds.
    """

    image: int = 0
    audio_second: int = 0
    character: int = 0
    search: int = 0
    image_kinds: Mapping[str, int] = {}
    least_audio_ms: int = 0
    web_search: int = 0
    file_search: int = 0
    session: int = 0

    def of_image(self, kind: str) -> int:
        """The rate of images of a kind, as `core.media.kind_of_image` has it; of any other kind, `image`."""
        kinds = self.image_kinds
        if not kinds:
            return self.image
        size, _, quality = kind.partition("/")
        for name in (kind, size, quality):
            if name in kinds:
                return kinds[name]
        return self.image

    def most_of_image(self, kind: str) -> int:
        """The rate of the dearest images that a request may get which asks for this kind: what it leaves open, the
        model chooses."""
        size, _, quality = kind.partition("/")
        return self.of_image(kind) if size and quality else max(self.image, *self.image_kinds.values(), 0)

    def thousandths(self, usage: Usage, image: int) -> int:
        """What the units of a usage cost, in 10^-9 of a nano-unit, with `image` as the rate of its images."""
        counted = (
            usage.images * image
            + usage.characters * self.character
            + usage.searches * self.search
            + usage.web_searches * self.web_search
            + usage.file_searches * self.file_search
            + usage.sessions * self.session
        )
        sound = usage.audio_ms
        if 0 < sound < self.least_audio_ms:
            sound = self.least_audio_ms
        return counted * 1000 + sound * self.audio_second

    @property
    def free(self) -> bool:
        return not any(getattr(self, name) for name in SOLD_BY) and not any(self.image_kinds.values())

    def times(self, factor: Fraction) -> "UnitRates":
        """All of it multiplied, each rate rounded half up."""
        rates = {name: multiplied(getattr(self, name), factor) for name in SOLD_BY}
        kinds = {kind: multiplied(rate, factor) for kind, rate in self.image_kinds.items()}
        return UnitRates(**rates, image_kinds=kinds, least_audio_ms=self.least_audio_ms)


def multiplied(rate: int, factor: Fraction) -> int:
    """Rounded half up to a whole nano-unit for a million."""
    return (2 * rate * factor.numerator + factor.denominator) // (2 * factor.denominator)


def counts_units(usage: Usage) -> bool:
    """Whether there is anything in it but tokens, as in most calls there is not."""
    return bool(
        usage.images
        or usage.audio_ms
        or usage.characters
        or usage.searches
        or usage.web_searches
        or usage.file_searches
        or usage.sessions
    )


def measures_of(usage: Usage) -> frozenset[Measure]:
    """By what a call that consumed this can be charged; empty where nothing was consumed.

    Where images were made, tokens measure them only if there are some of output: those of the prompt alone say nothing
    of what was made.
    """
    found: set[Measure] = set()
    if usage.total_output if usage.images else usage.total:
        found.add("tokens")
    if usage.images:
        found.add("images")
    if usage.audio_ms:
        found.add("audio")
    if usage.characters:
        found.add("characters")
    if usage.searches:
        found.add("searches")
    return frozenset(found)
