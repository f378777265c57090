"""One attempt at one deployment: from a request to an answer that has begun, or the failure that it was.

Above: `routing.service`, the only caller, which decides what a failure leads to. Below: `prepare` (bytes out),
`upstream` (the socket), `dialects` (bytes in), `failures` (what the provider meant); `carriage`, where the two sides
differ, and `media`, where it is no text. Here is the commit point: `call` returns with the first content event in hand,
so that until then another deployment may be tried.

What providers do though they should not is put right here and in `carriage`: an error inside a 200, a stream where none
was asked for, a whole answer where a stream was.
"""

import asyncio
from typing import Final

from posthouse.core.errors import UpstreamFailure
from posthouse.core.requests import MEDIA, ModelRequest
from posthouse.core.usage import Usage
from posthouse.dialects import openai_chat_whole, openai_embeddings
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_stream import ChatStream
from posthouse.dialects.openai_chat_whole import WholeReply
from posthouse.providers.carriage import Carriage
from posthouse.providers.complaints import complaint_of
from posthouse.providers.media import Medium
from posthouse.providers.model import ProviderAccount
from posthouse.providers.prepare import Prepared, request_for
from posthouse.providers.reply import (
    ANSWER_LIMIT,
    NOTHING_SAID,
    Reply,
    failure_in,
    is_event_stream,
    is_json,
    opening_of,
)
from posthouse.upstream.model import Transport, UpstreamResponse

_ERROR_LIMIT: Final = 1 << 20


async def call(
    prepared: Prepared, request: ModelRequest, transport: Transport, deadline: float, name: str = ""
) -> Reply:
    """Raises UpstreamFailure, and InvalidRequest where a request cannot be translated. `deadline` is the loop's time;
    `name` is the request's id."""
    carriage: Carriage | Medium | None = None
    sent = request
    if not prepared.direct:
        prepared = prepared.around(request)
        if prepared.way is not None:
            carriage = carried = Carriage(prepared, request, name)
            sent = carried.request
        elif prepared.operation in MEDIA:
            carriage = Medium(prepared, request)
    account = prepared.deployment.account
    response = await transport.send(request_for(prepared, sent, deadline))
    try:
        if response.status != 200:
            raise failure_in(account, response, await response.read(_ERROR_LIMIT))
        if carriage is not None:
            return await carriage.reply(response)
        if not request.stream:
            return await _whole(account, request, response)
        stream = _chat_stream(account, request, name)
        if is_json(response):
            first = await _whole_as_events(account, stream, response)
        else:
            first = await opening_of(stream, response, account)
        return Reply(asyncio.get_running_loop().time(), stream=stream, first=first, response=response)
    except DialectError as error:
        response.close()
        raise UpstreamFailure("server", f"The provider's answer makes no sense: {error}.") from None
    except BaseException:  # cancelled too: the provider must see at once that nobody listens
        response.close()
        raise


async def _whole(account: ProviderAccount, request: ModelRequest, response: UpstreamResponse) -> Reply:
    body = await response.read(ANSWER_LIMIT)
    response.close()
    if request.operation == "embeddings":
        return _embeddings(account, request, response, body)
    if is_event_stream(response):
        body = openai_chat_whole.collect(body)
    whole = openai_chat_whole.whole_usage(body)
    bare = whole.finish_reason is None
    # Some vendors' errors stand elsewhere than under `error`: they are looked for where an answer lacks what it must
    # have.
    if whole.error is not None or (bare and complaint_of(body) is not None):
        raise failure_in(account, response, body)
    text = ""
    if whole.usage is None:
        text = openai_chat_whole.whole_text(body).text
        if bare and not text:
            raise UpstreamFailure("server", NOTHING_SAID)
    return Reply(asyncio.get_running_loop().time(), body=body, whole=whole, text=text)


def _embeddings(account: ProviderAccount, request: ModelRequest, response: UpstreamResponse, body: bytes) -> Reply:
    now = asyncio.get_running_loop().time()
    packed = openai_embeddings.wants_base64(request)
    if account.row.vectors is not None:
        found, usage = account.row.vectors.decode(body)

        def write(usage: Usage | None) -> bytes:
            answer = openai_embeddings.encode_answer(request.model, found, usage)
            return openai_embeddings.to_base64(answer) if packed else answer

        return Reply(now, body=write(usage), whole=WholeReply(usage, None, None), write=write)
    whole = openai_embeddings.whole_usage(body)
    if whole.error is not None or (whole.usage is None and complaint_of(body) is not None):
        raise failure_in(account, response, body)
    body = openai_embeddings.to_base64(body) if packed else body
    return Reply(now, body=body, whole=whole, dropped=request.steering)


def _chat_stream(account: ProviderAccount, request: ModelRequest, name: str) -> ChatStream:
    row = account.row
    return ChatStream(
        include_usage=request.include_usage,
        repair=row.repair,
        repair_marker=row.repair_marker,
        model=request.model,
        name=name,
    )


async def _whole_as_events(account: ProviderAccount, stream: ChatStream, response: UpstreamResponse) -> bytes:
    body = await response.read(ANSWER_LIMIT)
    response.close()
    whole = openai_chat_whole.whole_usage(body)
    if whole.error is not None or (whole.finish_reason is None and complaint_of(body) is not None):
        raise failure_in(account, response, body)
    return stream.feed(openai_chat_whole.to_events(body, include_usage=True) + b"data: [DONE]\n\n")
