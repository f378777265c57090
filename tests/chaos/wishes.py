"""What a client wants of the upstream, written into its message, so that the upstream does it and tells it apart.

The number of a request is in the usage that its answer tells: no two requests of a world use the same tokens, so every
charge that a provider has counted says which request it is for.
"""

import json
from typing import Any, Final, Literal

from msgspec import Struct

Act = Literal["plain", "resets early", "resets mid"]
Leaves = Literal["", "early", "mid", "late"]

INPUTS: Final = 1_000
OUTPUTS: Final = 400
NUMBERS: Final = INPUTS * OUTPUTS
INPUT_NANO: Final = 1_000
OUTPUT_NANO: Final = 10_000
CONFIGURED: Final = """
[[prices]]
model = "{model}"
currency = "USD"
input = "1.00"
output = "10.00"
"""
# Twice as long as what is estimated of it as input must not be: 2 tokens for 5 bytes come to more than INPUTS.
_PADDING: Final = "The house keeps an account of every letter that passes. " * 48


class Wish(Struct, frozen=True):
    """`number` tells requests apart, `key` says whose it is; `pieces` with `pause` seconds between them."""

    number: int
    key: str
    stream: bool = False
    pieces: int = 3
    pause: float = 0.0
    act: Act = "plain"

    def body(self, model: str = "m") -> bytes:
        said = {name: getattr(self, name) for name in self.__struct_fields__}
        asked: dict[str, Any] = {
            "model": model,
            "max_tokens": OUTPUTS,
            "messages": [{"role": "system", "content": _PADDING}, {"role": "user", "content": json.dumps(said)}],
        }
        if self.stream:
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(asked).encode()


def read(body: Any) -> Wish:
    return Wish(**json.loads(body["messages"][-1]["content"]))


def usage_of(number: int) -> tuple[int, int]:
    """Tokens of input and output, for no other number below NUMBERS the same."""
    first, second = number % INPUTS, number // INPUTS
    return first + 1, (second + first * 7) % OUTPUTS + 1


def number_of(usage: tuple[int, int]) -> int:
    first = usage[0] - 1
    return first + (usage[1] - 1 - first * 7) % OUTPUTS * INPUTS


def cost_of(usage: tuple[int, int]) -> int:
    """Nano-units by the configured price."""
    return usage[0] * INPUT_NANO + usage[1] * OUTPUT_NANO
