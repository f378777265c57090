"""What a call consumed: disjoint classes of tokens, and counts of what is sold by other units.

Providers report overlapping numbers: OpenAI's `prompt_tokens` includes `cached_tokens`, Anthropic's `input_tokens` does
not. A dialect turns either into this one form, in which every token is in exactly one class, so that nothing is billed
twice (pains 8). The sum is checked against what the provider reported where it reported a total.

Units are another measure of the same call, not more of it: an image that was made may be reported as an image, as
tokens of output, or as both. Which of them is charged is the price's to say.
"""

from typing import Literal

from msgspec import Struct

UsageSource = Literal["provider", "estimated", "recovered"]


class Usage(Struct, frozen=True, gc=False):
    """Counts of tokens; every field up to `image_output` is disjoint from every other.

    `input`: fresh text and file input. `output`: visible text output. `reasoning`: output that the model kept to
    itself.

    Units, part of no total: `images` made; `audio_ms`, milliseconds of sound heard or spoken; `characters` of text to
    be spoken; `searches` of a rerank (vendors count one for each hundred documents). `image_kind` says what the images
    are, as `core.media.kind_of_image` has it.
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
    images: int = 0
    audio_ms: int = 0
    characters: int = 0
    searches: int = 0
    image_kind: str = ""

    @property
    def total_input(self) -> int:
        return (
            self.input + self.cache_read + self.cache_write + self.cache_write_1h + self.audio_input + self.image_input
        )

    @property
    def total_output(self) -> int:
        return self.output + self.reasoning + self.audio_output + self.image_output

    @property
    def total(self) -> int:
        return self.total_input + self.total_output


NO_USAGE = Usage()
