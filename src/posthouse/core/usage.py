"""What a call consumed: disjoint classes of tokens, and counts of what is sold by other units.

Providers report overlapping numbers: OpenAI's `prompt_tokens` includes `cached_tokens`, Anthropic's `input_tokens` does
not. A dialect turns either into this one form, in which every token is in exactly one class, so that nothing is billed
twice (pains 8). The sum is checked against what the provider reported where it reported a total.

Units are another measure of the same call, not more of it: an image that was made may be reported as an image, as
tokens of output, or as both. Which of them is charged is the price's to say.
"""

from typing import Final, Literal

from msgspec import Struct

UsageSource = Literal["provider", "estimated", "recovered"]

# No call reads or writes so many tokens: ten times the longest context that any model has. Whoever counts more is
# mistaken, and nobody is billed by that (docs/billing.md, COUNT-2).
MOST_TOKENS: Final = 100_000_000
# Nor does one make so many searches.
MOST_SEARCHES: Final = 100_000


class Usage(Struct, frozen=True, gc=False):
    """Counts of tokens; every field up to `image_cache_read` is disjoint from every other.

    `input`: fresh text and file input. `output`: visible text output. `reasoning`: output that the model kept to
    itself. `cache_read`: text that was read from a cache, sound and images where nobody tells them apart.

    Units, part of no total: `images` made; `audio_ms`, milliseconds of sound heard or spoken; `characters` of text to
    be spoken; `searches` of a rerank (vendors count one for each hundred documents). `image_kind` says what the images
    are, as `core.media.kind_of_image` has it. What the model did besides with tools of its vendor: `web_searches`,
    `file_searches`, `sessions` of a container.

    `tier` is the service tier at which the provider says that it has served (`flex`, `priority`, `batch`, `fast`),
    empty where it says nothing, `default` where it says that it was none of those.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0
    audio_cache_read: int = 0
    image_cache_read: int = 0
    images: int = 0
    audio_ms: int = 0
    characters: int = 0
    searches: int = 0
    image_kind: str = ""
    web_searches: int = 0
    file_searches: int = 0
    sessions: int = 0
    tier: str = ""

    @property
    def total_input(self) -> int:
        return (
            self.input
            + self.cache_read
            + self.cache_write
            + self.cache_write_1h
            + self.audio_input
            + self.image_input
            + self.audio_cache_read
            + self.image_cache_read
        )

    @property
    def total_cache_read(self) -> int:
        return self.cache_read + self.audio_cache_read + self.image_cache_read

    @property
    def total_output(self) -> int:
        return self.output + self.reasoning + self.audio_output + self.image_output

    @property
    def total(self) -> int:
        return self.total_input + self.total_output


NO_USAGE = Usage()
# What can be counted: every field but those that say what it was.
COUNTS: Final = tuple(name for name in Usage.__struct_fields__ if name not in ("image_kind", "tier"))
