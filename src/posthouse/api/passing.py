"""`/providers/{name}/...`: the rest of a vendor's interface, as it is.

The bytes stream both ways, but for requests whose price stands in their body: those are read first, on disk where they
are long. An error of ours is said as the path below the provider's name plainly wants it, else as OpenAI says it.

Above: nothing. Below: `gateway.raw`.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Final

import msgspec

from posthouse.api.anthropic import SHAPE as MESSAGES
from posthouse.api.exchange import Exchange, Route
from posthouse.api.server import FrontDoor
from posthouse.api.shapes import shape_of
from posthouse.api.uploads import Spool, length_of, passing_body
from posthouse.billing.rough import RoughCount
from posthouse.core.errors import InvalidRequest, PosthouseError
from posthouse.core.requests import Operation
from posthouse.dialects import gemini
from posthouse.dialects.beside import is_json
from posthouse.dialects.fields import MAX_MODEL_NAME, MAX_TOKENS
from posthouse.dialects.json_scan import MemberScan
from posthouse.gateway.pricing import TIER_MEMBERS, asked_tier
from posthouse.gateway.raw import Asked, RawAnswer, RawCall, RawDoor
from posthouse.providers.passing import Parcel, checked_query, checked_rest, endpoint_of, model_in
from posthouse.upstream.model import BodyStream

METHODS: Final = (b"GET", b"POST", b"PUT", b"PATCH", b"DELETE")
PREFIX: Final = "/providers/"
# Elsewhere, as in `threads/ID/messages`, other dialects have paths that end so.
_MESSAGES: Final = re.compile(r"/providers/[^/]*/(?:(?:.*/)?v1/)?messages(?:/.*)?")
_VERBS: Final = "generateContent|streamGenerateContent|countTokens|embedContent|batchEmbedContents|batchGenerateContent"
_GENERATES: Final = re.compile(rf"/providers/[^/]*/.*[^/]:(?:{_VERBS})")
_LOOK: Final = 64 << 10  # bytes in which the model of any other request is looked for
_PIECE: Final = 64 << 10
_LONGEST: Final = 64 << 10
_MOST_CHOICES: Final = 1_000
_CAPS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_CHOICES: Final = ("n", "best_of")
_GENERATION: Final = ("generationConfig", "generation_config")
_MAY_BE_LONG: Final = frozenset(_GENERATION)  # of a form for the answer, beside which a cap may stand
_MEMBERS: Final = ("model", "background", *_CAPS, *_CHOICES, *_GENERATION, *TIER_MEMBERS)
_decode: Final = msgspec.json.Decoder().decode


class PassingFace:
    """Its route registers itself with `mount`."""

    def __init__(self, door: FrontDoor, raw: RawDoor) -> None:
        self._door = door
        self._raw = raw

    def mount(self) -> None:
        self._door.add_inner_shape(_MESSAGES, MESSAGES)
        self._door.add_inner_shape(_GENERATES, shape_of(gemini.CODEC))
        self._door.add_prefix(PREFIX, dict.fromkeys(METHODS, Route("passthrough", self.handle, streams_body=True)))

    async def handle(self, exchange: Exchange) -> None:
        caller = exchange.caller
        assert caller is not None  # the route is authenticated
        name, _, rest = exchange.path.removeprefix(PREFIX).partition("/")
        self._raw.account(name, caller, exchange.own)
        rest, query = checked_rest(rest), checked_query(exchange.query)
        if exchange.headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            raise InvalidRequest("A request's body must not be compressed here.", code="unsupported_encoding")
        parcel = Parcel(exchange.method, rest, query, exchange.headers)
        exchange.opaque = True
        spool = Spool(self._door.options.body_limit)
        try:
            asked = await _read(exchange, parcel, spool)
            address = self._door.address_of(exchange)
            call = RawCall(caller, exchange.request_id, exchange.accepted, name, parcel, asked, address, exchange.own)
            await self._answer(exchange, await self._raw.run(call))
        finally:
            spool.close()

    async def _answer(self, exchange: Exchange, answer: RawAnswer) -> None:
        head = self._door.common_head(exchange) + answer.headers
        pieces = answer.pieces
        if pieces is None:
            exchange.respond(answer.status, head, answer.body)
            return
        try:
            if exchange.method == b"HEAD" or answer.status in (204, 304):
                async for _ in pieces:
                    pass
                exchange.respond(answer.status, head, b"")
                return
            await self._stream(exchange, answer.status, head, pieces)
        finally:
            await pieces.aclose()

    async def _stream(self, exchange: Exchange, status: int, head: bytes, pieces: AsyncGenerator[bytes, None]) -> None:
        now = asyncio.get_running_loop().time
        try:
            exchange.start(status, head, now())
            async for piece in pieces:
                exchange.write(piece, now())
                if exchange.write_paused:
                    await exchange.drained()
        except PosthouseError:
            exchange.cut()  # the gateway has settled already; nothing can be said inside of these bytes
            return
        exchange.end()


async def _read(exchange: Exchange, parcel: Parcel, spool: Spool) -> Asked:
    """Takes from the body what must be known before it is sent, and gives `parcel` the body to send."""
    endpoint = endpoint_of(parcel.method, parcel.rest)
    named = model_in(parcel.rest)
    if endpoint is not None:
        scan, count = MemberScan(_MEMBERS, _LONGEST), RoughCount()
        while piece := await exchange.read():
            scan.feed(piece)
            count.feed(piece)
            await spool.append(piece)
        parcel.body = BodyStream(_kept(spool), spool.size)
        return _asked(endpoint, scan, named, count.tokens)
    if length_of(exchange) == 0:
        return Asked(model=named)
    if not is_json(exchange.headers.get(b"content-type", b"")):
        parcel.body = passing_body(exchange)
        return Asked(model=named)
    scan, length = MemberScan(("model",)), length_of(exchange)
    looked: list[bytes] = []
    size = 0
    while size < _LOOK and "model" not in scan.values and (piece := await exchange.read()):
        scan.feed(piece)
        looked.append(piece)
        size += len(piece)
    parcel.body = BodyStream(_with_rest(looked, passing_body(exchange)), length)
    return Asked(model=named or _model(scan.values))


def _asked(endpoint: Operation, scan: MemberScan, named: str | None, tokens: int) -> Asked:
    if scan.sound and scan.twice:
        name = min(scan.twice)
        raise InvalidRequest(f"'{name}' is there twice.", param=name, code="invalid_value")
    values = scan.values
    said = _model(values)
    config: Mapping[str, object] = {}
    for name in _GENERATION:
        found = _value(values, name)
        config = {**config, **found} if isinstance(found, dict) else config
    caps = [_count(_value(values, name)) for name in _CAPS]
    caps += [_count(config.get(name)) for name in ("maxOutputTokens", "max_output_tokens")]
    choices = [_count(_value(values, name)) for name in _CHOICES]
    choices += [_count(config.get(name)) for name in ("candidateCount", "candidate_count")]
    one = named is None or said is None or named == said
    later = _value(values, "background") not in (None, False)  # then what it takes is told elsewhere
    return Asked(
        endpoint=endpoint,
        model=named or said,
        sure=scan.sound and scan.ended and one and not later and scan.long <= _MAY_BE_LONG,
        tokens=tokens,
        max_output=max((cap for cap in caps if cap is not None), default=None),
        choices=min(max((n for n in choices if n is not None), default=1) or 1, _MOST_CHOICES),
        tier=asked_tier(values),
    )


def _model(values: Mapping[str, bytes]) -> str | None:
    name = _value(values, "model")
    return name if isinstance(name, str) and 0 < len(name) <= MAX_MODEL_NAME and name.isprintable() else None


def _value(values: Mapping[str, bytes], name: str) -> object:
    """What a member is; None where it is not there, or nothing that can be read."""
    try:
        return _decode(values[name]) if name in values else None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _count(value: object) -> int | None:
    """A number of tokens or choices; of what is none, the provider will say so."""
    return min(value, MAX_TOKENS) if type(value) is int and value >= 0 else None


async def _kept(spool: Spool) -> AsyncGenerator[bytes, None]:
    at = 0
    while piece := await spool.read(at, _PIECE):
        at += len(piece)
        yield piece


async def _with_rest(looked: list[bytes], rest: BodyStream) -> AsyncGenerator[bytes, None]:
    for piece in looked:
        yield piece
    async for piece in rest.pieces:
        yield piece
