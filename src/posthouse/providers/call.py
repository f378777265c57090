"""One attempt at one deployment: from a request to an answer that has begun, or the failure that it was.

Above: `routing.service`, the only caller, which decides what a failure leads to. Below: `prepare` (bytes out),
`upstream` (the socket), `dialects` (bytes in), `failures` (what the provider meant). Here is the commit point: `call`
returns with the first content event in hand, so that until then another deployment may be tried.

What providers do though they should not is put right here: an error inside a 200, a stream where none was asked for, a
whole answer where a stream was.
"""

import asyncio
from typing import Final

from msgspec import Struct

from posthouse.core.errors import UpstreamFailure
from posthouse.core.requests import ModelRequest
from posthouse.dialects import openai_chat_whole, openai_embeddings
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_stream import ChatStream
from posthouse.dialects.openai_chat_whole import WholeReply
from posthouse.dialects.openai_errors import StreamError
from posthouse.providers.complaints import complaint_of
from posthouse.providers.failures import failure_of, failure_said
from posthouse.providers.model import ProviderAccount
from posthouse.providers.prepare import Prepared, request_for
from posthouse.upstream.model import Transport, UpstreamResponse

_ERROR_LIMIT: Final = 1 << 20
_ANSWER_LIMIT: Final = 64 << 20
_OPENING_LIMIT: Final = 4 << 20  # what may come before the first content event
_EVENT_STREAM: Final = b"text/event-stream"


class Reply(Struct, eq=False):
    """An answer that has begun. Either `whole` and `body` are set, or `stream`, `first` and `response`.

    `first` holds the events up to the commit point; the rest comes from `response.chunk()` through `stream.feed()`.
    `first_at` is the loop's time of the commit point.
    """

    first_at: float
    body: bytes = b""
    whole: WholeReply | None = None
    stream: ChatStream | None = None
    first: bytes = b""
    response: UpstreamResponse | None = None


async def call(prepared: Prepared, request: ModelRequest, transport: Transport, deadline: float) -> Reply:
    """Raises UpstreamFailure. `deadline` is the loop's time."""
    account = prepared.deployment.account
    response = await transport.send(request_for(prepared, request, deadline))
    try:
        if response.status != 200:
            raise _failure(account, response, await response.read(_ERROR_LIMIT))
        if request.stream:
            return await _stream(account, request, response)
        return await _whole(account, request, response)
    except DialectError as error:
        response.close()
        raise UpstreamFailure("server", f"The provider's answer makes no sense: {error}.") from None
    except BaseException:  # cancelled too: the provider must see at once that nobody listens
        response.close()
        raise


def failure_in_stream(account: ProviderAccount, error: StreamError) -> UpstreamFailure:
    """What an error event in a stream means."""
    return failure_said(account.row, error, account.credential)


async def _whole(account: ProviderAccount, request: ModelRequest, response: UpstreamResponse) -> Reply:
    body = await response.read(_ANSWER_LIMIT)
    response.close()
    if request.operation == "embeddings":
        whole = openai_embeddings.whole_usage(body)
    else:
        if _is_event_stream(response):
            body = openai_chat_whole.collect(body)
        whole = openai_chat_whole.whole_usage(body)
    # Some vendors' errors stand elsewhere than under `error`: they are looked for where an answer lacks what it must
    # have.
    bare = whole.finish_reason is None if request.operation == "chat.completions" else whole.usage is None
    if whole.error is not None or (bare and complaint_of(body) is not None):
        raise _failure(account, response, body)
    if bare and whole.usage is None and request.operation == "chat.completions":
        if not openai_chat_whole.whole_text(body).text:
            raise UpstreamFailure("server", "The provider's answer holds neither text nor a reason for its end.")
    if request.operation == "embeddings" and openai_embeddings.wants_base64(request):
        body = openai_embeddings.to_base64(body)
    return Reply(asyncio.get_running_loop().time(), body=body, whole=whole)


async def _stream(account: ProviderAccount, request: ModelRequest, response: UpstreamResponse) -> Reply:
    row = account.row
    stream = ChatStream(include_usage=request.include_usage, repair=row.repair, repair_marker=row.repair_marker)
    if _is_json(response):
        body = await response.read(_ANSWER_LIMIT)
        response.close()
        whole = openai_chat_whole.whole_usage(body)
        if whole.error is not None or (whole.finish_reason is None and complaint_of(body) is not None):
            raise _failure(account, response, body)
        first = stream.feed(openai_chat_whole.to_events(body, include_usage=True) + b"data: [DONE]\n\n")
        return Reply(asyncio.get_running_loop().time(), stream=stream, first=first, response=response)
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
    return Reply(asyncio.get_running_loop().time(), stream=stream, first=b"".join(opening), response=response)


def _failure(account: ProviderAccount, response: UpstreamResponse, body: bytes) -> UpstreamFailure:
    return failure_of(account.row, response.status, response.headers, body, account.credential)


def _content_type(response: UpstreamResponse) -> bytes:
    for name, value in response.headers:
        if name == b"content-type":
            return value.lower()
    return b""


def _is_event_stream(response: UpstreamResponse) -> bool:
    return _content_type(response).startswith(_EVENT_STREAM)


def _is_json(response: UpstreamResponse) -> bool:
    return _content_type(response).startswith(b"application/json")
