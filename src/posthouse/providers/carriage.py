"""One attempt between dialects: what the provider is asked instead, and what the client is told of its answer.

Above: `call.py`. Below: the codecs. A carriage is also used where client and provider speak the same dialect, but not
chat completions: then the bytes pass, and the codec reads beside them.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from posthouse.core.errors import UpstreamFailure
from posthouse.core.items import InnerRequest, InnerResponse, MessageItem, ReasoningItem
from posthouse.core.requests import ModelRequest
from posthouse.core.usage import Usage
from posthouse.dialects import openai_completions
from posthouse.dialects.codec import Addressed, Codec, ReplyHead, StreamDecoder, Whole
from posthouse.dialects.custom import WIRES as FAMILY
from posthouse.dialects.custom import as_functions, customs_of, turned_back
from posthouse.dialects.fields import decode_fields
from posthouse.dialects.inner import collected, events_of, text_of
from posthouse.dialects.openai_allowed import narrowed
from posthouse.dialects.pairing import side_by_side
from posthouse.dialects.streams import AnswerStream, Passing, Repaired, Translating
from posthouse.providers.complaints import complaint_of
from posthouse.providers.prepare import Prepared
from posthouse.providers.reply import (
    ANSWER_LIMIT,
    NOTHING_SAID,
    Reply,
    failure_in,
    failure_in_stream,
    is_event_stream,
    is_json,
    opening_of,
)
from posthouse.upstream.model import UpstreamResponse

THOUGHTS: Final = "reasoning_content"  # as the codec writes them
_encode: Final = msgspec.json.Encoder().encode
_decode_messages: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


class Carriage:
    """`request` is what the provider is to be sent; `dropped` is what could not be said in it, as the client spells it.

    Raises InvalidRequest where the client's request makes no sense. `name` is the request's id.
    """

    def __init__(self, prepared: Prepared, request: ModelRequest, name: str) -> None:
        assert prepared.way is not None
        self._way = prepared.way
        self._account = prepared.deployment.account
        self._asked = request
        self._name = name
        self._customs: frozenset[str] = frozenset()
        self.request = request
        self.dropped: tuple[str, ...] = ()
        if not prepared.way.passes:
            self._translate(prepared)

    def _translate(self, prepared: Prepared) -> None:
        way = self._way
        inner = replace(narrowed(inner_of(self._asked, way.client)), model=way.maker.model)
        row, known = self._account.row, prepared.deployment.known_as
        inner, unfit = (inner, ()) if row.fit is None or known is None else row.fit(inner, known)
        thoughts = row.thoughts if prepared.wire == "chat.completions" else THOUGHTS
        fitting, wrapped = _plain(inner) if way.wraps else (inner, ())
        if prepared.wire in FAMILY:
            fitting, orphaned = _in_order(fitting, thoughts=thoughts is not None)
            wrapped += orphaned
        encoded = way.provider.encode_request(fitting, way.maker)
        names = dict.fromkeys((*unfit, *wrapped, *encoded.dropped))
        self.dropped = tuple(dict.fromkeys(way.client.members.get(name, name) for name in names))
        if "tool.custom" in names:
            self._customs = customs_of(inner)
        fields = decode_fields(encoded.body)
        if thoughts not in (None, THOUGHTS):
            fields["messages"] = renamed(fields["messages"], THOUGHTS, str(thoughts))
        for name in () if row.refuses is None or known is None else row.refuses(prepared.wire, known):
            fields.pop(name, None)
        self.request = ModelRequest(
            operation=prepared.wire,
            dialect=way.provider.name,
            model=way.maker.model,
            fields=fields,
            body_size=len(encoded.body),
            stream=self._asked.stream,
            include_usage=self._asked.include_usage,
            max_output=self._asked.max_output,
            choices=self._asked.choices,
        )

    async def reply(self, response: UpstreamResponse) -> Reply:
        """Raises UpstreamFailure, DialectError. The status was a success."""
        reply = await (self._stream(response) if self._asked.stream else self._whole(response))
        reply.dropped = self.dropped
        return reply

    # Whole answers

    async def _whole(self, response: UpstreamResponse) -> Reply:
        body = await response.read(ANSWER_LIMIT)
        response.close()
        if is_event_stream(response):
            return self._of_inner(self._collected(body))
        whole = self._read(response, body)
        if not self._way.passes:
            return self._of_inner(self._way.provider.decode_response(body, self._way.maker), whole)
        return Reply(_now(), body=body, whole=whole, text=whole.text)

    def _read(self, response: UpstreamResponse, body: bytes) -> Whole:
        whole = self._way.provider.read_whole(body)
        bare = whole.finish_reason is None
        if whole.error is not None or (bare and complaint_of(body) is not None):
            raise failure_in(self._account, response, body)
        if bare and whole.usage is None and not whole.text:
            raise UpstreamFailure("server", NOTHING_SAID)
        return whole

    def _collected(self, body: bytes) -> InnerResponse:
        found = collected(body, self._decoder())
        if found.error is not None:
            raise failure_in_stream(self._account, found.error)
        if all(choice.finish is None for choice in found.response.choices):
            raise UpstreamFailure("server", "The provider's stream ended before the answer was finished.")
        return found.response

    def _of_inner(self, inner: InnerResponse, whole: Whole | None = None) -> Reply:
        inner = turned_back(inner, self._customs) if self._customs else inner
        if whole is None:
            reasons = [choice.finish for choice in inner.choices if choice.finish is not None]
            text = "" if inner.usage is not None else text_of(inner)
            whole = Whole(inner.usage, reasons[0] if reasons else None, id=inner.id or None, text=text)
        head, client = self._head(), self._way.client

        def write(usage: Usage) -> bytes:
            return client.encode_response(replace(inner, usage=usage), head)

        # Encoded here also where usage is still to be counted: an answer that cannot be told is no answer.
        body = client.encode_response(inner, head)
        return Reply(_now(), body=body, whole=whole, text=whole.text, write=write)

    # Streams

    async def _stream(self, response: UpstreamResponse) -> Reply:
        way = self._way
        if is_json(response):
            body = await response.read(ANSWER_LIMIT)
            response.close()
            self._read(response, body)
            translating = self._translating()
            first = translating.replay(list(events_of(way.provider.decode_response(body, way.maker))))
            return Reply(_now(), stream=translating, first=first, response=response)
        stream: AnswerStream
        if way.passes:
            counts = self.request.operation == "completions"  # the one other dialect in which usage is asked for
            wanted = self._asked.include_usage
            stream = Passing(
                way.provider,
                way.maker,
                self._head(),
                hides_usage=counts and not wanted,
                tells_usage=openai_completions.usage_event if counts and wanted else None,
            )
        else:
            stream = self._translating()
        first = await opening_of(stream, response, self._account)
        return Reply(_now(), stream=stream, first=first, response=response)

    def _translating(self) -> Translating:
        way = self._way
        return Translating(self._decoder(), way.client, self._head(), self._customs)

    def _decoder(self) -> StreamDecoder:
        row, decoder = self._account.row, self._way.provider.decoder(self._way.maker)
        if row.repair is None or self.request.operation != "chat.completions":
            return decoder
        return Repaired(decoder, row.repair, row.repair_marker)

    def _head(self) -> ReplyHead:
        asked = self._asked
        id = self._name.partition("_")[2] or self._name
        return ReplyHead(id, asked.model, int(time.time()), asked.include_usage, asked.inner)


def renamed(messages: msgspec.Raw, member: str, name: str) -> msgspec.Raw:
    """Messages of which each calls this member by another name. The same object where none has it."""
    if f'"{member}"'.encode() not in bytes(messages):
        return messages
    said = [{name if one == member else one: raw for one, raw in each.items()} for each in _decode_messages(messages)]
    return msgspec.Raw(_encode(said))


def _in_order(request: InnerRequest, *, thoughts: bool) -> tuple[InnerRequest, tuple[str, ...]]:
    """With each call answered, behind the turn that made it, as this family of dialects demands; without thoughts where
    there is no place for them."""
    items, orphaned = side_by_side(request.items)
    said = [item for item in items if thoughts or not isinstance(item, ReasoningItem)]
    return replace(request, items=tuple(said)), ("role",) if orphaned else ()


def _plain(request: InnerRequest) -> tuple[InnerRequest, tuple[str, ...]]:
    """Without what nobody but the dialect's inventor takes, and what that drops. The role developer means what system
    meant before, and nobody else knows it."""
    items = [
        replace(item, role="system") if isinstance(item, MessageItem) and item.role == "developer" else item
        for item in request.items
    ]
    return as_functions(replace(request, items=tuple(items)))


def inner_of(request: ModelRequest, client: Codec) -> InnerRequest:
    """The request in the inner form, decoded once. InvalidRequest names what does not fit."""
    if request.inner is None:
        request.inner = client.decode_request(_encode(request.fields), Addressed(request.model, request.stream))
    return request.inner


def dropped_by(prepared: Prepared, request: ModelRequest) -> Sequence[str]:
    """What this deployment could not be told of a request, as the client spells it."""
    way = prepared.around(request)
    if way.way is not None:
        return Carriage(way, request, "").dropped
    return request.steering if prepared.deployment.account.row.vectors is None else ()


def _now() -> float:
    return asyncio.get_running_loop().time()
