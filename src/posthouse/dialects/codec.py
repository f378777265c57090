"""What every dialect can do: the contract between a codec and whoever translates with it.

A codec is pure. It serves a client's side (decode the request, encode the answer) and a provider's (encode the request,
decode the answer); so N codecs give N x N ways. Where both sides speak the same dialect the bytes pass, and only
`StreamDecoder` and `read_whole` run beside them.

    openai_chat  openai_completions  openai_responses  anthropic_messages  gemini
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from posthouse.core.errors import PosthouseError
from posthouse.core.events import Event
from posthouse.core.items import InnerRequest, InnerResponse
from posthouse.core.usage import Usage
from posthouse.dialects.openai_errors import StreamError

Dialect = Literal["openai_chat", "openai_completions", "openai_responses", "anthropic_messages", "gemini"]


class Maker(Struct, frozen=True):
    """Who makes opaque state: a model (by the provider's own name for it) at an account of a provider."""

    provider: str
    model: str
    account: str


class Addressed(Struct, frozen=True):
    """What a client says outside the body: gemini has model and streaming in its path. Other codecs read their own
    members, and take these only where the body has none."""

    model: str
    stream: bool = False


class Encoded(Struct, frozen=True):
    """A request for a provider. `dropped` names what could not be said in this dialect, by its inner name (see
    `INNER_NAMES`), or by its own for a member of `extra`; each once, in order of appearance."""

    body: bytes
    dropped: tuple[str, ...] = ()


class Whole(Struct, frozen=True):
    """What the spine needs of a whole answer. `error`: an error under a status of success. `text`: all that was said,
    for counting tokens where `usage` is None (empty otherwise)."""

    usage: Usage | None
    finish_reason: str | None
    error: StreamError | None = None
    id: str | None = None
    text: str = ""


class ReplyHead(Struct, frozen=True):
    """What an answer says of itself to the client: `id` without the dialect's prefix, the model as the client named it,
    `created` in seconds since the epoch. `include_usage`: the client asked for usage in the stream (openai_chat).
    `request`: what is answered, for a dialect whose answer repeats some of it. `told`: how many events of the stream
    went before, where what is encoded goes on with a stream that passed, for a dialect that numbers them."""

    id: str
    model: str
    created: int
    include_usage: bool = False
    request: InnerRequest | None = None
    told: int = 0


class StreamDecoder(Protocol):
    """A provider's stream, event by event. `done`: its own end mark has come (never, in a dialect that has none).
    `id`: the answer's id at the provider."""

    done: bool
    id: str | None

    def decode(self, event: bytes) -> Sequence[Event]:
        """The inner events of one whole SSE event (with its `event:` line, if any). DialectError where it is none of
        this dialect's; an event of an unknown type is no error, and gives nothing."""

    def finish(self) -> Sequence[Event]:
        """The body has ended: what follows from all that came, such as a Finished that the dialect leaves to be told
        from the whole. Nothing where the stream is simply not whole."""


class StreamEncoder(Protocol):
    """An answer on its way to a client. Legal for the dialect whatever legal events come (core/events.py)."""

    def encode(self, event: Event) -> bytes:
        """Whole SSE events, b"" where this one says nothing (yet) in this dialect. What ends the stream is not among
        them: `close` gives it. Usage is kept for `close`; Failed is never given: `fail` is called."""

    def close(self, usage: Usage) -> bytes:
        """What ends a stream that went well, with the usage that is charged."""

    def fail(self, error: PosthouseError) -> bytes:
        """What ends a stream that broke; nothing follows."""


class Codec(Protocol):
    """`name` is the dialect. `members` gives the client's spelling of an inner name, for `x-posthouse-dropped` and
    errors; a name that is not in it stays as it is."""

    name: Dialect
    members: Mapping[str, str]

    def decode_request(self, body: bytes, addressed: Addressed) -> InnerRequest:
        """InvalidRequest naming the member that does not fit."""

    def encode_request(self, request: InnerRequest, maker: Maker) -> Encoded:
        """For the deployment that `maker` is: its own opaque state goes back, any other's is left out (that is no
        loss to tell of). `request.model` is written as it stands."""

    def decode_response(self, body: bytes, maker: Maker) -> InnerResponse:
        """DialectError where the body is no answer of this dialect."""

    def encode_response(self, response: InnerResponse, head: ReplyHead) -> bytes: ...

    def read_whole(self, body: bytes) -> Whole:
        """Of a provider's whole answer, cheaply. DialectError where it is none."""

    def decoder(self, maker: Maker) -> StreamDecoder: ...

    def encoder(self, head: ReplyHead) -> StreamEncoder: ...

    def encode_error(self, error: PosthouseError, request_id: str) -> bytes:
        """The body of an error response."""


INNER_NAMES = (
    "choices",
    "effort",
    "frequency_penalty",
    "max_output",
    "name",  # of a speaker
    "output_format",
    "parallel_tools",
    "part.audio",
    "part.detail",  # how closely to look at an image
    "part.file",
    "part.filename",
    "part.image",
    "part.opaque",
    "presence_penalty",
    "role",  # one that had to become another
    "seed",
    "stop",
    "temperature",
    "thinking_budget",
    "tool.custom",  # became a function with one text
    "tool.opaque",
    "tool.strict",
    "tool_choice",
    "tools",  # all of them, in a dialect that has none
    "top_k",
    "top_p",
    "user",
    "verbosity",
)
