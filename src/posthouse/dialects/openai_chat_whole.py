"""Whole chat answers: what the spine reads of one, and the way between a whole answer and a stream.

Some upstreams stream though they were not asked to, others answer whole though they were asked to stream; the client
gets what it asked for. Members that we do not know survive both ways.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_text import Delta, Emitted
from posthouse.dialects.openai_errors import StreamError, decode_error
from posthouse.dialects.openai_finish import BROKEN
from posthouse.dialects.openai_usage import NO_USAGE, at_tier, usage_in, usage_of
from posthouse.dialects.sse import data_of, split_events


class WholeReply(Struct, frozen=True):
    """What the spine needs of a whole answer. `error`: the upstream answered an error under a status of success.

    `finish_reason` is that of the first choice that has one.
    """

    usage: Usage | None
    finish_reason: str | None
    error: StreamError | None
    id: str | None = None


class _Choice(Struct, gc=False):
    finish_reason: Any = None
    error: Any = None
    usage: Any = None


class _Reply(Struct, gc=False):
    """Content is skipped, not decoded: 64 KB of it take 15 us."""

    id: Any = None
    choices: list[_Choice] | None = None
    usage: Raw = NO_USAGE
    error: Any = None
    service_tier: Any = None


class _TextChoice(Struct, gc=False):
    message: Delta | None = None


class _TextReply(Struct, gc=False):
    choices: list[_TextChoice] | None = None


_decode_reply = Decoder(_Reply).decode
_decode_text = Decoder(_TextReply).decode
_decode_object = Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def whole_usage(body: bytes) -> WholeReply:
    """Usage, finish reason and error of a whole answer. DialectError where the body is no answer of this dialect."""
    try:
        reply = _decode_reply(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise DialectError("the answer is not a chat completion") from None
    error = decode_error(reply.error)
    usage = None if reply.usage is NO_USAGE else at_tier(usage_in(reply.usage), reply.service_tier)
    finish: str | None = None
    for choice in reply.choices or ():
        reason = choice.finish_reason
        if error is None and (choice.error or (isinstance(reason, str) and reason in BROKEN)):
            error = decode_error(choice.error) or StreamError("the upstream ended the answer with an error")
        if usage is None and choice.usage is not None:
            usage = usage_of(choice.usage)
        if finish is None and choice.finish_reason and isinstance(choice.finish_reason, str):
            finish = choice.finish_reason
    return WholeReply(usage, finish, error, reply.id if isinstance(reply.id, str) else None)


def whole_text(body: bytes) -> Emitted:
    """The text of a whole answer, for counting tokens where it reports no usage; empty where it has none."""
    try:
        reply = _decode_text(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Emitted("")
    return Emitted("".join([choice.message.text() for choice in reply.choices or () if choice.message is not None]))


def to_events(body: bytes, include_usage: bool) -> bytes:
    """A whole answer as the events of a stream, without [DONE]. DialectError where it is no answer of this dialect.

    Each choice becomes a chunk with all it says and a chunk with its finish reason.
    """
    try:
        whole = _decode_object(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise DialectError("the answer is not a chat completion") from None
    choices = whole.pop("choices", None)
    if not isinstance(choices, list):
        raise DialectError("the answer is not a chat completion")
    usage = whole.pop("usage", None)
    base = {**whole, "object": "chat.completion.chunk"}
    events: list[bytes] = []
    for position, choice in enumerate(choices):
        if not isinstance(choice, dict):
            raise DialectError("a choice of the answer is not an object")
        events += [_event({**base, "choices": [part]}) for part in _chunks_of_choice(choice, position)]
    if include_usage and usage is not None:
        events.append(_event({**base, "choices": [], "usage": usage}))
    return b"".join(events)


def _chunks_of_choice(choice: dict[str, Any], position: int) -> tuple[dict[str, Any], dict[str, Any]]:
    rest = {name: value for name, value in choice.items() if name not in ("message", "finish_reason", "index")}
    index = choice.get("index", position)
    message = choice.get("message")
    delta = dict(message) if isinstance(message, dict) else {}
    calls = delta.get("tool_calls")
    if isinstance(calls, list):
        delta["tool_calls"] = [
            {"index": number, **call} if isinstance(call, dict) else call for number, call in enumerate(calls)
        ]
    return (
        {"index": index, "delta": delta, **rest, "finish_reason": None},
        {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")},
    )


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + _encode(chunk) + b"\n\n"


def collect(events: bytes) -> bytes:
    """One whole answer from all events of a stream. DialectError where there is no chunk in it."""
    collector = ChatCollector()
    collector.feed(events)
    return collector.result()


class ChatCollector:
    """Makes one whole answer of a stream: feed it blocks of whole events, as `ChatStream` forwards them.

    Text of a delta is appended, tool calls are joined by their index, lists are extended, and of anything else the last
    value that is not null stays. At most `limit` bytes are taken in.
    """

    def __init__(self, limit: int = 64 << 20) -> None:
        self._room = limit
        self._top: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._usage: Any = None

    def feed(self, block: bytes) -> None:
        """DialectError where the answer grows beyond the limit."""
        self._room -= len(block)
        if self._room < 0:
            raise DialectError("the answer is too large")
        for event in split_events(block):
            data = data_of(event)
            if data is None or not data.startswith(b"{"):
                continue
            try:
                self._add(_decode_object(data))
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                continue

    def result(self) -> bytes:
        """The body of the answer. DialectError where no chunk was seen."""
        if not self._top and not self._choices:
            raise DialectError("the stream held no chunk")
        choices = [_finished(self._choices[index]) for index in sorted(self._choices)]
        whole = {**self._top, "object": "chat.completion", "choices": choices}
        if self._usage is not None:
            whole["usage"] = self._usage
        return _encode(whole)

    def _add(self, chunk: dict[str, Any]) -> None:
        for name, value in chunk.items():
            if name not in _NOT_KEPT and (value is not None or name not in self._top):
                self._top[name] = value
        if chunk.get("usage") is not None:
            self._usage = chunk["usage"]
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._add_choice(choice)

    def _add_choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        whole = self._choices.setdefault(index, {"index": index, "message": {}, "finish_reason": None})
        for name, value in choice.items():
            if name == "delta":
                if isinstance(value, dict):
                    _merge(whole["message"], value, _TEXT)
            elif name == "logprobs":
                if isinstance(value, dict):
                    known = whole.get("logprobs") or {}
                    _merge(known, value, frozenset())
                    whole["logprobs"] = known
            elif name != "index" and (value is not None or name not in whole):
                whole[name] = value


_NOT_KEPT: Final = frozenset({"choices", "usage", "object", "obfuscation"})
# Strings that come in pieces; any other string is whole each time it comes.
_TEXT: Final = frozenset(
    {"content", "refusal", "reasoning_content", "reasoning", "arguments", "input", "transcript", "data", "text"}
)


class _Pieces:
    """Text that is still coming; joined once, at the end."""

    __slots__ = ("parts",)

    def __init__(self, first: str) -> None:
        self.parts = [first]


def _merge(into: dict[str, Any], delta: dict[str, Any], text: frozenset[str]) -> None:
    """Adds what a delta says to what is known so far."""
    for name, value in delta.items():
        known = into.get(name)
        if value is None:
            into.setdefault(name, None)
        elif isinstance(value, str) and name in text:
            if isinstance(known, _Pieces):
                known.parts.append(value)
            elif isinstance(known, _Items):
                known.items.append({"type": "text", "text": value})
            else:
                into[name] = _Pieces(value)
        elif isinstance(value, list):
            if not isinstance(known, _Items):
                into[name] = _Items(known if isinstance(known, _Pieces) and any(known.parts) else None)
            into[name].extend(value, text)
        elif isinstance(value, dict):
            inner = known if isinstance(known, dict) else {}
            _merge(inner, value, text)
            into[name] = inner
        elif not (value == "" and known):
            into[name] = value


class _Items:
    """A list that is still coming. Items that carry an `index` are joined with the one of that index, others are
    appended; `first` is text that came before any."""

    __slots__ = ("_places", "items")

    def __init__(self, first: _Pieces | None) -> None:
        self.items: list[Any] = [] if first is None else [{"type": "text", "text": first}]
        self._places: dict[int, dict[str, Any]] = {}

    def extend(self, new: list[Any], text: frozenset[str]) -> None:
        for item in new:
            index = item.get("index") if isinstance(item, dict) else None
            if not isinstance(index, int):
                self.items.append(item)
                continue
            if index not in self._places:
                self._places[index] = {}
                self.items.append(self._places[index])
            _merge(self._places[index], item, text)


def _finished(choice: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, "refusal": None, **_joined(choice["message"])}
    message["role"] = message["role"] or "assistant"
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            call.pop("index", None)
    return {"logprobs": None, **_joined({**choice, "message": message})}


def _joined(value: Any) -> Any:
    if isinstance(value, _Pieces):
        return "".join(value.parts)
    if isinstance(value, _Items):
        return _joined(value.items)
    if isinstance(value, dict):
        return {name: _joined(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_joined(inner) for inner in value]
    return value
