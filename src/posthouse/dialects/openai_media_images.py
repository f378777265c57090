"""Pictures that were made: what was consumed for them, whole answers, and streams of partial and complete ones.

A whole answer is {created, data: [{b64_json | url}], usage}; a stream is events `image_generation.partial_image` and
`image_generation.completed` (`image_edit....` of edits), the latter with usage. Some vendors call `data` `images`, or
send a `...partial_succeeded` for each of several pictures and a `...completed` without one; each form is recognised by
its members. A picture that is not there counts as none, whatever was asked for.

`usage` counts tokens in two ways, `input_tokens` and `output_tokens` with details of text and pictures, or as chat
completions do; output that nobody calls text is pictures. What was made of an SVG by another model stands beside it.

Sources: the openai package 3.52.0 (types), OpenAI's published OpenAPI document, the openrouter package 1.3.84,
volcengine.com/docs/82379 (image generation). Checked: 2026-11-21. Not confirmed: streams of several pictures, whose
usage is taken to be of each.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from posthouse.core.media import kind_of_image
from posthouse.core.requests import ModelRequest
from posthouse.core.usage import COUNTS, NO_USAGE, Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_whole import WholeReply
from posthouse.dialects.openai_errors import StreamError, decode_error
from posthouse.dialects.openai_media_streams import Step
from posthouse.dialects.openai_usage import Count, first_count, usage_of
from posthouse.dialects.sse import data_of, split_events

_ABSENT: Final = Raw(b"null")
# Of a request or an answer, what an event of a stream says of its picture.
_SAID: Final = {"size": b'"auto"', "quality": b'"auto"', "background": b'"auto"', "output_format": b'"png"'}
_SPOKEN: Final[Mapping[str, str]] = {"images.edits": "image_edit"}
_QUOTE: Final = 0x22


class _Picture(Struct, gc=False):
    b64_json: Raw = _ABSENT
    url: Raw = _ABSENT

    @property
    def there(self) -> bool:
        views = (memoryview(self.b64_json), memoryview(self.url))
        return any(len(view) > len(b'""') and view[0] == _QUOTE for view in views)


class _Reply(Struct, gc=False):
    data: list[_Picture] | None = None
    images: list[_Picture] | None = None
    size: Any = None
    quality: Any = None
    usage: Any = None
    svg_usage: Any = None
    error: Any = None


class _Event(_Picture, gc=False):
    type: Any = None
    size: Any = None
    quality: Any = None
    usage: Any = None
    svg_usage: Any = None
    error: Any = None
    message: Any = None


class _Tokens(Struct, gc=False):
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    input_tokens_details: Any = None
    output_tokens_details: Any = None
    reasoning_tokens: Any = None


_decode_reply: Final = Decoder(_Reply).decode
_decode_event: Final = Decoder(_Event).decode
_decode_members: Final = Decoder(dict[str, Raw]).decode
_decode_items: Final = Decoder(list[dict[str, Raw]]).decode
_encode: Final = msgspec.json.Encoder().encode


def tokens_of(payload: Any) -> Usage | None:
    """Disjoint classes of a `usage` in either form; None where there is none, or a count in it makes no sense. Details
    are cut to what they are details of; one that is no count says nothing."""
    if not isinstance(payload, dict):
        return None
    if "input_tokens" not in payload and "output_tokens" not in payload:
        found = usage_of(payload)
        return found if found is None or found.image_output else replace(found, output=0, image_output=found.output)
    try:
        told = msgspec.convert(payload, _Tokens)
    except (msgspec.ValidationError, RecursionError):
        return None
    if told.input_tokens is None and told.output_tokens is None:
        return None
    into, out = told.input_tokens_details, told.output_tokens_details
    into = into if isinstance(into, dict) else {}
    out = out if isinstance(out, dict) else {}
    fresh = told.input_tokens or 0
    fresh -= (image_input := min(fresh, first_count(into, "image_tokens")))
    fresh -= (cache_read := min(fresh, first_count(into, "cached_tokens")))
    drawn = told.output_tokens or 0
    drawn -= (written := min(drawn, first_count(out, "text_tokens")))
    written -= (reasoning := min(written, first_count(out, "reasoning_tokens")))
    return Usage(
        input=fresh,
        cache_read=cache_read,
        image_input=image_input,
        output=written,
        reasoning=reasoning,
        image_output=drawn,
    )


def _consumed(usage: Any, svg: Any) -> Usage | None:
    """Tokens of a picture and of what was written beside it."""
    found = tokens_of(usage)
    if not isinstance(svg, dict):
        return found
    try:
        told = msgspec.convert(svg, _Tokens)
    except (msgspec.ValidationError, RecursionError):
        return found
    written = told.output_tokens or 0
    reasoning = min(written, first_count(svg, "reasoning_tokens"))
    beside = Usage(input=told.input_tokens or 0, output=written - reasoning, reasoning=reasoning)
    return beside if found is None else added(found, beside)


def added(one: Usage, other: Usage) -> Usage:
    """Both together; the kind of the pictures is the first that has one."""
    counts = {name: getattr(one, name) + getattr(other, name) for name in COUNTS}
    return replace(one, **counts, image_kind=one.image_kind or other.image_kind)


def _kind(asked: Usage | None, size: Any, quality: Any) -> str:
    """By what the answer says, else by what was asked for."""
    wished, _, grade = ("" if asked is None else asked.image_kind).partition("/")
    return kind_of_image(
        size if isinstance(size, str) else wished, (quality if isinstance(quality, str) else grade) or None
    )


# --- Whole answers ----------------------------------------------------------------------------------------------------


def read_whole(body: bytes, request: ModelRequest) -> WholeReply:
    """What the spine needs of a whole answer; a finish reason where there is a picture in it. DialectError where it
    is no answer of this kind."""
    try:
        reply = _decode_reply(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise DialectError("the answer holds no images") from None
    made = sum(picture.there for picture in (reply.data if reply.data is not None else reply.images) or ())
    error = decode_error(reply.error)
    if not made:
        return WholeReply(None, None, error)
    kind = _kind(request.expected, reply.size, reply.quality)
    tokens = _consumed(reply.usage, reply.svg_usage) or NO_USAGE
    return WholeReply(replace(tokens, images=made, image_kind=kind), "stop", error)


def put_right(body: bytes, created: int) -> bytes:
    """A whole answer, that has been read, in OpenAI's form: `data` where a vendor calls it `images`."""
    members = _decode_members(body)
    if "data" in members or "images" not in members:
        return body
    return _encode({"created": created, **members, "data": members["images"]})


def to_events(body: bytes, request: ModelRequest, created: int) -> bytes:
    """A whole answer, that has been read, as the events of a stream: one for each picture, usage in the last."""
    try:
        members = _decode_members(body)
        pictures = _decode_items(members.get("data", members.get("images", Raw(b"[]"))))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise DialectError("the answer holds no images") from None
    name = f"{_SPOKEN.get(request.operation, 'image_generation')}.completed"
    said = {one: _known(members.get(one)) or _known(request.fields.get(one)) or Raw(by) for one, by in _SAID.items()}
    events: list[bytes] = []
    for number, picture in enumerate(pictures, 1):
        event: dict[str, Any] = {**picture, "type": name, "created_at": created, **said}
        if number == len(pictures) and "usage" in members:
            event["usage"] = members["usage"]
        events.append(b"event: %b\ndata: %b\n\n" % (name.encode(), _encode(event)))
    return b"".join(events)


def _known(raw: Raw | None) -> Raw | None:
    return None if raw is None or bytes(raw) == b"null" else raw


def collect(events: bytes, created: int) -> bytes:
    """One whole answer of all events of a stream that nobody asked for. DialectError where no picture is in it."""
    pictures: list[dict[str, Raw]] = []
    around: dict[str, Raw] = {}
    for event in split_events(events):
        data = data_of(event)
        try:
            members = _decode_members(data) if data is not None and data.startswith(b"{") else {}
            kind = _decode_event(data).type if members and data is not None else None
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            continue
        if "error" in members:
            return _encode(members)
        if isinstance(kind, str) and kind.endswith((".completed", ".partial_succeeded")):
            picture = {name: raw for name, raw in members.items() if name in ("b64_json", "url")}
            pictures += [picture] if picture else []
            around |= {name: members[name] for name in ("usage", *_SAID) if name in members}
    if not pictures:
        raise DialectError("the stream held no image")
    return _encode({"created": created, **around, "data": pictures})


# --- Streams ----------------------------------------------------------------------------------------------------------


class PictureEvents:
    """Reads a stream of pictures, for `MediaEvents`. All of them have come with the last of as many as were asked for,
    with an event of the end that has no picture, or with the end of the stream."""

    def __init__(self, request: ModelRequest) -> None:
        self._asked = request.expected
        self._wanted = request.choices
        self._made = 0
        self._kind = ""
        self._tokens: Usage | None = None

    def read(self, data: bytes, *, failed: bool) -> Step:
        try:
            event = _decode_event(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise DialectError("an event of the stream is no event of images") from None
        kind = event.type if isinstance(event.type, str) else ""
        if kind.endswith(".partial_failed"):
            return Step()  # one of several; the others follow
        error = decode_error(event.error)
        if error is None and (failed or kind == "error"):
            error = StreamError(event.message if isinstance(event.message, str) else "the upstream reported an error")
        if error is not None or not kind.endswith((".completed", ".partial_succeeded")):
            return Step(content=event.there, error=error)
        tokens = _consumed(event.usage, event.svg_usage)
        if tokens is not None:
            self._tokens = tokens if self._tokens is None else added(self._tokens, tokens)
        if event.there:
            self._made += 1
            self._kind = self._kind or _kind(self._asked, event.size, event.quality)
        if kind.endswith(".partial_succeeded"):
            return Step(content=event.there)
        return Step(content=event.there, ends=True, last=self._made >= self._wanted or not event.there)

    def usage(self) -> Usage | None:
        return replace(self._tokens or NO_USAGE, images=self._made, image_kind=self._kind) if self._made else None

    def complete(self) -> bool:
        return self._made > 0
