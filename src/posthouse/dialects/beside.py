"""What an answer tells of its usage that just passes: nothing of it is changed, and little of it is held.

`Beside` reads whatever a provider may answer to whatever it may have been asked: events, JSON, or bytes. Where it is
known by which dialect it was asked, text is read too, for counting where no usage is told; elsewhere a usage is
recognised by its members. What makes no sense is no error here: it is the client's to find out.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.usage import Usage
from posthouse.dialects import anthropic_usage, gemini_usage, openai_usage
from posthouse.dialects.codec import Codec, Maker, ReplyHead
from posthouse.dialects.errors import DialectError
from posthouse.dialects.json_scan import MemberScan
from posthouse.dialects.openai_chat_text import Emitted
from posthouse.dialects.openai_media_images import tokens_of
from posthouse.dialects.sse import SseSplitter, data_of, split_events
from posthouse.dialects.streams import MAX_EVENT, Passing

_ABSENT: Final = Raw(b"null")
_MEMBERS: Final = ("usage", "usageMetadata", "service_tier")
_LONGEST: Final = 64 << 10
_NO_MAKER: Final = Maker("", "", "")
_NO_HEAD: Final = ReplyHead("", "", 0)
_ERRORS: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
_MOST_SECONDS: Final = 10_000_000


class _Inside(Struct, gc=False):
    usage: Raw = _ABSENT


class _Event(Struct, gc=False):
    usage: Raw = _ABSENT
    usageMetadata: Raw = _ABSENT  # as it stands on the wire
    response: Raw = _ABSENT
    message: Raw = _ABSENT


_decode_event: Final = Decoder(_Event).decode
_decode_inside: Final = Decoder(_Inside).decode
_decode_any: Final = Decoder(Any).decode


class Beside:
    """`codec` is the dialect of the request, None where none is known; `content_type` is the answer's, in lower case.

    usage   the last sensible report; None where there was none
    size    bytes of the answer so far
    done    a stream has said all, by the rules of its dialect
    """

    def __init__(self, codec: Codec | None, content_type: bytes) -> None:
        self.size = 0
        self._found: Usage | None = None
        self._passing: Passing | None = None
        self._splitter: SseSplitter | None = None
        self._scan: MemberScan | None = None
        if content_type.startswith(b"text/event-stream"):
            self._splitter = SseSplitter(MAX_EVENT)
            if codec is not None:
                self._passing = Passing(codec, _NO_MAKER, _NO_HEAD)
        elif is_json(content_type):
            self._scan = MemberScan(_MEMBERS, _LONGEST, array=True)

    @property
    def usage(self) -> Usage | None:
        if self._passing is not None and self._passing.usage is not None:
            return self._passing.usage
        if self._scan is not None:
            return _of_members(self._scan)
        return self._found

    @property
    def done(self) -> bool:
        return self._passing is not None and self._passing.done

    @property
    def readable(self) -> bool:
        """Whether what has come is text of a model, or has some in it."""
        return self._splitter is not None or self._scan is not None

    def feed(self, data: bytes) -> None:
        self.size += len(data)
        if self._scan is not None:
            self._scan.feed(data)
        elif self._splitter is not None:
            try:
                self._read(self._splitter, data)
            except DialectError:
                self._splitter = None

    def finish(self) -> None:
        """The body has ended."""
        if self._passing is not None:
            try:
                self._passing.finish()
            except DialectError:
                pass  # what was read before it made no sense stands
        if self._splitter is not None and (rest := self._splitter.take_rest().rstrip(b"\r\n")):
            self._look([rest + b"\n\n"])

    def emitted(self) -> Emitted | None:
        """The text that has come so far; None where nobody could read it."""
        return None if self._passing is None else self._passing.emitted()

    def _read(self, splitter: SseSplitter, data: bytes) -> None:
        if self._passing is not None:
            try:
                self._passing.feed(data)
                self._passing.end(Usage(), False)  # what it would hold back is not held here
            except DialectError:
                self._passing = None
        block = splitter.feed(data)
        if block and self._passing is None:
            self._look(split_events(block))

    def _look(self, events: Iterable[bytes]) -> None:
        for event in events:
            data = data_of(event)
            if data is not None and b"sage" in data:
                self._found = _of_event(data) or self._found


def is_json(content_type: bytes) -> bool:
    """`application/json`, and whatever is named after it."""
    kind = content_type.partition(b";")[0].strip().lower()
    return kind == b"application/json" or kind.endswith(b"+json")


def any_usage(raw: Raw) -> Usage | None:
    """A usage object of any dialect, told by its members; None where it is none."""
    data = bytes(raw)
    if b"TokenCount" in data:
        return gemini_usage.usage_in(raw)
    if b'"cache_creation_input_tokens"' in data or b'"cache_read_input_tokens"' in data:
        return anthropic_usage.usage_of(anthropic_usage.usage_object(raw))
    try:
        payload = _decode_any(data)
    except _ERRORS:
        return None
    return _of_payload(payload)


def _of_payload(payload: Any) -> Usage | None:
    if not isinstance(payload, dict):
        return None
    if "prompt_tokens" in payload or "completion_tokens" in payload:
        return openai_usage.usage_of(payload)
    if "input_tokens" in payload or "output_tokens" in payload:
        details = payload.get("input_tokens_details")
        if isinstance(details, dict) and "image_tokens" in details:
            return tokens_of(payload)  # of pictures that were made
        made = payload.get("output_tokens_details")
        if isinstance(made, dict) and "thinking_tokens" in made:  # of messages, where no cache was counted
            made = {"reasoning_tokens": made["thinking_tokens"]}
        return openai_usage.usage_of(
            {
                "prompt_tokens": payload.get("input_tokens"),
                "completion_tokens": payload.get("output_tokens"),
                "total_tokens": payload.get("total_tokens"),
                "prompt_tokens_details": details or payload.get("input_token_details"),
                "completion_tokens_details": made,
            }
        )
    seconds = payload.get("seconds")
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < _MOST_SECONDS:
        return Usage(audio_ms=round(seconds * 1000))
    total = payload.get("total_tokens")  # all that some vendors tell of embeddings and ranks
    return openai_usage.usage_of({"prompt_tokens": total}) if total is not None else None


def _of_members(scan: MemberScan) -> Usage | None:
    for name in ("usage", "usageMetadata"):
        value = scan.values.get(name)
        if value is not None and (found := any_usage(Raw(value))) is not None:
            return openai_usage.at_tier(found, _word(scan.values.get("service_tier")))
    return None


def _word(value: bytes | None) -> str | None:
    """What stands in a JSON string, as long as it is a plain word."""
    return bytes(value[1:-1]).decode("ascii", "replace") if value is not None and value[:1] == b'"' else None


def _of_event(data: bytes) -> Usage | None:
    try:
        event = _decode_event(data)
        places = [event.usage, event.usageMetadata]
        around = [one for one in (event.response, event.message) if bytes(memoryview(one)[:1]) == b"{"]
        places += [_decode_inside(one).usage for one in around]
    except _ERRORS:
        return None
    found = [usage for raw in places if raw != _ABSENT and (usage := any_usage(raw)) is not None]
    return found[0] if found else None
