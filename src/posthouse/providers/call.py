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
from posthouse.dialects.openai_chat_stream import ChatStream, StreamError
from posthouse.dialects.openai_chat_whole import WholeReply
from posthouse.providers.failures import failure_of
from posthouse.providers.model import Provider
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
    row = prepared.deployment.account.row
    response = await transport.send(request_for(prepared, request, deadline))
    try:
        if response.status != 200:
            raise failure_of(row, response.status, response.headers, await response.read(_ERROR_LIMIT))
        if request.stream:
            return await _stream(prepared, request, response)
        return await _whole(prepared, request, response)
    except BaseException:  # cancelled too: the provider must see at once that nobody listens
        response.close()
        raise


async def _whole(prepared: Prepared, request: ModelRequest, response: UpstreamResponse) -> Reply:
    row = prepared.deployment.account.row
    body = await response.read(_ANSWER_LIMIT)
    response.close()
    if request.operation == "embeddings":
        whole = openai_embeddings.whole_usage(body)
        if whole.error is None and request.fields.get("encoding_format") == b'"base64"':
            body = openai_embeddings.to_base64(body)
    else:
        if _is_event_stream(response):
            body = openai_chat_whole.collect(body, row.repair)
        whole = openai_chat_whole.whole_usage(body)
    if whole.error is not None:
        raise failure_of(row, 200, response.headers, body)
    return Reply(asyncio.get_running_loop().time(), body=body, whole=whole)


async def _stream(prepared: Prepared, request: ModelRequest, response: UpstreamResponse) -> Reply:
    row = prepared.deployment.account.row
    stream = ChatStream(include_usage=request.include_usage, repair=row.repair, repair_marker=row.repair_marker)
    if not _is_event_stream(response) and _is_json(response):
        body = await response.read(_ANSWER_LIMIT)
        whole = openai_chat_whole.whole_usage(body)
        if whole.error is not None:
            raise failure_of(row, 200, response.headers, body)
        first = stream.feed(openai_chat_whole.to_events(body) + b"data: [DONE]\n\n")
        return Reply(asyncio.get_running_loop().time(), stream=stream, first=first, response=response)
    opening: list[bytes] = []
    size = 0
    while not stream.committed:
        data = await response.chunk()
        if data:
            out = stream.feed(data)
        else:
            out = stream.finish()
        if out:
            opening.append(out)
            size += len(out)
        if stream.error is not None:
            raise failure_in_stream(row, stream.error)
        if stream.committed:
            break
        if stream.done or not data:
            raise UpstreamFailure("server", "The provider ended its stream without an answer.")
        if size > _OPENING_LIMIT:
            raise UpstreamFailure("server", "The provider's stream began with too much that is no content.")
    return Reply(asyncio.get_running_loop().time(), stream=stream, first=b"".join(opening), response=response)


def failure_in_stream(row: Provider, error: StreamError) -> UpstreamFailure:
    """What an error event in a stream means."""
    return failure_of(row, 200, [], error.raw)


def _content_type(response: UpstreamResponse) -> bytes:
    for name, value in response.headers:
        if name == b"content-type":
            return value.lower()
    return b""


def _is_event_stream(response: UpstreamResponse) -> bool:
    return _content_type(response).startswith(_EVENT_STREAM)


def _is_json(response: UpstreamResponse) -> bool:
    return _content_type(response).startswith(b"application/json")
