"""What a call consumed, in disjoint classes of tokens.

Providers report overlapping numbers: OpenAI's `prompt_tokens` includes `cached_tokens`, Anthropic's `input_tokens` does
not. A dialect turns either into this one form, in which every token is in exactly one class, so that nothing is billed
twice (pains 8). The sum is checked against what the provider reported where it reported a total.
"""

from typing import Literal

from msgspec import Struct

UsageSource = Literal["provider", "estimated", "recovered"]


class Usage(Struct, frozen=True, gc=False):
    """Counts of tokens; every field is disjoint from every other.

    `input`: fresh text and file input. `output`: visible text output. `reasoning`: output that the model kept to
    itself.
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
