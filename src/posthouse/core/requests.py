"""A request as the spine sees it: the few fields that it needs, and the rest as bytes that it does not touch."""

from typing import Literal

import msgspec
from msgspec import Struct

Operation = Literal["chat.completions", "embeddings"]
OPERATIONS: tuple[Operation, ...] = ("chat.completions", "embeddings")


class ModelRequest(Struct):
    """One call for a model, decoded just as far as admission, routing and billing need.

    `fields` are the top-level members of the body in their order, each value still the bytes that the client sent; a
    dialect encodes a body from them, replacing only what it must. `max_output` is the caller's own cap in tokens per
    choice, None where it set none; `choices` is OpenAI's `n`. `include_usage` says whether the client asked for the
    usage chunk of a stream. `body_size` is in bytes.
    """

    operation: Operation
    dialect: str
    model: str
    fields: dict[str, msgspec.Raw]
    body_size: int
    stream: bool = False
    include_usage: bool = False
    max_output: int | None = None
    choices: int = 1
