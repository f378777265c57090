"""An answer that has begun, and what every way of reading one needs.

Above: `call.py` and `carriage.py`. Below: `upstream` (the socket), `dialects` (bytes in), `failures` (what the provider
meant).
"""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from posthouse.core.errors import UpstreamFailure
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Whole
from posthouse.dialects.openai_chat_whole import WholeReply
from posthouse.dialects.openai_errors import StreamError
from posthouse.dialects.streams import AnswerStream
from posthouse.providers.failures import failure_of, failure_said, told_to_its_owner
from posthouse.providers.model import ProviderAccount
from posthouse.upstream.model import UpstreamResponse

ANSWER_LIMIT: Final = 64 << 20
_OPENING_LIMIT: Final = 4 << 20  # what may come before the first content event
_EVENT_STREAM: Final = b"text/event-stream"
NOTHING_SAID: Final = "The provider's answer holds neither text nor a reason for its end."


class Reply(Struct, eq=False):
    """An answer that has begun. Either `whole` and `body` are set, or `stream`, `first` and `response`.

    `first` holds the events up to the commit point; the rest comes from `response.chunk()` through `stream.feed()`.
    `first_at` is the loop's time of the commit point. `text` is what a whole answer without usage says; `write` then
    gives the body again, with the usage that was counted (None: it stays without). `dropped` names the members of the
    request that could not be said to this provider, as the client spells them. `kind` is a header line, where the body
    is neither JSON nor events.
    """

    first_at: float
    body: bytes = b""
    whole: WholeReply | Whole | None = None
    stream: AnswerStream | None = None
    first: bytes = b""
    response: UpstreamResponse | None = None
    text: str = ""
    write: Callable[[Usage], bytes] | None = None
    dropped: tuple[str, ...] = ()
    kind: bytes = b""


async def opening_of(stream: AnswerStream, response: UpstreamResponse, account: ProviderAccount) -> bytes:
    """Reads up to the commit point; what to forward of it. Raises UpstreamFailure, DialectError."""
    opening: list[bytes] = []
    size = 0
    while not stream.committed:
        data = await response.chunk()
        out = stream.feed(data) if data else stream.finish()
        if out:
            opening.append(out)
            size += len(out)
        if stream.error is not None:
            raise failure_in_stream(account, stream.error)
        if not stream.committed:
            if stream.done or not data:
                raise UpstreamFailure("server", "The provider ended its stream without an answer.")
            if size > _OPENING_LIMIT:
                raise UpstreamFailure("server", "The provider's stream began with too much that is no content.")
    return b"".join(opening)


def failure_in_stream(account: ProviderAccount, error: StreamError) -> UpstreamFailure:
    """What an error event in a stream means."""
    failure = failure_said(account.row, error, account.credential)
    return told_to_its_owner(failure) if account.brought else failure


def failure_in(account: ProviderAccount, response: UpstreamResponse, body: bytes) -> UpstreamFailure:
    """What an answer means that is no success, or a success with an error inside."""
    failure = failure_of(account.row, response.status, response.headers, body, account.credential)
    return told_to_its_owner(failure) if account.brought else failure


def is_event_stream(response: UpstreamResponse) -> bool:
    return content_type(response).startswith(_EVENT_STREAM)


def is_json(response: UpstreamResponse) -> bool:
    return content_type(response).startswith(b"application/json")


def content_type(response: UpstreamResponse) -> bytes:
    """In lower case; empty where the answer says none."""
    for name, value in response.headers:
        if name == b"content-type":
            return value.lower()
    return b""
