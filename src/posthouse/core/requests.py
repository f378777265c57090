"""A request as the spine sees it: the few fields that it needs, and the rest as bytes that it does not touch."""

from collections.abc import AsyncGenerator, Collection, Mapping
from typing import Final, Literal, Protocol

import msgspec
from msgspec import Struct

from posthouse.core.items import InnerRequest
from posthouse.core.usage import Usage

Operation = Literal[
    "chat.completions",
    "responses",
    "messages",
    "generate_content",
    "completions",
    "embeddings",
    "images.generations",
    "images.edits",
    "images.variations",
    "audio.speech",
    "audio.transcriptions",
    "audio.translations",
    "moderations",
    "rerank",
    "passthrough",
]
# Operations whose answer is what a model writes: each can be said in the words of any other.
TEXTS: Final[tuple[Operation, ...]] = ("chat.completions", "responses", "messages", "generate_content", "completions")
# Operations that are said in one way only, and that a provider has or has not.
MEDIA: Final[tuple[Operation, ...]] = (
    "images.generations",
    "images.edits",
    "images.variations",
    "audio.speech",
    "audio.transcriptions",
    "audio.translations",
    "moderations",
    "rerank",
)
OPERATIONS: Final[tuple[Operation, ...]] = (*TEXTS, "embeddings", *MEDIA)

Scope = Literal["chat", "embeddings", "images", "audio", "moderations", "rerank", "passthrough"]
# What a key may be confined to: every operation is of one scope, and counting the tokens of a text of `chat`.
SCOPES: Final[Mapping[Scope, frozenset[Operation]]] = {
    "chat": frozenset(TEXTS),
    "embeddings": frozenset({"embeddings"}),
    "images": frozenset({"images.generations", "images.edits", "images.variations"}),
    "audio": frozenset({"audio.speech", "audio.transcriptions", "audio.translations"}),
    "moderations": frozenset({"moderations"}),
    "rerank": frozenset({"rerank"}),
    "passthrough": frozenset({"passthrough"}),
}
SCOPE_OF: Final[Mapping[Operation, Scope]] = {
    operation: scope for scope, operations in SCOPES.items() for operation in operations
}


def operations_of(scopes: Collection[str] | None) -> frozenset[str] | None:
    """What these scopes allow; None for None, which is everything."""
    if scopes is None:
        return None
    return frozenset(operation for operation, scope in SCOPE_OF.items() if scope in scopes)


class Upload(Protocol):
    """A body that is a form with files: it passes as it came, but for the model's name, and is not held in memory.

    content_type   the client's, with the boundary
    repeatable     it can be sent from its beginning; what was taken from the client's socket for one provider, and was
                   not kept, is gone for any other
    sent           all of it was sent
    opening        the first bytes of its first file; `file_bytes`: how many bytes of files have come
    """

    content_type: bytes

    @property
    def repeatable(self) -> bool: ...
    @property
    def sent(self) -> bool: ...
    @property
    def opening(self) -> bytes: ...
    @property
    def file_bytes(self) -> int: ...

    def field(self, name: str) -> str | None:
        """The value of a field that has come, the first where there are several."""

    def pieces(self, model: str) -> AsyncGenerator[bytes, None]:
        """The body, for a model of this name. What is wrong with the rest of the form is raised as InvalidRequest
        before its end. RuntimeError where it is not `repeatable`."""
        ...

    def length(self, model: str) -> int | None:
        """The bytes of that body; None where the client has not said how many there are."""


class ModelRequest(Struct):
    """One call for a model, decoded just as far as admission, routing and billing need.

    `fields` are the top-level members of the body in their order, each value still the bytes that the client sent; a
    dialect encodes a body from them, replacing only what it must. `max_output` is the caller's own cap in tokens per
    choice, None where it set none; `choices` is OpenAI's `n`. `include_usage` says whether the client asked for the
    usage chunk of a stream. `body_size` is in bytes.

    `headers` go along where the provider speaks the client's dialect: (name in lower case, value), such as versions
    and betas; whoever decodes a request takes only those that its dialect defines. `inner` is the whole request in the
    inner form, kept by who first needed it.

    `expected` is given where a call is not charged by the tokens of a text alone (images, sound, reranking, ...): the
    most that it may consume by every measure that somebody may sell it by, tokens among them. It is what is reserved,
    and what is charged where the answer does not say.

    `upload` is the body, where that is a form; `fields` then has only what an answer may have to repeat.

    `steering` names members of `fields` that only a provider with a form of its own for embeddings is told; any other
    would refuse them.
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
    headers: tuple[tuple[bytes, bytes], ...] = ()
    inner: InnerRequest | None = None
    expected: Usage | None = None
    upload: Upload | None = None
    steering: tuple[str, ...] = ()
